//! What the record costs: appending, waiting for the disk, and finding something in much of it.
//!
//! `cargo bench --bench journal [-- --folder DIR] [--size GIB]`: a folder on the disk that is meant, and how large a
//! journal is searched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/record.rs"]
mod record;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use attache::journal::filter::Filter;
use attache::journal::recall::{Query, recall};
use attache::journal::{Durability, Journal, Line, Options};
use attache::pipeline::audit::Record;
use record::{decision, outcome};

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (mut folder, mut size) = (std::env::temp_dir(), 1.0);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--folder" => folder = PathBuf::from(value),
            "--size" => size = value.parse().expect("a number of GiB"),
            _ => panic!("`{argument}` is not known: --folder DIR, --size GIB"),
        }
    }
    let place = tempfile::tempdir_in(&folder).expect("a folder that can be written");
    append(&place.path().join("append"));
    strict(&place.path().join("strict"));
    find(&place.path().join("find"), (size * (1 << 30) as f64) as u64);
}

/// One thread, and what of it is the chain's, the kernel's and the text's.
fn append(folder: &Path) {
    const RECORDS: u64 = 200_000;
    let record = decision(1);
    let journal = Journal::open(folder, Options::default()).expect("a journal");
    let mut line = Vec::new();
    let text = per(RECORDS, || {
        line.clear();
        record.write(&mut line).expect("a line");
    });
    let append = || journal.append(&record).expect("appended");
    let whole = per(RECORDS, || _ = append());
    let file = std::fs::File::create(folder.join("plain")).expect("a file");
    let write = per(RECORDS, || _ = std::io::Write::write(&mut &file, &line).expect("written"));
    println!(
        "append, one thread     {whole:>8.2} µs a decision of {} bytes: text {text:.2}, write(2) {write:.2}, rest {:.2}",
        line.len() + 90,
        whole - text - write
    );
    for threads in [2, 4] {
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..RECORDS / threads).for_each(|_| _ = append()));
            }
        });
        let each = begin.elapsed().as_secs_f64() * 1e6 / RECORDS as f64;
        println!("append, {threads} threads      {each:>8.2} µs a decision, all together");
    }
}

fn per(times: u64, mut work: impl FnMut()) -> f64 {
    let begin = Instant::now();
    (0..times).for_each(|_| work());
    begin.elapsed().as_secs_f64() * 1e6 / times as f64
}

/// Requests that wait for the disk, many at once, as a busy sidecar has them.
fn strict(folder: &Path) {
    const FOR: Duration = Duration::from_secs(3);
    let file = std::fs::File::create(folder.with_extension("sync")).expect("a file");
    let sync = per(50, || {
        std::io::Write::write_all(&mut &file, &[b'x'; 600]).expect("written");
        file.sync_data().expect("on disk");
    });
    println!("this disk              {sync:>8.0} µs for one fdatasync of one record");
    let journal = Journal::open(folder, Options { durability: Durability::Strict, ..Options::default() });
    let journal = Arc::new(journal.expect("a journal"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    for at_once in [1, 16, 64, 256] {
        let done = Arc::new(AtomicU64::new(0));
        let slowest = Arc::new(Mutex::new(Vec::new()));
        let until = Instant::now() + FOR;
        runtime.block_on(async {
            let mut tasks = Vec::new();
            for number in 0..at_once {
                let (journal, done, slowest) = (journal.clone(), done.clone(), slowest.clone());
                tasks.push(tokio::spawn(async move {
                    let record = decision(number);
                    let mut waits = Vec::new();
                    while Instant::now() < until {
                        let begin = Instant::now();
                        let seq = journal.append(&record).expect("appended");
                        assert!(journal.committed(seq).expect("strict").await);
                        waits.push(begin.elapsed());
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    slowest.lock().expect("no panic").extend(waits);
                }));
            }
            for task in tasks {
                task.await.expect("no panic");
            }
        });
        let mut waits = slowest.lock().expect("no panic").clone();
        waits.sort();
        let at = |part: f64| waits.get((waits.len() as f64 * part) as usize).copied().unwrap_or_default();
        println!(
            "strict, {at_once:>3} at once    {:>8.0} decisions/s, wait p50 {:.2} ms, p99 {:.2} ms",
            done.load(Ordering::Relaxed) as f64 / FOR.as_secs_f64(),
            at(0.5).as_secs_f64() * 1e3,
            at(0.99).as_secs_f64() * 1e3
        );
    }
}

/// What `attache logs` does, on a journal that was just written.
fn find(folder: &Path, size: u64) {
    let journal = Journal::open(folder, Options { max_size: None, ..Options::default() }).expect("a journal");
    let begin = Instant::now();
    let mut number = 0;
    while journal.facts().size < size {
        let mut records = Vec::new();
        for _ in 0..500 {
            records.push(Record::Decision(Box::new(decision(number))));
            records.push(Record::Outcome(Box::new(outcome(number))));
            number += 1;
        }
        journal.append_all(&records).expect("appended");
    }
    let size = journal.facts().size as f64 / (1 << 30) as f64;
    println!("a journal of {size:.2} GiB, {number} exchanges, written in {:.1} s", begin.elapsed().as_secs_f64());
    let filter = |change: &dyn Fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        filter
    };
    let queries: [(&str, Query); 6] = [
        ("the last 20", Query { limit: Some(20), ..Query::default() }),
        (
            "the last 20 refused",
            Query { filter: filter(&|f| f.status = "blocked".parse().ok()), limit: Some(20), ..Query::default() },
        ),
        (
            "one agent's at one host",
            Query {
                filter: filter(&|f| (f.agent, f.host) = (Some("agent-7".into()), "api-107.example.com".parse().ok())),
                ..Query::default()
            },
        ),
        ("nobody's", Query { filter: filter(&|f| f.agent = Some("nobody".into())), ..Query::default() }),
        ("all refused", Query { filter: filter(&|f| f.status = "blocked".parse().ok()), ..Query::default() }),
        ("everything", Query::default()),
    ];
    for (name, query) in queries {
        let (begin, mut found) = (Instant::now(), 0_u64);
        let mut show = |_| {
            found += 1;
            Ok(())
        };
        recall(folder, &query, None, &mut show).expect("read");
        let seconds = begin.elapsed().as_secs_f64();
        println!("find {name:<24} {seconds:>7.2} s, {found} found, {:.2} GiB/s", size / seconds);
    }
}
