//! Looks for secrets in bytes, however they are written.

use std::collections::BTreeMap;
use std::ops::Range;

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// How much of a value tells it: who cuts a text to a length leaves its beginning or its end.
const TELLING: usize = 12;

/// Values that must stand nowhere, in every spelling that they could be written in.
pub struct Needles {
    names: Vec<&'static str>,
    /// Of each spelling: whose it is, and how it is written.
    spellings: Vec<(usize, &'static str)>,
    automaton: AhoCorasick,
}

impl Needles {
    pub fn new<'v>(values: impl IntoIterator<Item = (&'static str, &'v str)>) -> Needles {
        let (mut names, mut spellings, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for (name, value) in values {
            assert!(value.len() >= TELLING && value.is_ascii(), "`{name}` would be found anywhere");
            let mut spelled = Spelled::default();
            for (part, value) in
                [("whole", value), ("beginning", &value[..TELLING]), ("end", &value[value.len() - TELLING..])]
            {
                spelled.spell(part, value.as_bytes());
            }
            for (how, text) in spelled.0 {
                spellings.push((names.len(), how));
                texts.push(text);
            }
            names.push(name);
        }
        Needles { names, spellings, automaton: AhoCorasick::new(texts).unwrap() }
    }

    /// Each that stands there, but for those that may: how it is written, and around what.
    pub fn find(&self, bytes: &[u8], may: &[&str]) -> Vec<String> {
        let mut found = BTreeMap::new();
        for there in self.automaton.find_overlapping_iter(bytes) {
            let (owner, how) = self.spellings[there.pattern()];
            if !may.contains(&self.names[owner]) {
                found.entry(owner).or_insert((how, there.range()));
            }
        }
        let tell = |(owner, (how, at)): (usize, (&str, Range<usize>))| {
            let around = &bytes[at.start.saturating_sub(200)..(at.end + 160).min(bytes.len())];
            format!("`{}` ({how}): …{}…", self.names[owner], String::from_utf8_lossy(around))
        };
        found.into_iter().map(tell).collect()
    }
}

/// The spellings of one value.
#[derive(Default)]
struct Spelled(Vec<(&'static str, Vec<u8>)>);

impl Spelled {
    fn spell(&mut self, part: &'static str, value: &[u8]) {
        let each = |write: &dyn Fn(&u8) -> String| -> Vec<u8> { value.iter().map(write).collect::<String>().into() };
        let mut add = |how: &'static str, spelling: Vec<u8>| {
            // A part in fewer letters than the whole has would be found by chance.
            if spelling.len() >= TELLING && self.0.iter().all(|(_, known)| *known != spelling) {
                self.0.push((how, spelling));
            }
        };
        add(part, value.to_vec());
        add("in small letters", value.to_ascii_lowercase());
        add("in capitals", value.to_ascii_uppercase());
        add("reversed", value.iter().rev().copied().collect());
        add("hex", each(&|byte| format!("{byte:02x}")));
        add("HEX", each(&|byte| format!("{byte:02X}")));
        add("percent", each(&|byte| format!("%{byte:02X}")));
        add(
            "percent, as browsers do it",
            each(&|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
                byte => format!("%{byte:02X}"),
            }),
        );
        add("percent, in small letters", each(&|byte| format!("%{byte:02x}")));
        add("escapes", each(&|byte| format!("\\u{byte:04x}")));
        let quoted = serde_json::to_string(std::str::from_utf8(value).unwrap()).unwrap();
        add("as JSON", quoted.trim_matches('"').into());
        add("as JSON in JSON", quoted.trim_matches('"').replace('\\', "\\\\").into());
        add("numbers", value.iter().map(u8::to_string).collect::<Vec<_>>().join(", ").into());
        for before in 0..3 {
            let text = [vec![0; before], value.to_vec()].concat();
            // The characters at either end hold bits of what stands beside it.
            let (first, cut) = ([0, 2, 3][before], usize::from(text.len() % 3 != 0));
            for (how, encoded) in
                [("base64", STANDARD_NO_PAD.encode(&text)), ("base64url", URL_SAFE_NO_PAD.encode(&text))]
            {
                add(how, encoded[first..encoded.len() - cut].into());
            }
        }
    }
}

#[test]
fn a_value_is_found_in_every_spelling() {
    const VALUE: &str = "q9/Zt4+Wm2=Kp7\"Rv5Bn8>d?";
    let needles = Needles::new([("it", VALUE), ("another", "4539578763621486")]);
    let each = |write: fn(u8) -> String| VALUE.bytes().map(write).collect::<String>();
    let cut = |text: &str| (text[..15].to_owned(), text[text.len() - 15..].to_owned());
    let mut planted = vec![
        VALUE.to_owned(),
        VALUE.to_lowercase(),
        VALUE.to_uppercase(),
        VALUE.chars().rev().collect(),
        each(|byte| format!("{byte:02x}")),
        each(|byte| format!("{byte:02X}")),
        each(|byte| format!("%{byte:02X}")),
        each(|byte| format!("%{byte:02x}")),
        each(|byte| format!("\\u{byte:04x}")),
        "q9%2FZt4%2BWm2%3DKp7%22Rv5Bn8%3Ed%3F".to_owned(),
        serde_json::json!({"a": VALUE}).to_string(),
        serde_json::json!({"a": serde_json::json!({"b": VALUE}).to_string()}).to_string(),
        format!("{:?}", VALUE.as_bytes()),
        cut(VALUE).0,
        cut(VALUE).1,
    ];
    for before in ["", "a", "ab", "abc"] {
        for after in ["", "z", "zz"] {
            let text = format!("{before}{VALUE}{after}");
            planted.extend([base64::engine::general_purpose::STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)]);
        }
    }
    for text in planted {
        let hay = [b"\xff\x00 before ".as_slice(), text.as_bytes(), b" after\x00"].concat();
        assert!(needles.find(&hay, &[]).len() == 1, "{text}");
        assert!(needles.find(&hay, &["it"]).is_empty() && needles.find(&hay[..12], &[]).is_empty());
    }
    assert!(needles.find(b"q9/Zt4 +Wm2=Kp7 *** and whatever else stands in a log", &[]).is_empty());
}
