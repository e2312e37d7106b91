//! Two attachés on one Redis: together they admit no more than the limit, an approval given to one releases what the
//! other holds, and without the server nothing goes out that it had to count.

use std::time::Duration;

use ::attache::pipeline::approval::{Answered, Standing, Verdict};
use ::attache::store::{self, Open, RedisOptions, Store};

use crate::support::{Attache, Redis, Upstream, until};

const POLICY: &str = r#"
allowedDomains: [api.example.com]
rules:
  - {name: Cap, host: api.example.com, path: /limited, action: {rateLimit: {requests: 5, per: 10m}}}
  - {name: Refunds, host: api.example.com, path: /refunds, action: {approval: {hold: 2m, expires: 10m}}}
"#;

#[tokio::test]
async fn together_they_admit_no_more_than_the_limit_and_without_the_server_nothing() {
    let (upstream, mut redis) = (Upstream::https(["api.example.com"]).await, Redis::start().await);
    let both = [attache(&redis, &upstream, &[]).await, attache(&redis, &upstream, &[]).await];
    let mut statuses = Vec::new();
    for turn in 0..8 {
        let answer = both[turn % 2].curl(["https://api.example.com/limited"]).await;
        if answer.status == 429 {
            let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=600).contains(&after), "{after}");
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
    assert_eq!(upstream.requests().len(), 5);

    redis.kill9().await;
    for attache in &both {
        let refused = attache.curl(["https://api.example.com/limited"]).await;
        assert_eq!((refused.status, refused.json()["reason"].as_str()), (503, Some("store_unavailable")));
        assert_eq!(attache.curl(["https://api.example.com/free"]).await.status, 200);
    }
    redis.start_again().await;
    for attache in &both {
        let back = async || Some(attache.curl(["https://api.example.com/limited"]).await.status).filter(|s| *s != 503);
        assert_eq!(until("the store to be used again", back).await, 429);
    }
    assert_eq!(upstream.requests().len(), 7);
}

#[tokio::test]
async fn each_may_be_told_to_count_by_itself_without_the_server() {
    let (upstream, mut redis) = (Upstream::https(["api.example.com"]).await, Redis::start().await);
    let alone = attache(&redis, &upstream, &["--on-store-error", "local"]).await;
    assert_eq!(alone.curl(["https://api.example.com/limited"]).await.status, 200);
    redis.kill9().await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(alone.curl(["https://api.example.com/limited"]).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429]);
    let refused = alone.curl(["-d", "all of it", "https://api.example.com/refunds"]).await;
    assert_eq!(refused.json()["reason"], "store_unavailable", "approvals are never its own: {refused:?}");
}

#[tokio::test]
async fn an_approval_given_elsewhere_releases_a_request_once() {
    let (upstream, redis) = (Upstream::https(["api.example.com"]).await, Redis::start().await);
    let (one, other) = (attache(&redis, &upstream, &[]).await, attache(&redis, &upstream, &[]).await);
    // Whoever else is on the same server.
    let operator =
        store::Redis::start(RedisOptions { budget: Duration::from_secs(10), ..RedisOptions::new(redis.url()) });
    let operator = operator.unwrap();
    assert!(operator.connected(Duration::from_secs(30)).await);
    let held = async |waiting: usize| {
        let is_asked = |open: &Open| open.waiting == waiting && open.standing == Standing::Pending;
        let look = async || operator.list().await.ok()?.into_iter().find(is_asked);
        until("a request to be held", look).await
    };
    let answer = async |ticket, verdict| {
        let by = Answered { by: "olga".into(), why: Some("checked".into()) };
        operator.answer(&ticket, verdict, by).await.unwrap();
    };
    let ask = async |attache: &Attache| attache.curl(["-d", "amount=5", "https://api.example.com/refunds"]).await;

    let (first, second, ()) = tokio::join!(ask(&one), ask(&other), async {
        let open = held(2).await;
        assert_eq!((&*open.about.path, &*open.about.body_preview), ("/refunds", &b"amount=5"[..]));
        answer(open.ticket, Verdict::Approve).await;
        // The approval is used up, and the other has to be asked for again.
        let open = held(1).await;
        answer(open.ticket, Verdict::Refuse).await;
    });
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403], "{first:?} {second:?}");
    assert_eq!(upstream.requests().len(), 1, "one approval, one request");
    let again = ask(&one).await;
    assert_eq!(again.json()["reason"], "approval_refused", "{again:?}");
}

#[tokio::test]
async fn the_agent_does_not_learn_where_the_store_is() {
    let redis = Redis::start().await;
    let command = ["sh", "-c", "env | grep -c ATTACHE_STORE= || true"].map(Into::into).to_vec();
    let output = Attache::up(POLICY).env("ATTACHE_STORE", &redis.url()).run(command).await;
    assert_eq!((output.exit, output.stdout.trim()), (0, "0"), "{output:?}");
    let flag = ["--store", "redis://attache:hunter2@127.0.0.1:1"];
    let refused = Attache::up(POLICY).flags(flag).refused().await;
    assert_eq!(refused.exit, 2, "{refused:?}");
    assert!(refused.stderr.contains("ATTACHE_STORE") && !refused.stderr.contains("hunter2"), "{refused:?}");
}

/// An attaché that shares what is on this server.
async fn attache(redis: &Redis, upstream: &Upstream, flags: &[&str]) -> Attache {
    let setup = Attache::up(POLICY).resolve("api.example.com", upstream).env("ATTACHE_STORE", &redis.url());
    setup.flags(["--store-budget", "5000"]).flags(flags).start().await
}
