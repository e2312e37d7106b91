//! Multipart bodies (RFC 2046 §5.1) by their outline: where each part's head and content stand. A body that two readers
//! could divide in two ways is refused.

use std::ops::Range;

use memchr::memmem;

/// How many parts a body may have.
const PARTS: usize = 1000;
/// RFC 2046 §5.1.1.
const LONGEST_BOUNDARY: usize = 70;

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The bytes of its head's fields.
    pub head: Range<usize>,
    /// The bytes of its content.
    pub content: Range<usize>,
}

/// Why a body cannot be divided in one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadMultipart {
    /// None, or two, or one that RFC 2046 does not allow.
    #[error("the content type has no single `boundary` of 1 to 70 characters")]
    Boundary,
    /// It does not begin with its boundary, or has no last one.
    #[error("the boundary of the content type does not divide the body")]
    Undivided,
    /// A part without the empty line after its head.
    #[error("a part has no empty line after its head")]
    Head,
    /// Too many.
    #[error("there are more than {PARTS} parts")]
    Parts,
}

/// The boundary that a content type names. None if it is no multipart type.
pub fn boundary(content_type: &[u8]) -> Option<Result<Vec<u8>, BadMultipart>> {
    let mut parameters = content_type.split(|b| *b == b';');
    let kind = parameters.next().unwrap_or_default().trim_ascii();
    if !kind.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/")) {
        return None;
    }
    let mut found = parameters.filter_map(|parameter| {
        let at = memchr::memchr(b'=', parameter)?;
        let (name, value) = parameter.split_at_checked(at)?;
        name.trim_ascii().eq_ignore_ascii_case(b"boundary").then(|| value.get(1..).unwrap_or_default().trim_ascii())
    });
    let (Some(value), None) = (found.next(), found.next()) else { return Some(Err(BadMultipart::Boundary)) };
    let value = match value {
        [b'"', inner @ .., b'"'] => inner,
        other => other,
    };
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(b);
    let good =
        (1..=LONGEST_BOUNDARY).contains(&value.len()) && value.iter().all(allowed) && value.last() != Some(&b' ');
    Some(if good { Ok(value.to_vec()) } else { Err(BadMultipart::Boundary) })
}

/// Divides a body.
pub fn parts(body: &[u8], boundary: &[u8]) -> Result<Vec<Part>, BadMultipart> {
    let delimiter = [b"--", boundary].concat();
    let finder = memmem::Finder::new(&delimiter);
    let mut parts = Vec::new();
    let mut open: Option<usize> = None;
    let mut closed = false;
    for at in finder.find_iter(body) {
        // A delimiter stands at the beginning of a line; RFC 2046 says CRLF, and readers take LF too.
        let line = at == 0 || body.get(at - 1) == Some(&b'\n');
        let after = body.get(at + delimiter.len()..).unwrap_or_default();
        let last = after.starts_with(b"--");
        let rest = if last { after.get(2..).unwrap_or_default() } else { after };
        let padding = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        let ends = match rest.get(padding..).unwrap_or_default() {
            [b'\r', b'\n', ..] => Some(padding + 2),
            [b'\n', ..] => Some(padding + 1),
            [] if last => Some(padding),
            _ => None,
        };
        let (true, Some(ends)) = (line, ends) else { continue };
        // What stands before the first delimiter or after the last is read by some and by others not.
        if closed || (open.is_none() && !body.get(..at).unwrap_or_default().trim_ascii().is_empty()) {
            return Err(BadMultipart::Undivided);
        }
        if let Some(start) = open.take() {
            let before = body.get(..at).unwrap_or_default();
            let end = before.strip_suffix(b"\r\n").or(before.strip_suffix(b"\n")).map_or(at, <[u8]>::len);
            parts.push(part(body, start..end.max(start))?);
            if parts.len() > PARTS {
                return Err(BadMultipart::Parts);
            }
        }
        closed = last;
        if !last {
            open = Some(at + delimiter.len() + ends);
        } else if !rest.trim_ascii().is_empty() {
            return Err(BadMultipart::Undivided);
        }
    }
    if closed { Ok(parts) } else { Err(BadMultipart::Undivided) }
}

