//! Draws what the model has, as the screen says.

mod dialog;
mod panes;
mod text;

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::model::tally::Kind;
use super::model::{Link, Model, lasted};
use super::screen::{Open, Pane, Screen};
use crate::cli::output::{cut, printable};
use text::{amount, rate};
use unicode_width::UnicodeWidthStr;

/// With fewer rows, agents and hosts share one place.
const BOTH_TABLES: u16 = 32;
/// With as many columns, they stand side by side.
const SIDE_BY_SIDE: u16 = 170;
/// The rows that each question may take unless its pane has the keys.
const QUESTIONS: u16 = 4;

/// Which colours there are. Without, weight and inversion say the same.
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    /// Whether colours are wanted.
    pub colours: bool,
}

impl Theme {
    fn of(self, kind: Kind) -> Style {
        match kind {
            Kind::Allowed => self.colour(Color::Green),
            Kind::Blocked => self.colour(Color::Red),
            Kind::Limited => self.colour(Color::Yellow),
            Kind::Pending => self.colour(Color::Cyan),
            Kind::Failed => self.colour(Color::Magenta),
        }
    }

    fn colour(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn good(self) -> Style {
        self.colour(Color::Green)
    }

    fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }
}

/// Draws one frame.
pub fn draw(frame: &mut Frame<'_>, model: &Model, screen: &mut Screen, theme: Theme, now: SystemTime) {
    // Why it does not answer takes a sentence.
    let head = if matches!(model.link, Link::Lost(..)) { 4 } else { 2 };
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(head), Constraint::Fill(1), Constraint::Length(1)]).areas(frame.area());
    header(frame, head, model, theme, now);
    let places = Places::within(body, model, screen);
    panes::approvals(frame, places.approvals, model, screen, theme, now);
    if let Some(agents) = places.agents {
        panes::names(frame, agents, Pane::Agents, model, screen, theme, now);
    }
    if let Some(hosts) = places.hosts {
        panes::names(frame, hosts, Pane::Hosts, model, screen, theme, now);
    }
    panes::decisions(frame, places.decisions, model, screen, theme);
    footer(frame, foot, screen, theme, now);
    dialog::draw(frame, body, model, screen, theme, now);
}

struct Places {
    approvals: Rect,
    agents: Option<Rect>,
    hosts: Option<Rect>,
    decisions: Rect,
}

impl Places {
    fn within(body: Rect, model: &Model, screen: &Screen) -> Self {
        let half = body.height / 2;
        let rows = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        // A title, a heading, and the rows.
        let questions = match (rows(model.pending.len()), screen.pane) {
            (0, _) => 1,
            (count, Pane::Approvals) => count.min(half).saturating_add(2),
            (count, _) => count.min(QUESTIONS) + 2,
        };
        let names = |pane: Pane, roomy: u16, tight: u16| {
            let tally = if pane == Pane::Hosts { &model.hosts } else { &model.agents };
            let most = if screen.pane == pane { half } else { roomy };
            rows(tally.len()).clamp(1, most.max(tight)).saturating_add(2)
        };
        let side_by_side = body.width >= SIDE_BY_SIDE;
        let both = side_by_side || body.height + 3 >= BOTH_TABLES;
        let (agents, hosts) = match (both, screen.table) {
            (true, _) => (Some(names(Pane::Agents, 6, 3)), Some(names(Pane::Hosts, 8, 3))),
            (false, Pane::Hosts) => (None, Some(names(Pane::Hosts, 4, 3))),
            (false, _) => (Some(names(Pane::Agents, 4, 3)), None),
        };
        let (first, second) = match (agents, hosts) {
            (Some(agents), Some(hosts)) if side_by_side => (agents.max(hosts), 0),
            (agents, hosts) => (agents.unwrap_or(0), hosts.unwrap_or(0)),
        };
        let [approvals, upper, lower, decisions] = Layout::vertical([
            Constraint::Length(questions),
            Constraint::Length(first),
            Constraint::Length(second),
            Constraint::Min(3),
        ])
        .areas(body);
        let (agents, hosts) = if side_by_side {
            let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(1).areas(upper);
            (Some(left), Some(right))
        } else {
            (agents.map(|_| upper), hosts.map(|_| lower))
        };
        Self { approvals, agents, hosts, decisions }
    }
}

