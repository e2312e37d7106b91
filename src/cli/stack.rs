//! What `serve`, `up` and `run` have in common: their flags, and bringing the two processes up.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use super::load::LoadFlags;
use super::record::RecordFlags;
use super::sinks::SinkFlags;
use super::store::{StoreFlags, URL_VARIABLE};
use super::{Failure, agent_env, proxy_tls, state};
use crate::certificates::authorities_in;
use crate::config::compile::{Setting, compile};
use crate::config::schema::{Agent, Identity, SecretSource, TokenIdentity, TokenSource};
use crate::config::{self, Origin, Policy, Spanned};
use crate::envoy::install;
use crate::harden;
use crate::pod::PodSource;
use crate::resolver::{Options as ResolverOptions, Resolver, Stated};
use crate::secrets::{Environment, Source};
use crate::supervisor::{Plan, Stack, SupervisorError, ephemeral_authority};

/// Flags of every command that decides.
#[derive(clap::Args, Clone)]
pub struct Common {
    /// The policy: a YAML file, or a directory of them.
    #[arg(long, value_name = "FILE", env = "ATTACHE_POLICY")]
    pub policy: PathBuf,
    /// The organization's outer bounds, in a file of their own: nothing in the policy widens them, and `organization`
    /// may then stand nowhere else.
    #[arg(long, value_name = "FILE", env = "ATTACHE_ORGANIZATION")]
    pub organization: Option<PathBuf>,
    /// Who every caller is. Without it, callers identify themselves; a policy without `agents` has one, `default`.
    #[arg(long, value_name = "NAME", env = "ATTACHE_AGENT")]
    pub agent: Option<String>,
    /// State an upstream's address outright, private ones included, as curl does. May repeat.
    #[arg(long, value_name = "HOST:PORT:ADDR[:PORT]")]
    pub resolve: Vec<Stated>,
    /// Ask this name server instead of those of resolv.conf. May repeat.
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = name_server)]
    pub dns_server: Vec<SocketAddr>,
    #[command(flatten)]
    pub pod: PodFlags,
    #[command(flatten)]
    pub store: StoreFlags,
    #[command(flatten)]
    pub record: RecordFlags,
    #[command(flatten)]
    pub load: LoadFlags,
}

/// Which pod this is, for `agents[].identity[].kubernetes`.
#[derive(clap::Args, Clone)]
pub struct PodFlags {
    /// The namespace of the pod this runs in: with it, `kubernetes` identities name every caller.
    #[arg(long = "pod-namespace", value_name = "NAME", env = "ATTACHE_POD_NAMESPACE")]
    pub namespace: Option<String>,
    /// The service account of the pod this runs in.
    #[arg(long = "pod-service-account", value_name = "NAME", env = "ATTACHE_POD_SERVICE_ACCOUNT")]
    pub service_account: Option<String>,
    /// The file in which the downward API keeps the labels of the pod this runs in, read again when it changes.
    #[arg(long = "pod-labels", value_name = "FILE", env = "ATTACHE_POD_LABELS")]
    pub labels: Option<PathBuf>,
}

impl PodFlags {
    /// Where the pod is told.
    pub fn source(&self) -> PodSource {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        PodSource {
            namespace: given(&self.namespace),
            service_account: given(&self.service_account),
            labels: self.labels.clone().filter(|path| !path.as_os_str().is_empty()),
        }
    }
}

/// An address with a port, or one alone, which means port 53.
fn name_server(text: &str) -> Result<SocketAddr, String> {
    let alone = || text.trim_start_matches('[').trim_end_matches(']').parse().map(|ip| SocketAddr::new(ip, 53));
    text.parse()
        .or_else(|_| alone())
        .map_err(|_| format!("`{text}` is no address: write e.g. 192.0.2.53 or 192.0.2.53:5353"))
}

impl Common {
    /// Where the policy is read from.
    pub fn origin(&self) -> Origin {
        Origin { policy: self.policy.clone(), organization: self.organization.clone() }
    }

