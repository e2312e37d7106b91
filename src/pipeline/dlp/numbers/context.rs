//! The words about a number: its name, or the name of something else.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::table::{Kind, RULES};

/// How far before a number its name may stand, in bytes.
pub(super) const BEFORE: usize = 64;
/// How far after it.
pub(super) const AFTER: usize = 32;

/// What the words about a number say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    /// Which rules are named: a bit for each.
    names: u128,
    last: Option<Word>,
}

/// What a word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// The name of these rules' number.
    Names(u128),
    /// The name of something else, as which the number is not personal: an order, a time.
    Denies,
    /// A name that says nothing, but ends what an earlier one said.
    Clears,
}

/// Names of numbers of whatever state.
const ANY_STATE: &[&str] = &[
    "national id",
    "national identification",
    "national identity",
    "national number",
    "identity number",
    "identity card",
    "identity document",
    "identification number",
    "identification no",
    "id number",
    "id no",
    "id card",
    "citizen id",
    "citizen number",
    "government id",
    "govt id",
    "personal number",
    "personal id",
    "personal identification",
    "person number",
    "tax id",
    "tax identification",
    "tax number",
    "taxpayer id",
    "taxpayer number",
    "tin",
    "social security",
    "social insurance",
    "documento",
    "documento de identidad",
];

/// What a number is the number of that is not personal.
const OTHERS: &[&str] = &[
    "order",
    "orders",
    "tracking",
    "invoice",
    "ticket",
    "build",
    "version",
    "revision",
    "timestamp",
    "epoch",
    "serial",
    "sku",
    "isbn",
    "issn",
    "imei",
    "part",
    "model",
    "upc",
    "ean",
    "gtin",
    "barcode",
    "commit",
    "hash",
    "sha",
    "uuid",
    "guid",
    "session",
    "transaction",
    "reference",
    "ref",
    "batch",
    "lot",
    "port",
    "pid",
    "seq",
    "sequence",
    "offset",
    "bytes",
    "checksum",
    "duration",
    "latitude",
    "longitude",
    "request",
    "trace",
    "span",
    "device",
    "asset",
    "catalog",
    "product",
    "docket",
    "release",
    "created at",
    "updated at",
    "expires",
    "unix time",
    "nonce",
    "snowflake",
    "tweet",
    "shipment",
    "parcel",
    "flight",
    "error code",
    "block",
    "row",
    "line",
    "commit id",
    "job",
    "run",
    "iccid",
    "vin",
];

/// Names that something else begins with.
const CLEARING: &[&str] = &[
    "id",
    "ids",
    "phone",
    "telephone",
    "tel",
    "mobile",
    "fax",
    "zip",
    "postcode",
    "postal code",
    "amount",
    "price",
    "total",
    "size",
    "count",
    "length",
    "score",
    "quantity",
    "qty",
    "user id",
    "customer id",
    "account id",
    "message id",
];

impl Context {
    /// Reads what stands about a number. The nearest name before it counts, and one after it where none stands before.
    pub(super) fn about(text: &[u8], window: &Range<usize>) -> Self {
        let start = window.start.saturating_sub(BEFORE);
        let mut context = Self { names: 0, last: None };
        context.read(&Plain::of(text.get(start..window.start).unwrap_or_default()));
        if context.last.is_none() {
            let after = text.get(window.end..text.len().min(window.end + AFTER)).unwrap_or_default();
            // Behind these something else begins.
            let end = after.iter().position(|byte| b"\":=,;\n<>{}&".contains(byte)).unwrap_or(after.len());
            context.read(&Plain::of(after.get(..end).unwrap_or_default()));
            if !matches!(context.last, Some(Word::Names(_))) {
                context.last = None;
            }
        }
        context
    }

    /// True if a word names the rule at this place of the table.
    pub(super) fn names(&self, index: usize) -> bool {
        self.names >> index & 1 == 1
    }

    /// True if the nearest word says that it is something else. `id` says so of the digits of an account, which have no
    /// separators then, and not of what a state gives out.
    pub(super) fn denies(&self, kind: Kind, bare: bool) -> bool {
        match self.last {
            Some(Word::Denies) => true,
            Some(Word::Clears) => bare && kind == Kind::Financial,
            Some(Word::Names(_)) | None => false,
        }
    }

    fn read(&mut self, plain: &Plain) {
        let words = &*WORDS;
        let Some(automaton) = &words.automaton else { return };
        for found in automaton.find_iter(plain.as_bytes()) {
            if !plain.is_whole(found.range()) {
                continue;
            }
            let Some(word) = words.meanings.get(found.pattern().as_usize()) else { continue };
            match word {
                Word::Names(rules) => self.names |= rules,
                Word::Denies | Word::Clears => self.names = 0,
            }
            self.last = Some(*word);
        }
    }
}

