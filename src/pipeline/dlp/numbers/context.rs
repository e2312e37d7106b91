//! The words about a number: its name, or the name of something else.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::super::escapes;
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
                let near = text.get(near..window.start).unwrap_or_default();
                let mut context = Context::of(near);
                if context.nearest == Some(Word::Clears)
                    && let Some(member) = member(near)
                {
                    context = Context::of(member);
                }
                self.before = Some((window.start, context));
                context
            }
        };
        if before.nearest.is_some() {
            return before;
        }
        let after = text.get(window.end..text.len().min(window.end + AFTER)).unwrap_or_default();
        // Behind these something else begins.
        let end = after.iter().position(|byte| ends_name(*byte)).unwrap_or(after.len());
        let after = Context::of(after.get(..end).unwrap_or_default());
        if matches!(after.nearest, Some(Word::Names(_))) { after } else { before }
    }
}

/// What another name or value follows.
fn ends_name(byte: u8) -> bool {
    matches!(byte, b'"' | b':' | b'=' | b',' | b';' | b'\n' | b'<' | b'>' | b'{' | b'}' | b'&')
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
        let mut words = Words::of(text);
        while let Some(word) = words.next() {
            let ended = if word.is_unspaced {
                WORDS.within(word.text).any(|word| context.hear(word))
            } else {
                WORDS.longest(word, &mut words).is_some_and(|word| context.hear(word))
            };
            if ended {
                break;
            }
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

/// The member of a JSON object whose value begins behind this, if others stand before it: `, "data": "`. An `id` before
/// it has a value of its own.
fn member(text: &[u8]) -> Option<&[u8]> {
    let key = text.strip_suffix(b"\"").unwrap_or(text).trim_ascii_end().strip_suffix(b":")?;
    let key = key.trim_ascii_end().strip_suffix(b"\"")?;
    let start = memchr::memrchr(b'"', key)?;
    let before = text.get(..start)?.trim_ascii_end();
    (before.last() == Some(&b',')).then(|| text.get(start..)).flatten()
}

static WORDS: LazyLock<Table> = LazyLock::new(Table::new);

/// What is known of words: by the hashes of the last two of them, longest first, each from its last word on.
struct Table {
    /// A bit for the hash of each last word: most words are none of them.
    lasts: Vec<u64>,
    buckets: Vec<Vec<(Vec<u64>, Word)>>,
    unspaced: Option<AhoCorasick>,
    of_unspaced: Vec<Word>,
}

const BITS: u32 = 11;

fn bucket(last: u64, second: Option<u64>) -> usize {
    let both = last ^ second.unwrap_or_default().rotate_left(32);
    (both.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS)) as usize
}

/// Which of the bits, and in which of their words.
fn bit(hash: u64) -> (usize, u64) {
    const WORDS: usize = 256;
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 32) as usize % WORDS, 1 << (mixed >> 58))
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
        let mut lasts = vec![0; 256];
        let mut buckets = vec![Vec::new(); 1 << BITS];
        for (text, word) in spaced {
            let hashes: Vec<u64> = Words::of(text.as_bytes()).map(|word| word.hash).collect();
            let last = hashes.first().copied().unwrap_or_default();
            let (place, bit) = bit(last);
            lasts.get_mut(place).into_iter().for_each(|bits| *bits |= bit);
            buckets
                .get_mut(bucket(last, hashes.get(1).copied()))
                .into_iter()
                .for_each(|bucket: &mut Vec<_>| bucket.push((hashes.clone(), word)));
        }
        for bucket in &mut buckets {
            bucket.sort_by_key(|(hashes, _)| std::cmp::Reverse(hashes.len()));
        }
        Self {
            lasts,
            buckets,
            unspaced: AhoCorasick::builder()
                .kind(Some(AhoCorasickKind::DFA))
                .prefilter(false)
                .build(unspaced.iter().map(|(text, _)| text))
                .ok(),
            of_unspaced: unspaced.into_iter().map(|(_, word)| word).collect(),
        }
    }

    /// What the most words up to this one say; those of them that are before it are taken.
    fn longest(&self, last: Read<'_>, before: &mut Words<'_>) -> Option<Word> {
        let (place, bit) = bit(last.hash);
        if self.lasts.get(place)? & bit == 0 {
            return None;
        }
        let mut rest = before.clone();
        if before.is_near()
            && let Some(second) = rest.next()
        {
            for (known, word) in self.bucket(last.hash, Some(second.hash)) {
                let mut ahead = rest.clone();
                let mut others = known.iter().skip(2);
                if known.starts_with(&[last.hash, second.hash])
                    && others.all(|hash| ahead.next().is_some_and(|word| word.hash == *hash))
                {
                    *before = ahead;
                    return Some(*word);
                }
            }
        }
        self.bucket(last.hash, None).iter().find(|(known, _)| *known == [last.hash]).map(|(_, word)| *word)
    }

    fn bucket(&self, last: u64, second: Option<u64>) -> &[(Vec<u64>, Word)] {
        self.buckets.get(bucket(last, second)).map(Vec::as_slice).unwrap_or_default()
    }

    /// What is said in a run of letters that has no spaces between its words.
    fn within(&self, run: &[u8]) -> impl Iterator<Item = Word> {
        let found = self.unspaced.iter().flat_map(move |automaton| automaton.find_iter(run));
        found.filter_map(|found| self.of_unspaced.get(found.pattern().as_usize()).copied())
    }
}

