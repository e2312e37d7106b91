use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use data_encoding::{BASE32, HEXLOWER, HEXUPPER};
use proptest::prelude::*;

use super::*;

const NONE: &[&str] = &[];
const TOKEN: &str = "sk-proj-9aF3kLm20QzX7vB1nT5wR8yU";

fn known(value: &[u8]) -> Known {
    let (known, weak) = Known::new([(Held::credential("key"), value)], NONE);
    assert_eq!(weak, [], "{value:?}");
    known
}

fn all(known: &Known, text: &[u8]) -> Vec<(Range<usize>, Option<Step>, bool)> {
    let mut found = Vec::new();
    known.find(text, &mut |m| found.push((m.range, m.step, m.whole)));
    found
}

fn finds(known: &Known, text: &[u8], step: Option<Step>) -> bool {
    all(known, text).iter().any(|(_, how, whole)| *whole && *how == step)
}

fn base85(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(4) {
        let mut padded = [0; 4];
        padded[..group.len()].copy_from_slice(group);
        let word = u32::from_be_bytes(padded);
        let digits = [85_u32.pow(4), 85_u32.pow(3), 85_u32.pow(2), 85, 1].map(|unit| word / unit % 85);
        text.extend(digits[..group.len() + 1].iter().map(|digit| char::from(b'!' + *digit as u8)));
    }
    text
}

/// What a person would take for a secret: of 8 bytes and more, and not weak.
fn secrets() -> impl Strategy<Value = Vec<u8>> {
    let any = prop::collection::vec(any::<u8>().prop_map(|b| 0x21 + b % 94), 8..90);
    any.prop_filter("weak", |value| weakness(value).is_none())
}

proptest! {
    #[test]
    fn a_value_is_found_in_every_encoding_at_every_alignment(
        value in secrets(), before in prop::collection::vec(any::<u8>(), 0..9), after in prop::collection::vec(any::<u8>(), 0..9),
        margin in "[ -~]{0,9}",
    ) {
        let known = known(&value);
        let around = [&before[..], &value, &after].concat();
        let set = |text: String| format!("{margin}{text}{margin}").into_bytes();
        let text = String::from_utf8(value.clone()).unwrap();
        let there = before.len()..before.len() + value.len();
        // What stands before it may make it an escaped one: then that is told, and is no smaller.
        let holds = |range: &Range<usize>| range.start <= there.start && there.end <= range.end;
        prop_assert!(all(&known, &around).iter().any(|(range, _, whole)| *whole && holds(range)));
        let reversed = set(text.chars().rev().collect());
        prop_assert!(finds(&known, &reversed, Some(Step::Reversed)) || finds(&known, &reversed, None));
        let json = set(serde_json::to_string(&text).unwrap());
        prop_assert!(finds(&known, &json, Some(Step::Escapes)) || finds(&known, &json, None));
        let percent: String = text.bytes().map(|b| match b {
            b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
            b => format!("%{b:02x}"),
        }).collect();
        let exact = value.len() < 16;
        let percent = set(if exact { percent.to_uppercase() } else { percent });
        prop_assert!(exact || finds(&known, &percent, Some(Step::Percent)) || finds(&known, &percent, None));
        for encoded in [STANDARD.encode(&around), URL_SAFE.encode(&around)] {
            prop_assert!(finds(&known, &set(encoded.clone()), Some(Step::Base64)), "{encoded}");
        }
        for encoded in [HEXLOWER.encode(&around), HEXUPPER.encode(&around)] {
            prop_assert!(finds(&known, &set(encoded), Some(Step::Hex)));
        }
        for encoded in [BASE32.encode(&around), BASE32.encode(&around).to_lowercase()] {
            prop_assert!(finds(&known, &set(encoded), Some(Step::Base32)));
        }
        if value.len() >= 12 {
            prop_assert!(finds(&known, &set(base85(&around)), Some(Step::Base85)));
        }
    }

    #[test]
    fn what_is_found_lies_where_the_value_does(value in secrets(), before in 0..40_usize, after in 0..40_usize) {
        let text = [&vec![b' '; before], &value[..], &vec![b' '; after]].concat();
        prop_assert_eq!(all(&known(&value), &text), [(before..before + value.len(), None, true)]);
    }

    #[test]
    fn sixteen_bytes_of_a_long_value_are_found_in_every_encoding(
        value in any::<u64>().prop_map(token).prop_filter("parts", |v| strength::parts(v.as_bytes(), NONE).iter().eq([&(0..v.len())])),
        from in 0..64_usize, more in 0..8_usize, before in "[ ,;\"]{0,9}", lead in 0..15_usize,
    ) {
        let from = from % (value.len() - 15);
        let piece = &value[from..(from + 16 + more).min(value.len())];
        let known = known(value.as_bytes());
        let partial = |text: &str| {
            let text = format!("{before}{text}{before}");
            let found = all(&known, text.as_bytes());
            found.len() == 1 && found[0].0.len() <= text.len() - 2 * before.len()
        };
        let around = [&vec![7; lead][..], piece.as_bytes(), &[7; 9]].concat();
        prop_assert!(partial(piece));
        prop_assert!(partial(&piece.chars().rev().collect::<String>()));
        prop_assert!(partial(&STANDARD.encode(&around)));
        prop_assert!(partial(&HEXUPPER.encode(&around)));
        prop_assert!(partial(&BASE32.encode(&around)));
    }

    #[test]
    fn the_beginning_of_a_value_is_held_back(value in secrets(), before in "[ -~]{0,30}", cut in 1..90_usize) {
        let known = known(&value);
        let cut = cut % value.len();
        let text = [before.as_bytes(), &value[..cut]].concat();
        prop_assert!(known.open_suffix(&text) >= cut);
        let encoded = STANDARD.encode(&value);
        let text = [before.as_bytes(), &encoded.as_bytes()[..cut]].concat();
        prop_assert!(known.open_suffix(&text) >= cut);
        prop_assert!(known.open_suffix(&text) < known.longest());
    }

    #[test]
    fn nothing_is_found_in_other_texts(text in prop::collection::vec(any::<u8>(), 0..4000)) {
        prop_assert_eq!(all(&known(TOKEN.as_bytes()), &text), []);
    }
}

