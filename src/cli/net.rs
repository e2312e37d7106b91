//! `attache net`: the redirect in a pod's network namespace.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use super::output::{Format, json_line};
use super::{Failure, Outcome};
use crate::net::backend::{self, Backend, Choice};
use crate::net::layout::{InboundPort, Layout, LocalPorts};
use crate::net::namespace;
use crate::net::nft;
use crate::net::privilege::Capability;
use crate::net::probe::{self, Attempt};
use crate::net::rules::Ruleset;
use crate::net::verify::{self, Check, Expected, Options, Outcome as Proof, Who};

/// Redirect a pod's traffic to Envoy and close every other way out
///
/// The rules hold for the network namespace that the command runs in, for IPv4 and IPv6. Envoy's and attaché's users
/// are exempt; everybody else's connections lead to Envoy and to attaché's DNS stub, or are refused.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Apply(Apply),
    Verify(Verify),
    Remove(Remove),
    #[command(hide = true)]
    Probe(Probe),
}

/// Put the rules in place, and prove that they hold
///
/// They are refused in the machine's own network, as far as that can be told: they are for a pod's. Rules that are in
/// place already are replaced, with no moment without any. When the proof fails, the rules stay.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache net apply                                  as the pod's first init container
  attache net apply --port 80,443,8080 --inbound 3000
  attache net apply --dry-run                        the rules as nft reads them, for another to put in place

Exit codes:
  0  the rules are in place, and hold
  1  they are not, or do not; what to do about it is on stderr
  2  the users or ports make no sense, or this is the machine's own network")]
struct Apply {
    #[command(flatten)]
    layout: LayoutArgs,

    /// What puts the rules in place
    #[arg(long, value_enum, default_value = "auto")]
    backend: BackendArg,

    /// Print the rules for nft and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Leave out the proof
    #[arg(long)]
    no_verify: bool,

    /// Also where this looks like the machine's own network, on which these rules would cut off every program
    #[arg(long)]
    any_namespace: bool,

    #[command(flatten)]
    proof: ProofArgs,
}

/// Prove by trying that the rules hold, whoever put them in place
///
/// Connections to addresses that are nobody's (192.0.2.1, 2001:db8::1) are tried as another user, as Envoy's and as
/// attaché's. No packet gets further than the next host.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  attache net verify
  attache net verify -o json | jq '.checks[] | select(.outcome == \"failed\")'

Exit codes:
  0  the rules hold
  1  they do not, or nothing could be tried
  2  the users or ports make no sense")]
struct Verify {
    #[command(flatten)]
    layout: LayoutArgs,

    #[command(flatten)]
    proof: ProofArgs,
}

/// Take the rules away, whatever put them in place
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes:
  0  there are no rules of attaché's
  1  they could not be removed")]
struct Remove {}

/// Try ways out as this process's user
#[derive(Debug, clap::Args)]
struct Probe {
    /// A JSON list of what to try.
    attempts: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BackendArg {
    /// nft if it works, else iptables.
    Auto,
    /// nftables: one transaction.
    Nft,
    /// iptables and ip6tables: a transaction for each table.
    Iptables,
}

#[derive(Debug, clap::Args)]
struct ProofArgs {
    /// The user that plays the agent in the proof
    #[arg(long, value_name = "UID", default_value_t = 65534)]
    probe_uid: u32,

    /// Take silence for closed: for rules of others that drop what these refuse
    #[arg(long)]
    accept_silence: bool,

    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
}

#[derive(Debug, clap::Args)]
struct LayoutArgs {
    /// Envoy's user: goes anywhere by TCP, but to no resolver
    #[arg(long, value_name = "UID", default_value_t = 101)]
    envoy_uid: u32,

    /// Attaché's user: goes anywhere
    #[arg(long, value_name = "UID", default_value_t = 1338)]
    attache_uid: u32,

