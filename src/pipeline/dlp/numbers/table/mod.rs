//! The kinds of number: their shapes, their checks, their names.

mod americas;
mod asia;
mod europe;
mod finance;
mod health;
mod nordics;
mod others;

use std::sync::LazyLock;

use super::super::finding::{Category, Confidence};
use super::super::validate::Validator;

pub(super) use finance::IBAN;
pub(in crate::pipeline::dlp) use others::SEED_PHRASE;
pub(super) use others::{EMAIL, MRZ, PHONE};

/// A kind of number that is personal data.
#[derive(Debug, Clone, Copy)]
pub struct NumberRule {
    /// Its name, as a policy writes it.
    pub id: &'static str,
    /// What kind of thing it is.
    pub kind: Kind,
    /// Whose number it is.
    pub title: &'static str,
    /// What is checked of it.
    pub check: Option<Validator>,
    /// How it is written, and how sure it is without its name: `9` is a digit, `A` a letter, `?` either, `_` a space, a
    /// hyphen or a dot. Without a confidence it is found by its name only.
    pub shapes: &'static [(&'static str, Option<Confidence>)],
    /// Its names, in small letters with single spaces between words.
    pub words: &'static [&'static str],
    /// How sure it is with its name.
    pub named: Confidence,
    /// Values that are published as examples, without separators.
    pub documented: &'static [&'static str],
    /// Texts in which it is found, at [`Confidence::High`] or above unless `named` is less.
    pub matches: &'static [&'static str],
    /// Texts in which it is not.
    pub no_match: &'static [&'static str],
}

/// What kind of thing a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Cards, accounts.
    Financial,
    /// Numbers that a state gives to people.
    GovId,
    /// What is known of somebody's health.
    Health,
    /// How somebody is reached.
    Contact,
    /// Keys to money.
    Crypto,
}

impl NumberRule {
    /// The category that a policy names.
    pub fn category(&self) -> Category {
        match self.kind {
            Kind::Financial => Category::PiiFinancial,
            Kind::GovId => Category::PiiGovId,
            Kind::Health => Category::PiiHealth,
            Kind::Contact => Category::PiiContact,
            Kind::Crypto => Category::Crypto,
        }
    }

    /// True if this value, with or without separators, is published as an example.
    pub(super) fn documents(&self, value: &[u8]) -> bool {
        let mut plain = value.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_uppercase);
        self.documented.iter().any(|text| plain.clone().eq(text.bytes())) && plain.next().is_some()
    }

    const fn documented(mut self, values: &'static [&'static str]) -> Self {
        self.documented = values;
        self
    }

    const fn examples(mut self, matches: &'static [&'static str], no_match: &'static [&'static str]) -> Self {
        self.matches = matches;
        self.no_match = no_match;
        self
    }

    const fn of(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    const fn named(mut self, confidence: Confidence) -> Self {
        self.named = confidence;
        self
    }

    const fn unchecked(mut self) -> Self {
        self.check = None;
        self
    }
}

/// Every kind of number that is looked for.
pub static RULES: LazyLock<Vec<NumberRule>> = LazyLock::new(|| {
    let parts: [&[NumberRule]; 7] =
        [finance::RULES, americas::RULES, europe::RULES, nordics::RULES, asia::RULES, health::RULES, others::RULES];
    parts.concat()
});

type Shapes = &'static [(&'static str, Option<Confidence>)];

/// Found by itself, and blocked where personal data is.
const HIGH: Option<Confidence> = Some(Confidence::High);
/// Put on record by itself: one in ten or twenty of any numbers of this shape passes its checks.
const MEDIUM: Option<Confidence> = Some(Confidence::Medium);
/// Found by its name only.
const NAMED: Option<Confidence> = None;

/// What a driver's licence is called.
const DRIVING: &[&str] = &[
    "driver license",
    "drivers license",
    "driver licence",
    "drivers licence",
    "driving licence",
    "driving license",
    "driver license number",
    "drivers license number",
    "driving licence number",
    "driver license no",
    "drivers license no",
    "driving licence no",
    "driverslicense",
    "dl number",
    "dl no",
    "dl",
    "dvla",
    "fuhrerschein",
    "führerschein",
    "fuhrerscheinnummer",
    "führerscheinnummer",
    "permis de conduire",
    "licencia de conducir",
    "patente di guida",
    "rijbewijs",
    "운전면허",
    "면허번호",
];

/// The number of a state.
const fn state(
    id: &'static str,
    title: &'static str,
    check: Validator,
    shapes: Shapes,
    words: &'static [&'static str],
) -> NumberRule {
    NumberRule {
        id,
        kind: Kind::GovId,
        title,
        check: Some(check),
        shapes,
        words,
        named: Confidence::High,
        documented: &[],
        matches: &[],
        no_match: &[],
    }
}
