//! What a run of cases came to, for people, programs and CI systems.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::check::count;
use super::super::output::printable;
use super::{Failed, Ran};

/// For people: what failed, and how many did not.
pub fn text(ran: &[Ran], verbose: bool, colours: bool) -> String {
    let mut text = String::new();
    let coloured = |sign: char, colour: u8| match colours {
        true => format!("\u{1b}[{colour}m{sign}\u{1b}[0m"),
        false => sign.to_string(),
    };
    for case in ran {
        if case.failures.is_empty() {
            if verbose {
                let _ = writeln!(text, "{} {}", coloured('✓', 32), title(case));
            }
            continue;
        }
        let _ = writeln!(text, "{} {}", coloured('✗', 31), title(case));
        for failed in &case.failures {
            let _ = write!(text, "{}", failure(failed));
        }
        text.push('\n');
    }
    let failed = ran.iter().filter(|case| !case.failures.is_empty()).count();
    let _ = match failed {
        0 => writeln!(text, "{}: all as expected", count(ran.len(), "case")),
        failed => writeln!(text, "{}: {failed} not as expected", count(ran.len(), "case")),
    };
    text
}

fn title(case: &Ran) -> String {
    format!("{}:{}:{} {}", printable(&case.file), case.line, case.column, printable(&case.name))
}

fn failure(failed: &Failed) -> String {
    let mut text = String::new();
    let (time, of) = failed.repetition;
    let which = if of > 1 { format!(", time {time} of {of}") } else { String::new() };
    let _ = writeln!(text, "  {}{which} (line {})", printable(&failed.request), failed.line);
    for mismatch in &failed.mismatches {
        let (expected, got) = (printable(&mismatch.expected), printable(&mismatch.got));
        let _ = writeln!(text, "    {:<12} expected {expected}, got {got}", mismatch.what);
        if let Some(note) = &mismatch.note {
            let _ = writeln!(text, "    {:<12} {}", "", printable(note.trim_end_matches([';', ' '])));
        }
    }
    for line in failed.trace.lines().skip(1) {
        let _ = writeln!(text, "{}", if line.is_empty() { String::new() } else { format!("    {line}") });
    }
    text
}

/// For programs.
pub fn json(ran: &[Ran]) -> Value {
    let cases = ran.iter().map(|case| {
        let failures = case.failures.iter().map(|failed| {
            let mismatches = failed
                .mismatches
                .iter()
                .map(|mismatch| json!({"what": mismatch.what, "expected": mismatch.expected, "got": mismatch.got}));
            json!({
                "line": failed.line,
                "request": failed.request,
                "repetition": failed.repetition.0,
                "mismatches": mismatches.collect::<Vec<_>>(),
                "explanation": failed.explanation,
            })
        });
        json!({
            "file": case.file,
            "line": case.line,
            "column": case.column,
            "name": case.name,
            "ok": case.failures.is_empty(),
            "failures": failures.collect::<Vec<_>>(),
        })
    });
    let failed = ran.iter().filter(|case| !case.failures.is_empty()).count();
    json!({"cases": cases.collect::<Vec<_>>(), "passed": ran.len() - failed, "failed": failed})
}

/// For CI systems, as JUnit writes it.
pub fn junit(ran: &[Ran]) -> String {
    let failed = |cases: &[&Ran]| cases.iter().filter(|case| !case.failures.is_empty()).count();
    let all: Vec<&Ran> = ran.iter().collect();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(xml, "<testsuites tests=\"{}\" failures=\"{}\">", all.len(), failed(&all));
    for cases in all.chunk_by(|one, next| one.file == next.file) {
        let file = cases.first().map(|case| escaped(&case.file)).unwrap_or_default();
        let (tests, failures) = (cases.len(), failed(cases));
        let _ = writeln!(xml, "  <testsuite name=\"{file}\" tests=\"{tests}\" failures=\"{failures}\">");
        for case in cases {
            let (name, line) = (escaped(&case.name), case.line);
            let _ = write!(xml, "    <testcase name=\"{name}\" classname=\"{file}\" file=\"{file}\" line=\"{line}\"");
            let Some(first) = case.failures.first() else {
                xml.push_str("/>\n");
                continue;
            };
            let message =
                first.mismatches.iter().map(|m| format!("{}: expected {}, got {}", m.what, m.expected, m.got));
            let message = escaped(&message.collect::<Vec<_>>().join("; "));
            let text: String = case.failures.iter().map(failure).collect();
            let _ = writeln!(xml, ">\n      <failure message=\"{message}\">{}</failure>", escaped(&text));
            xml.push_str("    </testcase>\n");
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// Text in XML; what XML 1.0 cannot hold (2.2) is left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => escaped.push(character),
            _ => {}
        }
    }
    escaped
}
