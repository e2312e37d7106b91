//! `attache inject`: the sidecars into manifests.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::envoy::bootstrap::Bootstrap;
use crate::kubernetes::{self, Input, Options, PROXY, SIZE, TRUST_PATH, Variable};

use super::output::printable;
use super::{Failure, Outcome, agent_env};

/// Put the sidecars that govern an agent into Kubernetes manifests
///
/// Reads YAML and JSON, any mixture of documents, and writes them all to stdout: every Pod, Deployment, StatefulSet,
/// DaemonSet, ReplicaSet, ReplicationController, Job and CronJob with attaché and Envoy before its own containers, the
/// rest as it came. Injecting again replaces what an earlier injection put there.
///
/// A pod that no sidecar could govern (its agent may be root, or run as attaché's or Envoy's user, or share the
/// node's network, …) is refused with what to change, and then nothing is written. A workload annotated
/// `attache.dev/inject: "false"` on its pod template stays ungoverned.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  attache inject manifests --namespace agents | kubectl apply -f -          once for each namespace
  attache inject -f agent.yaml | kubectl apply -n agents -f -
  helm template agent ./chart | attache inject -f - | kubectl apply -f -
  attache inject -f agent.yaml --policy-configmap research-policy --inbound 8080

Exit codes:
  0  the manifests are on stdout; stderr says what stayed ungoverned
  2  something cannot be read or not be governed; all of it is on stderr, and nothing on stdout"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Manifests to inject into; `-` is stdin; can be repeated
    #[arg(short = 'f', long = "filename", required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// How the agent's traffic comes to Envoy
    #[arg(long, value_enum, value_name = "MODE", default_value = "redirect")]
    mode: Mode,

    /// The ConfigMap with the policy, one key a file
    #[arg(long, value_name = "NAME", default_value = "attache-policy", value_parser = object_name)]
    policy_configmap: String,

    /// The ConfigMap with Envoy's bootstrap under `envoy.yaml`
    #[arg(long, value_name = "NAME", default_value = "attache-envoy", value_parser = object_name)]
    envoy_configmap: String,

    /// The Secret with credentials, one key a file; it need not exist
    #[arg(long, value_name = "NAME", default_value = "attache-credentials", value_parser = object_name)]
    credentials_secret: String,

    /// attaché's image [default: the one of this version]
    #[arg(long, value_name = "IMAGE", value_parser = image)]
    image: Option<String>,

    /// The image of the init container that sets the firewall [default: the one of this version]
    #[arg(long, value_name = "IMAGE", value_parser = image)]
    net_image: Option<String>,

    /// Envoy's image [default: the one of this version]
    #[arg(long, value_name = "IMAGE", value_parser = image)]
    envoy_image: Option<String>,

    /// On which ports others may connect to the pod: those its containers and probes name (auto), all, or a list
    #[arg(long, value_name = "auto|all|PORT[/udp],…", default_value = "auto", value_parser = inbound)]
    inbound: kubernetes::Inbound,

    /// The TCP ports that are redirected to Envoy; the others are closed [default: 80,443]
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    ports: Vec<u16>,

    /// The user for containers that do not say who they run as
    #[arg(long, value_name = "UID", value_parser = uid)]
    run_as_user: Option<u32>,

    /// Leave CA variables that a container sets itself (SSL_CERT_FILE, …) instead of refusing it
    ///
    /// What they name then has to hold attaché's CA, or the agent refuses every connection.
    #[arg(long)]
    keep_env: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Manifests(Manifests),
}

/// Print what a namespace needs before the first injected pod: a policy that allows nothing, and Envoy's bootstrap
///
/// Write the policy from there: it is a ConfigMap with one file a key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  attache inject manifests --namespace agents | kubectl apply -f -

Exit codes:
  0  the ConfigMaps are on stdout")]
struct Manifests {
    /// The namespace they go into; otherwise it is the one they are applied in
    #[arg(long, value_name = "NAME", value_parser = object_name)]
    namespace: Option<String>,

    /// The ConfigMap with the policy
    #[arg(long, value_name = "NAME", default_value = "attache-policy", value_parser = object_name)]
    policy_configmap: String,

    /// The ConfigMap with Envoy's bootstrap
    #[arg(long, value_name = "NAME", default_value = "attache-envoy", value_parser = object_name)]
    envoy_configmap: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// By a firewall in the pod, which an init container sets and proves
    Redirect,
    /// By a firewall that the node's CNI plugin sets
    Cni,
    /// By proxy variables: for agents that cooperate
    ProxyEnv,
}

