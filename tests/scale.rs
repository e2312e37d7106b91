//! A decision costs the same in a small policy and in a large one.
#![cfg(test)]

#[path = "../benches/support/policies.rs"]
mod policies;

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use policies::{agent_of, cases, head, load};

/// What looks at every entry takes a hundred times as long in the larger policy. The benchmark measures finely; this
/// limit leaves room for a machine with other work and for caches.
const MOST: f64 = 2.0;
const SIZES: [usize; 2] = [10, 1000];
const ROUNDS: usize = 25;
const DECISIONS: usize = 40;

#[test]
fn a_decision_costs_the_same_however_many_entries_there_are() {
    let [small, large] = SIZES.map(cases);
    for (small, large) in small.iter().zip(&large) {
        for admitted in [true, false] {
            let subjects = [small, large].map(|case| {
                let compiled = load(&case.text);
                let agent = agent_of(case, &compiled);
                (compiled, agent, head(if admitted { &case.admitted } else { &case.refused }))
            });
            let mut least = [Duration::MAX; 2];
            for _ in 0..ROUNDS {
                for ((compiled, agent, head), least) in subjects.iter().zip(&mut least) {
                    let wall = SystemTime::now();
                    let before = own_time();
                    for _ in 0..DECISIONS {
                        let verdict = compiled.rules.decide(*agent, black_box(head), wall);
                        assert_eq!(verdict.is_ok(), admitted, "{}: {verdict:?}", small.name);
                    }
                    *least = own_time().saturating_sub(before).min(*least);
                }
            }
            let [few, many] = least.map(|took| took.as_secs_f64());
            assert!(many < few * MOST, "{}, admitted: {admitted}: {few} s for few, {many} s for many", small.name);
        }
    }
}

/// The CPU time of this thread, which other work of the machine is no part of.
fn own_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
