//! The server is killed, hangs or forgets: nothing goes out that should not, nothing waits for it for long, and it is
//! used again as soon as it is there.

use std::sync::Mutex;

use nix::sys::signal::Signal;

use super::limits::assert_none_too_many;
use super::server::Server;
use super::*;

/// A call's budget, wide enough for a machine that does other things too.
const BUDGET: Duration = Duration::from_millis(200);
/// What a call may take beyond it.
const SLACK: Duration = Duration::from_millis(300);

async fn admit(store: &Redis, charge: &Charge) -> Result<(), Excess> {
    match soon(store.admit(&[charge.clone()].into_iter().collect(), None)).await {
        Ok(_) => Ok(()),
        Err(NotAdmitted::Excess(excess)) => Err(excess),
        Err(NotAdmitted::NotApproved) => panic!("nothing was to be redeemed"),
    }
}

async fn ask(store: &Redis, petition: &Petition) -> (Ticket, Standing) {
    match soon(store.ask(petition)).await {
        Asked::Open { ticket, standing, .. } => (ticket, standing),
        other => panic!("{other:?}"),
    }
}

async fn redeem(store: &Redis, petition: &Petition) -> Result<Option<Redeemed>, NotAdmitted> {
    soon(store.admit(&Charges::new(), Some(petition.fingerprint))).await
}

