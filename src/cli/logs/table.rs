//! Exchanges as aligned columns that need not all be known before the first is printed.

use std::io::{self, Write};

use crate::journal::exchange::{Exchange, Standing};
use jiff::Timestamp;
use unicode_width::UnicodeWidthStr;

use crate::cli::output::{cut, printable};

const COLUMNS: usize = 9;
const HEADINGS: [&str; COLUMNS] =
    ["TIME (UTC)", "AGENT", "STATUS", "CODE", "METHOD", "URL", "REASON OR RULE", "CREDENTIAL", "TIME TAKEN"];
/// On a terminal, how wide a column may get before its text is cut; the URL gets what is left.
const WIDEST: [usize; COLUMNS] = [24, 20, 12, 4, 12, usize::MAX, 36, 20, 10];
const STATUS: usize = 2;
const URL: usize = 5;
/// What a URL gets on even the narrowest terminal.
const NARROWEST_URL: usize = 20;
/// After so many rows the widths are set; a later row that is wider widens its column from there on.
const SAMPLE: usize = 200;

/// Prints exchanges in aligned columns.
pub struct Table<W: Write> {
    out: W,
    /// The terminal's columns; none where nothing is to be cut.
    terminal: Option<usize>,
    colours: bool,
    widths: [usize; COLUMNS],
    sample: Vec<Row>,
    sampled: bool,
}

struct Row {
    cells: [String; COLUMNS],
    standing: Standing,
}

impl<W: Write> Table<W> {
    /// A table as wide as the terminal, or as wide as it has to be.
    pub fn new(out: W, terminal: Option<usize>, colours: bool) -> Self {
        let widths = HEADINGS.map(str::len);
        Self { out, terminal, colours, widths, sample: Vec::new(), sampled: false }
    }

    /// Adds a row.
    pub fn show(&mut self, exchange: &Exchange) -> io::Result<()> {
        let row = Row { cells: cells(exchange, self.terminal.is_some()), standing: exchange.standing() };
        if self.sampled {
            return self.print(&row);
        }
        self.sample.push(row);
        if self.sample.len() < SAMPLE { Ok(()) } else { self.flush() }
    }

    /// Prints what has been shown so far.
    pub fn flush(&mut self) -> io::Result<()> {
        let rows = std::mem::take(&mut self.sample);
        if !self.sampled && !rows.is_empty() {
            self.sampled = true;
            rows.iter().for_each(|row| self.widen(row));
            let headings = HEADINGS.map(str::to_owned);
            self.line(&headings, None)?;
        }
        rows.iter().try_for_each(|row| self.print(row))?;
        self.out.flush()
    }

    fn print(&mut self, row: &Row) -> io::Result<()> {
        self.widen(row);
        self.line(&row.cells, Some(row.standing))
    }

    fn widen(&mut self, row: &Row) {
        for (index, ((width, cell), widest)) in self.widths.iter_mut().zip(&row.cells).zip(WIDEST).enumerate() {
            let limit = match self.terminal {
                // A URL is long now and then; in a pipe it would push the rest of every later row to the right.
                None if index == URL => 60,
                None => usize::MAX,
                Some(_) => widest,
            };
            *width = (*width).max(cell.width().min(limit));
        }
    }

    fn line(&mut self, cells: &[String; COLUMNS], standing: Option<Standing>) -> io::Result<()> {
        let mut widths = self.widths;
        if let (Some(terminal), Some(url)) = (self.terminal, widths.get_mut(URL)) {
            let others: usize = self.widths.iter().sum::<usize>() - *url + 2 * (COLUMNS - 1);
            *url = (*url).min(terminal.saturating_sub(others).max(NARROWEST_URL));
        }
        let mut line = String::new();
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let cell = if self.terminal.is_some() { cut(cell, width) } else { cell.clone() };
            let padding = width.saturating_sub(cell.width());
            match standing.filter(|_| index == STATUS && self.colours) {
                Some(standing) => {
                    line.push_str(colour(standing));
                    line.push_str(&cell);
                    line.push_str("\u{1b}[0m");
                }
                None => line.push_str(&cell),
            }
            line.extend(std::iter::repeat_n(' ', padding + 2));
        }
        writeln!(self.out, "{}", line.trim_end())
    }
}

