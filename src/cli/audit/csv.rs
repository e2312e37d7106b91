//! Exchanges as comma-separated values, for spreadsheets.

use std::io::{self, Write};

use serde_json::Value;

use super::super::output::printable;

/// The columns: the keys of an exchange in the order they are read in.
pub const COLUMNS: [&str; 34] = [
    "time",
    "agent",
    "method",
    "scheme",
    "host",
    "port",
    "path",
    "query",
    "decision",
    "standing",
    "status",
    "reason",
    "detail",
    "rule",
    "would",
    "watched",
    "approval",
    "credential",
    "placeholders",
    "cut",
    "findings",
    "requestBytes",
    "bytes",
    "duration",
    "upstream",
    "flags",
    "details",
    "policyRevision",
    "requestId",
    "identity",
    "source",
    "destination",
    "decisionMicros",
    "seq",
];

/// Writes the first line.
pub fn header(out: &mut impl Write) -> io::Result<()> {
    write!(out, "{}\r\n", COLUMNS.join(","))
}

/// Writes one exchange, given as its flat object.
pub fn row(out: &mut impl Write, exchange: &Value) -> io::Result<()> {
    for (at, column) in COLUMNS.iter().enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        let text = match exchange.get(column) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        out.write_all(cell(&text).as_bytes())?;
    }
    out.write_all(b"\r\n")
}

/// As RFC 4180 has it. What a spreadsheet would take for a formula begins with an apostrophe: agents choose paths.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let text = format!("{}{}", if formula { "'" } else { "" }, printable(text));
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_text_and_never_a_formula() {
        for (text, expected) in [
            ("", ""),
            ("/v1/chat", "/v1/chat"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\\t=1"),
            ("\r=1", "'\\r=1"),
            ("a\r\nb", "a\\r\\nb"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
    }
}
