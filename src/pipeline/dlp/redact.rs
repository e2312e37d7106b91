//! Replaces what was found in a text, so that what is left is still what it was: JSON, a form, multipart.

use super::finding::{Action, Finding};
use super::surface::{Layout, Surface, json};

/// The text with every finding replaced that is to be. Ranges are those of the surface, and whole encoded runs go.
pub fn redacted(surface: &Surface<'_>, findings: &[Finding]) -> Vec<u8> {
    let mut found: Vec<_> = findings.iter().filter(|finding| finding.action == Action::Redact).collect();
    found.sort_by_key(|finding| finding.range.start);
    let mut out = Vec::with_capacity(surface.text.len());
    let mut at = surface.offset;
    let between = |from: usize, to: usize| {
        surface.text.get(from.saturating_sub(surface.offset)..to.saturating_sub(surface.offset)).unwrap_or_default()
    };
    for finding in found {
        if finding.range.start >= at {
            out.extend_from_slice(between(at, finding.range.start));
            out.extend_from_slice(&label(surface, finding));
        }
        at = at.max(finding.range.end);
    }
    out.extend_from_slice(between(at, surface.offset + surface.text.len()));
    out
}

/// What stands in its place: in JSON a string where there was a number, in a form without what forms mean something by.
fn label(surface: &Surface<'_>, finding: &Finding) -> Vec<u8> {
    let text = format!("[REDACTED:{}]", finding.rule);
    match surface.layout {
        Layout::Json(_) if is_bare(surface, finding) => format!("\"{text}\"").into_bytes(),
        Layout::Form(_) => text.replace('[', "%5B").replace(']', "%5D").replace(':', "%3A").into_bytes(),
        _ => text.into_bytes(),
    }
}

fn is_bare(surface: &Surface<'_>, finding: &Finding) -> bool {
    let at = finding.range.start.saturating_sub(surface.offset);
    let mut bare = false;
    json::walk(surface.text, |leaf| {
        bare = leaf.kind == json::Kind::Bare && leaf.range.contains(&at);
        leaf.range.end <= at && !bare
    });
    bare
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::super::finding::{Category, Chain, Confidence};
    use super::*;

    fn finding(range: Range<usize>) -> Finding {
        Finding {
            rule: "a-rule".into(),
            category: Category::Credentials,
            confidence: Confidence::High,
            action: Action::Redact,
            surface: "body".into(),
            place: None,
            chain: Chain::new(),
            range,
            example: false,
            fingerprint: 0,
        }
    }

    #[test]
    fn what_is_left_is_still_what_it_was() {
        for (layout, text, secret, expected) in [
            (Layout::Plain("body".into()), "a S3CR b", "S3CR", "a [REDACTED:a-rule] b"),
            (Layout::Json("body".into()), r#"{"a":"x S3CR","b":1}"#, "S3CR", r#"{"a":"x [REDACTED:a-rule]","b":1}"#),
            (Layout::Json("body".into()), r#"{"a":4012,"b":1}"#, "4012", r#"{"a":"[REDACTED:a-rule]","b":1}"#),
            (Layout::Form("body".into()), "a=S3CR&b=1", "S3CR", "a=%5BREDACTED%3Aa-rule%5D&b=1"),
        ] {
            let at = text.find(secret).unwrap();
            let surface = Surface::new(text.as_bytes(), layout);
            // The same bytes found twice are replaced once.
            let found = [finding(at..at + 4), finding(at + 1..at + 4)];
            assert_eq!(String::from_utf8_lossy(&redacted(&surface, &found)), expected);
        }
    }
}
