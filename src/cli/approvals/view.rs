//! Requests that wait for a person, as that person sees them.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::cli::output::{cut, printable};
use crate::control::api::{Approval, State};
use crate::pipeline::audit::redacted_query;

const COLUMNS: usize = 8;
const HEADINGS: [&str; COLUMNS] = ["TICKET", "STATE", "AGE", "EXPIRES", "AGENT", "REQUEST", "RULES", "WAITING"];
const REQUEST: usize = 5;
/// What a request gets on even the narrowest terminal.
const NARROWEST_REQUEST: usize = 30;

/// Aligned columns. Where a terminal is too narrow, requests are cut.
pub fn table(approvals: &[Approval], now: SystemTime, terminal: Option<usize>) -> String {
    let rows: Vec<[String; COLUMNS]> = approvals.iter().map(|approval| cells(approval, now)).collect();
    let mut widths = HEADINGS.map(str::len);
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.width()));
    }
    if let (Some(terminal), Some(request)) = (terminal, widths.get(REQUEST).copied()) {
        let others = widths.iter().sum::<usize>() - request + 2 * (COLUMNS - 1);
        let room = terminal.saturating_sub(others).max(NARROWEST_REQUEST);
        widths.iter_mut().skip(REQUEST).take(1).for_each(|width| *width = request.min(room));
    }
    let mut text = String::new();
    for row in std::iter::once(&HEADINGS.map(str::to_owned)).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let cell = cut(cell, width);
            line.push_str(&cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width()) + 2));
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// All of one request. Whatever an agent wrote stands behind a label or a bar, and cannot pass for either.
pub fn whole(approval: &Approval, now: SystemTime) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(text, "{label:<8} {value}");
    };
    line("ticket", &printable(&approval.ticket));
    line("state", &standing(approval));
    line("asked", &format!("{} ({} ago)", time(approval.asked_at_ms), age(approval, now)));
    line("expires", &format!("{} (in {})", time(approval.expires_at_ms), remaining(approval, now)));
    line("waiting", &approval.waiting.to_string());
    line("agent", &printable(&approval.agent));
    line("rules", &rules(approval));
    line("request", &printable(&format!("{} {}", approval.method, url(approval, None))));
    if let Some(query) = &approval.query {
        line("query", &printable(query));
    }
    if let Some(content_type) = &approval.content_type {
        line("type", &printable(content_type));
    }
    for field in &approval.fields {
        line("header", &printable(&format!("{}: {}", field.name, field.value)));
    }
    line("body", &format!("{} bytes, sha256 {}", approval.body_bytes, hex(&approval.body_sha256)));
    body(&mut text, approval);
    text
}

/// What has been answered, in a sentence.
pub fn confirmation(approval: &Approval, now: SystemTime) -> String {
    let request = printable(&format!("{} {}", approval.method, url(approval, approval.query.as_deref())));
    let (ticket, agent) = (printable(&approval.ticket), printable(&approval.agent));
    let done = if approval.state() == State::Approved { "approved" } else { "refused" };
    let mut text = format!("{done} {ticket}: {request} of {agent}\n");
    if approval.state() == State::Approved && approval.waiting == 0 {
        let remaining = remaining(approval, now);
        let _ = writeln!(text, "nothing waits for it now: the agent's next try within {remaining} goes out");
    }
    text
}

/// All of one request, for programs.
pub fn json(approval: &Approval) -> Value {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "ticket": approval.ticket,
        "state": state(approval),
        "askedAt": time(approval.asked_at_ms),
        "expiresAt": time(approval.expires_at_ms),
        "waiting": approval.waiting,
        "agent": approval.agent,
        "rules": approval.rules,
        "method": approval.method,
        "scheme": approval.scheme,
        "host": approval.host,
        "port": approval.port,
        "path": approval.path,
        "query": approval.query,
        "contentType": approval.content_type,
        "headers": approval.fields.iter().map(|field| json!([field.name, field.value])).collect::<Vec<_>>(),
        "body": {
            "bytes": approval.body_bytes,
            "sha256": hex(&approval.body_sha256),
            "preview": preview(approval),
            "previewBase64": BASE64_STANDARD.encode(&approval.body_preview),
        },
        "by": given(&approval.by),
        "why": given(&approval.why),
    })
}

fn cells(approval: &Approval, now: SystemTime) -> [String; COLUMNS] {
    let query = approval.query.as_deref().map(redacted_query);
    [
        printable(&approval.ticket),
        state(approval).to_owned(),
        age(approval, now),
        remaining(approval, now),
        printable(&approval.agent),
        printable(&format!("{} {}", approval.method, url(approval, query.as_deref()))),
        rules(approval),
        approval.waiting.to_string(),
    ]
}

fn state(approval: &Approval) -> &'static str {
    match approval.state() {
        State::Pending => "pending",
        State::Approved => "approved",
        State::Refused => "refused",
        State::Unspecified => "expired",
    }
}

fn standing(approval: &Approval) -> String {
    let mut text = state(approval).to_owned();
    if !approval.by.is_empty() {
        let _ = write!(text, " by {}", printable(&approval.by));
    }
    if !approval.why.is_empty() {
        let _ = write!(text, ": {}", printable(&approval.why));
    }
    text
}

/// The rules that ask.
pub fn rules(approval: &Approval) -> String {
    printable(&approval.rules.join(", "))
}

/// What is asked for, with this for its query.
pub fn url(approval: &Approval, query: Option<&str>) -> String {
    let Approval { scheme, host, port, path, .. } = approval;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let port = match (scheme.as_str(), *port) {
        ("https", 443) | ("http", 80) => String::new(),
        (_, port) => format!(":{port}"),
    };
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{path}{query}")
}

