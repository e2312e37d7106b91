use proptest::prelude::*;

use super::*;

const TOKEN: &str = "ghp_9aF3kLm20QzX7vB1nT5wR8yU2iO4pA6sD0fG";

fn across() -> Across {
    Across::new(Limits::default(), RandomState::new())
}

/// Sends requests, and says in which the token could be seen to leave: in a text that has it across the border.
fn seen(across: &mut Across, requests: &[Vec<(String, String)>], token: &str) -> Vec<usize> {
    let now = Instant::now();
    let mut seen = Vec::new();
    for (place, request) in requests.iter().enumerate() {
        let pieces: Vec<_> = request.iter().map(|(slot, text)| Piece { slot, text: text.as_bytes() }).collect();
        let joins = across.add("agent", "example.com", &pieces, now);
        if joins.texts.iter().any(|joined| shows(joined, token)) {
            seen.push(place);
        }
    }
    seen
}

fn shows(joined: &Joined, token: &str) -> bool {
    let found = memchr::memmem::find(&joined.text, token.as_bytes());
    found.is_some_and(|at| joined.crosses(&(at..at + token.len())))
}

/// A text in so many pieces, of almost the same length.
fn cut(text: &str, pieces: usize) -> Vec<String> {
    let at = |piece: usize| piece * text.len() / pieces;
    (0..pieces).map(|piece| text[at(piece)..at(piece + 1)].to_owned()).collect()
}

fn one(slot: &str, text: &str) -> Vec<(String, String)> {
    vec![(slot.to_owned(), text.to_owned())]
}

proptest! {
    #[test]
    fn pieces_of_one_slot_are_joined_whatever_comes_between(
        pieces in 2..10_usize, noise in prop::collection::vec(("[b-h]", "[ -~]{1,30}"), 0..4), part in any::<bool>(),
    ) {
        let mut requests = Vec::new();
        for (number, piece) in cut(TOKEN, pieces).iter().enumerate() {
            requests.extend(noise.iter().map(|(slot, text)| one(slot, text)));
            let mut request = one("a", piece);
            request.extend(part.then(|| ("part".to_owned(), number.to_string())));
            requests.push(request);
        }
        let last = requests.len() - 1;
        prop_assert_eq!(seen(&mut across(), &requests, TOKEN), [last]);
    }

    #[test]
    fn pieces_of_a_slot_each_are_joined_among_ordinary_values(pieces in 2..9_usize, first in 1..90_u32) {
        let requests: Vec<_> = cut(TOKEN, pieces).iter().enumerate().map(|(number, piece)| {
            let mut request = one("id", &(first + number as u32).to_string());
            request.push(("lang".to_owned(), "en-US".to_owned()));
            request.push((format!("p{number}"), piece.clone()));
            request
        }).collect();
        prop_assert_eq!(seen(&mut across(), &requests, TOKEN), [pieces - 1]);
    }

    #[test]
    fn words_in_the_same_slot_do_not_part_them(pieces in prop::sample::select(vec![2_usize, 4]), word in "[a-z]{3,9}( [a-z]{3,9})?") {
        let mut requests = Vec::new();
        for piece in cut(TOKEN, pieces) {
            requests.extend([one("q", &piece), one("q", &word)]);
        }
        prop_assert_eq!(seen(&mut across(), &requests, TOKEN), [requests.len() - 2]);
    }

    #[test]
    fn never_panics_and_stays_within_its_bounds(
        requests in prop::collection::vec(prop::collection::vec((".{0,3}", prop::collection::vec(any::<u8>(), 0..700)), 0..7), 0..20),
    ) {
        let limits = Limits { trails: 3, bytes: 1024, ..Limits::default() };
        let mut across = Across::new(limits, RandomState::new());
        for (place, request) in requests.iter().enumerate() {
            let pieces: Vec<_> = request.iter().map(|(slot, text)| Piece { slot, text }).collect();
            let joins = across.add(["a", "b"][place % 2], ["c", "d", "e"][place % 3], &pieces, Instant::now());
            for joined in &joins.texts {
                prop_assert!(0 < joined.border && joined.border < joined.text.len());
                prop_assert!(joined.text.len() <= 2 * MOST_OF_A_SIDE);
            }
            if let (Some(receipt), true) = (joins.receipt, place % 5 == 0) {
                across.take_back(receipt);
            }
            prop_assert!(across.memory() <= 3 * (1024 + size_of::<Trail>()));
        }
    }
}

