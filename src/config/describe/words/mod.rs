//! What the decoder does not know of its keys: meaning, default, an example, and what excludes what.
//!
//! Tests hold this table to the decoder: it has each of its keys and no other, its examples are read, and its rules
//! are the decoder's.

mod agents;
mod cases;
mod credentials;
mod dlp;
mod domains;
mod policy;
mod response_filters;
mod rules;
mod services;

/// A mapping of the language.
pub struct Described {
    /// Its name in the decoder, with article.
    pub what: &'static str,
    /// One sentence.
    pub means: &'static str,
    /// What the decoder asks of its keys beside that required ones are there.
    pub rules: &'static [Rule],
    /// Its keys.
    pub keys: &'static [Key],
}

/// What the keys of a mapping ask of each other.
pub enum Rule {
    /// Exactly one of these.
    One(&'static [&'static str]),
    /// None or one of these.
    AtMostOne(&'static [&'static str]),
    /// One or more of these.
    Some(&'static [&'static str]),
    /// The first only beside the second.
    Needs(&'static str, &'static str),
    /// Where a key is absent, more holds.
    Unless {
        /// That key.
        absent: &'static str,
        /// A JSON Schema for the mapping, as YAML.
        then: &'static str,
        /// The same as a sentence.
        says: &'static str,
    },
}

/// A key of a mapping.
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// One sentence, with units.
    pub means: &'static str,
    /// A value, as YAML.
    pub example: &'static str,
    /// What its absence is the same as, as YAML; empty: it is not the same as any value.
    pub default: &'static str,
    /// More of its JSON Schema, as YAML; it wins over what the decoder tells.
    pub also: &'static str,
}

const fn key(name: &'static str, means: &'static str, example: &'static str) -> Key {
    Key { name, means, example, default: "", also: "" }
}

impl Key {
    const fn default(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    const fn also(self, also: &'static str) -> Self {
        Self { also, ..self }
    }
}

/// The mapping that the decoder calls `what`.
pub fn of(what: &str) -> Option<&'static Described> {
    TABLE.iter().chain([&CASES]).flat_map(|part| part.iter()).find(|described| described.what == what)
}

/// The key `name` of the mapping `what`.
pub fn key_of(what: &str, name: &str) -> Option<&'static Key> {
    of(what)?.keys.iter().find(|key| key.name == name)
}

/// What every text of that kind fits, as a regular expression of ECMA 262; it may fit others too.
pub fn pattern(what: &str) -> Option<&'static str> {
    PATTERNS.iter().find(|(kinds, _)| kinds.contains(&what)).map(|(_, pattern)| *pattern)
}

/// What a request is in a case of one line fits.
pub const REQUEST_LINE: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+ +[Hh][Tt][Tt][Pp][Ss]?://.";

/// What every name fits.
pub const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

/// Kinds of texts with what they fit.
pub const PATTERNS: &[(&[&str], &str)] = &[
    (
        &[
            "the name of an agent",
            "the name of the credential",
            "the name of a profile",
            "the name of a channel",
            "the name of a service",
            "the name of a canary",
            "the name of a profile about data, or `off`",
        ],
        NAME,
    ),
    (&["a domain", "a host"], r"^(http://)?[^/?#@\s]+$"),
    (&["a path"], r"^/[^?#]*$"),
    // Nothing stands for `any`.
    (&["a method"], r"^[!#$%&'*+.^_`|~0-9A-Za-z-]*$"),
    (&["an address range"], r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"),
    (&["the name of a header"], r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
    (&["the value of the header", "a placeholder"], r"^[!-~]([ -~]*[!-~])?$"),
    (&["the name of a query parameter"], r"^[!-~]+$"),
    (&["a format with `{value}` in it"], r"\{value\}"),
    (&["the name of an environment variable"], "^[A-Za-z_][A-Za-z0-9_]*$"),
    (&["a SPIFFE ID"], "^spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+$"),
    (&["the URL of a webhook", "the address of vault"], "^https?://."),
    (&["a length of time"], "^([0-9]+(ms|s|m|h|d)|second|minute|hour|day)$"),
    (&["a time of day"], "^([01][0-9]|2[0-4]):[0-5][0-9]$"),
    // A parameter may be empty.
    (&["a value"], "^"),
    (&["the SHA-256 of the token in hexadecimal", "the SHA-256 of the value in hexadecimal"], "^[0-9A-Fa-f]{64}$"),
];

/// The table, one part for each part of the language.
pub const TABLE: &[&[Described]] = &[
    policy::TABLE,
    domains::TABLE,
    agents::TABLE,
    rules::TABLE,
    credentials::TABLE,
    services::TABLE,
    response_filters::TABLE,
    dlp::TABLE,
];

/// The same of files of cases.
pub const CASES: &[Described] = cases::TABLE;
