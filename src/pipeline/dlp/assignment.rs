//! Where the value of a name may begin: `NAME=value`, `"name": "value"`, `--name value`, `name => 'value'`,
//! `Authorization: Bearer value`.

mod places;

use smallvec::SmallVec;

use super::shape::is_token;
use places::Places;

/// How far after the name its value may begin, in bytes.
const REACH: usize = 96;
/// How many bytes of the name may follow its keyword.
const NAME: usize = 48;
/// How many beginnings are tried.
const TRIES: usize = 8;
/// Behind so many lines a name has no value.
const LINES: usize = 3;

/// The values of the name that was asked for last: many rules ask for those of the same. Names that stand near each other
/// have the same behind them, which is read once.
#[derive(Debug, Default)]
pub struct Values {
    from: Option<usize>,
    /// The most bytes that one of them has of those of tokens.
    solid: usize,
    /// They, each with which of the places that were read it is.
    found: SmallVec<[(Value, usize); TRIES]>,
    places: Places,
}

/// Where a value may begin.
#[derive(Debug, Clone, Copy)]
struct Value {
    /// Its first byte.
    at: usize,
    /// How many bytes from there are those of tokens, as far as a [`Rule::solid`](super::rule::Rule::solid) may tell.
    solid: usize,
}

impl Values {
    /// Finds the values of a name that ends at `from`, of the text that was asked about before. False if none of them has so
    /// many bytes of tokens, as with most names.
    pub fn find(&mut self, text: &[u8], from: usize, solid: usize) -> bool {
        if self.from != Some(from) {
            self.from = Some(from);
            self.found.clear();
            self.solid = self.places.of(text, from, &mut self.found);
        }
        self.solid >= solid
    }

    /// The next of those that were found, from the one of this index on and the nearest first, that has so many bytes of
    /// tokens: its index and where it begins.
    pub fn next(&self, index: usize, solid: usize) -> Option<(usize, usize)> {
        let (skipped, (value, _)) =
            self.found.get(index..)?.iter().enumerate().find(|(_, (value, _))| value.solid >= solid)?;
        Some((index + skipped, value.at))
    }

    /// Whether the name goes on before this one as those of digests and of identifiers do.
    pub fn is_no_secret(&mut self, index: usize, text: &[u8]) -> bool {
        let (Some(from), Some((_, place))) = (self.from, self.found.get(index)) else { return false };
        self.places.no_secret(*place, text).is_some_and(|word| word >= from)
    }
}

/// What stands for a line end or a tab behind a backslash.
fn parting(escape: u8) -> Option<u8> {
    match escape {
        b'n' | b'r' => Some(b'\n'),
        b't' => Some(b'\t'),
        _ => None,
    }
}

/// What a value may begin with; what stands before one may not.
fn is_value(byte: u8) -> bool {
    is_in(&VALUE, byte)
}

fn is_in(table: &[bool; 256], byte: u8) -> bool {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

macro_rules! table {
    ($of:expr) => {{
        let mut is = [false; 256];
        let mut rest: &mut [bool] = &mut is;
        let mut byte = 0_u8;
        while let Some((first, others)) = rest.split_first_mut() {
            *first = $of(byte);
            byte = byte.wrapping_add(1);
            rest = others;
        }
        is
    }};
}

static VALUE: [bool; 256] = table!(of_value);
static PLAIN: [bool; 256] = table!(of_plain_value);
static TOKEN: [bool; 256] = table!(is_token);

/// What does not stand for something else.
const fn of_plain_value(byte: u8) -> bool {
    byte != b'%' && of_value(byte)
}

const fn of_value(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || byte >= 0x80
        || matches!(
            byte,
            b'_' | b'-'
                | b'+'
                | b'/'
                | b'.'
                | b'~'
                | b'$'
                | b'!'
                | b'@'
                | b'#'
                | b'%'
                | b'^'
                | b'&'
                | b'*'
                | b'?'
                | b';'
        )
}

/// What the names of digests and of identifiers end with.
const NO_SECRETS: [&[u8]; 24] = [
    b"sha1",
    b"sha256",
    b"sha384",
    b"sha512",
    b"sha-1",
    b"sha-256",
    b"sha-512",
    b"md5",
    b"digest",
    b"checksum",
    b"integrity",
    b"commit",
    b"revision",
    b"etag",
    b"crc32",
    b"request_id",
    b"request-id",
    b"requestid",
    b"trace_id",
    b"trace-id",
    b"traceid",
    b"correlation_id",
    b"correlation-id",
    b"span_id",
];

/// Where the word begins that a name ends with, if it ends as those of digests and of identifiers do: `grafana@sha256:`,
/// `heroku request_id=`.
fn word_of_no_secret(name: &[u8]) -> Option<usize> {
    let end = name.iter().rposition(u8::is_ascii_alphanumeric).map_or(0, |last| last + 1);
    let name = name.get(..end).unwrap_or_default();
    // Most names end otherwise.
    let last = name.last().map(u8::to_ascii_lowercase)?;
    let mut words = NO_SECRETS.iter().filter(|word| word.last() == Some(&last)).filter_map(|word| {
        let at = name.len().checked_sub(word.len())?;
        name.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(word)).then_some(at)
    });
    // None of them ends with another.
    words.next()
}

/// How many bytes the word has that begins here and says what kind of value follows.
fn scheme(text: &[u8]) -> Option<usize> {
    const SCHEMES: [&[u8]; 8] = [b"bearer ", b"basic ", b"token ", b"bot ", b"apikey ", b"key ", b"is ", b"bearer%20"];
    // Most words begin otherwise.
    let first = text.first().map(u8::to_ascii_lowercase)?;
    let mut schemes = SCHEMES.iter().filter(|scheme| scheme.first() == Some(&first));
    let begins = |scheme: &&&[u8]| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    schemes.find(begins).map(|scheme| scheme.len())
}

#[cfg(test)]
mod tests;
