//! The words about a number: its name, or the name of something else.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use smallvec::SmallVec;

use super::table::{Kind, RULES};

/// How far before a number its name may stand, in bytes.
pub(super) const BEFORE: usize = 64;
/// How far after it.
pub(super) const AFTER: usize = 32;

/// What the words about a number say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Context {
    /// Which rules are named: a bit for each.
    pub(super) names: u128,
    nearest: Option<Word>,
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
    "user id number",
    "customer id",
    "customer id number",
    "account id",
    "account id number",
    "message id",
];

/// Reads what stands about numbers. What stands before a place is read once, however many numbers may begin there.
#[derive(Debug, Default)]
pub(super) struct Reader {
    before: Option<(usize, Context)>,
}

impl Reader {
    /// The nearest name before a number counts, and one after it where none stands before.
    pub(super) fn about(&mut self, text: &[u8], window: &Range<usize>) -> Context {
        let before = match self.before {
            Some((start, context)) if start == window.start => context,
            _ => {
                let near = window.start.saturating_sub(BEFORE);
                let context = Context::of(text.get(near..window.start).unwrap_or_default());
                self.before = Some((window.start, context));
                context
            }
        };
        if before.nearest.is_some() {
            return before;
        }
        let after = text.get(window.end..text.len().min(window.end + AFTER)).unwrap_or_default();
        // Behind these something else begins.
        let end = after.iter().position(|byte| b"\":=,;\n<>{}&".contains(byte)).unwrap_or(after.len());
        let after = Context::of(after.get(..end).unwrap_or_default());
        if matches!(after.nearest, Some(Word::Names(_))) { after } else { before }
    }
}

impl Context {
    /// True if the nearest word says that it is something else. `id` says so of the digits of an account, which have no
    /// separators then, and not of what a state gives out.
    pub(super) fn denies(&self, kind: Kind, bare: bool) -> bool {
        match self.nearest {
            Some(Word::Denies) => true,
            Some(Word::Clears) => bare && kind == Kind::Financial,
            Some(Word::Names(_)) | None => false,
        }
    }

    /// Reads from the end on: what the last word that is known says, and the names before it up to one that ends them.
    fn of(text: &[u8]) -> Self {
        let mut context = Self::default();
        // A table of figures has no words: that costs no more than a look.
        let (letters, unspaced) = text
            .iter()
            .fold((false, false), |(letters, unspaced), byte| (letters | is_letter(*byte), unspaced | (*byte >= 0xe0)));
        if !letters {
            return context;
        }
        let table = &*WORDS;
        // Chinese, Japanese, Korean and Thai put no spaces between words: three bytes for each letter.
        if unspaced && let Some(automaton) = &table.unspaced {
            let found: SmallVec<[Word; 8]> = automaton
                .find_iter(text)
                .filter_map(|found| table.of_unspaced.get(found.pattern().as_usize()).copied())
                .collect();
            if found.into_iter().rev().any(|word| context.hear(word)) {
                return context;
            }
        }
        let mut words = Words::of(text);
        let mut ended = false;
        while !ended && words.has(0) {
            let (length, word) = table.longest(&mut words).unzip();
            ended = word.is_some_and(|word| context.hear(word));
            words.pass(length.unwrap_or(1));
        }
        context
    }

    /// True if what stands before this word does not count.
    fn hear(&mut self, word: Word) -> bool {
        self.nearest = self.nearest.or(Some(word));
        match word {
            Word::Names(rules) => self.names |= rules,
            Word::Denies | Word::Clears => {}
        }
        !matches!(word, Word::Names(_))
    }
}

static WORDS: LazyLock<Table> = LazyLock::new(Table::new);

/// What is known of words: by the hash of the last of them, longest first, each from its last word on.
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
            let hashes: Vec<u64> = Words::of(text.as_bytes()).collect();
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

    /// The most words up to the last that say something, and how many they are.
    fn longest(&self, words: &mut Words<'_>) -> Option<(usize, Word)> {
        let bucket = self.buckets.get(bucket(words.peek(0)?))?;
        let (known, word) = bucket
            .iter()
            .find(|(known, _)| known.iter().enumerate().all(|(at, hash)| words.peek(at) == Some(*hash)))?;
        Some((known.len(), *word))
    }
}

/// Of whatever alphabet: beyond ASCII all count as letters.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() | (byte >= 0x80)
}

/// The words of a text from its last to its first, as hashes: runs of letters, which end where a capital follows a small
/// letter, too: `SocialSecurity_no.` is `no`, `security` and `social`.
pub(super) struct Words<'a> {
    text: &'a [u8],
    /// Those that were looked at and not taken.
    ahead: SmallVec<[u64; 8]>,
}

impl<'a> Words<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        Self { text, ahead: SmallVec::new() }
    }

    fn has(&mut self, at: usize) -> bool {
        self.peek(at).is_some()
    }

    /// The word so many before the last.
    fn peek(&mut self, at: usize) -> Option<u64> {
        while self.ahead.len() <= at {
            let word = self.read()?;
            self.ahead.push(word);
        }
        self.ahead.get(at).copied()
    }

    fn pass(&mut self, words: usize) {
        self.ahead.drain(..words.min(self.ahead.len()));
    }

    fn read(&mut self) -> Option<u64> {
        // FNV-1a.
        const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x100_0000_01b3;
        let last = self.text.iter().rposition(|byte| is_letter(*byte))?;
        let mut hash = BASIS;
        let mut start = last + 1;
        let mut capital = false;
        for byte in self.text.iter().take(start).rev() {
            let letter = is_letter(*byte);
            if (capital && byte.is_ascii_lowercase()) || !(letter || *byte == b'\'') {
                break;
            }
            if letter {
                hash = (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(PRIME);
            }
            capital = byte.is_ascii_uppercase();
            start -= 1;
        }
        self.text = self.text.get(..start).unwrap_or_default();
        Some(hash)
    }
}

impl Iterator for Words<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let word = self.peek(0);
        self.pass(1);
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_however_they_are_written() {
        let same = |one: &str, other: &str| Words::of(one.as_bytes()).eq(Words::of(other.as_bytes()));
        assert!(same("socialSecurity_no.  X", "social security no x") && same("Driver's-License", "drivers license"));
        assert!(same("SSN", "ssn") && same("\"ssn1\":", "ssn") && !same("ssna", "ssn") && !same("", "ssn"));
        assert_eq!(Words::of("a1".repeat(BEFORE / 2).as_bytes()).count(), BEFORE / 2);
    }

    #[test]
    fn the_nearest_name_counts() {
        let ssn = RULES.iter().position(|rule| rule.id == "pii-us-ssn").unwrap();
        let about = |text: &str| {
            let at = text.find('0').unwrap();
            Reader::default().about(text.as_bytes(), &(at..at + 9))
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
