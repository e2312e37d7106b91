//! Secrets, and the slots of a request they may be put into.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::pipeline::message::decoded;
use crate::pipeline::policy::decision::RuleId;
use crate::pipeline::policy::path::PathPattern;

/// A secret's value. It cannot be printed, compared, serialised or cloned, and is wiped when dropped.
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why bytes cannot be a secret that goes into a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// Nothing but a newline, or nothing at all.
    #[error("is empty")]
    Empty,
    /// A byte that would end the header, or that no header may carry.
    #[error("has a CR, LF, NUL or other control byte inside: it must be one line")]
    Control,
}

impl Secret {
    /// Takes a value as a variable or file holds it: one trailing newline is dropped.
    pub fn new(mut value: Zeroizing<Vec<u8>>) -> Result<Self, BadSecret> {
        if value.last() == Some(&b'\n') {
            value.pop();
            if value.last() == Some(&b'\r') {
                value.pop();
            }
        }
        if value.is_empty() {
            return Err(BadSecret::Empty);
        }
        // RFC 9110 §5.5: a field value has no control bytes but the tab.
        if value.iter().any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f) {
            return Err(BadSecret::Control);
        }
        Ok(Self(value))
    }

    /// The value, to be looked for in messages; never to be shown.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Which credential of the policy, by its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId(pub usize);

/// One slot that a credential fills at one place.
#[derive(Debug)]
pub struct Injection {
    /// Whose value.
    pub credential: CredentialId,
    /// The credential's name, for the record.
    pub name: RuleId,
    /// Where it goes.
    pub slot: Slot,
    /// How the value is written there.
    pub format: Format,
    /// The paths it is for; none means all.
    pub path: Option<PathPattern>,
    /// True if it may leave in plaintext.
    pub plaintext: bool,
}

/// The part of a request that a credential replaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Slot {
    /// A header field, by its lower-case name.
    Header(Box<str>),
    /// A parameter of the query, by its name as it stands on the wire.
    Query(Box<str>),
}

impl Slot {
    /// True if filling one would replace the other: [`with_query`] folds case.
    pub fn is_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header(a), Self::Header(b)) => a == b,
            (Self::Query(a), Self::Query(b)) => a.eq_ignore_ascii_case(b),
            _ => false,
        }
    }
}

/// How a secret is written into its slot, e.g. `Bearer {value}` or `Basic {base64:user:{value}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Value,
    Base64(Vec<Part>),
}

/// Why a format cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFormat {
    /// Nothing of the secret would be sent.
    #[error("the format has no `{{value}}`, so the credential would never be sent")]
    NoValue,
    /// Braces around something else.
    #[error("`{0}` is no placeholder: the ones there are, are `{{value}}` and `{{base64:…{{value}}}}`")]
    Unknown(String),
    /// A brace without its partner.
    #[error("a `{{` or `}}` has no partner")]
    Unbalanced,
    /// Bytes that no header may carry.
    #[error("the format has a byte that no header may carry")]
    Byte,
}

impl Format {
    /// Reads a format as policy writes it.
    pub fn parse(text: &str) -> Result<Self, BadFormat> {
        if !text.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b)) {
            return Err(BadFormat::Byte);
        }
        let (parts, rest) = parse_parts(text, false)?;
        if !rest.is_empty() {
            return Err(BadFormat::Unbalanced);
        }
        if !has_value(&parts) {
            return Err(BadFormat::NoValue);
        }
        Ok(Self(parts))
    }

    /// The slot's content for a secret.
    pub fn render(&self, secret: &Secret) -> Zeroizing<Vec<u8>> {
        render_parts(&self.0, secret)
    }
}

/// Reads parts up to the end, or up to the brace that closes the part they stand in.
fn parse_parts(mut text: &str, nested: bool) -> Result<(Vec<Part>, &str), BadFormat> {
    let mut parts = Vec::new();
    loop {
        let Some(at) = text.find(['{', '}']) else {
            if nested {
                return Err(BadFormat::Unbalanced);
            }
            push_literal(&mut parts, text);
            return Ok((parts, ""));
        };
        let (literal, rest) = text.split_at(at);
        push_literal(&mut parts, literal);
        if let Some(after) = rest.strip_prefix('}') {
            return if nested { Ok((parts, after)) } else { Err(BadFormat::Unbalanced) };
        }
        if let Some(after) = rest.strip_prefix("{value}") {
            parts.push(Part::Value);
            text = after;
        } else if let Some(inside) = rest.strip_prefix("{base64:") {
            let (inner, after) = parse_parts(inside, true)?;
            parts.push(Part::Base64(inner));
            text = after;
        } else {
            let end = rest.find('}').ok_or(BadFormat::Unbalanced)?;
            return Err(BadFormat::Unknown(rest.get(..=end).unwrap_or(rest).to_owned()));
        }
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Literal(text.into()));
    }
}

