//! The parts of a message as texts to look at: what stands where, and which of it belongs together.

pub mod json;
pub mod multipart;

use std::ops::Range;
use std::sync::Arc;

use super::finding::{Chain, Step};
use super::view::View;
pub use multipart::BadMultipart;

/// A text of a message, and how it is divided.
#[derive(Debug)]
pub struct Surface<'a> {
    /// Its bytes.
    pub text: &'a [u8],
    /// What stands where.
    pub layout: Layout<'a>,
    /// What was undone of the message to read it, outermost first.
    pub chain: Chain,
    /// How many bytes of it came before these.
    pub offset: usize,
    /// False if more may follow right after it: then what ends where it ends has perhaps not come to its end.
    pub ends: bool,
}

/// How a text is divided.
#[derive(Debug)]
pub enum Layout<'a> {
    /// Not at all.
    Plain(Arc<str>),
    /// Into parts that follow each other: where each begins, in order, and its name.
    Parts(&'a [(usize, Arc<str>)]),
    /// By JSON, one document or several.
    Json(Arc<str>),
    /// By `&` and `=` (`application/x-www-form-urlencoded`, and queries).
    Form(Arc<str>),
    /// By a boundary.
    Multipart(Arc<str>, &'a [multipart::Part]),
}

/// The most bytes of a value that may be a piece of something: what is longer is looked at by itself.
const PIECE: usize = 256;
/// How many values are joined.
const PIECES: usize = 512;

impl<'a> Surface<'a> {
    /// A text that is all there is.
    pub fn new(text: &'a [u8], layout: Layout<'a>) -> Self {
        Self { text, layout, chain: Chain::new(), offset: 0, ends: true }
    }

    /// What it is called as a whole: places count from its beginning.
    pub fn name(&self) -> Arc<str> {
        match &self.layout {
            Layout::Plain(name) | Layout::Json(name) | Layout::Form(name) | Layout::Multipart(name, _) => name.clone(),
            Layout::Parts(parts) => parts.first().map_or_else(|| "".into(), |(_, first)| first.clone()),
        }
    }

    /// The part of the message in which a byte stands, and where in it.
    pub fn place(&self, at: usize) -> (Arc<str>, Option<Box<str>>) {
        match &self.layout {
            Layout::Plain(name) => (name.clone(), None),
            Layout::Parts(parts) => {
                let next = parts.partition_point(|(start, _)| *start <= at);
                let name = next.checked_sub(1).and_then(|found| parts.get(found)).map(|(_, name)| name.clone());
                (name.unwrap_or_else(|| "message".into()), None)
            }
            Layout::Json(name) => (name.clone(), json::place(self.text, at)),
            Layout::Form(name) => {
                let pair = pairs(self.text).find(|pair| at < pair.whole.end);
                // What was found may be the key.
                let key =
                    pair.filter(|pair| at >= pair.key.end).and_then(|pair| self.text.get(pair.key)).and_then(shown);
                (name.clone(), key)
            }
            Layout::Multipart(name, parts) => {
                let part = parts.iter().find(|part| at < part.content.end).filter(|part| at >= part.content.start);
                let named = part.and_then(|part| multipart::name(self.text.get(part.head.clone())?));
                (name.clone(), named.and_then(shown))
            }
        }
    }

    /// The values that could be pieces of one thing, in order.
    pub fn values(&self) -> Vec<Range<usize>> {
        let mut values = Vec::new();
        match &self.layout {
            Layout::Plain(_) | Layout::Parts(_) => {}
            Layout::Json(_) => json::walk(self.text, |leaf| {
                if leaf.kind != json::Kind::Key && leaf.range.len() <= PIECE {
                    values.push(leaf.range.clone());
                }
                values.len() < PIECES
            }),
            Layout::Form(_) => values.extend(pairs(self.text).map(|pair| pair.value).take(PIECES)),
            Layout::Multipart(_, parts) => values.extend(parts.iter().map(|part| part.content.clone()).take(PIECES)),
        }
        values.retain(|value| (1..=PIECE).contains(&value.len()));
        values
    }
}

/// What pieces make together, where they are the pieces of one thing: all of them, and those alone that look like no word.
pub fn joined(text: &[u8], values: &[Range<usize>]) -> Vec<View<'static>> {
    let raw = View::raw(text);
    let join = |chosen: &[Range<usize>]| {
        let mut bytes = Vec::new();
        let mut pieces = Vec::new();
        for value in chosen {
            pieces.push((bytes.len(), value.start));
            bytes.extend_from_slice(text.get(value.clone()).unwrap_or_default());
            pieces.push((bytes.len(), value.end));
        }
        raw.pieces(Step::Split, bytes, pieces)
    };
    if values.len() < 2 {
        return Vec::new();
    }
    let odd: Vec<_> = values.iter().filter(|v| text.get((*v).clone()).is_some_and(is_odd)).cloned().collect();
    let mut views = vec![join(values)];
    if odd.len() >= 2 && odd.len() < values.len() {
        views.push(join(&odd));
    }
    views
}

