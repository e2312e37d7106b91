//! Many of what is cheap to ask for.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::refused;
use crate::support::process::{descriptors, most_resident};
use crate::support::{Attache, Upstream, tunnel};

const POLICY: &str = "allowedDomains: [api.example.com]";
/// Tunnels in which nothing happens.
const TUNNELS: usize = 10_000;
/// Opened together.
const TOGETHER: usize = 250;

/// As many as descriptors allow: a client and Envoy need one for each, and tests beside this one need some.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_tunnels_end_by_themselves_and_keep_nobody_waiting() {
    let tunnels = TUNNELS.min(descriptors().saturating_sub(4000));
    assert!(tunnels >= 500, "`ulimit -Hn` is too low to say anything");
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(POLICY).resolve("api.example.com", &upstream).start().await;
    let begin = Instant::now();
    let mut idle = Vec::new();
    while idle.len() < tunnels {
        let next = (0..TOGETHER).map(|_| tunnel::connect(attache.proxy(), "api.example.com:443", &[]));
        idle.extend(join_all(next).await.into_iter().map(|stream| stream.expect("a tunnel")));
    }
    // All of them are there only if none has timed out yet; most are in any case.
    let others = attache.curl(["https://api.example.com/status/200"]).await;
    assert_eq!(others.status, 200, "{others:?}");
    println!("{} tunnels in {:?}", idle.len(), begin.elapsed());
    for (pid, most) in [(attache.service().await, 512), (attache.envoy().await, 1200)] {
        let resident = most_resident(pid) >> 20;
        println!("{resident} MiB");
        assert!(resident < most, "{resident} MiB for {tunnels} tunnels");
    }
    // Nothing was said in them, and Envoy's `listener_filters_timeout` ends them.
    let ends = idle.into_iter().map(async |mut stream| {
        let end = tokio::time::timeout(Duration::from_secs(90), stream.read(&mut [0; 1])).await;
        assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    });
    join_all(ends).await;
    let others = attache.curl(["https://api.example.com/status/200"]).await;
    assert_eq!(others.status, 200, "{others:?}");
}

#[tokio::test]
async fn a_thousand_tunnels_at_once_cut_off_nobodys_verdict() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up(POLICY).resolve("api.example.com", &upstream).start().await;
    // Envoy answers with a reset each, and takes more than a thousand that wait for a flood, unless it is told otherwise.
    let statuses = join_all((0..3000).map(async |_| {
        let mut stream = TcpStream::connect(attache.proxy()).await.unwrap();
        let connect = "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n\r\n";
        stream.write_all(connect.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        tokio::time::timeout(Duration::from_secs(60), stream.read_exact(&mut answer)).await.unwrap().unwrap();
        String::from_utf8(answer.to_vec()).unwrap()
    }))
    .await;
    for status in statuses {
        assert!(["HTTP/1.1 200", "HTTP/1.1 503"].contains(&&*status), "{status}");
    }
    let cut = refused(&attache, "no_verdict");
    let cut =
        cut.iter().filter(|record| record["detail"].as_str().is_some_and(|detail| detail.contains("protocol_error")));
    assert_eq!(cut.count(), 0, "the connection on which verdicts come was cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_refusals_neither_fills_the_disk_nor_the_log() {
    const EACH: usize = 250;
    let upstream = Upstream::https(["api.example.com"]).await;
    let small = ["--journal-segment-size", "64KiB", "--journal-max-size", "512KiB"];
    let attache = Attache::up(POLICY).resolve("api.example.com", &upstream).flags(small).start().await;
    let said = attache.stderr().lines().count();
    let clients = (0..16).map(async |client| {
        let mut stream = TcpStream::connect(attache.proxy()).await.unwrap();
        for number in 0..EACH {
            let get =
                format!("GET http://elsewhere.example/{client}/{number} HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n");
            let answer = tunnel::raw(&mut stream, get.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 403") || answer.starts_with("HTTP/1.1 503"), "{answer}");
        }
    });
    join_all(clients).await;
    let folder = attache.ready().state_dir.join("journal");
    let sizes = || std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>();
    // A segment is whole before the oldest goes.
    crate::support::until("the oldest segments to go", async || (sizes() <= (512 + 2 * 64) << 10).then_some(())).await;
    assert_eq!(attache.command("audit", &["verify"]).await.exit, 0);
    let more = attache.stderr().lines().count() - said;
    assert!(more < 50, "{more} lines for {} refusals: {}", 16 * EACH, attache.stderr());
    assert!(upstream.requests().is_empty());
}