    /// How names are looked up.
    pub fn resolver(&self) -> Result<ResolverOptions, Failure> {
        let options = ResolverOptions {
            name_servers: self.dns_server.clone(),
            stated: self.resolve.clone(),
            ..ResolverOptions::default()
        };
        Resolver::new(options.clone()).map_err(Failure::usage)?;
        Ok(options)
    }

    fn for_serve(&self, origin: &Origin) -> Vec<String> {
        let mut args = vec!["--policy".to_owned(), origin.policy.display().to_string()];
        let mut add = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
        origin.organization.iter().for_each(|path| add("--organization", path.display().to_string()));
        self.agent.iter().for_each(|agent| add("--agent", agent.clone()));
        self.pod.namespace.iter().for_each(|name| add("--pod-namespace", name.clone()));
        self.pod.service_account.iter().for_each(|name| add("--pod-service-account", name.clone()));
        self.pod
            .labels
            .iter()
            .filter_map(|path| std::path::absolute(path).ok())
            .for_each(|path| add("--pod-labels", path.display().to_string()));
        self.resolve.iter().for_each(|stated| add("--resolve", stated.to_string()));
        self.dns_server.iter().for_each(|server| add("--dns-server", server.to_string()));
        args.extend(self.store.for_serve());
        args.extend(self.record.for_serve());
        args.extend(self.load.for_serve());
        args
    }
}

/// Flags of `up` and `run`.
#[derive(clap::Args, Clone)]
pub struct Flags {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub sinks: SinkFlags,
    /// Where state, journal and sockets are kept [default: a directory of this user and port].
    #[arg(long, value_name = "DIR", env = "ATTACHE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Trust the CA certificates of this PEM file for upstreams, beside the system's.
    #[arg(long, value_name = "FILE", env = "ATTACHE_UPSTREAM_CA")]
    pub upstream_ca: Option<PathBuf>,
    /// Where metrics and probes are served; `off` for nowhere.
    #[arg(long, value_name = "ADDR:PORT", env = "ATTACHE_METRICS", default_value = "off")]
    pub metrics: String,
}

/// In the state directory: what upstreams' certificates have to come from.
const UPSTREAM_CA: &str = "upstream-ca.pem";

/// Both processes, and what keeps others from the same state.
pub struct Up {
    /// Service and Envoy.
    pub stack: Stack,
    /// Variables that hold secrets: no agent may inherit them.
    pub secret_variables: BTreeSet<String>,
    /// True if callers have to identify themselves.
    pub anonymous: bool,
    /// True if the user's own CA bundles went into ours.
    pub has_user_bundles: bool,
    _lock: File,
}

