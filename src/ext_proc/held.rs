//! How many requests are held open for a person: each keeps its body in memory, here and in Envoy, and those that are
//! alike ask one question, so that the number of questions is no bound.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Requests an agent may have held at once. Those beyond are told at once to come again.
const MOST: usize = 200;

/// The requests that are held, by agent.
#[derive(Debug, Clone, Default)]
pub struct Held(Arc<Mutex<HashMap<Arc<str>, usize>>>);

impl Held {
    /// Holds one more, until the seat is dropped. `None` if the agent has too many.
    pub(super) fn take(&self, agent: &Arc<str>) -> Option<Seat> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(agent.clone()).or_default();
        if *count >= MOST {
            return None;
        }
        *count += 1;
        Some(Seat { held: self.clone(), agent: agent.clone() })
    }
}

/// One that is held.
#[derive(Debug)]
pub(super) struct Seat {
    held: Held,
    agent: Arc<str>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut held = self.held.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get_mut(&self.agent) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                held.remove(&self.agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_holds_all_it_may_takes_nothing_from_others() {
        let (held, ann, bob) = (Held::default(), Arc::from("ann"), Arc::from("bob"));
        let mut seats: Vec<_> = (0..MOST).map(|_| held.take(&ann).unwrap()).collect();
        assert!(held.take(&ann).is_none());
        assert!(held.take(&bob).is_some());
        seats.pop();
        assert!(held.take(&ann).is_some());
        drop(seats);
        assert!(held.0.lock().unwrap().is_empty());
    }
}