fn part(body: &[u8], range: Range<usize>) -> Result<Part, BadMultipart> {
    let text = body.get(range.clone()).unwrap_or_default();
    // A part without fields begins with the empty line.
    for (empty, length) in [(&b"\r\n"[..], 2), (b"\n", 1)] {
        if text.starts_with(empty) {
            return Ok(Part { head: range.start..range.start, content: range.start + length..range.end });
        }
    }
    let crlf = memmem::find(text, b"\r\n\r\n").map(|at| (at, at + 4));
    let lf = memmem::find(text, b"\n\n").map(|at| (at, at + 2));
    let (head, content) = crlf.into_iter().chain(lf).min().ok_or(BadMultipart::Head)?;
    Ok(Part { head: range.start..range.start + head, content: range.start + content..range.end })
}

/// The name of a part, as its `Content-Disposition` gives it.
pub fn name(head: &[u8]) -> Option<&[u8]> {
    let begins = |at: &usize| at.checked_sub(1).is_none_or(|before| matches!(head.get(before), Some(b' ' | b';')));
    let at = memmem::find_iter(head, b"name=\"").find(begins)?;
    let rest = head.get(at + 6..)?;
    rest.get(..memchr::memchr(b'"', rest)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_is_read_or_refused() {
        for (text, expected) in [
            ("multipart/form-data; boundary=abc", Some(Ok(b"abc".to_vec()))),
            ("Multipart/Mixed;charset=x; BOUNDARY=\"a b\"", Some(Ok(b"a b".to_vec()))),
            ("multipart/form-data", Some(Err(BadMultipart::Boundary))),
            ("multipart/form-data; boundary=a; boundary=b", Some(Err(BadMultipart::Boundary))),
            ("multipart/form-data; boundary=", Some(Err(BadMultipart::Boundary))),
            ("application/json; boundary=a", None),
        ] {
            assert_eq!(boundary(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_body_is_divided_in_one_way_or_refused() {
        let contents = |body: &'static str| {
            parts(body.as_bytes(), b"b").map(|parts| parts.into_iter().map(|p| &body[p.content]).collect::<Vec<_>>())
        };
        assert_eq!(contents("--b\r\nA: 1\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n"), Ok(vec!["one", "two"]));
        assert_eq!(contents("--b\nA: 1\n\none\n--b--"), Ok(vec!["one"]));
        assert_eq!(contents("--b\r\n\r\n a --b in it --b\r\n\r\n--b--"), Ok(vec![" a --b in it --b\r\n"]));
        assert_eq!(contents("--b--"), Ok(vec![]));
        for (body, why) in [
            ("", BadMultipart::Undivided),
            ("--b\r\nA: 1\r\n\r\none", BadMultipart::Undivided),
            ("--b\r\nno empty line\r\n--b--", BadMultipart::Head),
            ("first\r\n--b\r\n\r\none\r\n--b--", BadMultipart::Undivided),
            ("--b\r\n\r\none\r\n--b--\r\nlast", BadMultipart::Undivided),
            ("--c\r\n\r\none\r\n--c--", BadMultipart::Undivided),
        ] {
            assert_eq!(contents(body), Err(why), "{body:?}");
        }
    }

    #[test]
    fn a_part_has_a_name() {
        assert_eq!(name(b"Content-Disposition: form-data; name=\"f\"; filename=\"x\""), Some(&b"f"[..]));
        assert_eq!(name(b"Content-Disposition: form-data; filename=\"x\"; name=\"f\""), Some(&b"f"[..]));
        assert_eq!(name(b"Content-Type: text/plain"), None);
    }
}
