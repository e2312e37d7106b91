//! The regions into which patterns part all paths: what two patterns cover of each other, and one path for every way
//! in which several can meet a path.

use std::collections::{HashMap, HashSet};

use super::overlap::{Set, Step, steps};
use super::{PathPattern, Piece};
use crate::pipeline::message::parse_path;

/// How many states two patterns are followed through; beyond it nothing is claimed.
const MOST_FOR_TWO: usize = 4_000;

/// One path for each set of patterns that can meet the same path, short ones first. A pattern that restricts meets it
/// in the looser spelling, as far as case and a final slash go. The flag is false where there were more than `most`
/// states to look at, so that some may be missing.
pub fn representatives<'a>(
    permitting: impl IntoIterator<Item = &'a PathPattern>,
    restricting: impl IntoIterator<Item = &'a PathPattern>,
    most: usize,
) -> (Vec<String>, bool) {
    let exact = permitting.into_iter().map(|pattern| Automaton { steps: steps(&pattern.exact.0), folded: false });
    let loose = restricting.into_iter().map(|pattern| {
        let slash = [Step::MayEnd, Step::One(Set::Byte(b'/'))];
        Automaton { steps: steps(&pattern.loose.0).into_iter().chain(slash).collect(), folded: true }
    });
    let automata: Vec<_> = exact.chain(loose).collect();
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let whole = walk(&automata, most, |text, met| {
        if !seen.contains(met) && parse_path(text).is_ok_and(|path| *path == *text) {
            seen.insert(met.to_vec());
            found.push(text.to_owned());
        }
        true
    });
    (found, whole)
}

/// Whether `a` matches all that `b` matches; false too where that cannot be told at a bounded cost.
pub(super) fn covers(a: &[Piece], b: &[Piece]) -> bool {
    match (a, b) {
        ([Piece::Literal(a)], [Piece::Literal(b)]) => return a == b,
        // Most pairs part here, at no cost.
        ([Piece::Literal(a), ..], [Piece::Literal(b), rest @ ..])
            if !(b.starts_with(&**a) || (!rest.is_empty() && a.starts_with(&**b))) =>
        {
            return false;
        }
        _ => {}
    }
    let automata = [a, b].map(|pieces| Automaton { steps: steps(pieces), folded: false });
    let mut covered = true;
    let whole = walk(&automata, MOST_FOR_TWO, |_, met| {
        covered = met != [1];
        covered
    });
    whole && covered
}

struct Automaton {
    steps: Vec<Step>,
    /// Whether case is folded.
    folded: bool,
}

/// Where each automaton that is still alive may be.
type State = Vec<(usize, usize)>;

/// Follows all automata together along every text that begins with a slash, in the order of their lengths; at each new
/// state tells the text that led there and the automata that match it. `take` ends it with false. False where there
/// were more states than `most`.
fn walk(automata: &[Automaton], most: usize, mut take: impl FnMut(&str, &[usize]) -> bool) -> bool {
    let start: State = (0..automata.len()).map(|which| (which, 0)).collect();
    let mut texts = vec![String::new()];
    let mut states = vec![closed(automata, start)];
    // Whether a slash may follow is part of where one is: `//` is no path.
    let mut known: HashMap<(State, bool), ()> = HashMap::new();
    let mut at = 0;
    while let (Some(state), Some(text)) = (states.get(at).cloned(), texts.get(at).cloned()) {
        at += 1;
        for letter in letters(automata, &state, &text) {
            let next: State = state.iter().filter_map(|place| taken(automata, *place, letter)).collect();
            let next = closed(automata, next);
            if known.insert((next.clone(), letter == b'/'), ()).is_some() {
                continue;
            }
            if states.len() >= most {
                return false;
            }
            let mut longer = text.clone();
            longer.push(char::from(letter));
            let mut met: Vec<usize> =
                next.iter().filter(|place| meets(automata, **place, &longer)).map(|(which, _)| *which).collect();
            met.dedup();
            if !take(&longer, &met) {
                return true;
            }
            states.push(next);
            texts.push(longer);
        }
    }
    true
}

/// With all the places that are reached without taking anything.
fn closed(automata: &[Automaton], mut state: State) -> State {
    let mut at = 0;
    while let Some((which, place)) = state.get(at).copied() {
        at += 1;
        if let Some(Step::Many(_) | Step::MayEnd) = step(automata, (which, place)) {
            state.push((which, place + 1));
        }
    }
    state.sort_unstable();
    state.dedup();
    state
}

/// One letter for each way on from here. The first is a slash: paths begin with it.
fn letters(automata: &[Automaton], state: &State, text: &str) -> Vec<u8> {
    if text.is_empty() {
        return vec![b'/'];
    }
    let (mut letters, mut folded) = (Vec::new(), Vec::new());
    let mut slash = false;
    for place in state {
        match step(automata, *place) {
            Some(Step::One(Set::Byte(byte)) | Step::Many(Set::Byte(byte))) => {
                let is_folded = automata.get(place.0).is_some_and(|automaton| automaton.folded);
                if is_folded { folded.push(*byte) } else { letters.push(*byte) }
            }
            Some(Step::One(_) | Step::Many(_)) => slash = true,
            Some(Step::MayEnd) | None => {}
        }
    }
    // In the other case what restricts goes on, and what permits does not.
    letters.sort_unstable();
    let both: Vec<u8> = folded.iter().filter(|letter| letters.binary_search(letter).is_ok()).copied().collect();
    letters.extend(both.iter().map(u8::to_ascii_uppercase).chain(folded));
    letters.sort_unstable();
    letters.dedup();
    let other = b"xyzwvutsrqponmlkjihgfedcba0123456789-_~".iter().find(|letter| !letters.contains(letter));
    // What no pattern names comes first: `/v1/x` reads better than `/v1//`.
    let mut letters: Vec<u8> = other.copied().into_iter().chain(letters).collect();
    if slash && !letters.contains(&b'/') {
        letters.push(b'/');
    }
    letters.retain(|letter| !(*letter == b'/' && text.ends_with('/')));
    letters
}

