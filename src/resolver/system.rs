//! This host's own view of names: the hosts file, and which name servers to ask.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, Resolver, TokioResolver};

use super::Options;

/// The hosts file and `resolv.conf`, read again when they change: a laptop changes networks while agents run.
pub(super) struct System {
    view: ArcSwap<View>,
    started: Instant,
    /// Milliseconds since `started` from which the files are looked at again.
    next_check: AtomicU64,
    rereading: Mutex<()>,
}

struct View {
    hosts: Hosts,
    dns: Option<TokioResolver>,
    stamps: [Stamp; 2],
}

/// What tells one version of a file from another: a file put in its place has another inode.
type Stamp = Option<(SystemTime, u64, u64)>;

const CHECK_EVERY: Duration = Duration::from_secs(5);

impl System {
    pub(super) fn read(options: &Options, now: Instant) -> System {
        System {
            view: ArcSwap::from_pointee(View::read(options)),
            started: now,
            next_check: AtomicU64::new(millis(CHECK_EVERY)),
            rereading: Mutex::new(()),
        }
    }

    /// Reads the files again if they changed, looking at most every 5 s. Returns whether they had.
    pub(super) fn refresh(&self, options: &Options, now: Instant) -> bool {
        let elapsed = millis(now.saturating_duration_since(self.started));
        if elapsed < self.next_check.load(Ordering::Relaxed) {
            return false;
        }
        let Ok(_only_one) = self.rereading.try_lock() else {
            return false;
        };
        self.next_check.store(elapsed.saturating_add(millis(CHECK_EVERY)), Ordering::Relaxed);
        if stamps(options) == self.view.load().stamps {
            return false;
        }
        tracing::info!("the hosts file or resolv.conf changed: reading both again");
        self.view.store(Arc::new(View::read(options)));
        true
    }

    /// The IPv4 and IPv6 addresses the hosts file gives `name`. A name found there is not asked for in DNS at all.
    pub(super) fn hosts_entry(&self, name: &Name) -> Option<(Vec<IpAddr>, Vec<IpAddr>)> {
        let view = self.view.load();
        let family = |kind| -> Vec<IpAddr> {
            let lookup = view.hosts.lookup_static_host(&Query::query(name.clone(), kind));
            let records = lookup.iter().flat_map(|lookup| lookup.answers());
            records.filter_map(|record| record.data.ip_addr()).collect()
        };
        let (v4, v6) = (family(RecordType::A), family(RecordType::AAAA));
        (!v4.is_empty() || !v6.is_empty()).then_some((v4, v6))
    }

    pub(super) fn dns(&self) -> Option<TokioResolver> {
        self.view.load().dns.clone()
    }
}

impl View {
    fn read(options: &Options) -> View {
        // Stamps first: a change between the two reads is then seen as one next time.
        let stamps = stamps(options);
        let mut hosts = Hosts::default();
        match std::fs::File::open(&options.hosts_file) {
            Ok(file) => {
                if let Err(error) = hosts.read_hosts_conf(file) {
                    tracing::warn!(file = %options.hosts_file.display(), %error, "cannot read the hosts file");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(file = %options.hosts_file.display(), %error, "cannot read the hosts file");
            }
        }
        let dns = match dns(options) {
            Ok(dns) => Some(dns),
            Err(error) => {
                // Not fatal: hosts entries, literals and `--resolve` need no name server.
                tracing::warn!(file = %options.resolv_conf.display(), %error, "no name servers");
                None
            }
        };
        View { hosts, dns, stamps }
    }
}

fn dns(options: &Options) -> io::Result<TokioResolver> {
    let (config, opts) = configuration(options)?;
    Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(opts)
        .build()
        .map_err(io::Error::other)
}

fn configuration(options: &Options) -> io::Result<(ResolverConfig, ResolverOpts)> {
    let (servers, mut opts) = if options.name_servers.is_empty() {
        let text = std::fs::read(&options.resolv_conf)?;
        let (config, opts) = hickory_resolver::system_conf::parse_resolv_conf(text).map_err(io::Error::other)?;
        (config.name_servers().to_vec(), opts)
    } else {
        let servers = options.name_servers.iter().copied().map(name_server).collect();
        (servers, ResolverOpts::default())
    };
    // Every server gets its turn within the deadline.
    opts.timeout = opts.timeout.min(options.deadline / 3);
    opts.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    opts.use_hosts_file = ResolveHosts::Never;
    opts.cache_size = 0;
    // The default of 32 refuses a burst of names.
    opts.max_active_requests = 1024;
    // Neither domain nor search list: names are absolute.
    Ok((ResolverConfig::from_parts(None, Vec::new(), servers), opts))
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn stamps(options: &Options) -> [Stamp; 2] {
    [stamp(&options.hosts_file), stamp(&options.resolv_conf)]
}

fn stamp(file: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(resolv_conf: &str) -> io::Result<(ResolverConfig, ResolverOpts)> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(resolv_conf.as_bytes()).unwrap();
        configuration(&Options { resolv_conf: file.path().into(), ..Options::default() })
    }

    #[test]
    fn of_resolv_conf_the_name_servers_count_and_the_search_list_does_not() {
        let text = "nameserver 192.0.2.1\nnameserver 2001:db8::1\ndomain corp.example\n\
                    search corp.example other.example\noptions ndots:5 timeout:30 attempts:3\n";
        let (config, opts) = read(text).unwrap();
        let servers: Vec<_> = config.name_servers().iter().map(|server| server.ip).collect();
        assert_eq!(servers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.1", "2001:db8::1"]);
        assert!(config.search().is_empty() && config.domain().is_none());
        assert_eq!(opts.attempts, 3);
        assert_eq!(opts.timeout, Duration::from_secs(1), "within the deadline of 3 s");
    }

    #[test]
    fn without_a_name_server_there_is_nobody_to_ask() {
        assert!(read("").is_err());
        assert!(read("search corp.example\n").is_err());
    }

    #[test]
    fn a_given_name_server_takes_the_place_of_those_of_the_file() {
        let options = Options { name_servers: vec!["192.0.2.9:5353".parse().unwrap()], ..Options::default() };
        let (config, _) = configuration(&options).unwrap();
        assert_eq!(config.name_servers().len(), 1);
        assert!(config.name_servers()[0].connections.iter().all(|connection| connection.port == 5353));
    }
}
