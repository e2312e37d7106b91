//! Many requests that wait at once: each approval lets one of them out, and nobody else waits for them.

use std::time::{Duration, Instant};

use attache::control::api::{State, Verdict};
use futures_util::future::join_all;
use tokio::net::TcpStream;

use super::{ORIGIN, Place};
use crate::support::tunnel;

#[tokio::test]
async fn one_approval_releases_one_of_those_that_are_alike() {
    let place = Place::new().await;
    let url = format!("{ORIGIN}/held/alike");
    let three = join_all(["--http1.1", "--http2", "--http2"].map(|protocol| {
        let (attache, url) = (&place.attache, &url);
        async move { attache.curl([protocol, "--data", "x", url]).await.status }
    }));
    let (mut statuses, ()) = tokio::join!(three, async {
        let mut question = place.question("/held/alike", 3).await;
        assert_eq!(place.open().await.len(), 1, "they share a ticket");
        for waiting in [2, 1] {
            place.approve(&question.ticket).await;
            question = place.question("/held/alike", waiting).await;
            let seen = place.upstream.wait_for(3 - waiting as usize).await;
            assert_eq!(seen.len(), 3 - waiting as usize);
        }
        place.answer(&question.ticket, Verdict::Refuse, "two are enough").await.unwrap();
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 403]);
    assert_eq!(place.reached().len(), 2);
}

#[tokio::test]
async fn an_agent_has_at_most_twenty_open_questions() {
    let place = Place::new().await;
    let get = async |number: usize| place.attache.curl([format!("http://api.example.com/asked/{number}")]).await;
    let tickets = join_all((0..20).map(get)).await;
    let tickets: Vec<_> = tickets.iter().map(Place::ticket).collect();
    let refused = get(20).await;
    assert_eq!((refused.status, &refused.json()["reason"]), (429, &"too_many_approvals".into()), "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("30"));
    // What is open already is not one more, and what was answered leaves room.
    assert_eq!(Place::ticket(&get(0).await), tickets[0]);
    place.answer(&tickets[0], Verdict::Refuse, "").await.unwrap();
    Place::ticket(&get(20).await);
    assert!(place.upstream.connections().is_empty());
    let limited = place.attache.records().into_iter().filter(|record| record["reason"] == "too_many_approvals");
    assert!(limited.map(|record| record["decision"].clone()).eq(["rate_limited"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_that_wait_hold_nobody_up() {
    const ALIKE: u32 = 10;
    let place = Place::new().await;
    let proxy = place.attache.proxy();
    let send = move |path: String| async move {
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        let request = format!(
            "POST http://api.example.com{path} HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 1\r\n\r\nx"
        );
        tunnel::raw(&mut stream, request.as_bytes()).await[9..12].to_owned()
    };
    let held: Vec<_> = (0..100).map(|number| tokio::spawn(send(format!("/held/{}", number / ALIKE)))).collect();
    for group in 0..10 {
        place.question(&format!("/held/{group}"), ALIKE).await;
    }
    assert!(place.upstream.connections().is_empty());

    let begun = Instant::now();
    let others = join_all((0..200).map(|number| tokio::spawn(send(format!("/other/{number}"))))).await;
    let took = begun.elapsed();
    assert!(others.into_iter().all(|status| status.unwrap() == "200"));
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(place.upstream.requests().len(), 200);

    // Every one of the hundred gets its own yes.
    let mut approved = 0;
    let deadline = Instant::now() + Duration::from_secs(20);
    while approved < 100 && Instant::now() < deadline {
        for question in place.open().await.iter().filter(|question| question.state() == State::Pending) {
            if place.answer(&question.ticket, Verdict::Approve, "").await.is_ok() {
                approved += 1;
            }
        }
        tokio::time::sleep(crate::support::GLANCE).await;
    }
    assert_eq!(approved, 100);
    for status in join_all(held).await {
        assert_eq!(status.unwrap(), "200");
    }
    let seen = place.upstream.wait_for(300).await;
    for group in 0..10 {
        let path = format!("/held/{group}");
        assert_eq!(seen.iter().filter(|seen| seen.path == path).count(), ALIKE as usize, "{path}");
    }
    assert_eq!(place.open().await, []);
}