/// Brings service and Envoy up. Everything a person can get wrong is checked first, and said clearly.
pub async fn bring_up(
    flags: &Flags,
    listen: Option<SocketAddr>,
    proxy_tls: &proxy_tls::TlsFlags,
) -> Result<Up, Failure> {
    // Before a secret is read.
    harden::supervisor().map_err(Failure::runtime)?;
    let environment = Environment::of_process();
    let Checked { mut secret_variables, anonymous, by_certificate, by_pod_alone } =
        check_policy(&flags.common, &environment)?;
    secret_variables.insert(URL_VARIABLE.to_owned());
    flags.common.resolver()?;
    let sinks = flags.sinks.for_serve("that of `up` has the ready line, and that of `run` is the command's")?;
    flags.common.store.options(&environment)?;
    let extra = flags.upstream_ca.as_deref().map(read_ca).transpose()?;
    let proxy_tls = proxy_tls.checked()?;
    let asks_for_certificates = proxy_tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    match (asks_for_certificates, by_certificate) {
        (true, false) => eprintln!(
            "attache: --client-ca asks every agent for a certificate, and the policy knows none by its `spiffe`: all are refused"
        ),
        (false, true) => eprintln!(
            "attache: the policy knows agents by `spiffe`, and without --client-ca nobody is asked for a certificate"
        ),
        _ => {}
    }
    if anonymous && !by_pod_alone.is_empty() {
        eprintln!(
            "attache: nobody can be {} here: known by the pod alone, and this is none; say who calls with --agent, or try a pod with --pod-namespace",
            by_pod_alone.join(", ")
        );
    }
    let listen = match listen {
        Some(address) => try_listen(address)?,
        None => try_listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?,
    };
    let state_dir = match &flags.state_dir {
        Some(given) => std::path::absolute(given).map_err(Failure::runtime)?,
        None => state::default_for(listen.port()).map_err(Failure::runtime)?,
    };
    let lock = prepare(&state_dir)?;
    let envoy = install::find_or_install(&mut |progress| eprintln!("attache: {progress}")).map_err(Failure::runtime)?;
    let authority = ephemeral_authority().map_err(Failure::runtime)?;
    let upstream_ca = state_dir.join(UPSTREAM_CA);
    // What the user trusts already (a company's own CA, say) is to be reached through the proxy as well.
    let user = agent_env::user_bundles(&environment);
    let written = agent_env::write_bundle(&upstream_ca, &user, extra.as_deref().unwrap_or_default())
        .and_then(|()| agent_env::write_trust(&state_dir, &user, authority.cert_pem()));
    written.map_err(|error| {
        Failure::runtime(format!("the CA files in `{}` cannot be written: {error}", state_dir.display()))
    })?;
    let organization = flags.common.organization.as_ref().map(std::path::absolute).transpose();
    let origin = Origin {
        policy: std::path::absolute(&flags.common.policy).map_err(Failure::runtime)?,
        organization: organization.map_err(Failure::runtime)?,
    };
    let mut serve = flags.common.for_serve(&origin);
    serve.extend(sinks);
    serve.extend(["--state-dir".into(), ".".into(), "--metrics".into(), flags.metrics.clone()]);
    serve.extend(["--envoy-admin".into(), "admin.sock".into()]);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let upstream_ca = UPSTREAM_CA.into();
    let plan = Plan { listen, state_dir, envoy, upstream_ca, proxy_tls, serve, environment, threads: cores.min(4) };
    // Daemons that an agent leaves behind stay recognisable as its own.
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).map_err(Failure::runtime)?;
    let stack = Stack::start(plan, authority).await.map_err(|error| match &error {
        SupervisorError::NotUp { code: Some(2), .. } => Failure::usage("the service refused to start: see above"),
        _ => Failure::runtime(error),
    })?;
    Ok(Up { stack, secret_variables, anonymous, has_user_bundles: !user.is_empty(), _lock: lock })
}

impl Up {
    /// Writes what is up where other commands find it.
    pub fn publish(&self) -> Result<String, Failure> {
        let ready = self.stack.ready();
        let text = serde_json::to_string(&ready).map_err(Failure::runtime)?;
        let path = ready.state_dir.join("state.json");
        agent_env::write_public(&path, text.as_bytes())
            .map_err(|error| Failure::runtime(format!("`{}` cannot be written: {error}", path.display())))?;
        Ok(text)
    }
}

/// What the policy says of the processes around it.
#[derive(Default)]
struct Checked {
    /// Variables that hold secrets.
    secret_variables: BTreeSet<String>,
    /// True if callers have to identify themselves.
    anonymous: bool,
    /// True if certificates identify callers.
    by_certificate: bool,
    /// Agents that nobody can be here, for this is no pod.
    by_pod_alone: Vec<String>,
}

