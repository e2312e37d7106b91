//! Half an hour at 70 % of what it can do, while everything changes: does it stay what it was?
//!
//! `cargo bench --bench soak -- --minutes 30`; `--seconds 20` for a look. Ends with 1 if anything was not as policy says,
//! is not on record, or grows. See `benches/README.md`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "support/soak/mod.rs"]
mod soak;
#[allow(dead_code, unused_imports, reason = "what end-to-end tests stand on: more than is needed here")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::soak::agents::{self, World};
use self::soak::books::{Books, Clerk};
use self::soak::changes;
use self::soak::place::{AGENTS, Force, Key, LIMIT, Policy, token, upstream};
use self::soak::process::Watched;
use self::support::{Attache, curl, free_address};

/// Requests at once.
const CLIENTS: usize = 32;
/// Of what it can do.
const SHARE: f64 = 0.7;
/// Growth over the second half that is none, in MiB: attaché's and Envoy's. Allocators round, and tables double.
const STEADY: [f64; 2] = [8.0, 16.0];
/// Files and threads that there may be more of in the second half than ever in the first.
const SLACK: usize = 16;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let lasts = lasts();
    let folder = tempfile::tempdir().unwrap();
    let metrics = free_address();
    let world = Arc::new(world(folder.path(), &metrics.to_string()).await);
    let clerk = Clerk::start(&world.attache.ready().state_dir.join("journal"));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for place in 0..CLIENTS {
        tasks.spawn(agents::worker(world.clone(), place));
    }

    let capacity = capacity(&world, Duration::from_secs_f64((lasts.as_secs_f64() / 10.0).min(10.0))).await;
    let rate = capacity * SHARE;
    println!("{capacity:.0} requests/s at most; {rate:.0} requests/s for {} s", lasts.as_secs());

    tasks.spawn(changes::policies(world.clone()));
    tasks.spawn(changes::credential(world.clone()));
    tasks.spawn(changes::people(world.clone()));
    tasks.spawn(agents::limited(world.clone()));
    tasks.spawn(agents::visitor(world.clone()));
    tasks.spawn(agents::names(world.clone()));
    tasks.spawn(agents::refused_tunnels(world.clone()));
    tasks.spawn(agents::asker(world.clone(), "approved"));
    tasks.spawn(agents::asker(world.clone(), "not approved"));
    tasks.spawn(agents::vanishing(world.clone()));

    let mut watched =
        [Watched::new("attaché", world.attache.service().await), Watched::new("Envoy", world.attache.envoy().await)];
    let steady = pace(&world, rate, lasts, &mut watched, &mut tasks);
    steady.await;
    let limited = began.elapsed();
    // What is under way has its answer: nothing new is due, and people answer within a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    tasks.shutdown().await;
    let mut world = Arc::into_inner(world).expect("whoever shared it has ended");
    assess(&mut world, &mut watched, limited, &metrics.to_string()).await;
    clerk.settle(&world.books);

    world.books.show();
    let faults = world.books.faults.lock().unwrap().len();
    println!("{} requests, {faults} faults", world.books.count());
    if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn lasts() -> Duration {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let mut lasts = Duration::from_secs(20);
    while let Some(argument) = arguments.next() {
        let number = arguments.next().and_then(|value| value.parse::<f64>().ok()).expect("a number");
        match argument.as_str() {
            "--minutes" => lasts = Duration::from_secs_f64(number * 60.0),
            "--seconds" => lasts = Duration::from_secs_f64(number),
            _ => panic!("`{argument}` is not known: --minutes N, --seconds N"),
        }
    }
    lasts
}

async fn world(folder: &std::path::Path, metrics: &str) -> World {
    let key = Arc::new(Key::new(folder));
    let books = Books::default();
    let upstream = upstream(key.clone(), books.faults.clone()).await;
    let names = (0..AGENTS).map(|number| format!("worker-{number}"));
    let names = names.chain(["limited", "asker", "visitor"].map(str::to_owned));
    let flags = [
        "--resolve".to_owned(),
        format!("api.example.com:443:{upstream}"),
        "--metrics".to_owned(),
        metrics.to_owned(),
        "--journal-max-size".to_owned(),
        "1GiB".to_owned(),
        // Whoever else uses the machine may stop it for a second: that is not what is looked for.
        "--shed-after".to_owned(),
        "2s".to_owned(),
    ];
    let mut setup = Attache::up(&Policy::First.text(&key.file)).flags(flags);
    for name in names {
        setup = setup.env(&format!("TOKEN_{}", name.replace('-', "_").to_uppercase()), &token(&name));
    }
    let attache = setup.start().await;
    let (proxy, ca) = (attache.proxy(), attache.ca_pem());
    World { attache, proxy, ca, force: Force::default(), key, books, due: Semaphore::new(0) }
}

