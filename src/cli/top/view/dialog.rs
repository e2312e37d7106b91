//! What opens above the panes: all of one thing, or a question before something is done.

use std::fmt::Write as _;
use std::time::SystemTime;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::Clear;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::super::model::Model;
use super::super::screen::{Draft, Open, Screen};
use super::{Theme, tail};
use crate::cli::approvals::view as asked;
use crate::cli::logs::table::{duration, url};
use crate::cli::output::{cut, printable};
use crate::control::api::{Approval, Verdict};
use crate::journal::exchange::Exchange;
use crate::pipeline::audit::FindingNote;

const HELP: &str = "\
Tab, Shift-Tab  the next pane, the one before; 1 decisions, 2 approvals,
                3 agents, 4 hosts
↑ ↓ j k         choose a row; PgUp and PgDn go ten, g and G to the ends
Enter           all of the chosen decision or question;
                of an agent or host, its decisions
a, d            approve or deny the chosen question: what goes out is shown
                first, with room for a reason
/               show only what has a text in it: agent, host, path, status,
                reason, rule, request id; Esc shows all again
f               show only what did not pass
p               stop the list of decisions; counting goes on
s               order agents and hosts by requests, refused, rate, name
q, Ctrl-C       end

CODE is there once the answer is. DLP says how much was found: ! is blocked,
~ is redacted. REQ/S is over the last minute. Counts begin with what was on
record of the last five minutes. Times are UTC.";

/// Draws what is open, if anything is.
pub fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, screen: &mut Screen, theme: Theme, now: SystemTime) {
    let (title, text, last) = match &mut screen.open {
        Open::Nothing | Open::Filter => return,
        Open::Help => ("Keys".to_owned(), HELP.to_owned(), Line::styled("Esc closes", theme.quiet())),
        Open::Decision(place, kept) => {
            if let Some(row) = model.at(*place) {
                **kept = row.exchange.clone();
            }
            ("Decision".to_owned(), whole(kept), Line::styled("↑↓ scroll, Esc closes", theme.quiet()))
        }
        Open::Approval(approval) => {
            let open = model.pending.iter().any(|pending| pending.ticket == approval.ticket);
            let keys =
                if open { "a approves, d denies, ↑↓ scroll, Esc closes" } else { "no longer open; Esc closes" };
            (title("Question", approval), asked::whole(approval, now), Line::styled(keys, theme.quiet()))
        }
        Open::Answer(draft) => {
            let approval = &draft.approval;
            let room = usize::from(area.width).saturating_sub(2);
            (title(verb(draft.verdict), approval), asked::whole(approval, now), confirm(draft, room, theme))
        }
    };
    let mut lines: Vec<String> = Vec::new();
    let width = usize::from(area.width).saturating_sub(2);
    text.lines().for_each(|line| wrap(line, width, &mut lines));

    // Lines above and below, and between them the one that says what can be done.
    let room = usize::from(area.height.saturating_sub(4));
    screen.scroll = screen.scroll.min(lines.len().saturating_sub(room));
    let more = lines.len().saturating_sub(screen.scroll + room);
    let mut shown = vec![rule(&format!(" {title} "), area.width, true)];
    shown.extend(lines.drain(..).skip(screen.scroll).take(room).map(|line| Line::raw(format!(" {line}"))));
    let rest = if more > 0 { format!(" {more} more lines below: ↓ ") } else { String::new() };
    shown.push(rule(&rest, area.width, false));
    shown.push(last);
    shown.push(rule("", area.width, false));
    let height = u16::try_from(shown.len()).unwrap_or(u16::MAX).min(area.height);
    let place = Rect { height, ..area };
    frame.render_widget(Clear, place);
    frame.render_widget(Text::from(shown), place);
}

fn title(what: &str, approval: &Approval) -> String {
    format!("{what}: {}", printable(&approval.ticket))
}

fn verb(verdict: Verdict) -> &'static str {
    if verdict == Verdict::Approve { "Approve" } else { "Deny" }
}

fn confirm(draft: &Draft, room: usize, theme: Theme) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let (ask, style) = match draft.verdict {
        Verdict::Approve => ("Enter LETS THIS GO OUT", theme.good().add_modifier(Modifier::BOLD)),
        _ => ("Enter REFUSES THIS", theme.bad()),
    };
    let label = ", Esc does nothing. Why (may be empty): ";
    let room = room.saturating_sub(ask.width() + label.width() + 2);
    Line::from(vec![
        Span::styled(ask, style),
        Span::raw(label),
        Span::styled(tail(&printable(&draft.why), room), bold),
        Span::styled(" ", Style::new().add_modifier(Modifier::REVERSED)),
    ])
}