fn cells(exchange: &Exchange, short_time: bool) -> [String; COLUMNS] {
    let decision = &exchange.decision;
    let time = Timestamp::try_from(decision.time).unwrap_or(Timestamp::UNIX_EPOCH);
    let format = if short_time { "%m-%d %H:%M:%S" } else { "%Y-%m-%dT%H:%M:%S.%3fZ" };
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { printable(text) };
    let given = |text: Option<&str>| or_dash(text.unwrap_or_default());
    [
        time.strftime(format).to_string(),
        given(decision.agent.as_deref()),
        exchange.standing().as_str().to_owned(),
        exchange.status().map_or_else(|| "-".to_owned(), |status| status.to_string()),
        or_dash(&decision.method),
        or_dash(&url(exchange)),
        or_dash(&why(exchange)),
        or_dash(&credentials(exchange)),
        exchange
            .outcome
            .as_ref()
            .filter(|outcome| outcome.known)
            .map_or_else(|| "-".to_owned(), |outcome| duration(outcome.duration_ms)),
    ]
}

/// The reason, or the rule; of what passes only because it is watched, what would have become of it.
pub fn why(exchange: &Exchange) -> String {
    let decision = &exchange.decision;
    match (&decision.would, exchange.reason().or(decision.rule.as_deref())) {
        (Some(would), _) => {
            let rule = would.rule.as_deref().unwrap_or_default();
            format!("would {} {rule}", would.reason).trim_end().to_owned()
        }
        (None, given) => given.unwrap_or_default().to_owned(),
    }
}

/// Those that went in, and those whose placeholder went out.
pub fn credentials(exchange: &Exchange) -> String {
    let decision = &exchange.decision;
    let misplaced = decision.placeholders.iter().map(|name| format!("placeholder:{name}"));
    decision.credential.iter().map(|name| name.to_string()).chain(misplaced).collect::<Vec<_>>().join(",")
}

/// As short as it can be without a doubt: `https://` and port 443 go without saying.
pub fn url(exchange: &Exchange) -> String {
    let decision = &exchange.decision;
    let plain = decision.scheme.as_deref() == Some("http");
    let scheme = if plain { "http://" } else { "" };
    let host = if decision.host.contains(':') { format!("[{}]", decision.host) } else { decision.host.to_string() };
    let port = match decision.port {
        None | Some(443) if !plain => String::new(),
        None | Some(80) if plain => String::new(),
        Some(port) => format!(":{port}"),
        None => String::new(),
    };
    let query = decision.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}{host}{port}{}{query}", decision.path)
}

/// Milliseconds with a unit that fits.
pub fn duration(milliseconds: f64) -> String {
    match milliseconds {
        0.0..10.0 => format!("{milliseconds:.1}ms"),
        10.0..1_000.0 => format!("{milliseconds:.0}ms"),
        1_000.0..60_000.0 => format!("{:.1}s", milliseconds / 1_000.0),
        _ => format!("{:.0}m", milliseconds / 60_000.0),
    }
}

fn colour(standing: Standing) -> &'static str {
    match standing {
        Standing::Allowed => "\u{1b}[32m",
        Standing::Blocked => "\u{1b}[31m",
        Standing::Failed | Standing::Unknown => "\u{1b}[33m",
        Standing::Unreconciled => "\u{1b}[1;31m",
    }
}

#[cfg(test)]
mod tests {
    use crate::pipeline::audit::Verdict;
    use crate::pipeline::audit::Would;

    use super::super::filter::tests::{exchange, outcome};
    use super::*;