#[test]
fn pieces_that_carry_their_number_are_joined_without_it() {
    let pieces = cut(TOKEN, 4);
    let requests: Vec<_> = pieces.iter().enumerate().map(|(n, piece)| one("host", &format!("{n}-{piece}"))).collect();
    assert_eq!(seen(&mut across(), &requests, TOKEN), [3]);
}

#[test]
fn a_piece_that_is_sent_again_does_not_hide_the_next() {
    let pieces = cut(TOKEN, 2);
    let requests = [one("a", &pieces[0]), one("a", &pieces[0]), one("a", &pieces[0]), one("a", &pieces[1])];
    assert_eq!(seen(&mut across(), &requests, TOKEN), [3]);
}

#[test]
fn a_piece_that_was_refused_is_refused_again() {
    let pieces = cut(TOKEN, 2);
    let mut across = across();
    assert_eq!(seen(&mut across, &[one("a", &pieces[0])], TOKEN), [0; 0]);
    for slot in ["a", "b"].into_iter().cycle().take(12) {
        let piece = Piece { slot, text: pieces[1].as_bytes() };
        let joins = across.add("agent", "example.com", &[piece], Instant::now());
        assert!(joins.texts.iter().any(|joined| shows(joined, TOKEN)));
        across.take_back(joins.receipt.unwrap());
    }
}

#[test]
fn agents_and_domains_are_kept_apart_and_forgotten() {
    let pieces = cut(TOKEN, 2);
    let (mut across, start) = (across(), Instant::now());
    let mut send = |agent: &str, domain: &str, text: &str, after: u64| {
        let piece = Piece { slot: "a", text: text.as_bytes() };
        let joins = across.add(agent, domain, &[piece], start + Duration::from_secs(after));
        joins.texts.iter().any(|joined| shows(joined, TOKEN))
    };
    assert!(!send("one", "example.com", &pieces[0], 0));
    assert!(!send("two", "example.com", &pieces[1], 1));
    assert!(!send("one", "example.org", &pieces[1], 2));
    assert!(send("one", "example.com", &pieces[1], 3600));
    assert!(!send("one", "example.com", &pieces[0], 9000));
    assert!(!send("one", "example.com", &pieces[1], 9000 + 3601));
}

#[test]
fn an_agent_with_many_domains_drives_out_its_own() {
    let limits = Limits { trails: 8, ..Limits::default() };
    let (mut across, start) = (Across::new(limits, RandomState::new()), Instant::now());
    let pieces = cut(TOKEN, 2);
    let piece = |text: &'static str| [Piece { slot: "a", text: text.as_bytes() }];
    let first = [Piece { slot: "a", text: pieces[0].as_bytes() }];
    let _ = across.add("quiet", "example.com", &first, start);
    for n in 0..100 {
        let _ = across.add("loud", &format!("{n}.example"), &piece("x"), start + Duration::from_secs(n + 1));
    }
    let second = [Piece { slot: "a", text: pieces[1].as_bytes() }];
    let joins = across.add("quiet", "example.com", &second, start + Duration::from_secs(200));
    assert!(joins.texts.iter().any(|joined| shows(joined, TOKEN)));
    assert!(across.trails.len() <= 8);
}

