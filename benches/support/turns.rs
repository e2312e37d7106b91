//! Variants that take turns, and what their turns show.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

use super::load::{Client, Request};
use super::stand::{Kind, Process, Stand, Used};
use super::usage;

/// What runs, and what its turns showed.
pub struct Variant {
    /// What it is.
    pub kind: Kind,
    /// Its processes.
    pub stand: Stand,
    clients: Vec<Client>,
    /// One connection, one request at a time.
    pub alone: Vec<Turn>,
    /// All connections at once, each one request at a time.
    pub busy: Vec<Turn>,
}

/// One turn of a variant. Times are microseconds.
#[derive(Default, Clone, Copy)]
pub struct Turn {
    pub p50: f64,
    pub p99: f64,
    /// CPU time a request, all threads, user and system.
    pub service: f64,
    pub envoy: f64,
    /// Requests a second.
    pub rate: f64,
}

impl Variant {
    /// Starts it, and waits until connections, caches and allocators have come to rest.
    pub fn start(kind: Kind, envoy: &Path, upstream: SocketAddr, request: &Request, connections: usize) -> Self {
        let stand = Stand::start(kind, envoy, upstream, None);
        let clients = stand.clients(request, connections);
        let mut variant = Self { kind, stand, clients, alone: Vec::new(), busy: Vec::new() };
        let warm = if matches!(request, Request::Get) { 500 } else { 20 };
        variant.alone(warm);
        variant.busy(warm);
        (variant.alone, variant.busy) = (Vec::new(), Vec::new());
        variant
    }

    /// A turn of one client.
    pub fn alone(&mut self, requests: usize) {
        let client = &mut self.clients[0];
        let start = Instant::now();
        let (times, used) = self.stand.used_by(|| client.time(requests));
        self.alone.push(Turn::of(times, start.elapsed(), &used));
    }

    /// A turn of all clients.
    pub fn busy(&mut self, requests: usize) {
        let clients = &mut self.clients;
        let share = requests.div_ceil(clients.len());
        let start = Instant::now();
        let (times, used) = self.stand.used_by(|| {
            std::thread::scope(|scope| {
                let running: Vec<_> =
                    clients.iter_mut().map(|client| scope.spawn(move || client.time(share))).collect();
                running.into_iter().flat_map(|client| client.join().expect("every request is answered")).collect()
            })
        });
        self.busy.push(Turn::of(times, start.elapsed(), &used));
    }

    /// Resident memory of the service in MiB: at the moment, and the most there was.
    pub fn memory(&self) -> (f64, f64) {
        let of = |read: fn(u32) -> u64| {
            self.stand.service.as_ref().map_or(0.0, |service| read(service.id()) as f64 / f64::from(1 << 20))
        };
        (of(usage::resident), of(usage::most_resident))
    }

    /// Resident memory of Envoy in MiB.
    pub fn memory_of_envoy(&self) -> f64 {
        let resident = |envoy: &Process| usage::resident(envoy.id()) as f64 / f64::from(1 << 20);
        self.stand.envoy.as_ref().map_or(0.0, resident)
    }
}

impl Turn {
    fn of(mut times: Vec<Duration>, took: Duration, used: &Used) -> Self {
        times.sort_unstable();
        let each = times.len() as f64;
        let at = |quantile: f64| micros(times[((times.len() - 1) as f64 * quantile) as usize]);
        Self {
            p50: at(0.5),
            p99: at(0.99),
            service: micros(used.service) / each,
            envoy: micros(used.envoy) / each,
            rate: each / took.as_secs_f64(),
        }
    }
}

/// The median of one value of the turns.
pub fn middle(turns: &[Turn], value: impl Fn(&Turn) -> f64) -> f64 {
    median(turns.iter().map(value))
}

/// The median over the rounds of a relation between two turns of the same round.
pub fn paired(own: &[Turn], base: &[Turn], relation: impl Fn(&Turn, &Turn) -> f64) -> f64 {
    median(own.iter().zip(base).map(|(own, base)| relation(own, base)))
}

/// The value in the middle.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// In microseconds.
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Puts this thread, and whatever it starts, on one CPU: without a choice of cores there is one path to measure.
pub fn pin(cpu: usize) {
    let mut one = CpuSet::new();
    one.set(cpu);
    sched_setaffinity(None, &one).expect("this CPU may be used");
}

/// What it was measured on.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    format!(
        "{}, {} CPUs, Linux {}, load {}",
        model.unwrap_or("unknown CPU"),
        cpus.matches("processor\t").count(),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').next().unwrap_or_default(),
    )
}