    /// TCP ports of the outside that lead to Envoy; repeatable
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',', default_values_t = [80, 443],
          value_parser = clap::value_parser!(u16).range(1..))]
    ports: Vec<u16>,

    /// What the outside may connect to: PORT, PORT/udp or `all`; repeatable
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    inbound: Vec<InboundPort>,

    /// Envoy's transparent listener on loopback
    #[arg(long, value_name = "PORT", default_value_t = 10443, value_parser = clap::value_parser!(u16).range(1..))]
    transparent_port: u16,

    /// Attaché's DNS stub on loopback
    #[arg(long, value_name = "PORT", default_value_t = 15053, value_parser = clap::value_parser!(u16).range(1..))]
    dns_port: u16,

    /// Attaché's metrics and probes, open to the outside and closed to the agent
    #[arg(long, value_name = "PORT", default_value_t = 9464, value_parser = clap::value_parser!(u16).range(1..))]
    metrics_port: u16,

    /// Envoy's proxy port on loopback, open to the agent
    #[arg(long, value_name = "PORT", default_value_t = 10080, value_parser = clap::value_parser!(u16).range(1..))]
    proxy_port: u16,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    match args.command {
        Command::Apply(args) => apply(&args),
        Command::Verify(args) => {
            let layout = args.layout.parse()?;
            prove(&layout, &args.proof, None, Vec::new())
        }
        Command::Remove(Remove {}) => {
            Capability::NetAdmin.require().map_err(Failure::runtime)?;
            let asked = backend::remove().map_err(Failure::runtime)?;
            writeln!(std::io::stdout(), "attaché's rules are gone (asked {})", asked.join(" and "))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Probe(args) => {
            let attempts: Vec<Attempt> = serde_json::from_str(&args.attempts).map_err(Failure::usage)?;
            probe::run(&attempts, &mut std::io::stdout().lock())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn apply(args: &Apply) -> Outcome {
    let layout = args.layout.parse()?;
    let ruleset = Ruleset::new(&layout);
    if args.dry_run {
        write!(std::io::stdout(), "{}", nft::render(&ruleset))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.any_namespace && namespace::is_the_machines() {
        return Err(Failure::usage(
            "this is the machine's own network: these rules would cut every program on it off. Run this as a pod's first \
             container, or in its network namespace (`nsenter --net=…`, `ip netns exec …`); nothing has been changed. \
             If it is a pod all the same, say --any-namespace",
        ));
    }
    let needed = [Capability::NetAdmin, Capability::SetUid, Capability::SetGid];
    // All of them before anything changes.
    let needed = needed.get(..if args.no_verify { 1 } else { 3 }).unwrap_or_default();
    needed.iter().try_for_each(|capability| capability.require()).map_err(Failure::runtime)?;
    if !args.no_verify {
        verify::is_agent(&layout, args.proof.probe_uid).map_err(Failure::usage)?;
    }
    let (backend, notes) = Backend::find(args.backend.into(), &ruleset).map_err(Failure::runtime)?;
    backend.apply(&ruleset).map_err(Failure::runtime)?;
    if args.no_verify {
        return report(&args.proof, Some(&backend), &notes, None);
    }
    prove(&layout, &args.proof, Some(&backend), notes)
}

fn prove(layout: &Layout, args: &ProofArgs, backend: Option<&Backend>, notes: Vec<String>) -> Outcome {
    verify::is_agent(layout, args.probe_uid).map_err(Failure::usage)?;
    for capability in [Capability::SetUid, Capability::SetGid] {
        capability.require().map_err(Failure::runtime)?;
    }
    let options = Options { probe: args.probe_uid, accept_silence: args.accept_silence };
    let checks = verify::verify(layout, options).map_err(Failure::runtime)?;
    report(args, backend, &notes, Some(&checks))
}

/// Says what is in place and what was proven; `None` if nothing was tried.
fn report(args: &ProofArgs, backend: Option<&Backend>, notes: &[String], checks: Option<&[Check]>) -> Outcome {
    let holds = checks.map(verify::holds);
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Text => {
            if let Some(backend) = backend {
                writeln!(out, "the rules are in place ({})", backend.name())?;
            }
            for note in notes {
                writeln!(out, "{note}")?;
            }
            for check in checks.unwrap_or_default() {
                writeln!(out, "{}", line(check))?;
            }
        }
        Format::Json => {
            let report =
                json!({"backend": backend.map(Backend::name), "notes": notes, "holds": holds, "checks": checks});
            writeln!(out, "{}", json_line(&report)?)?;
        }
    }
    out.flush()?;
    let checks = checks.unwrap_or_default();
    match holds {
        None | Some(true) => Ok(ExitCode::SUCCESS),
        Some(false) if verify::is_unroutable(checks) => Err(Failure::runtime(
            "nothing is proven: this namespace has no route to try (`ip route`). A pod without a route has no way out, \
             but may get one: run this when its network is up",
        )),
        Some(false) => Err(Failure::runtime(failures(checks))),
    }
}

/// What failed, under what to do about it.
fn failures(checks: &[Check]) -> String {
    let mut by_remedy: Vec<(&str, Vec<String>)> = Vec::new();
    for check in checks.iter().filter(|check| check.outcome == Proof::Failed) {
        let line = format!("\n    {}: {}", attempt(check), check.seen);
        match by_remedy.iter_mut().find(|(remedy, _)| *remedy == check.remedy()) {
            Some((_, lines)) => lines.push(line),
            None => by_remedy.push((check.remedy(), vec![line])),
        }
    }
    let failed = by_remedy.iter().map(|(remedy, lines)| format!("\n  {remedy}:{}", lines.concat()));
    format!("the rules do not hold{}", failed.collect::<String>())
}

fn line(check: &Check) -> String {
    let outcome = match check.outcome {
        Proof::Ok => "ok",
        Proof::Failed => "FAILED",
        Proof::Skipped => "skipped",
    };
    format!("{outcome:<8}{}: {}", attempt(check), check.seen)
}

fn attempt(check: &Check) -> String {
    let who = match check.who {
        Who::Agent => "agent",
        Who::Envoy => "Envoy",
        Who::Attache => "attaché",
    };
    let expected = match check.expected {
        Expected::LeadsToEnvoy => "must lead to Envoy",
        Expected::LeadsToStub => "must lead to the DNS stub",
        Expected::Refused => "must be refused",
        Expected::NotRedirected => "must go where it wants",
    };
    let to = match check.protocol {
        probe::Protocol::Echo => format!("ping {}", check.to.ip()),
        probe::Protocol::Tcp => format!("TCP to {}", check.to),
        probe::Protocol::Udp => format!("UDP to {}", check.to),
        probe::Protocol::Dns => format!("DNS to {}", check.to),
    };
    format!("{who}'s {to} {expected}")
}

impl From<BackendArg> for Choice {
    fn from(backend: BackendArg) -> Self {
        match backend {
            BackendArg::Auto => Self::Auto,
            BackendArg::Nft => Self::Nft,
            BackendArg::Iptables => Self::Iptables,
        }
    }
}

impl LayoutArgs {
    fn parse(&self) -> Result<Layout, Failure> {
        let local = LocalPorts {
            transparent: self.transparent_port,
            dns: self.dns_port,
            metrics: self.metrics_port,
            proxy: self.proxy_port,
        };
        let layout = Layout::new(self.envoy_uid, self.attache_uid, self.ports.clone(), local, &self.inbound);
        layout.map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::usage(errors.join("\n"))
        })
    }
}