fn rule(text: &str, width: u16, has_keys: bool) -> Line<'static> {
    let width = usize::from(width);
    let text = cut(text, width.saturating_sub(4));
    let rest = "─".repeat(width.saturating_sub(text.width() + 1));
    let style = if has_keys { Modifier::BOLD | Modifier::REVERSED } else { Modifier::BOLD };
    Line::from(vec![Span::raw("─"), Span::styled(text, Style::new().add_modifier(style)), Span::raw(rest)])
}

/// A line in as many as it takes; what goes on is set in by as much as a label takes.
fn wrap(line: &str, width: usize, lines: &mut Vec<String>) {
    let mut current = String::new();
    let mut used = 0;
    for character in line.chars() {
        let needed = character.width().unwrap_or(0);
        if used + needed > width.max(12) {
            let indent = " ".repeat(LABEL + 1);
            lines.push(std::mem::replace(&mut current, indent));
            used = LABEL + 1;
        }
        current.push(character);
        used += needed;
    }
    lines.push(current);
}

/// How wide labels are.
const LABEL: usize = 10;

/// All that is on record of an exchange. What an agent wrote stands behind a label, and cannot pass for one.
fn whole(exchange: &Exchange) -> String {
    let Exchange { decision, inspections, outcome, seq } = exchange;
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{label:<LABEL$} {}", printable(value));
        }
    };
    let given = |text: Option<&str>| text.unwrap_or_default().to_owned();
    line("request", &decision.request_id);
    line("time", &jiff::Timestamp::try_from(decision.time).map(|time| format!("{time:.3}")).unwrap_or_default());
    line("agent", &given(decision.agent.as_deref()));
    line("known by", &given(decision.identity.as_deref()));
    line("from", &given(decision.source.as_deref()));
    line("wanted", &format!("{} {}", decision.method, full_url(exchange)));
    line("decision", &format!("{}, {}", decision.decision.as_str(), exchange.standing().as_str()));
    line("status", &exchange.status().map(|status| status.to_string()).unwrap_or_default());
    line("reason", &given(exchange.reason()));
    line("detail", &given(decision.detail.as_deref()));
    line("rule", &given(decision.rule.as_deref()));
    if let Some(would) = &decision.would {
        let rule = would.rule.as_deref().unwrap_or_default();
        line("would be", format!("{} {} {rule}", would.decision.as_str(), would.reason).trim_end());
    }
    line("watched by", &decision.watched.join(", "));
    if let Some(approval) = &decision.approval {
        let by = approval.by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
        let why = approval.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        line("approval", &format!("{}{by}{why}", approval.ticket));
    }
    line("credential", &decision.credential.join(", "));
    line("misplaced", &decision.placeholders.join(", "));
    decision.findings.iter().for_each(|finding| line("found", &found(finding)));
    for inspection in inspections {
        let reason = inspection.reason.as_deref().map(|reason| format!(", {reason}")).unwrap_or_default();
        let (direction, action) = (inspection.direction.as_str(), inspection.action.as_str());
        line("inspected", &format!("{direction} {action} at {} bytes{reason}", inspection.bytes));
        inspection.findings.iter().for_each(|finding| line("found", &found(finding)));
    }
    match outcome {
        None => line("outcome", "not known yet"),
        Some(outcome) if !outcome.known => line("outcome", "nobody can say any more"),
        Some(outcome) => {
            let (sent, received) = (outcome.bytes_sent, outcome.bytes_received);
            line("outcome", &format!("{}, {sent} bytes sent, {received} received", duration(outcome.duration_ms)));
            line("flags", &outcome.flags);
            line("details", &outcome.details);
        }
    }
    let connected = outcome.as_ref().and_then(|outcome| outcome.upstream.as_deref());
    line("upstream", &given(connected.or(decision.upstream.as_deref())));
    line("decided in", &duration(decision.decision_micros as f64 / 1_000.0));
    line("policy", &decision.policy_revision);
    line("record", &seq.map(|seq| seq.to_string()).unwrap_or_default());
    text
}

/// Here, where there is room, also with what goes without saying.
fn full_url(exchange: &Exchange) -> String {
    let short = url(exchange);
    if short.starts_with("http://") { short } else { format!("https://{short}") }
}

fn found(finding: &FindingNote) -> String {
    let FindingNote { rule, category, confidence, action, location, .. } = finding;
    format!("{rule} ({category}, {confidence}): {action}, in {location}")
}