/// Reports everything that is wrong with the policy at once.
fn check_policy(common: &Common, environment: &Environment) -> Result<Checked, Failure> {
    let draft = config::read(&common.origin());
    let revision = draft.revision().clone();
    let agent = common.agent.as_deref();
    let pod = common.pod.source().read();
    let setting = Setting { agent, environment: Some(environment), pod: pod.as_ref() };
    let mut checked = Checked::default();
    let accepted = draft.compile(agent, |policy, problems| {
        checked.secret_variables = secret_variables(policy);
        checked.by_certificate = identities(policy).any(|identity| matches!(identity, Identity::Spiffe(_)));
        let compiled = compile(policy, setting, revision.as_str(), problems)?;
        checked.anonymous = compiled.rules.agents.fixed().is_none() && policy.default_agent.is_none();
        if pod.is_none() {
            checked.by_pod_alone = known_by_pod_alone(policy);
        }
        Some(compiled)
    });
    match accepted {
        Ok(accepted) => {
            if !accepted.warnings.is_empty() {
                eprintln!("{}", accepted.warnings);
            }
            Ok(checked)
        }
        Err(problems) => Err(Failure::usage(format!("the policy is wrong\n{problems}"))),
    }
}

fn secret_variables(policy: &Policy) -> BTreeSet<String> {
    let credentials = policy.credentials.iter().filter_map(|credential| match &credential.source.value {
        SecretSource::Environment(name) => Some(name.clone()),
        SecretSource::File(_) => None,
        SecretSource::Vault(source) => source.token_variable().map(str::to_owned),
    });
    let tokens = identities(policy).filter_map(|identity| match identity {
        Identity::Token(TokenIdentity { source: TokenSource::Environment(name), .. }) => Some(name.clone()),
        _ => None,
    });
    let webhooks = policy.notifications.iter().filter_map(|channel| match &channel.secret.value {
        Source::Variable(name) => Some(name.clone()),
        Source::File(_) => None,
    });
    credentials.chain(tokens).chain(webhooks).collect()
}

fn known_by_pod_alone(policy: &Policy) -> Vec<String> {
    let by_pod = |identity: &Spanned<Identity>| matches!(identity.value, Identity::Kubernetes(_));
    let alone = |agent: &&Agent| !agent.identity.is_empty() && agent.identity.iter().all(by_pod);
    policy.agents.iter().flatten().filter(alone).map(|agent| agent.name.to_string()).collect()
}

fn identities(policy: &Policy) -> impl Iterator<Item = &Identity> {
    policy.agents.iter().flatten().flat_map(|agent| &agent.identity).map(|identity| &identity.value)
}

fn read_ca(path: &Path) -> Result<String, Failure> {
    let refuse = |why: String| Failure::usage(format!("`--upstream-ca {}`: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    authorities_in(&text).map_err(|error| refuse(error.to_string()))?;
    Ok(text)
}

/// An address that can be listened on; port 0 becomes a free one. Envoy binds it again in a moment.
fn try_listen(address: SocketAddr) -> Result<SocketAddr, Failure> {
    let bound = TcpListener::bind(address).and_then(|listener| listener.local_addr());
    bound.map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => "; is another attache up there? choose another with --listen",
            _ => "",
        };
        Failure::runtime(format!("cannot listen on `{address}`: {error}{hint}"))
    })
}

/// Makes the state directory, for this user alone, and takes it for this process.
fn prepare(state_dir: &Path) -> Result<File, Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let failed =
        |error: std::io::Error| Failure::runtime(format!("the state directory `{}`: {error}", state_dir.display()));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(failed)?;
    let longest = state_dir.join("service.sock");
    if longest.as_os_str().len() > crate::server::MAX_SOCKET_PATH {
        let limit = crate::server::MAX_SOCKET_PATH;
        let why =
            format!("`{}` is too long for a socket ({limit} bytes): choose a shorter --state-dir", longest.display());
        return Err(Failure::usage(why));
    }
    let lock = File::create(state_dir.join("lock")).map_err(failed)?;
    // A command that only looks whether somebody is there holds it for a moment.
    let mut taken = lock.try_lock();
    for _ in 0..20 {
        if !matches!(taken, Err(std::fs::TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        taken = lock.try_lock();
    }
    match taken {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Failure::runtime(format!(
            "the state directory `{}` is in use by another attache: choose another with --state-dir",
            state_dir.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}