/// What a field's name and value make together: a name has no underscores, and is in small letters.
pub fn named(text: &[u8], name: Range<usize>, value: Range<usize>) -> Vec<View<'static>> {
    let raw = View::raw(text);
    let (head, rest) = (text.get(name.clone()).unwrap_or_default(), text.get(value.clone()).unwrap_or_default());
    let pieces =
        vec![(0, name.start), (head.len(), name.end), (head.len(), value.start), (head.len() + rest.len(), value.end)];
    let as_it_is = [head, rest].concat();
    let mut underscored = as_it_is.clone();
    underscored.iter_mut().take(head.len()).filter(|byte| **byte == b'-').for_each(|byte| *byte = b'_');
    let ways = if underscored == as_it_is { vec![as_it_is] } else { vec![as_it_is, underscored] };
    ways.into_iter().map(|bytes| raw.pieces(Step::Split, bytes, pieces.clone())).collect()
}

/// Whether a value looks like a piece of a token: no blanks, and no word or number alone.
fn is_odd(value: &[u8]) -> bool {
    let digits = value.iter().any(u8::is_ascii_digit);
    let letters = value.iter().any(u8::is_ascii_alphabetic);
    let inner_upper = value.iter().skip(1).any(u8::is_ascii_uppercase) && value.iter().any(u8::is_ascii_lowercase);
    !value.iter().any(u8::is_ascii_whitespace)
        && ((digits && letters) || inner_upper || value.iter().any(|b| b"_-+/=".contains(b)))
}

/// One pair of a form or query.
struct Pair {
    whole: Range<usize>,
    key: Range<usize>,
    value: Range<usize>,
}

fn pairs(text: &[u8]) -> impl Iterator<Item = Pair> {
    let mut start = 0;
    text.split(|b| *b == b'&').map(move |pair| {
        let whole = start..start + pair.len();
        start = whole.end + 1;
        let equals = memchr::memchr(b'=', pair).map_or(pair.len(), |at| at);
        let value = (whole.start + equals + 1).min(whole.end)..whole.end;
        Pair { key: whole.start..whole.start + equals, value, whole }
    })
}

/// A name that goes on record: short and plain, since it is the agent's text.
fn shown(name: &[u8]) -> Option<Box<str>> {
    let name = std::str::from_utf8(name).ok()?;
    is_name(name.as_bytes()).then(|| name.into())
}

/// Whether a key or field is called as people call them, rather than by something that is written in other letters:
/// what is longer than a short word has no digits, and few capitals.
pub fn is_name(name: &[u8]) -> bool {
    const SHORT: usize = 8;
    let is_word = |word: &[u8]| {
        let capitals = word.iter().filter(|b| b.is_ascii_uppercase()).count();
        let is_plain = word.iter().all(u8::is_ascii_alphanumeric);
        let is_spoken = !word.iter().any(u8::is_ascii_digit) && capitals * 4 <= word.len();
        is_plain && (word.len() <= SHORT || is_spoken)
    };
    (1..=40).contains(&name.len()) && name.split(|b| b"_-.[]".contains(b)).all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_of_a_form_stands_under_its_key() {
        let surface = Surface::new(b"a=1&b=two&c", Layout::Form("body".into()));
        assert_eq!(surface.place(6), ("body".into(), Some("b".into())));
        assert_eq!(surface.place(2), ("body".into(), Some("a".into())));
        assert_eq!(surface.place(0), ("body".into(), None));
        assert_eq!(surface.values(), [2..3, 6..9]);
    }

    #[test]
    fn what_is_written_in_other_letters_is_no_name() {
        for name in ["a", "content", "customer_address_line_2", "accessKeyId", "x-amz-content-sha256", "items[3].name"]
        {
            assert!(is_name(name.as_bytes()), "{name}");
        }
        let long = "a".repeat(41);
        for name in
            ["", "a b", "AKIAQ3EGRX5TLK2WN7YB", "am9hbi5xN3d6a0BtYWlsYm94", "6f61c0ffee00", "QUtJQVFBUkdSWFRM", &long]
        {
            assert!(!is_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn pieces_are_joined_in_order_with_and_without_words() {
        let text = br#"{"a":"ghp_x1","note":"hello","b":"y2"}"#;
        let surface = Surface::new(text, Layout::Json("body".into()));
        let values = surface.values();
        let views = joined(text, &values);
        let texts: Vec<_> = views.iter().map(|view| String::from_utf8_lossy(&view.bytes).into_owned()).collect();
        assert_eq!(texts, ["ghp_x1helloy2", "ghp_x1y2"]);
        let whole = views[1].surface(0..8);
        assert_eq!(&text[whole], br#"ghp_x1","note":"hello","b":"y2"#);
        assert_eq!(&text[views[1].surface(0..6)], b"ghp_x1");
        assert!(joined(text, &values[..1]).is_empty());
    }

    #[test]
    fn a_name_is_read_on_into_its_value() {
        let text = b"x-ab-c: d-e";
        let views = named(text, 2..6, 8..11);
        let texts: Vec<_> = views.iter().map(|view| String::from_utf8_lossy(&view.bytes).into_owned()).collect();
        assert_eq!(texts, ["ab-cd-e", "ab_cd-e"]);
        assert!(views.iter().all(|view| (view.surface(0..7), view.surface(4..6)) == (2..11, 8..10)));
        assert_eq!(named(b"x-a: b", 2..3, 5..6).len(), 1);
    }

    #[test]
    fn the_parts_of_a_text_have_names() {
        let parts = [(0, Arc::from("path")), (5, Arc::from("header x-a"))];
        let surface = Surface::new(b"/abc\nx-a: 1", Layout::Parts(&parts));
        assert_eq!(surface.place(4).0.as_ref(), "path");
        assert_eq!(surface.place(5).0.as_ref(), "header x-a");
    }
}