    fn table(exchanges: &[Exchange], terminal: Option<usize>, colours: bool) -> String {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, terminal, colours);
        exchanges.iter().for_each(|exchange| table.show(exchange).unwrap());
        table.flush().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_nothing_is_cut_in_a_pipe() {
        let mut allowed = Exchange { outcome: Some(outcome(200, "")), ..exchange(Verdict::Allow) };
        allowed.decision.credential = vec!["key".into()];
        allowed.decision.path = format!("/{}", "x".repeat(100)).into();
        let expected = format!(
            "\
TIME (UTC)                AGENT  STATUS   CODE  METHOD  URL{0}  REASON OR RULE     CREDENTIAL  TIME TAKEN
2023-11-14T22:13:20.000Z  ann    allowed  200   GET     api.example.com/{1}  allowedDomains[0]  key         1.5ms
2023-11-14T22:13:20.000Z  ann    blocked  403   GET     api.example.com/v1{2}  route_not_allowed  -           -
",
            " ".repeat(57),
            "x".repeat(100),
            " ".repeat(42),
        );
        assert_eq!(table(&[allowed, exchange(Verdict::Deny)], None, false), expected);
        assert_eq!(table(&[], None, false), "");
    }

    #[test]
    fn a_terminal_is_not_overrun() {
        let mut long = exchange(Verdict::Deny);
        long.decision.path = format!("/{}", "日".repeat(100)).into();
        long.decision.agent = Some("a".repeat(50).into());
        for terminal in [130, 150] {
            let text = table(std::slice::from_ref(&long), Some(terminal), false);
            assert!(text.lines().all(|line| line.width() <= terminal), "{text}");
            assert!(text.contains("日…"));
        }
    }

    #[test]
    fn what_an_agent_writes_forges_no_line_and_no_colour() {
        let mut hostile = exchange(Verdict::Deny);
        hostile.decision.path = "/a\n2023-11-14T22:13:20.000Z ann allowed\u{1b}[2J\u{202e}".into();
        hostile.decision.method = "G\u{9b}T".into();
        for terminal in [None, Some(400)] {
            let text = table(std::slice::from_ref(&hostile), terminal, false);
            assert_eq!(text.lines().count(), 2);
            assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{text}");
            assert!(text.contains("/a\\n2023"), "{text}");
        }
        assert!(table(&[hostile], Some(400), true).contains("\u{1b}[31mblocked\u{1b}[0m"));
    }

    #[test]
    fn a_url_is_short_and_clear() {
        for (scheme, host, port, query, expected) in [
            (Some("https"), "a.example", Some(443), None, "a.example/v1"),
            (Some("https"), "a.example", Some(8443), Some("q=***"), "a.example:8443/v1?q=***"),
            (Some("http"), "a.example", Some(80), None, "http://a.example/v1"),
            (Some("http"), "a.example", Some(443), None, "http://a.example:443/v1"),
            (None, "a.example", None, None, "a.example/v1"),
            (Some("https"), "2001:db8::1", Some(443), None, "[2001:db8::1]/v1"),
        ] {
            let mut exchange = exchange(Verdict::Allow);
            exchange.decision.scheme = scheme.map(Into::into);
            exchange.decision.host = host.into();
            exchange.decision.port = port;
            exchange.decision.query = query.map(Into::into);
            assert_eq!(url(&exchange), expected);
        }
    }

    #[test]
    fn what_is_only_watched_is_told_from_what_is_enforced() {
        let mut exchange = exchange(Verdict::Allow);
        assert_eq!(why(&exchange), "allowedDomains[0]");
        let would = Would { decision: Verdict::Deny, reason: "rule_blocked".into(), rule: Some("rules[soft]".into()) };
        exchange.decision.would = Some(would);
        assert_eq!(why(&exchange), "would rule_blocked rules[soft]");
    }

    #[test]
    fn a_placeholder_that_went_out_is_told_from_a_credential_that_went_in() {
        let mut exchange = exchange(Verdict::Allow);
        exchange.decision.credential = vec!["key".into(), "other".into()];
        exchange.decision.placeholders = vec!["key".into()];
        assert_eq!(credentials(&exchange), "key,other,placeholder:key");
    }

    #[test]
    fn durations_have_a_unit() {
        for (milliseconds, expected) in
            [(0.04, "0.0ms"), (1.5, "1.5ms"), (250.4, "250ms"), (1_500.0, "1.5s"), (90_000.0, "2m")]
        {
            assert_eq!(duration(milliseconds), expected);
        }
    }
}
