//! Numbers that states give to people: how each is checked, by continent.

pub(super) mod americas;
pub(super) mod asia;
pub(super) mod europe;
pub(super) mod nordics;
pub(super) mod oceania;
pub(super) mod united_states;

#[cfg(test)]
use super::compact::Compact;

/// Each of the first holds, and none of the second.
#[cfg(test)]
fn hold(check: fn(&Compact) -> bool, valid: &[&str], invalid: &[&str]) {
    let holds = |text: &str| Compact::of(text.as_bytes()).is_some_and(|value| check(&value));
    let wrong = valid.iter().filter(|text| !holds(text)).chain(invalid.iter().filter(|text| holds(text)));
    assert_eq!(wrong.collect::<Vec<_>>(), Vec::<&&str>::new());
}
