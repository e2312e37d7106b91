//! `attache net`: the redirect in a pod's network namespace.

use std::process::ExitCode;

use super::{Failure, Outcome};
use crate::net::backend::Backend;
use crate::net::layout::{InboundPort, Layout, LocalPorts};
use crate::net::nft;
use crate::net::privilege::Capability;
use crate::net::rules::Ruleset;

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
    Remove(Remove),
}

/// Put the rules in place, and prove that they hold
#[derive(Debug, clap::Args)]
struct Apply {
    #[command(flatten)]
    layout: LayoutArgs,

    /// Leave out the proof
    #[arg(long)]
    no_verify: bool,
}

/// Take the rules away
#[derive(Debug, clap::Args)]
struct Remove {}

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
        Command::Remove(Remove {}) => {
            Capability::NetAdmin.require().map_err(Failure::runtime)?;
            nft::remove().map_err(Failure::runtime)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn apply(args: &Apply) -> Outcome {
    let layout = args.layout.parse()?;
    Capability::NetAdmin.require().map_err(Failure::runtime)?;
    Backend::Nft.apply(&Ruleset::new(&layout)).map_err(Failure::runtime)?;
    Ok(ExitCode::SUCCESS)
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
