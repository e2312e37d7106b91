//! The lists: a title, a heading, and rows that fit.

use std::time::SystemTime;

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span, Text};
use unicode_width::UnicodeWidthStr;

use super::super::model::tally::{Entry, Kind};
use super::super::model::{Link, Model, Row, agent, lasted};
use super::super::screen::{Pane, Screen};
use super::text::{amount, rate};
use super::{Theme, pad};
use crate::cli::approvals::view as asked;
use crate::cli::logs::table::{url, why};
use crate::cli::output::{cut, printable};
use crate::control::api::Approval;
use crate::journal::exchange::{Exchange, Standing};
use crate::pipeline::audit::{Verdict, redacted_query};

/// What has been idle for longer is shown as if it was going.
const IDLE: u64 = 60;

/// A column: its heading, how wide it may get, and whether it is a number.
struct Column {
    heading: &'static str,
    widest: usize,
    narrowest: usize,
    is_number: bool,
}

const fn column(heading: &'static str, widest: usize, narrowest: usize) -> Column {
    Column { heading, widest, narrowest, is_number: false }
}

const fn number(heading: &'static str) -> Column {
    Column { heading, widest: 7, narrowest: 4, is_number: true }
}

/// As wide as there is room.
const REST: usize = usize::MAX;

type Cells = Vec<(String, Style)>;

/// The decisions, the newest at the top.
pub fn decisions(frame: &mut Frame<'_>, area: Rect, model: &Model, screen: &Screen, theme: Theme) {
    const COLUMNS: [Column; 8] = [
        column("TIME", 8, 8),
        column("AGENT", 16, 10),
        column("STATUS", 12, 7),
        column("CODE", 4, 4),
        column("METHOD", 7, 6),
        column("URL", REST, 20),
        column("REASON OR RULE", 40, 14),
        column("DLP", 6, 3),
    ];
    let rows = screen.decisions(model);
    let chosen = screen.chosen_decision(&rows);
    let mut title = "Decisions".to_owned();
    if !screen.filter.is_empty() {
        title.push_str(&format!(", with `{}`", printable(&screen.filter)));
    }
    if screen.only_refused {
        title.push_str(", only what did not pass");
    }
    if let Some(paused) = screen.paused {
        title.push_str(&format!(", PAUSED ({} newer)", model.next().saturating_sub(paused)));
    }
    let empty = match (&model.link, model.total.all()) {
        (Link::Connecting, _) => "",
        (_, 0) => "nothing has been decided in the last minutes",
        _ => "nothing matches",
    };
    let rows: Vec<&Row> = rows.into_iter().map(|(_, row)| row).collect();
    let cells = |row: &&Row| decision(&row.exchange, theme);
    List { pane: Pane::Decisions, title, columns: &COLUMNS, empty }
        .draw(frame, area, screen, theme, &rows, chosen, cells);
}

fn decision(exchange: &Exchange, theme: Theme) -> Cells {
    let decision = &exchange.decision;
    let time = Timestamp::try_from(decision.time).unwrap_or(Timestamp::UNIX_EPOCH);
    let kind = Kind::of(exchange);
    let standing = match (exchange.standing(), decision.decision) {
        (Standing::Blocked, Verdict::RateLimited) => "limited",
        (Standing::Blocked, Verdict::Pending) => "pending",
        (standing, _) => standing.as_str(),
    };
    let style = match exchange.standing() {
        Standing::Unreconciled => theme.bad().add_modifier(Modifier::REVERSED),
        // It goes on, or went out and nobody knows.
        Standing::Allowed | Standing::Unknown => theme.of(kind),
        _ => theme.of(kind).add_modifier(Modifier::BOLD),
    };
    let plain = Style::new();
    let status = exchange.status().map_or_else(|| "-".to_owned(), |status| status.to_string());
    vec![
        (time.strftime("%H:%M:%S").to_string(), theme.quiet()),
        (printable(agent(exchange)), plain),
        (standing.to_owned(), style),
        (status, plain),
        (printable(&decision.method), plain),
        (printable(&url(exchange)), plain),
        (printable(&why(exchange)), plain),
        (found(exchange), theme.bad()),
    ]
}