#[test]
fn what_comes_all_the_time_does_not_drive_out_what_comes_rarely() {
    let pieces = cut(TOKEN, 2);
    let mut requests = vec![one("a", &pieces[0])];
    requests.extend((0..500).map(|n| one("q", &format!("result-{n}-{}", "x".repeat(n % 60)))));
    requests.push(one("a", &pieces[1]));
    assert_eq!(seen(&mut across(), &requests, TOKEN), [501]);
}

#[test]
fn what_is_the_same_every_time_is_not_scanned_again() {
    let mut across = across();
    let pieces = [Piece { slot: "limit", text: b"5000" }, Piece { slot: "lang", text: b"en-US" }];
    let texts: Vec<usize> =
        (0..6).map(|_| across.add("agent", "example.com", &pieces, Instant::now()).texts.len()).collect();
    assert_eq!(texts[0], 0);
    assert!(texts.iter().all(|count| *count <= 2), "{texts:?}");
}

proptest! {
    /// Whoever forgets what the last request was takes each for a new one.
    #[test]
    fn the_same_request_again_leaves_what_any_other_way_to_note_it_would(
        requests in prop::collection::vec((0..4_usize, prop::bool::weighted(0.2)), 1..40),
        texts in prop::collection::vec(prop::collection::vec(("[abc]", "[a-d1-9]{0,6}"), 0..5), 4),
    ) {
        let keys = RandomState::new();
        let limits = Limits { bytes: 700, ..Limits::default() };
        let (mut quick, mut slow) = (Across::new(limits, keys.clone()), Across::new(limits, keys));
        let now = Instant::now();
        for (which, refused) in requests {
            let pieces: Vec<_> = texts[which].iter().map(|(slot, text)| Piece { slot, text: text.as_bytes() }).collect();
            slow.trails.values_mut().for_each(|trail| trail.settled = None);
            let both = [&mut quick, &mut slow].map(|across| {
                let joins = across.add("agent", "example.com", &pieces, now);
                if let (Some(receipt), true) = (joins.receipt, refused) {
                    across.take_back(receipt);
                }
                let noted = across.trails.values().flat_map(|trail| &trail.pieces).map(|piece| {
                    (piece.slot, piece.value, piece.request, piece.before, piece.times, piece.text.clone())
                });
                (joins.texts, noted.collect::<Vec<_>>())
            });
            prop_assert_eq!(&both[0], &both[1]);
        }
    }
}

#[test]
fn the_same_request_again_and_again_is_known_and_ends_with_another() {
    let mut across = across();
    let mut send = |text: &str| {
        let pieces = [Piece { slot: "a", text: b"items" }, Piece { slot: "b", text: text.as_bytes() }];
        let _ = across.add("agent", "example.com", &pieces, Instant::now());
        across.trails.values().all(|trail| trail.settled.is_some())
    };
    assert_eq!(["first", "first", "first", "other", "first"].map(&mut send), [false, true, true, false, false]);
}

#[test]
fn a_long_value_is_joined_by_its_ends() {
    let (head, tail) = TOKEN.split_at(20);
    let requests =
        [one("body", &format!("{}{head}", "x".repeat(5000))), one("body", &format!("{tail}{}", "y".repeat(5000)))];
    assert_eq!(seen(&mut across(), &requests, TOKEN), [1]);
}

#[test]
fn a_domain_is_what_somebody_registered() {
    for (host, domain, below) in [
        ("a.b.example.co.uk", "example.co.uk", &["a", "b"][..]),
        ("example.com", "example.com", &[]),
        ("x.someone.github.io", "someone.github.io", &["x"]),
        ("192.0.2.1", "192.0.2.1", &[]),
        ("[2001:db8::1]", "[2001:db8::1]", &[]),
        ("localhost", "localhost", &[]),
        ("com", "com", &[]),
        ("", "", &[]),
    ] {
        assert_eq!((registrable(host), labels(host).collect::<Vec<_>>().as_slice()), (domain, below), "{host}");
    }
}
