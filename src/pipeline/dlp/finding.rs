//! What was found: which rule, how sure, where, through which encodings, and what is done about it. Never the secret.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Something that must not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule's id.
    pub rule: Arc<str>,
    /// What kind of thing it is.
    pub category: Category,
    /// How sure that is.
    pub confidence: Confidence,
    /// What is done about it.
    pub action: Action,
    /// The part of the message, e.g. `body` or `header x-note`.
    pub surface: Arc<str>,
    /// Where in it, where it has structure: `$.messages[3].content`.
    pub place: Option<Box<str>>,
    /// How it was written there, outermost first.
    pub chain: Chain,
    /// The bytes of the surface that carry it: all of an encoded run, not only what it decodes to.
    pub range: Range<usize>,
    /// True if vendors print this very value in their documentation.
    pub example: bool,
    /// The value under a key of this installation: equal for equal values, and of no use to who reads the record.
    pub fingerprint: u64,
}

impl Finding {
    /// Surface, place and chain in one line: `body.$.messages[3].content → base64 → gzip`.
    pub fn location(&self) -> String {
        let mut text = self.surface.to_string();
        if let Some(place) = &self.place {
            text.push('.');
            text.push_str(place);
        }
        for step in &self.chain {
            text.push_str(" → ");
            text.push_str(step.as_str());
        }
        text
    }
}

/// What kind of thing a rule finds. A policy names one, or all below a dot: `pii` is `pii.financial` and its kin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// Keys, tokens, passwords.
    Credentials,
    /// Cards, accounts.
    PiiFinancial,
    /// Numbers that a state gives to people.
    PiiGovId,
    /// How somebody is reached: off unless asked for.
    PiiContact,
    /// What is known of somebody's health.
    PiiHealth,
    /// Keys to money and to what is encrypted.
    Crypto,
    /// A credential that attaché holds itself.
    KnownSecret,
    /// A value that is there only to be missed when it leaves.
    Canary,
    /// Text that gives an agent orders, in what comes back to it.
    PromptInjection,
    /// A category of the policy's own, without its `custom.`.
    Custom(Arc<str>),
}

impl Category {
    /// Those that are not a policy's own.
    pub const BUILT_IN: [Self; 9] = [
        Self::Credentials,
        Self::PiiFinancial,
        Self::PiiGovId,
        Self::PiiContact,
        Self::PiiHealth,
        Self::Crypto,
        Self::KnownSecret,
        Self::Canary,
        Self::PromptInjection,
    ];

    /// Reads a name as policy and rules write it.
    pub fn parse(name: &str) -> Option<Self> {
        match name.strip_prefix("custom.") {
            Some(own) if !own.is_empty() => Some(Self::Custom(own.into())),
            _ => Self::BUILT_IN.into_iter().find(|category| category.name() == name),
        }
    }
}

impl Category {
    /// As policies and records write it.
    pub fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Credentials => "credentials",
            Self::PiiFinancial => "pii.financial",
            Self::PiiGovId => "pii.govId",
            Self::PiiContact => "pii.contact",
            Self::PiiHealth => "pii.health",
            Self::Crypto => "crypto",
            Self::KnownSecret => "knownSecret",
            Self::Canary => "canary",
            Self::PromptInjection => "promptInjection",
            Self::Custom(name) => return Cow::Owned(format!("custom.{name}")),
        })
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Confidence {
    /// It looks random, and nothing else speaks for it.
    Low,
    /// A weak prefix, a checksum that does not hold, or a name beside it.
    Medium,
    /// A prefix, length and alphabet that nothing else has.
    High,
    /// A checksum holds, or the value itself is known.
    Confirmed,
}

impl Confidence {
    /// As records write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Confirmed => "confirmed",
        }
    }
}

/// What is done about a finding; the later wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Nothing: it is not even on record.
    Off,
    /// It is on record.
    Monitor,
    /// It is replaced by `[REDACTED:rule]`.
    Redact,
    /// The message is refused.
    Block,
}

impl Action {
    /// The same where nothing can be replaced.
    pub fn unredactable(self) -> Self {
        if self == Self::Redact { Self::Block } else { self }
    }

    /// As policy and records write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Monitor => "monitor",
            Self::Redact => "redact",
            Self::Block => "block",
        }
    }
}

/// How something was written, outermost first.
pub type Chain = SmallVec<[Step; 4]>;

/// One way to write something so that it looks like something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// RFC 3986 §2.1, and `+` for a space in forms.
    Percent,
    /// RFC 4648 §4 and §5.
    Base64,
    /// RFC 4648 §6.
    Base32,
    /// With Bitcoin's alphabet.
    Base58,
    /// RFC 4648 §8, with or without separators.
    Hex,
    /// Ascii85, as Adobe and ZeroMQ write it.
    Base85,
    /// `\u0041`, `\x41`, `\101` of JSON, JavaScript and C; characters by their numbers, and by their bits.
    Escapes,
    /// `&#65;` and `&amp;` of HTML and XML.
    Entities,
    /// RFC 2045 §6.7.
    QuotedPrintable,
    /// UTF-16 or UTF-32, of either order.
    Utf16,
    /// RFC 1952.
    Gzip,
    /// RFC 1950 and 1951.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
    /// An entry of a ZIP archive.
    Zip,
    /// Characters that look like others or like nothing.
    Unicode,
    /// Last byte first.
    Reversed,
    /// Spread over the parts of a message, or over several messages.
    Split,
}

impl Step {
    /// As records write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Percent => "percent",
            Self::Base64 => "base64",
            Self::Base32 => "base32",
            Self::Base58 => "base58",
            Self::Hex => "hex",
            Self::Base85 => "base85",
            Self::Escapes => "escapes",
            Self::Entities => "entities",
            Self::QuotedPrintable => "quoted-printable",
            Self::Utf16 => "utf-16",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Zip => "zip",
            Self::Unicode => "unicode",
            Self::Reversed => "reversed",
            Self::Split => "split",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_category_is_read_as_it_is_written() {
        for category in Category::BUILT_IN.into_iter().chain([Category::Custom("ours".into())]) {
            assert_eq!(Category::parse(&category.to_string()), Some(category));
        }
        assert_eq!((Category::parse("pii"), Category::parse("custom."), Category::parse("x")), (None, None, None));
    }

    #[test]
    fn a_location_tells_surface_place_and_chain() {
        let finding = Finding {
            rule: "r".into(),
            category: Category::Credentials,
            confidence: Confidence::High,
            action: Action::Block,
            surface: "body".into(),
            place: Some("$.messages[3].content".into()),
            chain: [Step::Base64, Step::Gzip].into_iter().collect(),
            range: 0..1,
            example: false,
            fingerprint: 0,
        };
        assert_eq!(finding.location(), "body.$.messages[3].content → base64 → gzip");
    }
}