#[test]
fn a_value_that_begins_with_a_quote_is_told_as_escaped_behind_a_backslash() {
    let quoted = known(b"\"####$%'");
    assert_eq!(all(&quoted, b"\"####$%'"), [(0..8, None, true)]);
    assert_eq!(all(&quoted, b"\\\"####$%'"), [(0..9, Some(Step::Escapes), true)]);
    assert_eq!(all(&quoted, b"\\\\\"####$%'"), [(1..10, Some(Step::Escapes), true)]);
}

#[test]
fn nothing_is_found_in_megabytes_of_anything_else() {
    let values: Vec<Vec<u8>> = (0..100_u64).map(|seed| Noise(seed + 7).take(20 + seed as usize).collect()).collect();
    let credentials = values.iter().map(|value| (Held::credential("key"), value.as_slice()));
    let (known, weak) = Known::new(credentials, NONE);
    assert!(weak.is_empty());
    let printable: Vec<u8> = Noise(99_999).take(1 << 20).collect();
    let encoded = STANDARD.encode(&printable);
    for text in [printable.as_slice(), encoded.as_bytes(), HEXLOWER.encode(&printable).as_bytes()] {
        assert_eq!(all(&known, text), []);
    }
}

/// Of 24 to 87 letters and digits.
fn token(seed: u64) -> String {
    Noise(seed).map(char::from).filter(char::is_ascii_alphanumeric).take(24 + (seed % 64) as usize).collect()
}

/// Letters and digits in no order that anything else has.
struct Noise(u64);

impl Iterator for Noise {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[(self.0 >> 58) as usize])
    }
}

#[test]
fn what_it_has_in_common_with_others_is_no_leak() {
    let known = known(TOKEN.as_bytes());
    for text in [
        "sk-proj-",
        "sk-proj-9aF3kLm20QzX7vB",
        "sk-proj-aaaaaaaaaaaaaaaaaaaaaaaa",
        "9aF3kLm20QzX7vB",
        "prefix sk-proj-AAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        assert_eq!(all(&known, text.as_bytes()), [], "{text}");
    }
    assert_eq!(all(&known, b"x 9aF3kLm20QzX7vB1 y"), [(2..18, None, false)]);
    assert_eq!(all(&known, b"x j-9aF3kLm20QzX7vB1 y"), [(2..20, None, false)]);
}

#[test]
fn a_host_name_has_lost_the_case_and_tells_all_the_same() {
    let text = format!("{}.example.com", TOKEN.to_lowercase());
    assert_eq!(all(&known(TOKEN.as_bytes()), text.as_bytes()), [(0..TOKEN.len(), None, true)]);
    assert_eq!(all(&known(b"xK9#mQ2$w"), b"xk9#mq2$w"), [], "a short one is another in another case");
}

#[test]
fn characters_that_carry_some_of_the_value_are_part_of_the_match() {
    let encoded = STANDARD.encode(format!("a{TOKEN}b"));
    let [(range, Some(Step::Base64), true)] = &all(&known(TOKEN.as_bytes()), encoded.as_bytes())[..] else { panic!() };
    let rest = format!("{}{}", &encoded[..range.start], &encoded[range.end..]);
    assert_eq!((range.start, rest.trim_end_matches('=').len()), (1, 3), "{encoded} {range:?}");
}

