//! Where the value of a name may begin: `NAME=value`, `"name": "value"`, `--name value`, `name => 'value'`,
//! `Authorization: Bearer value`.

use smallvec::SmallVec;

use super::shape::is_token;

/// How far after the name its value may begin, in bytes.
const REACH: usize = 96;
/// How many bytes of the name may follow its keyword.
const NAME: usize = 48;
/// How many beginnings are tried.
const TRIES: usize = 8;

/// The values of the name that was asked for last: many rules ask for those of the same.
#[derive(Debug, Default)]
pub struct Values {
    from: Option<usize>,
    /// The most bytes that one of them has of those of tokens.
    solid: usize,
    found: SmallVec<[Value; TRIES]>,
}

/// Where a value may begin.
#[derive(Debug, Clone, Copy)]
pub struct Value {
    /// Its first byte.
    pub at: usize,
    /// How many bytes from there are those of tokens, as far as a [`Rule::solid`](super::rule::Rule::solid) may tell.
    pub solid: usize,
    /// Whether it is that of a digest or an identifier, once somebody asked.
    no_secret: Option<bool>,
}

impl Values {
    /// Finds the values of a name that ends at `from`. False if none of them has so many bytes of tokens, as with most names.
    pub fn find(&mut self, text: &[u8], from: usize, solid: usize) -> bool {
        if self.from != Some(from) {
            self.from = Some(from);
            self.solid = 0;
            self.found.clear();
            values(text, from, |at| {
                let rest = text.get(at..text.len().min(at + SOLID)).unwrap_or_default();
                let solid = rest.iter().position(|byte| !is_in(&TOKEN, *byte)).unwrap_or(rest.len());
                let solid = if solid == SOLID { usize::MAX } else { solid };
                self.solid = self.solid.max(solid);
                self.found.push(Value { at, solid, no_secret: None });
                false
            });
        }
        self.solid >= solid
    }

    /// One of those that were found, the nearest first.
    pub fn at(&self, index: usize) -> Option<Value> {
        self.found.get(index).copied()
    }

    /// Whether the name goes on before this one as those of digests and of identifiers do.
    pub fn is_no_secret(&mut self, index: usize, text: &[u8]) -> bool {
        let (Some(from), Some(value)) = (self.from, self.found.get_mut(index)) else { return false };
        let at = value.at;
        *value.no_secret.get_or_insert_with(|| text.get(from..at).is_some_and(names_no_secret))
    }
}

/// Longer than this a run of characters is not counted.
const SOLID: usize = 64;