fn header(frame: &mut Frame<'_>, area: Rect, model: &Model, theme: Theme, now: SystemTime) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut first = vec![Span::styled("attaché", bold)];
    // What is known of one that has gone is no longer so.
    if let Some(status) = model.status.as_ref().filter(|_| model.link == Link::Live) {
        first.push(Span::raw(format!("  policy {}", printable(&status.policy_revision))));
        if !status.reload_error.is_empty() {
            first.push(Span::styled(" (the file is refused)", theme.bad()));
        }
        first.push(Span::raw(format!("  pid {}", status.pid)));
        let ready =
            if status.ready { Span::styled("  ready", theme.good()) } else { Span::styled("  NOT READY", theme.bad()) };
        let since =
            SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(status.started_at_ms).unwrap_or_default());
        first.extend([ready, Span::raw(format!("  up {}", text::span(lasted(since, now))))]);
    }
    let (link, style) = match &model.link {
        Link::Connecting => ("connecting".to_owned(), theme.quiet()),
        Link::Live => ("live".to_owned(), theme.good()),
        Link::Lost(_, since) => {
            (format!("SERVICE GONE for {}, asking again", text::span(lasted(*since, now))), theme.bad())
        }
    };
    let clock = clock(now);
    first.push(Span::raw("  "));
    first.push(Span::styled(link, style));
    let used: usize = first.iter().map(Span::width).sum();
    first.push(Span::raw(pad(usize::from(area.width).saturating_sub(used + clock.width()))));
    first.push(Span::styled(clock, theme.quiet()));

    let (fast, minute) = model.rates(now);
    let total = &model.total;
    let mut second = Vec::new();
    if model.unreconciled > 0 {
        let style = theme.bad().add_modifier(Modifier::REVERSED);
        second.extend([Span::styled(format!(" {} PASSED US BY ", amount(model.unreconciled)), style), Span::raw("  ")]);
    }
    second.push(Span::styled(format!("now {}/s  1m {}/s", rate(fast), rate(minute)), bold));
    for (count, name, kind) in [
        (total.allowed, "allow", Kind::Allowed),
        (total.blocked, "block", Kind::Blocked),
        (total.limited, "limit", Kind::Limited),
        (total.pending, "pend", Kind::Pending),
        (total.failed, "fail", Kind::Failed),
    ] {
        let style = if count == 0 { theme.quiet() } else { theme.of(kind) };
        second.push(Span::raw("  "));
        second.push(Span::styled(format!("{name} {}", amount(count)), style));
    }
    let used: usize = second.iter().map(Span::width).sum();
    let room = usize::from(area.width).saturating_sub(used + 2).min(60);
    if room >= 10 {
        let line = text::sparkline(&model.rate.each(now, room as u64));
        second.push(Span::raw(pad(usize::from(area.width).saturating_sub(used + line.width()))));
        second.push(Span::styled(line, theme.quiet()));
    }
    let [above, below] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Line::from(first), above);
    match &model.link {
        // Of more use than what was.
        Link::Lost(why, _) => {
            let why = Paragraph::new(printable(why)).style(theme.bad()).wrap(Wrap { trim: true });
            frame.render_widget(why, below);
        }
        Link::Connecting | Link::Live => frame.render_widget(Line::from(second), below),
    }
}

fn footer(frame: &mut Frame<'_>, area: Rect, screen: &Screen, theme: Theme, now: SystemTime) {
    let width = usize::from(area.width);
    let line = match (&screen.open, screen.notice(now)) {
        (Open::Filter, _) => {
            let text = tail(&printable(&screen.filter), width.saturating_sub(40));
            Line::from(vec![
                Span::styled("look for: ", Style::new().add_modifier(Modifier::BOLD)),
                Span::raw(text),
                Span::styled(" ", Style::new().add_modifier(Modifier::REVERSED)),
                Span::styled("  Enter keeps it, Esc clears it", theme.quiet()),
            ])
        }
        (_, Some(notice)) => {
            let style = if notice.is_bad { theme.bad() } else { theme.good() };
            Line::styled(cut(&printable(&notice.text), width), style)
        }
        _ => {
            let keys = match screen.pane {
                Pane::Approvals => "Enter look  a approve  d deny  ↑↓ choose  Tab pane  ? help  q quit",
                Pane::Agents | Pane::Hosts => "Enter filter by it  s sort  ↑↓ choose  Tab pane  ? help  q quit",
                Pane::Decisions => "Enter look  / filter  f refused  p pause  ↑↓ choose  Tab pane  ? help  q quit",
            };
            Line::styled(cut(keys, width), theme.quiet())
        }
    };
    frame.render_widget(line, area);
}

fn clock(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%H:%M:%S UTC").to_string()
}

fn pad(width: usize) -> String {
    " ".repeat(width)
}

/// The end of a text that is being written.
fn tail(text: &str, width: usize) -> String {
    let mut tail = text;
    while tail.width() > width {
        let mut rest = tail.chars();
        rest.next();
        tail = rest.as_str();
    }
    tail.to_owned()
}

#[cfg(test)]
mod tests;