fn step(automata: &[Automaton], (which, place): (usize, usize)) -> Option<&Step> {
    automata.get(which).and_then(|automaton| automaton.steps.get(place))
}

fn taken(automata: &[Automaton], (which, place): (usize, usize), letter: u8) -> Option<(usize, usize)> {
    let folded = automata.get(which).is_some_and(|automaton| automaton.folded);
    let letter = if folded { letter.to_ascii_lowercase() } else { letter };
    let has = |set: &Set| match set {
        Set::Byte(byte) => *byte == letter,
        Set::AllButSlash => letter != b'/',
        Set::All => true,
    };
    match step(automata, (which, place))? {
        Step::One(set) => has(set).then_some((which, place + 1)),
        Step::Many(set) => has(set).then_some((which, place)),
        Step::MayEnd => None,
    }
}

/// Whether an automaton that is here matches the text. What restricts takes a final slash as there: see
/// [`PathPattern::restricts`].
fn meets(automata: &[Automaton], place: (usize, usize), text: &str) -> bool {
    let folded = automata.get(place.0).is_some_and(|automaton| automaton.folded);
    let after_slash = || taken(automata, place, b'/').map(|next| closed(automata, vec![next]));
    is_end(automata, place)
        || (folded
            && !text.ends_with('/')
            && after_slash().is_some_and(|all| all.iter().any(|next| is_end(automata, *next))))
}

fn is_end(automata: &[Automaton], place: (usize, usize)) -> bool {
    matches!(step(automata, place), None | Some(Step::MayEnd))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::PathView;
    use super::*;

    fn read(text: &str, prefix: bool) -> PathPattern {
        if prefix { PathPattern::prefix(text).unwrap() } else { PathPattern::parse(text).unwrap() }
    }

    #[test]
    fn what_covers_what() {
        for (a, b, expected) in [
            ("/**", "/a/*", true),
            ("/**", "/", true),
            ("/*", "/", false),
            ("/a/*", "/a/{id}", true),
            ("/a/*", "/a/{id}/x", true),
            ("/a/{id}", "/a/*", false),
            ("/a/*/x", "/a/{id}/x", true),
            ("/a/{id}/x", "/a/*/x", true),
            ("/a/it*", "/a/items", true),
            ("/a/items", "/a/it*", false),
            ("/a/**", "/a/*", true),
            ("/a/*", "/a/**", false),
            ("/a", "/a", true),
            ("/a", "/A", false),
            ("/b", "/a", false),
        ] {
            assert_eq!(read(a, false).permits_all_of(&read(b, false)), expected, "{a} {b}");
        }
        assert!(read("/a", true).permits_all_of(&read("/a/*", false)));
        assert!(!read("/a", true).permits_all_of(&read("/a*", false)));
    }

    /// Every path of up to `length` bytes of three letters and the slash.
    fn paths(length: usize) -> Vec<String> {
        let mut all = vec!["/".to_owned()];
        let mut last = all.clone();
        for _ in 1..length {
            last = last.iter().flat_map(|text| ["/", "a", "b", "A"].map(|next| format!("{text}{next}"))).collect();
            last.retain(|text| !text.contains("//"));
            all.extend_from_slice(&last);
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn every_way_to_meet_a_path_has_its_representative(
            patterns in proptest::collection::vec(("(/(a|b|\\*|\\*\\*|\\{i\\}|a\\*|A)){1,2}", any::<bool>()), 1..4),
            restricting in proptest::collection::vec("(/(a|b|\\*|\\*\\*|\\{i\\}|a\\*|A)){1,2}", 0..3),
        ) {
            let patterns: Vec<_> = patterns.iter().map(|(text, prefix)| read(text, *prefix)).collect();
            let restricting: Vec<_> = restricting.iter().map(|text| read(text, false)).collect();
            let (found, whole) = representatives(&patterns, &restricting, 10_000);
            prop_assert!(whole);
            let met = |path: &str| -> Vec<bool> {
                let view = PathView::of(path);
                patterns.iter().map(|p| p.permits(path)).chain(restricting.iter().map(|p| p.restricts(&view))).collect()
            };
            let known: HashSet<_> = found.iter().map(|path| met(path)).collect();
            let paths = paths(6);
            for path in &paths {
                prop_assert!(known.contains(&met(path)), "{} {:?}", path, found);
            }
            for (a, b) in patterns.iter().flat_map(|a| patterns.iter().map(move |b| (a, b))) {
                let covered = paths.iter().all(|path| a.permits(path) || !b.permits(path));
                prop_assert_eq!(a.permits_all_of(b), covered);
            }
            for (a, b) in restricting.iter().flat_map(|a| patterns.iter().chain(&restricting).map(move |b| (a, b))) {
                let restricts = |p: &PathPattern, path: &str| p.restricts(&PathView::of(path));
                prop_assert!(!a.restricts_all_of(b) || paths.iter().all(|path| restricts(a, path) || !restricts(b, path)));
                prop_assert!(a.may_restrict(b) || !paths.iter().any(|path| restricts(a, path) && b.permits(path)));
            }
        }
    }
}