/// How many requests a second it takes when all clients ask as fast as they are answered.
async fn capacity(world: &World, lasts: Duration) -> f64 {
    world.due.add_permits(Semaphore::MAX_PERMITS / 2);
    // Connections and certificates first.
    tokio::time::sleep(lasts / 2).await;
    let (begin, before) = (Instant::now(), world.books.count());
    tokio::time::sleep(lasts).await;
    let rate = (world.books.count() - before) as f64 / begin.elapsed().as_secs_f64();
    world.due.forget_permits(usize::MAX);
    rate
}

/// Lets so many requests a second begin, and looks at the processes each second.
async fn pace(world: &Arc<World>, rate: f64, lasts: Duration, watched: &mut [Watched], tasks: &mut JoinSet<()>) {
    let (begin, mut given, mut seconds) = (Instant::now(), 0u64, 0u64);
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let every = (lasts.as_secs() / 30).max(1);
    println!(
        "{:>6} {:>10} {:>10} {:>6} {:>6} {:>10} {:>6} {:>6}",
        "s", "requests", "attaché", "fds", "thr", "Envoy", "fds", "thr"
    );
    while begin.elapsed() < lasts {
        tick.tick().await;
        let due = (begin.elapsed().as_secs_f64() * rate) as u64;
        // What could not be begun in time is not made up for.
        let room = (2 * CLIENTS).saturating_sub(world.due.available_permits()) as u64;
        world.due.add_permits((due - given).min(room) as usize);
        given = due;
        if let Some(ended) = tasks.try_join_next() {
            world.books.fault(format!("an agent has ended: {ended:?}"));
        }
        if begin.elapsed().as_secs() > seconds {
            seconds = begin.elapsed().as_secs();
            let now: Vec<_> = watched.iter_mut().map(|process| process.look(begin)).collect();
            if seconds.is_multiple_of(every) {
                let shown = now.iter().map(|s| format!("{:>10.1} {:>6} {:>6}", s.resident, s.files, s.threads));
                println!("{seconds:>6} {:>10} {}", world.books.count(), shown.collect::<Vec<_>>().join(" "));
            }
        }
    }
}

/// What has to hold once it is over; attaché is stopped.
async fn assess(world: &mut World, watched: &mut [Watched], lasted: Duration, metrics: &str) {
    let fault = |what| world.books.fault(what);
    for (process, most) in watched.iter().zip(STEADY) {
        let growth = process.growth();
        println!("{} grew by {growth:.1} MiB over the second half", process.name);
        if growth > most {
            fault(format!("{} grew by {growth:.1} MiB over the second half, more than {most}", process.name));
        }
        for (what, (first, second)) in
            [("files", process.halves(|s| s.files)), ("threads", process.halves(|s| s.threads))]
        {
            println!("{}: at most {first} {what} in the first half, {second} in the second", process.name);
            if second > first + SLACK {
                fault(format!("{} has ever more {what}: {first}, then {second}", process.name));
            }
        }
    }
    if [world.attache.service().await, world.attache.envoy().await] != [watched[0].pid, watched[1].pid] {
        fault("a process was started again".to_owned());
    }
    let admitted = world.books.of("limited", 200);
    let most = LIMIT.0 * (lasted.as_secs() / LIMIT.1.as_secs() + 2);
    if admitted > most || world.books.of("limited", 429) == 0 {
        fault(format!("{admitted} passed a limit that allows {most}, or nothing met it"));
    }
    // Outcomes of the last requests come within a moment.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let text = curl([&format!("http://{metrics}/metrics")]).await.text();
    for name in
        ["attache_unreconciled_exchanges_total", "attache_outcomes_unknown_total", "attache_journal_errors_total"]
    {
        let line = text.lines().find(|line| line.starts_with(name));
        if line.is_none_or(|line| !line.ends_with(" 0")) {
            fault(format!("{name}: {line:?}"));
        }
    }
    for action in ["minted", "rotated", "evicted"] {
        let line = text.lines().find(|line| line.starts_with("attache_leaf_certificates") && line.contains(action));
        println!("certificates: {}", line.map_or_else(|| format!("none {action}"), str::to_owned));
    }
    let stopped = world.attache.stop().await;
    if !stopped.success() {
        fault(format!("attache ended with {stopped}"));
    }
    // It may be much to read: no deadline.
    let state_dir = &world.attache.ready().state_dir;
    let mut verify = support::attache::attache(state_dir);
    let verified = verify.args(["audit", "--state-dir"]).arg(state_dir).arg("verify").output().await.unwrap();
    println!("attache audit verify: {}", String::from_utf8_lossy(&verified.stdout).trim());
    if !verified.status.success() {
        fault(format!("the journal does not verify: {}", String::from_utf8_lossy(&verified.stderr)));
    }
}
