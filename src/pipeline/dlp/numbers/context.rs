//! The words about a number: its name, or the name of something else.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::table::{Kind, RULES};

/// How far before a number its name may stand, in bytes.
pub(super) const BEFORE: usize = 64;
/// How far after it.
pub(super) const AFTER: usize = 32;

/// What the words about a number say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    /// Which rules are named: a bit for each.
    pub(super) names: u128,
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
        context.read(text.get(start..window.start).unwrap_or_default());
        if context.last.is_none() {
            let after = text.get(window.end..text.len().min(window.end + AFTER)).unwrap_or_default();
            // Behind these something else begins.
            let end = after.iter().position(|byte| b"\":=,;\n<>{}&".contains(byte)).unwrap_or(after.len());
            context.read(after.get(..end).unwrap_or_default());
            if !matches!(context.last, Some(Word::Names(_))) {
                context.last = None;
            }
        }
        context
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

    fn read(&mut self, text: &[u8]) {
        // A table of figures has no words: that costs no more than a look.
        if !text.iter().fold(false, |any, byte| any | is_letter(*byte)) {
            return;
        }
        let table = &*WORDS;
        let words = Words::of(text);
        let mut words = words.as_slice();
        while let Some((_, rest)) = words.split_first() {
            words = match table.longest(words) {
                Some((length, word)) => {
                    self.hear(word);
                    words.get(length..).unwrap_or_default()
                }
                None => rest,
            };
        }
        // Chinese, Japanese, Korean and Thai put no spaces between words: three bytes for each letter.
        if text.iter().any(|byte| *byte >= 0xe0)
            && let Some(automaton) = &table.unspaced
        {
            for found in automaton.find_iter(text) {
                let word = table.of_unspaced.get(found.pattern().as_usize());
                word.into_iter().for_each(|word| self.hear(*word));
            }
        }
    }

    fn hear(&mut self, word: Word) {
        match word {
            Word::Names(rules) => self.names |= rules,
            Word::Denies | Word::Clears => self.names = 0,
        }
        self.last = Some(word);
    }
}

static WORDS: LazyLock<Table> = LazyLock::new(Table::new);

/// What is known of words: by the hash of the first of them, longest first.
struct Table {
    buckets: Vec<Vec<(Vec<u64>, Word)>>,
    unspaced: Option<AhoCorasick>,
    of_unspaced: Vec<Word>,
}

const BITS: u32 = 11;

fn bucket(hash: u64) -> usize {
    (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as usize
}

impl Table {
    fn new() -> Self {
        let mut words: Vec<(&'static str, Word)> = Vec::new();
        let mut add = |text: &'static str, new: Word| match (words.iter_mut().find(|(other, _)| *other == text), new) {
            (Some((_, Word::Names(old))), Word::Names(new)) => *old |= new,
            (Some(_), _) => {}
            (None, new) => words.push((text, new)),
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
        let (unspaced, spaced): (Vec<_>, Vec<_>) =
            words.into_iter().partition(|(text, _)| text.bytes().any(|byte| byte >= 0xe0));
        let mut buckets = vec![Vec::new(); 1 << BITS];
        for (text, word) in spaced {
            let hashes = Words::of(text.as_bytes()).as_slice().to_vec();
            let first = hashes.first().map_or(0, |hash| bucket(*hash));
            buckets.get_mut(first).into_iter().for_each(|bucket: &mut Vec<_>| bucket.push((hashes.clone(), word)));
        }
        for bucket in &mut buckets {
            bucket.sort_by_key(|(hashes, _)| std::cmp::Reverse(hashes.len()));
        }
        Self {
            buckets,
            unspaced: AhoCorasick::new(unspaced.iter().map(|(text, _)| text)).ok(),
            of_unspaced: unspaced.into_iter().map(|(_, word)| word).collect(),
        }
    }

    /// The most words from the first on that say something, and how many they are.
    fn longest(&self, words: &[u64]) -> Option<(usize, Word)> {
        let bucket = self.buckets.get(bucket(*words.first()?))?;
        let (known, word) = bucket.iter().find(|(known, _)| words.starts_with(known))?;
        Some((known.len(), *word))
    }
}

/// Of whatever alphabet: beyond ASCII all count as letters.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() | (byte >= 0x80)
}

/// The words of a text, as hashes: runs of letters, which end where a capital follows a small letter, too:
/// `SocialSecurity_no.` is `social`, `security` and `no`.
pub(super) struct Words {
    hashes: [u64; Words::MOST],
    len: usize,
}

impl Words {
    /// A text of [`BEFORE`] bytes has no more.
    const MOST: usize = BEFORE / 2 + 1;

    pub(super) fn of(text: &[u8]) -> Self {
        // FNV-1a.
        const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x100_0000_01b3;
        let mut words = Self { hashes: [0; Self::MOST], len: 0 };
        let mut hash = BASIS;
        let mut small = false;
        for byte in text {
            let letter = is_letter(*byte);
            let capital = byte.is_ascii_uppercase();
            if hash != BASIS && ((capital && small) || !(letter || *byte == b'\'')) {
                words.push(hash);
                hash = BASIS;
            }
            if letter {
                hash = (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(PRIME);
            }
            small = byte.is_ascii_lowercase();
        }
        if hash != BASIS {
            words.push(hash);
        }
        words
    }

    pub(super) fn as_slice(&self) -> &[u64] {
        self.hashes.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, hash: u64) {
        if let Some(place) = self.hashes.get_mut(self.len) {
            *place = hash;
            self.len += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_however_they_are_written() {
        let same =
            |one: &str, other: &str| Words::of(one.as_bytes()).as_slice() == Words::of(other.as_bytes()).as_slice();
        assert!(same("socialSecurity_no.  X", "social security no x") && same("Driver's-License", "drivers license"));
        assert!(same("SSN", "ssn") && same("\"ssn1\":", "ssn") && !same("ssna", "ssn") && !same("", "ssn"));
        assert_eq!(Words::of("a1".repeat(BEFORE / 2).as_bytes()).as_slice().len(), BEFORE / 2);
    }

    #[test]
    fn the_nearest_name_counts() {
        let ssn = RULES.iter().position(|rule| rule.id == "pii-us-ssn").unwrap();
        let about = |text: &str| {
            let at = text.find('0').unwrap();
            Context::about(text.as_bytes(), &(at..at + 9))
        };
        for text in ["SSN: 000000000", "\"ssn\":\"000000000", "customerSsn=000000000", "000000000 is my SSN"] {
            assert_eq!(about(text).names >> ssn & 1, 1, "{text}");
        }
        for text in ["ssn none, order 000000000", "lessn 000000000", "000000000\", \"ssn\"", "000000000 at the SSA"] {
            assert_eq!(about(text).names >> ssn & 1, 0, "{text}");
        }
        assert!(about("order no 000000000").denies(Kind::GovId, false));
        assert!(about("id 000000000").denies(Kind::Financial, true));
        assert!(
            !about("id 000000000").denies(Kind::GovId, true) && !about("id 000000000").denies(Kind::Financial, false)
        );
    }
}