/// How much was found in it, and the worst that was done about it.
fn found(exchange: &Exchange) -> String {
    let inspected = exchange.inspections.iter().flat_map(|inspection| &inspection.findings);
    let findings: Vec<_> = exchange.decision.findings.iter().chain(inspected).collect();
    let worst = [("block", "!"), ("redact", "~")];
    let worst = worst.into_iter().find(|(action, _)| findings.iter().any(|found| found.action == *action));
    match findings.len() {
        0 => String::new(),
        count => format!("{}{}", amount(count as u64), worst.map_or("", |(_, mark)| mark)),
    }
}

/// What waits for a person.
pub fn approvals(frame: &mut Frame<'_>, area: Rect, model: &Model, screen: &Screen, theme: Theme, now: SystemTime) {
    const COLUMNS: [Column; 7] = [
        column("TICKET", 10, 8),
        column("AGE", 6, 3),
        column("EXPIRES", 7, 7),
        column("AGENT", 16, 6),
        column("REQUEST", REST, 24),
        column("RULES", 36, 10),
        number("HELD"),
    ];
    let count = model.pending.len();
    let title = match (count, &model.unasked) {
        (_, Some(why)) => format!("Approvals: nobody knows what waits: {}", printable(why)),
        (0, None) => "Approvals: nothing waits".to_owned(),
        (1, None) => "Approvals: 1 WAITS".to_owned(),
        (_, None) => format!("Approvals: {count} WAIT"),
    };
    let cells = |approval: &Approval| question(approval, theme, now);
    let chosen = screen.chosen_approval(&model.pending);
    List { pane: Pane::Approvals, title, columns: &COLUMNS, empty: "" }.draw(
        frame,
        area,
        screen,
        theme,
        &model.pending,
        chosen,
        cells,
    );
}

fn question(approval: &Approval, theme: Theme, now: SystemTime) -> Cells {
    let plain = Style::new();
    let query = approval.query.as_deref().map(redacted_query);
    let request = format!("{} {}", approval.method, asked::url(approval, query.as_deref()));
    vec![
        (printable(&approval.ticket), theme.of(Kind::Pending).add_modifier(Modifier::BOLD)),
        (asked::age(approval, now), plain),
        (asked::remaining(approval, now), plain),
        (printable(&approval.agent), plain),
        (printable(&request), plain),
        (asked::rules(approval), plain),
        (approval.waiting.to_string(), plain),
    ]
}

/// Agents, or hosts.
pub fn names(
    frame: &mut Frame<'_>,
    area: Rect,
    pane: Pane,
    model: &Model,
    screen: &Screen,
    theme: Theme,
    now: SystemTime,
) {
    const COLUMNS: [Column; 9] = [
        column("NAME", 40, 12),
        number("REQS"),
        number("ALLOW"),
        number("BLOCK"),
        number("LIMIT"),
        number("PEND"),
        number("FAIL"),
        number("REQ/S"),
        column("TOP REASON", REST, 10),
    ];
    let (what, tally) = if pane == Pane::Hosts { ("Hosts", &model.hosts) } else { ("Agents", &model.agents) };
    let rows = screen.names(pane, model, now);
    let mut title = format!("{what} by {}", screen.sort.as_str());
    if tally.others.all() > 0 {
        title.push_str(&format!(", and {} requests of others", amount(tally.others.all())));
    }
    let chosen = screen.chosen_name(pane, &rows);
    let cells = |row: &(&str, &Entry)| counted(row, theme, now);
    List { pane, title, columns: &COLUMNS, empty: "none yet" }.draw(frame, area, screen, theme, &rows, chosen, cells);
}

fn counted((name, entry): &(&str, &Entry), theme: Theme, now: SystemTime) -> Cells {
    let idle = lasted(entry.last, now).as_secs() >= IDLE;
    let plain = if idle { theme.quiet() } else { Style::new() };
    let count = |count: u64, kind: Kind| {
        let style = if count == 0 || idle { theme.quiet() } else { theme.of(kind) };
        (amount(count), style)
    };
    let counts = &entry.counts;
    vec![
        (printable(name), plain),
        (amount(counts.all()), plain),
        count(counts.allowed, Kind::Allowed),
        count(counts.blocked, Kind::Blocked),
        count(counts.limited, Kind::Limited),
        count(counts.pending, Kind::Pending),
        count(counts.failed, Kind::Failed),
        (rate(entry.rate.over(now, 60) as f64 / 60.0), plain),
        (printable(entry.top_reason().unwrap_or("-")), plain),
    ]
}

/// A list as it is drawn.
struct List<'a> {
    pane: Pane,
    title: String,
    columns: &'a [Column],
    /// What is said where there is nothing.
    empty: &'a str,
}

