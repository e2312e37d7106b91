//! `dlp.rules`: what a policy looks for beside what is built in.

use std::sync::LazyLock;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{Deserialize, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::super::decode::{decimal, filled_list, number, word};
use super::*;
use crate::pipeline::dlp::finding::Confidence;
use crate::pipeline::dlp::rule::{Confidences, Examples, Reach, RuleSource, Severity};
use crate::pipeline::dlp::validate::Validator;

/// A rule of the policy's own, with the places of what can be wrong with it.
#[derive(Debug, Clone)]
pub struct DlpRule {
    /// Where it stands.
    pub span: Span,
    /// The rule, not yet checked.
    pub source: RuleSource,
    /// Where its id stands.
    pub id: Span,
    /// Where its category stands, if it says one.
    pub category: Option<Span>,
    /// Where its keywords stand.
    pub keywords: Vec<Spanned<String>>,
    /// Where its pattern stands.
    pub pattern: Span,
    /// Where `secretGroup` stands.
    pub secret_group: Option<Span>,
    /// Where the patterns of what it lets pass stand.
    pub allow: Vec<Span>,
    /// Texts in which it finds something.
    pub matches: Vec<Spanned<String>>,
    /// Texts in which it finds nothing.
    pub no_match: Vec<Spanned<String>>,
}

const CONFIDENCES: &[(&str, Confidence)] = &[
    ("low", Confidence::Low),
    ("medium", Confidence::Medium),
    ("high", Confidence::High),
    ("confirmed", Confidence::Confirmed),
];
const REACHES: &[(&str, Reach)] =
    &[("within", Reach::Within), ("assigned", Reach::Assigned), ("nearby", Reach::Nearby)];
const SEVERITIES: &[(&str, Severity)] =
    &[("low", Severity::Low), ("medium", Severity::Medium), ("high", Severity::High), ("critical", Severity::Critical)];
static VALIDATORS: LazyLock<Vec<(&'static str, Validator)>> = LazyLock::new(variants);

pub(super) fn rules(node: &Node, problems: &mut Problems) -> Option<Vec<DlpRule>> {
    list("a list of rules about data", rule)(node, problems)
}

fn rule(node: &Node, problems: &mut Problems) -> Option<DlpRule> {
    let mut fields = Fields::of(node, "a rule about data", problems)?;
    let id = fields.required("id", text("the id of a rule"));
    let category = fields.optional("category", text("a category"));
    let service = fields.optional("service", text("whose it is"));
    let severity = fields.optional("severity", word("a severity", SEVERITIES));
    let documentation = fields.optional("source", text("where the format is published"));
    let fix = "name a text of at least three characters that stands in every match, such as its prefix";
    let keywords = fields.required("keywords", filled_list("a list of keywords", fix, text("a keyword")));
    let reach = fields.optional("reach", word("where the pattern may match", REACHES));
    let pattern = fields.required("pattern", text("a regular expression"));
    let secret_group = fields.optional("secretGroup", spanned(number("the number of a group", 0..=99)));
    let boundary = fields.optional("boundary", boolean);
    let min_len = fields.optional("minLen", number("a number of bytes", 0..=4096));
    let max_len = fields.optional("maxLen", number("a number of bytes", 1..=4096));
    let entropy = fields.optional("entropy", decimal("bits for each byte", 0..=8));
    let validators = fields.optional("validators", list("a list of validators", word("a validator", &VALIDATORS)));
    let confidence = fields.optional("confidence", confidences);
    let allow = fields.optional("allow", list("a list of patterns", text("a regular expression"))).unwrap_or_default();
    let documented = fields.optional("documented", list("a list of values", text("a documented value")));
    let (matches, no_match) = fields.optional("examples", examples).unwrap_or_default();
    fields.finish()?;
    let (id, keywords, pattern) = (id?, keywords?, pattern?);
    let values = |texts: &[Spanned<String>]| texts.iter().map(|text| text.value.clone()).collect::<Vec<_>>();
    let bytes = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let source = RuleSource {
        id: id.value,
        category: category.as_ref().map_or_else(|| "credentials".to_owned(), |category| category.value.clone()),
        service: service.map(|service| service.value).unwrap_or_default(),
        severity: severity.map(|severity| severity.value).unwrap_or_default(),
        source: documentation.map(|documentation| documentation.value).unwrap_or_default(),
        keywords: values(&keywords),
        reach: reach.map(|reach| reach.value).unwrap_or_default(),
        pattern: pattern.value,
        secret_group: secret_group.as_ref().map_or(0, |group| bytes(group.value)),
        boundary: boundary.unwrap_or(true),
        min_len: min_len.map_or(0, bytes),
        max_len: max_len.map(bytes),
        entropy: entropy.unwrap_or_default(),
        validators: validators.unwrap_or_default().into_iter().map(|validator| validator.value).collect(),
        confidence,
        allow: values(&allow),
        documented: values(&documented.unwrap_or_default()),
        examples: Examples { matches: values(&matches), no_match: values(&no_match) },
    };
    Some(DlpRule {
        span: node.span,
        source,
        id: id.span,
        category: category.map(|category| category.span),
        keywords,
        pattern: pattern.span,
        secret_group: secret_group.map(|group| group.span),
        allow: allow.iter().map(|pattern| pattern.span).collect(),
        matches,
        no_match,
    })
}

fn confidences(node: &Node, problems: &mut Problems) -> Option<Confidences> {
    let confidence = word("a confidence", CONFIDENCES);
    let mut fields = Fields::of(node, "how sure a match is", problems)?;
    let base = fields.required("base", &confidence);
    let on_valid = fields.optional("onValid", &confidence);
    let on_invalid = fields.optional("onInvalid", &confidence);
    fields.finish()?;
    Some(Confidences {
        base: base?.value,
        on_valid: on_valid.map_or(Confidence::Confirmed, |confidence| confidence.value),
        on_invalid: on_invalid.map(|confidence| confidence.value),
    })
}

type Texts = Vec<Spanned<String>>;

fn examples(node: &Node, problems: &mut Problems) -> Option<(Texts, Texts)> {
    let texts = list("a list of texts", text("an example"));
    let mut fields = Fields::of(node, "examples of a rule", problems)?;
    let matches = fields.optional("match", &texts).unwrap_or_default();
    let no_match = fields.optional("noMatch", &texts).unwrap_or_default();
    fields.finish()?;
    Some((matches, no_match))
}

fn spanned<T>(
    decode: impl Fn(&Node, &mut Problems) -> Option<T>,
) -> impl Fn(&Node, &mut Problems) -> Option<Spanned<T>> {
    move |node, problems| Some(Spanned { value: decode(node, problems)?, span: node.span })
}

/// The words of an enum without fields, as serde knows them: so no list of them has to be kept beside the enum.
fn variants<T: for<'de> Deserialize<'de>>() -> Vec<(&'static str, T)> {
    let mut names: &'static [&'static str] = &[];
    let _ = T::deserialize(Names(&mut names));
    let read = |name: &&'static str| {
        let text: StrDeserializer<'_, Error> = name.into_deserializer();
        Some((*name, T::deserialize(text).ok()?))
    };
    names.iter().filter_map(read).collect()
}

/// Answers no question, and keeps the names that are asked for.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = variants;
        Err(serde::de::Error::custom("only the names are wanted"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("only the names are wanted"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_validator_has_a_word() {
        let words: Vec<_> = VALIDATORS.iter().map(|(word, _)| *word).collect();
        assert!(words.contains(&"luhn"), "{words:?}");
        assert!(VALIDATORS.iter().any(|(word, validator)| *word == "luhn" && *validator == Validator::Luhn));
    }
}