#[test]
fn placeholders_and_weak_values_are_not_looked_for_and_named() {
    let held = |name: &str| Held::credential(name);
    let values: [(Held, &[u8]); 4] = [
        (held("a"), b"changeme"),
        (held("b"), b"xK9#mQ"),
        (held("c"), b"agent-Holds-1t"),
        (held("d"), TOKEN.as_bytes()),
    ];
    let (known, weak) = Known::new(values, &["Bearer agent-holds-1t", "sk-proj-9aF3kLm20QzX7vB1-demo"]);
    let told: Vec<_> = weak.iter().map(TooWeak::to_string).collect();
    assert_eq!(
        told,
        [
            "`a` is not looked for in messages: it reads like a word",
            "`b` is not looked for in messages: it has fewer than 8 bytes",
            "`c` is not looked for in messages: it stands in a placeholder that agents may hold",
        ]
    );
    assert_eq!(all(&known, b"changeme xK9#mQ agent-Holds-1t sk-proj-9aF3kLm20QzX7vB1-demo"), []);
    assert_eq!(all(&known, TOKEN.as_bytes()), [(0..TOKEN.len(), None, true)]);
}

#[test]
fn a_canary_is_told_from_a_credential_and_none_shows_its_value() {
    let values = [(Held::credential("key"), TOKEN.as_bytes()), (Held::canary("trap"), b"Canary-4711-xyzzy")];
    let (known, _) = Known::new(values, NONE);
    let mut found = Vec::new();
    known.find(format!("{TOKEN} Canary-4711-xyzzy").as_bytes(), &mut |m| {
        found.push((m.held.category(), m.confidence()))
    });
    let confirmed = Confidence::Confirmed;
    assert_eq!(found.len(), 2);
    assert!(found.contains(&(Category::Canary, confirmed)) && found.contains(&(Category::KnownSecret, confirmed)));
    assert_eq!(format!("{known:?}"), "Known { values: 2, .. }");
}

#[test]
fn a_key_is_found_without_its_line_ends_and_by_its_lines() {
    let lines: Vec<String> =
        (0..10).map(|line| Noise(line).map(char::from).filter(|c| c.is_alphanumeric()).take(64).collect()).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
    let account = serde_json::json!({"type": "service_account", "private_key": pem}).to_string();
    for value in [&pem, &account] {
        let known = known(value.as_bytes());
        assert!(finds(&known, lines.concat().as_bytes(), None));
        assert_eq!(all(&known, lines[5].as_bytes()), [(0..64, None, false)]);
        assert!(finds(&known, STANDARD.encode(value).as_bytes(), Some(Step::Base64)));
        assert_eq!(all(&known, b"-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ"), []);
        assert_eq!(all(&known, br#"{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\n"}"#), []);
    }
    let url = known(b"postgres://app:p4ss-w0rd@db.example.com:5432/app");
    assert!(finds(&url, b"the password is p4ss-w0rd", None));
    assert_eq!(all(&url, b"postgres://other@db.example.com:5432/app"), []);
}

#[test]
fn each_has_a_version_of_its_own() {
    assert_ne!(known(TOKEN.as_bytes()).version(), known(TOKEN.as_bytes()).version());
}

#[test]
fn nothing_is_held_back_that_begins_no_value() {
    let known = known(TOKEN.as_bytes());
    assert_eq!((known.open_suffix(b""), known.open_suffix(b"\xff\xff\xff")), (0, 0));
    assert_eq!(known.open_suffix(b"the quick brown fox jumps over sk-pro"), 6);
    assert_eq!(
        known.open_suffix(TOKEN.as_bytes()),
        known.open_suffix(&TOKEN.as_bytes()[1..]),
        "the whole is no beginning"
    );
    let none = Known::default();
    assert_eq!((none.open_suffix(b"sk-pro"), none.longest(), none.is_empty()), (0, 0, true));
    assert_eq!(all(&none, TOKEN.as_bytes()), []);
}

#[test]
fn values_that_begin_alike_are_each_found_wherever_they_stand() {
    let values: Vec<String> = (10..90).map(|n| format!("t3am-key-{n}")).collect();
    let held = values.iter().map(|value| (Held::canary(value.as_str()), value.as_bytes()));
    let (known, weak) = Known::new(held, NONE);
    assert!(weak.is_empty());
    for value in &values {
        for before in 0..9 {
            let mut found = Vec::new();
            let text = format!("{}{value}", &"         "[..before]);
            known.find(text.as_bytes(), &mut |m| found.push((m.held.name.to_string(), m.range)));
            assert_eq!(found, [(value.clone(), before..before + value.len())]);
        }
    }
}

#[test]
fn windows_that_values_share_are_left_out_and_all_is_found_still() {
    let shared = "a-very-common-beginning-that-all-have/".repeat(40);
    let tail = |n| Noise(n).take(30).map(char::from).collect::<String>();
    let values: Vec<String> = (0..24).map(|n| format!("{shared}{}", tail(n))).collect();
    let (known, _) = Known::new(values.iter().map(|value| (Held::credential("key"), value.as_bytes())), NONE);
    assert_eq!(all(&known, shared.repeat(20).as_bytes()), []);
    for value in &values {
        assert!(
            finds(&known, value.as_bytes(), None)
                && finds(&known, STANDARD.encode(value).as_bytes(), Some(Step::Base64))
        );
    }
}
