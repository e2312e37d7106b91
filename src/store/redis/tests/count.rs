//! The script counts as the window does: the same requests at the same times, one beside the other.

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::clocked::{BASE, Clocked, script};
use super::wire::AdmitReply;
use crate::pipeline::limit::window::Window;
use crate::pipeline::limit::{Limit, Weight};

struct Bench {
    server: Clocked,
    script: redis::Script,
}

impl Bench {
    fn new() -> Self {
        Self { server: Clocked::new(), script: script(include_str!("../scripts/admit.lua")) }
    }

    /// Admits if there is room at this time; else how long until there is.
    fn admit(&mut self, limit: &Limit, units: u64, micros: u64) -> Result<(), Option<Duration>> {
        let [most, per, units] = [limit.most, limit.per.as_micros() as u64, units].map(|number| number.to_string());
        let arguments = ["admit", "", "count", &most, &per, &units];
        let reply: AdmitReply = self.server.run(&self.script, micros, &arguments);
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
        self.server.command(&["FLUSHALL"])
    }

    fn length(&mut self) -> usize {
        self.server.command(&["LLEN", &format!("{BASE}:count:count")])
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
