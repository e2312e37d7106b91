//! The script counts as the window does: the same requests at the same times, one beside the other.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use redis::aio::MultiplexedConnection;

use crate::pipeline::limit::window::Window;
use crate::pipeline::limit::{Limit, Weight};
use crate::store::tests::server::Server;

/// The counting script, by a clock that the test sets.
fn script() -> redis::Script {
    let text = concat!(include_str!("../scripts/common.lua"), include_str!("../scripts/admit.lua"));
    let clocked = text.replacen("redis.call('TIME')", "{redis.call('GET', 'second'), redis.call('GET', 'micro')}", 1);
    assert_ne!(text, clocked);
    redis::Script::new(&clocked)
}

struct Bench {
    connection: MultiplexedConnection,
    script: redis::Script,
    runtime: tokio::runtime::Runtime,
    _server: Server,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        // Nothing is killed here, and writing every answer down takes its time.
        let server = Server::with(&["--appendonly", "no"]);
        let connection = runtime.block_on(async {
            drop(server.patient().await);
            server.connection().await
        });
        Self { connection, script: script(), runtime, _server: server }
    }

    /// Admits if there is room at this time; else how long until there is.
    fn admit(&mut self, limit: &Limit, units: u64, micros: u64) -> Result<(), Option<Duration>> {
        // Big enough that a time which is written with an exponent would show.
        let micros = micros + 1_800_000_000_123_456;
        let reply: (String, Option<String>, Option<String>, Option<String>) = self.runtime.block_on(async {
            let clock = [("second", micros / 1_000_000), ("micro", micros % 1_000_000)];
            let _: () = redis::cmd("MSET").arg(&clock).query_async(&mut self.connection).await.unwrap();
            let mut call = self.script.key("test");
            call.arg("admit").arg("").arg("count").arg(limit.most).arg(limit.per.as_micros() as u64).arg(units);
            call.invoke_async(&mut self.connection).await.unwrap()
        });
        match reply.0.as_str() {
            "admitted" => Ok(()),
            "reached" => {
                let wait: i64 = reply.2.unwrap().parse().unwrap();
                Err(u64::try_from(wait).ok().map(Duration::from_micros))
            }
            other => panic!("{other}"),
        }
    }

    fn clear(&mut self) {
        let _: () = self.runtime.block_on(redis::cmd("FLUSHALL").query_async(&mut self.connection)).unwrap();
    }

    fn length(&mut self) -> usize {
        self.runtime.block_on(redis::cmd("LLEN").arg("test:count:count").query_async(&mut self.connection)).unwrap()
    }
}

fn limit(most: u64, per: u64) -> Limit {
    Limit { rule: "cap".into(), most, per: Duration::from_micros(per), weight: Weight::Request }
}

#[test]
fn the_script_admits_what_the_window_admits() {
    let mut bench = Bench::new();
    let requests = vec((0_u64..20, 0_u64..12, 1_u64..40, 1_u64..80), 1..120);
    let steady = (any::<bool>(), requests);
    let check = |bench: &mut Bench, (is_steady, requests): (bool, Vec<(u64, u64, u64, u64)>)| {
        bench.clear();
        let (start, mut window, mut micros) = (Instant::now(), Window::default(), 0);
        let (_, _, most, per) = requests[0];
        for (pause, units, other_most, other_per) in requests {
            micros += pause;
            let limit = if is_steady { limit(most, per) } else { limit(other_most, other_per) };
            let now = start + Duration::from_micros(micros);
            let expected = window.look(&limit, units, now);
            if expected.is_ok() {
                window.charge(&limit, units, now);
            }
            let got = bench.admit(&limit, units, micros);
            if got != expected {
                return Err(TestCaseError::fail(format!("{got:?} for {expected:?} at {micros}")));
            }
        }
        Ok(())
    };
    let mut runner = TestRunner::new(Config::with_cases(60));
    let bench = std::cell::RefCell::new(&mut bench);
    runner.run(&steady, |case| check(&mut bench.borrow_mut(), case)).unwrap();
}

#[test]
fn a_full_count_is_divided_and_errs_low() {
    let mut bench = Bench::new();
    let limit = limit(1500, 1_000_000);
    let (mut inside, mut total) = (std::collections::VecDeque::new(), 0);
    // 2,500 a second for two seconds.
    for step in 0..5000 {
        let micros = step * 400;
        if bench.admit(&limit, 1, micros).is_ok() {
            total += 1;
            inside.push_back(micros);
            while inside.front().is_some_and(|at| micros - at >= 1_000_000) {
                inside.pop_front();
            }
            assert!(inside.len() <= 1500, "{step}");
        }
    }
    assert!(bench.length() <= 1024);
    // An exact count admits 1,500 in each second.
    assert!((2980..=3000).contains(&total), "{total}");
}

#[test]
fn a_clock_that_is_set_back_frees_nothing() {
    let mut bench = Bench::new();
    let limit = limit(2, 1_000_000);
    assert_eq!(bench.admit(&limit, 1, 5_000_000), Ok(()));
    assert_eq!(bench.admit(&limit, 1, 2_000_000), Ok(()));
    assert_eq!(bench.admit(&limit, 1, 3_000_000), Err(Some(Duration::from_secs(3))));
    assert_eq!(bench.admit(&limit, 1, 5_999_999), Err(Some(Duration::from_micros(1))));
    assert_eq!(bench.admit(&limit, 1, 6_000_000), Ok(()));
}

#[test]
fn large_numbers_are_counted_exactly() {
    let mut bench = Bench::new();
    let most = 1 << 52;
    let limit = limit(most, 1_000_000);
    for round in 0..5 {
        let second = round * 1_000_000;
        assert_eq!(bench.admit(&limit, most - 1, second), Ok(()), "{round}");
        assert!(bench.admit(&limit, 2, second).is_err(), "{round}");
        assert_eq!(bench.admit(&limit, 1, second + 999_999), Ok(()), "{round}");
        assert!(bench.admit(&limit, most, second + 999_999).is_err(), "{round}");
        // The second one goes with the window after.
        assert!(bench.admit(&limit, most, second + 1_000_000).is_err(), "{round}");
        bench.admit(&limit, 0, second + 1_999_999).unwrap();
        bench.clear();
    }
}