/// Calls `try_at` with each place after `from` where a value may begin, the nearest first, until it says that it is one.
/// `from` is where the keyword ends that is part of the name.
fn values(text: &[u8], from: usize, mut try_at: impl FnMut(usize) -> bool) {
    let end = text.len().min(from + REACH);
    let Some(after) = text.get(from..end) else { return };
    let mut tries = 0;
    let mut assigned = false;
    let mut lines = 0;
    let mut before = b'k';
    let mut in_word = true;
    let mut escaped = None;
    let mut next = 0;
    while let Some(mut byte) = after.get(next).copied() {
        // Most bytes only go on with what is there.
        if in_word && before != b'%' && escaped != Some(next) {
            let reach = if assigned { after.len() } else { NAME.min(after.len()) };
            let word = after.get(next..reach).unwrap_or_default();
            let length = word.iter().position(|byte| !is_in(&PLAIN, *byte)).unwrap_or(word.len());
            if let Some(last) = length.checked_sub(1).and_then(|last| word.get(last)) {
                before = *last;
                next += length;
                continue;
            }
        }
        let at = next;
        next += 1;
        // What is escaped parts as what it stands for.
        if escaped == Some(at) {
            byte = parting(byte).unwrap_or(byte);
        } else if byte == b'\\' {
            let more = after.iter().skip(at).take_while(|byte| **byte == b'\\').count();
            escaped = Some(at + more);
        }
        let begins = assigned && is_value(byte) && !is_value(before) && !after.get(at..).is_some_and(is_scheme);
        if begins {
            tries += 1;
            if try_at(from + at) || tries == TRIES {
                return;
            }
        }
        match byte {
            b'=' | b':' | b'>' | b',' | b'(' | b'|' | b'[' => assigned = true,
            b' ' | b'\t' | b'"' | b'\'' | b'`' => assigned |= at < NAME,
            b'\n' => lines += 1,
            _ => {}
        }
        // Percent-encoded `=`, `:`, space and quotes.
        if before == b'%' && matches!(after.get(at..at + 2), Some(b"3D" | b"3d" | b"3A" | b"3a" | b"20" | b"22")) {
            assigned = true;
            tries += 1;
            if try_at(from + at + 2) || tries == TRIES {
                return;
            }
        }
        if lines == 3 || (!assigned && at >= NAME) {
            return;
        }
        before = byte;
        in_word = is_value(byte);
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

/// Whether the name ends as those of digests and of identifiers do: `grafana@sha256:`, `heroku request_id=`.
fn names_no_secret(name: &[u8]) -> bool {
    const ENDS: [&[u8]; 24] = [
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
    let end = name.iter().rposition(u8::is_ascii_alphanumeric).map_or(0, |last| last + 1);
    let name = name.get(..end).unwrap_or_default();
    // Most names end otherwise.
    let Some(last) = name.last().map(u8::to_ascii_lowercase) else { return false };
    ENDS.iter().filter(|word| word.last() == Some(&last)).any(|word| {
        let at = name.len().checked_sub(word.len());
        at.and_then(|at| name.get(at..)).is_some_and(|last| last.eq_ignore_ascii_case(word))
    })
}

/// Whether a word begins here that says what kind of value follows.
fn is_scheme(text: &[u8]) -> bool {
    const SCHEMES: [&[u8]; 8] = [b"bearer ", b"basic ", b"token ", b"bot ", b"apikey ", b"key ", b"is ", b"bearer%20"];
    // Most words begin otherwise.
    let Some(first) = text.first().map(u8::to_ascii_lowercase) else { return false };
    SCHEMES
        .iter()
        .filter(|scheme| scheme.first() == Some(&first))
        .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_wherever_a_name_can_have_one() {
        for text in [
            "KEY=VALUE",
            "KEY = VALUE",
            "KEY: VALUE",
            "\"KEY\": \"VALUE\"",
            "\\\"KEY\\\":\\\"VALUE\\\"",
            "'KEY' => 'VALUE'",
            "KEY_api_token := `VALUE`",
            "<KEY>VALUE</KEY>",
            "--KEY VALUE",
            "KEY API Token: Bearer VALUE",
            "KEY%3DVALUE",
            "{\"KEY\":{\"key\":\"VALUE\"}}",
            "env.get(\"KEY\", \"VALUE\")",
            "KEY || 'VALUE'",
            "KEY:\n  VALUE",
            "my KEY is VALUE",
            r"KEY:\nVALUE",
            r"KEY:\\nVALUE",
            r"KEY\tVALUE",
            r#"my \"KEY\" is \n\t\"VALUE\""#,
        ] {
            let from = text.find("KEY").unwrap() + 3;
            let mut found = false;
            values(text.as_bytes(), from, |at| {
                found |= text[at..].starts_with("VALUE");
                found
            });
            assert!(found, "{text}");
        }
    }

    #[test]
    fn digests_and_identifiers_are_no_values() {
        for text in ["KEY@sha256:VALUE", "KEY commit VALUE", "KEY: {\"checksum\": \"VALUE\"}", "KEY request_id=VALUE"] {
            let mut of = Values::default();
            let text = text.as_bytes();
            let secrets: Vec<_> = {
                of.find(text, 3, 0);
                let all = (0..).map_while(|at| of.at(at).map(|value| (at, value))).collect::<Vec<_>>();
                all.into_iter().filter(|(at, _)| !of.is_no_secret(*at, text)).map(|(_, value)| value).collect()
            };
            assert!(!secrets.iter().any(|value| text[value.at..].starts_with(b"VALUE")), "{secrets:?}");
        }
    }

    #[test]
    fn nothing_is_tried_far_away_or_without_end() {
        let mut tried = Vec::new();
        values(&b"= a".repeat(100), 0, |at| {
            tried.push(at);
            false
        });
        assert_eq!(tried.len(), TRIES);
        values(b"KEYandaverylongnamethatgoesonandonandonandonandonandonandon=VALUE", 3, |_| panic!("too far"));
        values(b"KEY", 3, |_| panic!("nothing there"));
    }
}