/// Runs the command.
pub fn run(args: Args) -> Outcome {
    if let Some(Command::Manifests(manifests)) = &args.command {
        return print_manifests(manifests);
    }
    let mode = match args.mode {
        Mode::Redirect => kubernetes::Mode::Redirect,
        Mode::Cni => kubernetes::Mode::Cni,
        Mode::ProxyEnv => kubernetes::Mode::ProxyEnv,
    };
    if args.mode != Mode::Redirect && (args.inbound != kubernetes::Inbound::Auto || !args.ports.is_empty()) {
        return Err(Failure::usage(format!(
            "--inbound and --port are for the firewall in the pod, which `--mode {}` does not set: leave them out",
            mode.label()
        )));
    }
    let inputs = args.files.iter().map(|file| text(file)).collect::<Result<Vec<_>, _>>()?;
    let inputs: Vec<_> = inputs.iter().map(|(name, text)| Input { name, text }).collect();
    let options = Options {
        mode,
        policy_configmap: args.policy_configmap,
        envoy_configmap: args.envoy_configmap,
        credentials_secret: args.credentials_secret,
        image: args.image,
        net_image: args.net_image,
        envoy_image: args.envoy_image,
        inbound: args.inbound,
        ports: args.ports,
        run_as_user: args.run_as_user,
        keep_env: args.keep_env,
        environment: environment(mode),
    };
    match kubernetes::inject(&options, &inputs) {
        Ok(injected) => {
            for note in &injected.notes {
                eprintln!("attache: {}", printable(&note.to_string()));
            }
            if injected.workloads == 0 {
                eprintln!("attache: no workload to inject into: all documents are as they were");
            }
            io::stdout().lock().write_all(injected.text.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            for problem in &problems {
                eprintln!("attache: {}", printable(&problem.to_string()));
            }
            Err(Failure::usage("nothing was injected, and nothing written"))
        }
    }
}

/// What `attache run` sets, with the files that are in a pod.
fn environment(mode: kubernetes::Mode) -> Vec<Variable> {
    let folder = Path::new(TRUST_PATH);
    let (ca, bundle) = (folder.join("ca.pem"), folder.join("bundle.pem"));
    let proxied = mode == kubernetes::Mode::ProxyEnv;
    let mut variables = match proxied {
        true => agent_env::variables(PROXY, &ca, &bundle),
        false => agent_env::trust_variables(&ca, &bundle),
    };
    let mut java = String::new();
    if proxied {
        // What the image says of it counts as well, so that it is emptied and not left out.
        variables.extend(agent_env::REMOVED.iter().map(|name| (*name, String::new())));
        if let Some((host, port)) = PROXY.strip_prefix("http://").and_then(|address| address.split_once(':')) {
            for scheme in ["http", "https"] {
                java.push_str(&format!("-D{scheme}.proxyHost={host} -D{scheme}.proxyPort={port} "));
            }
        }
    }
    java.push_str(&format!(
        "-Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStore={}",
        folder.join("bundle.p12").display()
    ));
    let variable = |name: &str, value, joins| Variable { name: name.to_owned(), value, joins };
    let mut environment: Vec<_> = variables.into_iter().map(|(name, value)| variable(name, value, false)).collect();
    environment.push(variable("JAVA_TOOL_OPTIONS", java, true));
    environment
}

fn text(file: &Path) -> Result<(String, String), Failure> {
    let stdin = file == Path::new("-");
    let name = if stdin { "<stdin>".to_owned() } else { file.display().to_string() };
    let refused = |why: String| Failure::usage(format!("{} cannot be read: {why}", printable(&name)));
    let mut bytes = Vec::new();
    let most = u64::try_from(SIZE).unwrap_or(u64::MAX).saturating_add(1);
    let read = match stdin {
        true => io::stdin().lock().take(most).read_to_end(&mut bytes),
        // A named pipe may come from a shell: `-f <(helm template …)`.
        false => std::fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes)),
    };
    read.map_err(|error| refused(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| refused("it is not UTF-8".to_owned()))?;
    Ok((name, text))
}

fn print_manifests(manifests: &Manifests) -> Outcome {
    let bootstrap = Bootstrap {
        admin_mode: 0o660,
        max_heap: kubernetes::ENVOY_HEAP,
        transparent: kubernetes::TRANSPARENT.to_vec(),
        ..Bootstrap::default()
    };
    let envoy = bootstrap.render().map_err(Failure::runtime)?;
    let mut out = io::stdout().lock();
    let policy = BTreeMap::from([("policy.yaml", DENY_ALL)]);
    let text = kubernetes::config_map(manifests.namespace.as_deref(), &manifests.policy_configmap, &policy);
    out.write_all(text.as_bytes())?;
    let files = BTreeMap::from([("envoy.yaml", envoy.as_str())]);
    let text = kubernetes::config_map(manifests.namespace.as_deref(), &manifests.envoy_configmap, &files);
    writeln!(out, "---\n{}", text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// What a namespace begins with.
const DENY_ALL: &str = "\
# Nothing is allowed yet. Add what agents may call, as in:
#
# allowedDomains: [api.github.com]
#
# A change reaches running pods within a minute or two; `attache check` tells what is wrong with it before.
allowedDomains: []
";

/// A name as ConfigMaps, Secrets and namespaces have (a DNS subdomain).
fn object_name(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && label.chars().all(inside) && !label.starts_with('-') && !label.ends_with('-')
    };
    match text.len() <= 253 && text.split('.').all(label) {
        true => Ok(text.to_owned()),
        false => Err("a name has small letters, digits, `-` and `.`".to_owned()),
    }
}

fn image(text: &str) -> Result<String, String> {
    match !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic()) && !text.starts_with('-') {
        true => Ok(text.to_owned()),
        false => Err("an image is written registry/name:tag, or with @sha256:…".to_owned()),
    }
}

fn uid(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err("0 is root, who passes the firewall".to_owned()),
        Ok(101 | 1338) => Err("101 is Envoy's and 1338 attaché's: the firewall lets them pass".to_owned()),
        Ok(uid) if uid <= i32::MAX.cast_unsigned() => Ok(uid),
        _ => Err("a uid is a number from 1 to 2147483647".to_owned()),
    }
}

fn inbound(text: &str) -> Result<kubernetes::Inbound, String> {
    let port = |text: &str| {
        let number = text.strip_suffix("/udp").unwrap_or(text);
        match number.parse::<u16>() {
            Ok(port) if port > 0 => Ok(format!("{port}{}", if text == number { "" } else { "/udp" })),
            _ => Err(format!("`{text}` is no port: write auto, all, or ports as in `8080,53/udp`")),
        }
    };
    match text {
        "auto" => Ok(kubernetes::Inbound::Auto),
        "all" => Ok(kubernetes::Inbound::All),
        text => Ok(kubernetes::Inbound::Ports(text.split(',').map(port).collect::<Result<_, _>>()?)),
    }
}