impl List<'_> {
    #[expect(clippy::too_many_arguments, reason = "what is drawn, where and how")]
    fn draw<T>(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        screen: &Screen,
        theme: Theme,
        rows: &[T],
        chosen: usize,
        cells: impl Fn(&T) -> Cells,
    ) {
        let has_keys = screen.pane == self.pane;
        let mut lines = vec![self.title(area.width.into(), has_keys)];
        let room = usize::from(area.height.saturating_sub(2));
        // What is chosen is always in sight.
        let first = (chosen + 1).saturating_sub(room);
        let shown: Vec<Cells> = rows.iter().skip(first).take(room).map(cells).collect();
        let widths = self.widths(area.width.into(), &shown);
        if shown.is_empty() {
            lines.push(Line::styled(format!("  {}", self.empty), theme.quiet()));
        } else {
            let heading = self.columns.iter().map(|column| (column.heading.to_owned(), theme.quiet())).collect();
            lines.push(self.line(&heading, &widths, area.width.into(), None));
        }
        for (row, cells) in (first..).zip(&shown) {
            let mark = (has_keys && row == chosen).then(|| Style::new().add_modifier(Modifier::REVERSED));
            lines.push(self.line(cells, &widths, area.width.into(), mark));
        }
        frame.render_widget(Text::from(lines), area);
    }

    fn title(&self, width: usize, has_keys: bool) -> Line<'static> {
        let key = match self.pane {
            Pane::Decisions => 1,
            Pane::Approvals => 2,
            Pane::Agents => 3,
            Pane::Hosts => 4,
        };
        let text = cut(&format!(" {key} {} ", self.title), width.saturating_sub(4));
        let rest = "─".repeat(width.saturating_sub(text.width() + 1));
        let mark = if has_keys { Modifier::BOLD | Modifier::REVERSED } else { Modifier::BOLD };
        let (line, title) = (Style::new().add_modifier(Modifier::DIM), Style::new().add_modifier(mark));
        Line::from(vec![Span::styled("─", line), Span::styled(text, title), Span::styled(rest, line)])
    }

    /// Each column as wide as what stands in it, within its bounds. Where that is too much the widest give way, down
    /// to their least; what is left over is for the one that takes the rest.
    fn widths(&self, room: usize, rows: &[Cells]) -> Vec<usize> {
        let natural = |index: usize, column: &Column| {
            let cells = rows.iter().filter_map(|row| row.get(index)).map(|(cell, _)| cell.width()).max().unwrap_or(0);
            let heading = if column.widest == 1 { 1 } else { column.heading.width() };
            cells.max(heading).max(column.narrowest.min(heading)).min(column.widest)
        };
        let mut widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(index, column)| natural(index, column)).collect();
        let room = room.saturating_sub(self.columns.len().saturating_sub(1));
        while widths.iter().sum::<usize>() > room {
            let spare = |(width, column): (&usize, &Column)| width.saturating_sub(column.narrowest);
            let widest = widths.iter().zip(self.columns).map(spare).enumerate().max_by_key(|(_, spare)| *spare);
            let Some((index, _)) = widest.filter(|(_, spare)| *spare > 0) else { break };
            widths.iter_mut().skip(index).take(1).for_each(|width| *width -= 1);
        }
        let left = room.saturating_sub(widths.iter().sum());
        let rest = self.columns.iter().position(|column| column.widest == REST);
        widths.iter_mut().skip(rest.unwrap_or(usize::MAX)).take(1).for_each(|width| *width += left);
        widths
    }

    fn line(&self, cells: &Cells, widths: &[usize], room: usize, mark: Option<Style>) -> Line<'static> {
        let mut spans = Vec::with_capacity(cells.len() * 2);
        let mut used = 0;
        for (((cell, style), column), width) in cells.iter().zip(self.columns).zip(widths) {
            if used > 0 {
                spans.push(Span::raw(" "));
                used += 1;
            }
            let cell = cut(cell, *width);
            let padding = pad(width.saturating_sub(cell.width()));
            let text = if column.is_number { padding + &cell } else { cell + &padding };
            used += text.width();
            spans.push(Span::styled(text, *style));
        }
        spans.push(Span::raw(pad(room.saturating_sub(used))));
        let line = Line::from(spans);
        match mark {
            Some(mark) => line.patch_style(mark),
            None => line,
        }
    }
}