fn has_value(parts: &[Part]) -> bool {
    parts.iter().any(|p| match p {
        Part::Value => true,
        Part::Base64(inner) => has_value(inner),
        Part::Literal(_) => false,
    })
}

fn render_parts(parts: &[Part], secret: &Secret) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::new());
    for part in parts {
        match part {
            Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Part::Value => out.extend_from_slice(&secret.0),
            Part::Base64(inner) => {
                out.extend_from_slice(Zeroizing::new(STANDARD.encode(&*render_parts(inner, secret))).as_bytes());
            }
        }
    }
    out
}

/// The query with one parameter set to a secret, whatever stood in it before, however often, and in any
/// spelling that a server would decode to the same name. Some servers part pairs at `;` too, and some fold case.
pub fn with_query(query: Option<&str>, name: &str, value: &[u8]) -> Zeroizing<String> {
    let query = query.unwrap_or_default();
    // Room for all of it at once: a buffer that grew would leave copies of the secret behind.
    let mut out = Zeroizing::new(String::with_capacity(query.len() + name.len() + 3 * value.len() + 2));
    let name_read = decoded(name);
    let is_slot = |part: &str| {
        let key = part.split('=').next().unwrap_or_default();
        decoded(key).eq_ignore_ascii_case(&name_read)
    };
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let mut parts = pair.split(';').filter(|part| !is_slot(part));
        if let Some(first) = parts.next() {
            out.push_str(first);
            parts.for_each(|part| out.extend([";", part]));
            out.push('&');
        }
    }
    out.push_str(name);
    out.push('=');
    for byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or_default();
            out.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Result<Secret, BadSecret> {
        Secret::new(Zeroizing::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn formats_render_as_documented() {
        for (format, expected) in [
            ("{value}", "s3cr3t"),
            ("Bearer {value}", "Bearer s3cr3t"),
            ("Token token={value}", "Token token=s3cr3t"),
            ("Basic {base64:user@example.com:{value}}", "Basic dXNlckBleGFtcGxlLmNvbTpzM2NyM3Q="),
            ("Basic {base64:{value}:x}", "Basic czNjcjN0Ong="),
            ("{base64:{base64:{value}}}", "Y3pOamNqTjA="),
            ("a {value} b {value}", "a s3cr3t b s3cr3t"),
        ] {
            let rendered = Format::parse(format).unwrap().render(&secret("s3cr3t").unwrap());
            assert_eq!(String::from_utf8_lossy(&rendered), expected, "{format}");
        }
    }

    #[test]
    fn formats_that_would_send_something_else_are_errors() {
        for format in [
            "",
            "Bearer",
            "{vlaue}",
            "{value",
            "value}",
            "{base64:x}",
            "{base64:{value}",
            "{hex:{value}}",
            "Bearer\n{value}",
            "{}",
            "é{value}",
        ] {
            assert!(Format::parse(format).is_err(), "{format}");
        }
    }

    #[test]
    fn a_secret_is_one_line() {
        for text in ["x", "x\n", "x\r\n"] {
            let rendered = Format::parse("{value}").unwrap().render(&secret(text).unwrap());
            assert_eq!(&**rendered, b"x");
        }
        for (text, why) in [
            ("", BadSecret::Empty),
            ("\n", BadSecret::Empty),
            ("x\n\n", BadSecret::Control),
            ("x\ry", BadSecret::Control),
            ("x\0", BadSecret::Control),
            ("\nx", BadSecret::Control),
        ] {
            assert_eq!(secret(text).map(|_| ()), Err(why), "{text:?}");
        }
    }

    #[test]
    fn a_query_slot_is_replaced_in_every_spelling() {
        assert_eq!(&*with_query(None, "key", b"a b"), "key=a%20b");
        assert_eq!(&*with_query(Some("a=1;key=agent&b=2;KEY=x;c=3;d"), "key", b"s"), "a=1&b=2;c=3;d&key=s");
        assert_eq!(&*with_query(Some("%+65y=1"), "key", b"s"), "%+65y=1&key=s");
        assert_eq!(&*with_query(Some("x=1&key=agent&%6bey=too&keys=3&key"), "key", b"s"), "x=1&keys=3&key=s");
    }
}