/// Of whatever alphabet: beyond ASCII all count as letters.
const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic() | (byte >= 0x80)
}

/// The small letter of each letter, and 0 for the rest.
const SMALL: [u8; 256] = {
    let mut small = [0u8; 256];
    let mut rest = small.as_mut_slice();
    let mut byte = 0u8;
    while let Some((first, others)) = rest.split_first_mut() {
        if is_letter(byte) {
            *first = byte.to_ascii_lowercase();
        }
        byte = byte.wrapping_add(1);
        rest = others;
    }
    small
};

/// The words of a text from its last to its first: runs of letters, which end where a capital follows a small letter,
/// too: `SocialSecurity_no.` is `no`, `security` and `social`.
#[derive(Clone)]
pub(super) struct Words<'a> {
    rest: &'a [u8],
}

/// A word that was read.
#[derive(Clone, Copy)]
pub(super) struct Read<'a> {
    /// Of its letters from the last to the first, in small ones.
    pub(super) hash: u64,
    text: &'a [u8],
    /// True with letters of three bytes: Chinese, Japanese, Korean and Thai put no spaces between words.
    is_unspaced: bool,
}

impl<'a> Words<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// True if the next word stands so near that both may be one name: `user_id`, but not `"user": {"id"`.
    fn is_near(&self) -> bool {
        const FAR: usize = 4;
        self.rest.last_chunk::<FAR>().is_none_or(|between| between.iter().any(|byte| is_letter(*byte)))
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Read<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        // FNV-1a.
        const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x100_0000_01b3;
        // A table of figures has no words: that costs no more than a look. Where there are words the next one is near.
        let is_near = self.rest.last_chunk::<2>().is_some_and(|near| near.iter().any(|byte| is_letter(*byte)));
        while !is_near
            && let Some((before, last)) = self.rest.split_last_chunk::<16>()
            && !last.iter().fold(false, |any, byte| any | is_letter(*byte))
        {
            self.rest = before;
        }
        let end = loop {
            let last = self.rest.iter().rposition(|byte| is_letter(*byte))?;
            if !escapes::is_letter(self.rest, last) {
                break last + 1;
            }
            self.rest = self.rest.get(..last).unwrap_or_default();
        };
        let (mut hash, mut start) = (BASIS, end);
        let (mut capital, mut is_unspaced) = (false, false);
        for byte in self.rest.iter().take(end).rev() {
            let small = SMALL.get(usize::from(*byte)).copied().unwrap_or_default();
            // A small letter is itself; what is none has none.
            if small == 0 && *byte == b'\'' {
                capital = false;
            } else if small == 0
                || (capital && small == *byte && byte.is_ascii())
                || (matches!(byte, b'n' | b'r' | b't') && escapes::is_letter(self.rest, start - 1))
            {
                break;
            } else {
                hash = (hash ^ u64::from(small)).wrapping_mul(PRIME);
                capital = small != *byte;
                is_unspaced |= *byte >= 0xe0;
            }
            start -= 1;
        }
        let text = self.rest.get(start..end).unwrap_or_default();
        self.rest = self.rest.get(..start).unwrap_or_default();
        Some(Read { hash, text, is_unspaced })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_however_they_are_written() {
        let words = |text: &str| Words::of(text.as_bytes()).map(|word| word.hash).collect::<Vec<_>>();
        let same = |one: &str, other: &str| words(one) == words(other);
        assert!(same("socialSecurity_no.  X", "social security no x") && same("Driver's-License", "drivers license"));
        assert!(same("SSN", "ssn") && same("\"ssn1\":", "ssn") && !same("ssna", "ssn") && !same("", "ssn"));
        assert_eq!(Words::of("a1".repeat(BEFORE / 2).as_bytes()).count(), BEFORE / 2);
        assert!(same(r"a\n\tSSN\r\n", "a SSN") && same(r"a\nnet", "a net") && words(r"\n\n").is_empty());
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
        for text in ["我的 ssn 000000000", "order 我的ssn号 ssn 000000000"] {
            assert_eq!(about(text).names >> ssn & 1, 1, "{text}");
        }
        for text in ["ssn none, order 000000000", "lessn 000000000", "000000000\", \"ssn\"", "000000000 at the SSA"] {
            assert_eq!(about(text).names >> ssn & 1, 0, "{text}");
        }
        assert!(about("order no 000000000").denies(Kind::GovId, false));
        for (text, denied) in [
            (r#"{"id": "000000000"#, true),
            (r#"{"a": 1, "user_id":000000000"#, true),
            (r#"{"id": 7, "data": "000000000"#, false),
            (r#"{"ids": ["1", "000000000"#, true),
        ] {
            assert_eq!(about(text).denies(Kind::Financial, true), denied, "{text}");
        }
        assert!(about("id 000000000").denies(Kind::Financial, true));
        assert!(
            !about("id 000000000").denies(Kind::GovId, true) && !about("id 000000000").denies(Kind::Financial, false)
        );
    }
}
