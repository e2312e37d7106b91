//! What whoever gets hold of a process would get with it: privileges, core dumps, secrets that are no longer in use.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tempfile::NamedTempFile;

use crate::support::{Attache, Upstream, script, until};

const POLICY: &str = "allowedDomains: [api.example.com]\n";

#[tokio::test]
async fn service_and_envoy_gain_no_privileges_and_leave_no_core_dumps() {
    let attache = Attache::up(POLICY).start().await;
    let (service, envoy) = (attache.service().await, attache.envoy().await);
    for pid in [service, envoy] {
        assert_eq!(status(pid, "NoNewPrivs"), "1", "{pid}");
        assert_eq!(core_limits(pid)[0], "0", "{pid}");
    }
    assert_eq!(core_limits(service)[1], "0", "it is not to be had back");
    let filter = std::fs::read_to_string(format!("/proc/{envoy}/coredump_filter")).unwrap();
    assert_eq!(filter.trim(), "00000000", "programs that take core dumps ask for no limit");
}

#[tokio::test]
async fn the_command_keeps_its_privileges_unless_it_is_isolated() {
    const LOOK: &str = "
for name in ('status', 'limits'):
    for line in open(f'/proc/self/{name}'):
        if line.startswith(('NoNewPrivs', 'Max core')):
            print(line.split()[1 if name == 'status' else 4])
";
    let own = status(std::process::id(), "NoNewPrivs");
    for (flags, expected) in [(&[][..], own.as_str()), (&["--isolate"], "1")] {
        let output = Attache::up(POLICY).flags(flags).run(script::python(LOOK)).await;
        assert_eq!(output.stdout, format!("{expected}\n0\n"), "{flags:?} {}", output.stderr);
    }
}

/// Of a credential, what was replaced is looked for until it was replaced twice more. Then nothing is left of it but what
/// buffers of the gRPC stack have that were not used again yet, and soon not that either.
#[tokio::test]
async fn nothing_is_left_in_memory_of_a_credential_that_is_no_longer_looked_for() {
    const VALUES: [&str; 4] =
        ["first-9aF3kLm20Qx8Wd5Rt", "second-zX7vB1nT5w2Hj6Lq", "third-wR8yU2iO4pK9sDf3", "fourth-A6sD0fGhJ7mZ1xCv"];
    let file = NamedTempFile::new().unwrap();
    let put = |content: &str| {
        let draft = file.path().with_extension("draft");
        std::fs::write(&draft, content).unwrap();
        std::fs::rename(draft, file.path()).unwrap();
    };
    put(VALUES[0]);
    let policy = format!(
        r#"
allowedDomains: [{{pattern: "http://api.example.com", allowPrivate: [127.0.0.1/32]}}]
credentials:
  - name: key
    file: {}
    injections:
      - {{domain: "http://api.example.com", plaintext: true, headerName: X-Key, headerFormat: "Key {{value}}"}}
"#,
        file.path().display()
    );
    let upstream = Upstream::http().await;
    let attache = Attache::up(&policy).resolve_port("api.example.com", 80, &upstream).start().await;
    let service = attache.service().await;
    // Over one connection.
    let ask = async |count: u32| {
        let answer = attache.curl([format!("http://api.example.com/[1-{count}]")]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        upstream.requests().pop().unwrap().header("x-key").unwrap().to_owned()
    };
    for value in VALUES {
        put(value);
        until("the new value", async || (ask(1).await == format!("Key {value}")).then_some(())).await;
        ask(20).await;
    }
    for value in &VALUES[1..] {
        assert!(
            found(service, value) > 0,
            "`{value}` is still looked for: a search that does not find it shows nothing"
        );
    }
    let begin = Instant::now();
    while found(service, VALUES[0]) > 0 {
        assert!(begin.elapsed() < Duration::from_secs(120), "`{}` is still there", VALUES[0]);
        // Each of Envoy's workers has a connection of its own to the service, with buffers of its own.
        join_all((0..4).map(|_| ask(50))).await;
    }
}

/// How often a text is in what a process may write to.
fn found(pid: u32, text: &str) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let open = |name| File::open(format!("/proc/{pid}/{name}")).unwrap();
    let (memory, pages) = (open("mem"), open("pagemap"));
    let mut count = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else { panic!("{line}") };
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|text| u64::from_str_radix(text, 16).unwrap());
        for (from, length) in there(&pages, from, to) {
            let mut bytes = vec![0; length];
            // What was given back since the list was read is gone.
            if memory.read_exact_at(&mut bytes, from).is_ok() {
                count += memchr::memmem::find_iter(&bytes, text).count();
            }
        }
    }
    count
}

/// Where a mapping has something, and how many bytes: most of what an allocator reserves was never written to, and takes long
/// to read (pagemap: bits 63, in memory, and 62, swapped).
fn there(pages: &File, from: u64, to: u64) -> Vec<(u64, usize)> {
    const PAGE: u64 = 4096;
    let mut entries = vec![0; usize::try_from((to - from) / PAGE * 8).unwrap()];
    pages.read_exact_at(&mut entries, from / PAGE * 8).unwrap();
    let is_there = |entry: &[u8]| u64::from_le_bytes(entry.try_into().unwrap()) >> 62 != 0;
    let mut runs: Vec<(u64, usize)> = Vec::new();
    for (number, _) in entries.chunks_exact(8).enumerate().filter(|(_, entry)| is_there(entry)) {
        let at = from + number as u64 * PAGE;
        match runs.last_mut() {
            Some((begin, length)) if *begin + *length as u64 == at => *length += PAGE as usize,
            _ => runs.push((at, PAGE as usize)),
        }
    }
    runs
}

fn status(pid: u32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap().trim().to_owned()
}

/// Soft and hard.
fn core_limits(pid: u32) -> [String; 2] {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    [(); 2].map(|()| words.next().unwrap())
}