/// Returns once the store has seen that the server is gone.
async fn lost(store: &Redis) {
    let probe = charge("probe", "a", 1000, SECOND, 0);
    while store.is_connected() {
        let _ = soon(store.look(&[probe.clone()].into_iter().collect())).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_under_load_costs_refusals_and_comes_back() {
    let mut server = Server::start();
    let (most, per) = (20, Duration::from_millis(250));
    let stores: Vec<_> = [server.store(BUDGET, OnError::Deny).await, server.store(BUDGET, OnError::Deny).await]
        .into_iter()
        .map(Arc::new)
        .collect();
    let admissions: Arc<Mutex<Vec<(Instant, Instant)>>> = Arc::default();
    let refused = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let tasks = (0..8).map(|task| {
        let (store, admissions) = (stores[task % 2].clone(), admissions.clone());
        let (refused, stopped) = (refused.clone(), stopped.clone());
        tokio::spawn(async move {
            let cap = charge("cap", "a", most, per, 1);
            while !*stopped.borrow() {
                let before = Instant::now();
                let result = admit(&store, &cap).await;
                let took = before.elapsed();
                assert!(took < BUDGET + SLACK, "{took:?}");
                match result {
                    Ok(()) => admissions.lock().unwrap().push((before, Instant::now())),
                    Err(Excess::Unavailable) => {
                        refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                    Err(Excess::Reached { .. }) => {}
                }
                // Where nothing answers, nothing slows the loop down.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let admitted = || admissions.lock().unwrap().len();
    let more = async |than: usize| {
        while admitted() <= than {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    for _ in 0..3 {
        more(admitted() + most as usize * 2).await;
        server.kill();
        for store in &stores {
            lost(store).await;
        }
        let (before, refused_before) = (admitted(), refused.load(std::sync::atomic::Ordering::Relaxed));
        while refused.load(std::sync::atomic::Ordering::Relaxed) < refused_before + 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(admitted(), before, "nobody counts");
        server.start_again();
        for store in &stores {
            assert!(store.connected(FAR).await);
        }
    }
    more(admitted() + most as usize).await;
    stop.send(true).unwrap();
    for task in tasks {
        task.await.unwrap();
    }
    assert_none_too_many(&admissions.lock().unwrap(), most as usize, per);
}

#[tokio::test]
async fn without_the_server_a_process_may_count_by_itself() {
    let mut server = Server::start();
    let store = server.store(BUDGET, OnError::Local).await;
    let cap = charge("cap", "a", 5, FAR, 1);
    for _ in 0..3 {
        assert_eq!(admit(&store, &cap).await, Ok(()));
    }
    server.kill();
    // What it admitted with the server counts without it, and the other way round.
    for _ in 0..2 {
        assert_eq!(admit(&store, &cap).await, Ok(()));
    }
    assert!(matches!(admit(&store, &cap).await, Err(Excess::Reached { .. })));
    assert!(matches!(
        soon(store.look(&[cap.clone()].into_iter().collect())).await,
        Err(Excess::Reached { retry_after: Some(_), .. })
    ));

    // Approvals are never its own.
    let refund = petition("a", 1, FAR);
    assert_eq!(soon(store.ask(&refund)).await, Asked::Unavailable);
    assert_eq!(redeem(&store, &refund).await, Err(NotAdmitted::Excess(Excess::Unavailable)));
    assert_eq!(store.list().await, Err(Unavailable));
    assert_eq!(store.pending().await, Err(Unavailable));
    let answer = store.answer(&"apr_x".into(), Verdict::Approve, by("ops", None)).await;
    assert_eq!(answer, Err(AnswerError::Unavailable));

    server.start_again();
    assert!(store.connected(FAR).await);
    assert!(matches!(admit(&store, &cap).await, Err(Excess::Reached { .. })));
    // Another that was not cut off knows what the server knows.
    let other = server.store(BUDGET, OnError::Local).await;
    assert_eq!(admit(&other, &cap).await, Ok(()));
    assert_eq!(admit(&other, &cap).await, Ok(()));
    assert!(matches!(admit(&other, &cap).await, Err(Excess::Reached { .. })));
}

#[tokio::test]
async fn without_the_server_what_has_a_limit_is_refused() {
    let mut server = Server::start();
    let store = server.store(BUDGET, OnError::Deny).await;
    let cap = charge("cap", "a", 5, FAR, 1);
    assert_eq!(admit(&store, &cap).await, Ok(()));
    server.kill();
    for _ in 0..5 {
        assert_eq!(admit(&store, &cap).await, Err(Excess::Unavailable));
        assert_eq!(soon(store.look(&[cap.clone()].into_iter().collect())).await, Err(Excess::Unavailable));
    }
    // What needs no server does not notice.
    assert_eq!(soon(store.look(&Charges::new())).await, Ok(()));
    assert_eq!(soon(store.admit(&Charges::new(), None)).await, Ok(None));
}

#[tokio::test]
async fn a_server_that_hangs_is_waited_for_no_longer_than_the_budget() {
    let server = Server::start();
    let store = server.store(BUDGET, OnError::Deny).await;
    let cap = charge("cap", "a", 1000, FAR, 1);
    assert_eq!(admit(&store, &cap).await, Ok(()));
    server.signal(Signal::SIGSTOP);
    let mut calls = 0;
    while store.is_connected() {
        let before = Instant::now();
        assert_eq!(admit(&store, &cap).await, Err(Excess::Unavailable));
        let took = before.elapsed();
        assert!(took >= BUDGET && took < BUDGET + SLACK, "{took:?}");
        calls += 1;
        assert!(calls <= 10, "the breaker does not open");
    }
    let before = Instant::now();
    for _ in 0..50 {
        assert_eq!(admit(&store, &cap).await, Err(Excess::Unavailable));
    }
    assert!(before.elapsed() < BUDGET, "{:?}", before.elapsed());
    assert!(!store.connected(BUDGET).await, "it hangs still");
    server.signal(Signal::SIGCONT);
    assert!(store.connected(FAR).await);
    assert_eq!(admit(&store, &cap).await, Ok(()));
}

#[tokio::test]
async fn a_server_that_forgot_everything_does_not_make_one_process_forget() {
    let mut server = Server::start();
    let store = server.store(BUDGET, OnError::Deny).await;
    let cap = charge("cap", "a", 3, FAR, 1);
    for _ in 0..3 {
        assert_eq!(admit(&store, &cap).await, Ok(()));
    }
    server.kill();
    lost(&store).await;
    server.forget();
    server.start_again();
    assert!(store.connected(FAR).await);
    assert!(matches!(admit(&store, &cap).await, Err(Excess::Reached { .. })));
    let fresh = server.store(BUDGET, OnError::Deny).await;
    assert_eq!(admit(&fresh, &cap).await, Ok(()), "the server did forget");
}

#[tokio::test]
async fn an_approval_does_not_outlive_the_server_that_took_it() {
    let mut server = Server::start();
    let (one, other) = (server.patient().await, server.patient().await);
    let refund = petition("a", 1, FAR);
    let (ticket, _) = ask(&one, &refund).await;
    one.answer(&ticket, Verdict::Approve, by("ops", None)).await.unwrap();
    server.kill();
    for store in [&one, &other] {
        lost(store).await;
    }
    server.start_again();
    for store in [&one, &other] {
        assert!(store.connected(FAR).await);
        assert_eq!(redeem(store, &refund).await, Err(NotAdmitted::NotApproved));
    }
    assert_eq!(ask(&one, &refund).await, (ticket.clone(), Standing::Pending));
    assert_eq!(one.list().await.unwrap()[0].standing, Standing::Pending);
    other.answer(&ticket, Verdict::Approve, by("ops", None)).await.unwrap();
    assert_eq!(redeem(&one, &refund).await.unwrap().unwrap().ticket, ticket);
    assert_eq!(redeem(&other, &refund).await, Err(NotAdmitted::NotApproved));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_held_when_the_server_dies_is_held_on() {
    let mut server = Server::start();
    let (one, other) = (server.patient().await, server.patient().await);
    let refund = petition("a", 1, FAR);
    let (ticket, _) = ask(&one, &refund).await;
    let held = tokio::spawn(one.wait(&ticket, Instant::now() + FAR));
    server.kill();
    for store in [&one, &other] {
        lost(store).await;
    }
    assert_eq!(one.wait(&ticket, Instant::now()).await, Standing::Pending);
    server.start_again();
    for store in [&one, &other] {
        assert!(store.connected(FAR).await);
    }
    assert!(!held.is_finished());
    other.answer(&ticket, Verdict::Approve, by("ops", None)).await.unwrap();
    assert_eq!(held.await.unwrap(), Standing::Approved(by("ops", None)));
    assert!(redeem(&one, &refund).await.is_ok());
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_no_server() {
    let server = Server::with(&["--replicaof", "127.0.0.1", "1"]);
    let store = Redis::start(RedisOptions { budget: BUDGET, ..RedisOptions::new(server.url()) }).unwrap();
    assert!(!store.connected(SECOND).await);
    assert_eq!(admit(&store, &charge("cap", "a", 5, FAR, 1)).await, Err(Excess::Unavailable));
}