static WORDS: LazyLock<Words> = LazyLock::new(Words::new);

struct Words {
    automaton: Option<AhoCorasick>,
    meanings: Vec<Word>,
}

impl Words {
    fn new() -> Self {
        let mut words: Vec<(&'static str, Word)> = Vec::new();
        let mut add = |text: &'static str, new: Word| match words.iter_mut().find(|(other, _)| *other == text) {
            Some((_, Word::Names(old))) => {
                if let Word::Names(new) = new {
                    *old |= new;
                }
            }
            Some(_) => {}
            None => words.push((text, new)),
        };
        let mut states = 0;
        for (index, rule) in RULES.iter().enumerate() {
            rule.words.iter().for_each(|text| add(text, Word::Names(1 << index)));
            if rule.kind == Kind::GovId && rule.check.is_some() {
                states |= 1 << index;
            }
        }
        ANY_STATE.iter().for_each(|text| add(text, Word::Names(states)));
        OTHERS.iter().for_each(|text| add(text, Word::Denies));
        CLEARING.iter().for_each(|text| add(text, Word::Clears));
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(words.iter().map(|(text, _)| text));
        // A table of some hundred short words is never too large for one: a test sees to it.
        Self { automaton: automaton.ok(), meanings: words.into_iter().map(|(_, word)| word).collect() }
    }
}

/// A text in small letters, with single spaces between its words: `SocialSecurity_no.` reads `social security no`.
pub(super) struct Plain {
    bytes: [u8; Plain::MOST],
    len: usize,
}

impl Plain {
    const MOST: usize = 2 * BEFORE;

    pub(super) fn of(text: &[u8]) -> Self {
        let mut plain = Self { bytes: [0; Self::MOST], len: 0 };
        let mut small = false;
        for byte in text {
            match byte {
                b'A'..=b'Z' => {
                    if small {
                        plain.space();
                    }
                    plain.push(byte.to_ascii_lowercase());
                }
                b'a'..=b'z' | b'0'..=b'9' | 0x80.. => plain.push(*byte),
                // `driver's` is `drivers`.
                b'\'' => {}
                b' ' | b'_' | b'-' | b'.' | b'/' | b'#' | b'\t' => plain.space(),
                other => {
                    plain.space();
                    plain.push(*other);
                }
            }
            small = byte.is_ascii_lowercase();
        }
        plain
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn space(&mut self) {
        let last = self.len.checked_sub(1).and_then(|last| self.bytes.get(last));
        if last != Some(&b' ') {
            self.push(b' ');
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// True if no word of ASCII goes on at either end; other alphabets may have no spaces.
    pub(super) fn is_whole(&self, range: Range<usize>) -> bool {
        let text = self.as_bytes();
        let inner = text.get(range.clone()).unwrap_or_default();
        let goes_on = |end: Option<&u8>, beyond: Option<&u8>| {
            end.is_some_and(u8::is_ascii_alphanumeric) && beyond.is_some_and(u8::is_ascii_alphabetic)
        };
        !goes_on(inner.first(), range.start.checked_sub(1).and_then(|at| text.get(at)))
            && !goes_on(inner.last(), text.get(range.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_however_they_are_written() {
        let plain = |text: &str| String::from_utf8(Plain::of(text.as_bytes()).as_bytes().to_vec()).unwrap();
        assert_eq!(plain("socialSecurity_no.  X"), "social security no x");
        assert_eq!(plain("Driver's-License"), "drivers license");
        assert_eq!(plain("SSN"), "ssn");
    }

    #[test]
    fn the_nearest_name_counts() {
        let ssn = RULES.iter().position(|rule| rule.id == "pii-us-ssn").unwrap();
        let about = |text: &str| {
            let at = text.find('0').unwrap();
            Context::about(text.as_bytes(), &(at..at + 9))
        };
        for text in ["SSN: 000000000", "\"ssn\":\"000000000", "customerSsn=000000000", "000000000 is my SSN"] {
            assert!(about(text).names(ssn), "{text}");
        }
        for text in ["ssn none, order 000000000", "lessn 000000000", "000000000\", \"ssn\"", "000000000 at the SSA"] {
            assert!(!about(text).names(ssn), "{text}");
        }
        assert!(about("order no 000000000").denies(Kind::GovId, false));
        assert!(about("id 000000000").denies(Kind::Financial, true));
        assert!(
            !about("id 000000000").denies(Kind::GovId, true) && !about("id 000000000").denies(Kind::Financial, false)
        );
    }
}