fn body(text: &mut String, approval: &Approval) {
    let shown = &approval.body_preview;
    match preview(approval) {
        Some(preview) => {
            for line in preview.lines() {
                let _ = writeln!(text, "  | {}", printable(line));
            }
        }
        None => {
            for line in shown.chunks(32) {
                let _ = writeln!(text, "  | {}", line.escape_ascii());
            }
        }
    }
    if (shown.len() as u64) < approval.body_bytes {
        let _ = writeln!(text, "  (the first {} of {} bytes)", shown.len(), approval.body_bytes);
    }
}

/// The beginning of the body as text, where it is one. It may end within a character.
fn preview(approval: &Approval) -> Option<&str> {
    match std::str::from_utf8(&approval.body_preview) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() && (approval.body_preview.len() as u64) < approval.body_bytes => {
            let whole = approval.body_preview.get(..error.valid_up_to())?;
            std::str::from_utf8(whole).ok()
        }
        Err(_) => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn time(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds).map_or_else(|_| "-".into(), |time| format!("{time:.0}"))
}

/// How long ago it was asked.
pub fn age(approval: &Approval, now: SystemTime) -> String {
    short(now.duration_since(at(approval.asked_at_ms)).unwrap_or_default())
}

/// How long it can still be answered.
pub fn remaining(approval: &Approval, now: SystemTime) -> String {
    short(at(approval.expires_at_ms).duration_since(now).unwrap_or_default())
}

fn at(milliseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
}

fn short(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::control::api::Field;

    pub fn approval() -> Approval {
        Approval {
            ticket: "apr_7k2m".into(),
            state: State::Pending.into(),
            asked_at_ms: 1_700_000_000_000,
            expires_at_ms: 1_700_000_900_000,
            waiting: 1,
            agent: "ann".into(),
            rules: vec!["Refunds".into(), "Large".into()],
            method: "POST".into(),
            scheme: "https".into(),
            host: "api.example.com".into(),
            port: 443,
            path: "/v1/refunds".into(),
            query: Some("id=7&dry".into()),
            content_type: Some("application/json".into()),
            fields: vec![Field { name: "range".into(), value: "bytes=0-9".into() }],
            body_bytes: 9,
            body_sha256: vec![0xab, 0x01],
            body_preview: b"{\"a\": 1}\n".to_vec(),
            by: String::new(),
            why: String::new(),
        }
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_045)
    }

    #[test]
    fn a_row_says_who_waits_for_what_and_how_long() {
        let expected = "\
TICKET    STATE    AGE  EXPIRES  AGENT  REQUEST                                             RULES           WAITING
apr_7k2m  pending  45s  14m      ann    POST https://api.example.com/v1/refunds?id=***&dry  Refunds, Large  1
";
        assert_eq!(table(&[approval()], now(), None), expected);
        let long = Approval { path: format!("/{}", "日".repeat(200)), ..approval() };
        assert!(table(&[long], now(), Some(130)).lines().all(|line| line.width() <= 130));
    }

    #[test]
    fn whoever_decides_sees_all_of_it() {
        let expected = "\
ticket   apr_7k2m
state    pending
asked    2023-11-14T22:13:20Z (45s ago)
expires  2023-11-14T22:28:20Z (in 14m)
waiting  1
agent    ann
rules    Refunds, Large
request  POST https://api.example.com/v1/refunds
query    id=7&dry
type     application/json
header   range: bytes=0-9
body     9 bytes, sha256 ab01
  | {\"a\": 1}
";
        assert_eq!(whole(&approval(), now()), expected);
        let cut = Approval { body_bytes: 11, body_preview: "aé".as_bytes()[..2].to_vec(), ..approval() };
        assert!(whole(&cut, now()).ends_with("  | a\n  (the first 2 of 11 bytes)\n"));
        let binary = Approval { body_preview: vec![0xff, 0x1b, b'a'], body_bytes: 3, ..approval() };
        assert!(whole(&binary, now()).ends_with("  | \\xff\\x1ba\n"));
        assert_eq!(json(&binary)["body"]["preview"], Value::Null);
        assert_eq!(json(&binary)["body"]["previewBase64"], "/xth");
    }

    #[test]
    fn what_an_agent_writes_forges_nothing() {
        let hostile = Approval {
            path: "/a\u{1b}[2J\nstate    approved".into(),
            query: Some("\u{202e}x\ny".into()),
            content_type: Some("a\rb".into()),
            fields: vec![Field { name: "range".into(), value: "\u{1b}[2J\nagent    root".into() }],
            body_preview: "ok\nagent    root\n\u{1b}]0;x\u{7}\u{9b}\r".into(),
            method: "G\u{7f}".into(),
            ..approval()
        };
        for text in
            [whole(&hostile, now()), table(std::slice::from_ref(&hostile), now(), None), confirmation(&hostile, now())]
        {
            let obeyed = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
            assert!(!text.contains(obeyed), "{text:?}");
        }
        assert_eq!(whole(&hostile, now()).lines().filter(|line| line.starts_with("agent")).count(), 1);
    }

    #[test]
    fn an_answer_is_confirmed() {
        let approved = Approval { state: State::Approved.into(), waiting: 0, by: "ann (uid 1)".into(), ..approval() };
        assert_eq!(
            confirmation(&approved, now()),
            "approved apr_7k2m: POST https://api.example.com/v1/refunds?id=7&dry of ann\n\
             nothing waits for it now: the agent's next try within 14m goes out\n"
        );
        let refused = Approval { state: State::Refused.into(), why: "no\nno".into(), ..approved };
        assert!(confirmation(&refused, now()).starts_with("refused apr_7k2m: "));
        assert!(whole(&refused, now()).contains("state    refused by ann (uid 1): no\\nno\n"));
    }
}
