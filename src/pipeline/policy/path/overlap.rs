//! Whether two patterns of paths have a path in common.

use super::Piece;

/// True if some text matches both. It is found by following both patterns at once, at a cost of the product of their
/// lengths. The text need not be one that a request can have (`/a//b`): then the answer errs towards true.
pub(super) fn overlap(a: &[Piece], b: &[Piece]) -> bool {
    let (a, b) = (steps(a), steps(b));
    let width = b.len() + 1;
    let mut seen = vec![false; (a.len() + 1) * width];
    let mut open = vec![(0, 0)];
    while let Some((i, j)) = open.pop() {
        let Some(seen) = seen.get_mut(i * width + j).filter(|seen| !**seen) else { continue };
        *seen = true;
        let (here, there) = (a.get(i), b.get(j));
        if may_end(here) && may_end(there) {
            return true;
        }
        if matches!(here, Some(Step::Many(_) | Step::MayEnd)) {
            open.push((i + 1, j));
        }
        if matches!(there, Some(Step::Many(_) | Step::MayEnd)) {
            open.push((i, j + 1));
        }
        if let (Some((one, next_i)), Some((other, next_j))) = (taken(here, i), taken(there, j))
            && one.meets(other)
        {
            open.push((next_i, next_j));
        }
    }
    false
}

/// A pattern as what it takes byte by byte.
#[derive(Clone, Copy)]
pub(super) enum Step {
    /// One byte.
    One(Set),
    /// Any number of bytes.
    Many(Set),
    /// The text may be over here.
    MayEnd,
}

#[derive(Clone, Copy)]
pub(super) enum Set {
    Byte(u8),
    AllButSlash,
    All,
}

impl Set {
    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::Byte(a), Self::Byte(b)) => a == b,
            (Self::Byte(byte), Self::AllButSlash) | (Self::AllButSlash, Self::Byte(byte)) => byte != b'/',
            _ => true,
        }
    }
}

fn may_end(step: Option<&Step>) -> bool {
    matches!(step, None | Some(Step::MayEnd))
}

/// What the step takes, and where the pattern then is.
fn taken(step: Option<&Step>, at: usize) -> Option<(Set, usize)> {
    match step? {
        Step::One(set) => Some((*set, at + 1)),
        Step::Many(set) => Some((*set, at)),
        Step::MayEnd => None,
    }
}

pub(super) fn steps(pieces: &[Piece]) -> Vec<Step> {
    let mut steps = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Literal(text) => steps.extend(text.bytes().map(|byte| Step::One(Set::Byte(byte)))),
            Piece::WithinSegment => steps.push(Step::Many(Set::AllButSlash)),
            Piece::Segment => steps.extend([Step::One(Set::AllButSlash), Step::Many(Set::AllButSlash)]),
            Piece::Anything => steps.push(Step::Many(Set::All)),
            Piece::Something => steps.extend([Step::One(Set::All), Step::Many(Set::All)]),
            Piece::Below => steps.extend([Step::MayEnd, Step::One(Set::Byte(b'/')), Step::Many(Set::All)]),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::PathPattern;

    /// Every text of up to `length` bytes that begins with a slash, of two letters and the slash.
    fn texts(length: usize) -> Vec<String> {
        let mut all = vec!["/".to_owned()];
        let mut last = all.clone();
        for _ in 1..length {
            last = last.iter().flat_map(|text| ["/", "a", "b"].map(|next| format!("{text}{next}"))).collect();
            all.extend_from_slice(&last);
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn patterns_overlap_where_some_path_matches_both(
            one in "(/(a|b|\\*|\\*\\*|\\{i\\}|a\\*|\\*b)){1,2}",
            other in "(/(a|b|\\*|\\*\\*|\\{i\\}|a\\*|\\*b)){1,2}",
            prefix_one: bool,
            prefix_other: bool,
        ) {
            let read = |text: &str, prefix| if prefix { PathPattern::prefix(text) } else { PathPattern::parse(text) };
            let (a, b) = (read(&one, prefix_one).unwrap(), read(&other, prefix_other).unwrap());
            // Two segments of each pattern need no more bytes than these for a text that both match.
            let expected = texts(7).iter().any(|text| a.permits(text) && b.permits(text));
            prop_assert_eq!(a.may_overlap(&b), expected, "{} {}", one, other);
            prop_assert_eq!(b.may_overlap(&a), expected, "{} {}", other, one);
        }
    }
}
