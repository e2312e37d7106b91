//! Where the person who looks is: the pane, what is chosen, what is open above it, and what each key does.

use std::time::{Duration, SystemTime};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::model::tally::{Entry, Sort};
use super::model::{Model, Row};
use crate::control::api::{AnswerApprovalRequest, Approval, Verdict};
use crate::journal::exchange::{Exchange, Standing};

/// How long a notice stays.
const NOTICE: Duration = Duration::from_secs(10);
/// How far the page keys go, in rows.
const PAGE: usize = 10;
/// The longest text that is taken, in characters: what a reason may have.
const LONGEST: usize = 500;

/// A list on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pane {
    /// What is decided.
    Decisions,
    /// What waits for a person.
    Approvals,
    /// Who asks.
    Agents,
    /// Whom it is meant for.
    Hosts,
}

impl Pane {
    /// The one after it, as Tab goes.
    fn next(self) -> Self {
        match self {
            Self::Decisions => Self::Approvals,
            Self::Approvals => Self::Agents,
            Self::Agents => Self::Hosts,
            Self::Hosts => Self::Decisions,
        }
    }

    fn previous(self) -> Self {
        match self {
            Self::Decisions => Self::Hosts,
            Self::Approvals => Self::Decisions,
            Self::Agents => Self::Approvals,
            Self::Hosts => Self::Agents,
        }
    }
}

/// What is open above the panes, and takes the keys.
#[derive(Debug)]
pub enum Open {
    /// Nothing.
    Nothing,
    /// What the keys are.
    Help,
    /// All of one exchange, by its place; as it was when it is no longer kept.
    Decision(u64, Box<Exchange>),
    /// All of one question.
    Approval(Box<Approval>),
    /// An answer that is about to be given.
    Answer(Box<Draft>),
    /// The text that is looked for is being written.
    Filter,
}

/// An answer before it is given.
#[derive(Debug)]
pub struct Draft {
    /// To what: as it was shown.
    pub approval: Approval,
    /// Which.
    pub verdict: Verdict,
    /// Why.
    pub why: String,
}

/// What has to be done beside drawing.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// End.
    Quit,
    /// Give an answer.
    Answer(AnswerApprovalRequest),
}

/// A sentence for a while.
#[derive(Debug)]
pub struct Notice {
    /// What happened.
    pub text: String,
    /// Whether it is bad.
    pub is_bad: bool,
    until: SystemTime,
}

/// The screen, beside what it shows.
#[derive(Debug)]
pub struct Screen {
    /// Where the keys go.
    pub pane: Pane,
    /// What is open above the panes.
    pub open: Open,
    /// How far down what is open is scrolled, in lines; drawing brings it back to what there is.
    pub scroll: usize,
    /// The text that is looked for, as it was written.
    pub filter: String,
    /// Only what did not pass.
    pub only_refused: bool,
    /// The place of the first decision that is not shown until it goes on.
    pub paused: Option<u64>,
    /// The order of agents and of hosts.
    pub sort: Sort,
    /// Which of the two tables is shown where there is room for one.
    pub table: Pane,
    decision: Option<u64>,
    ticket: Option<String>,
    agent: Option<String>,
    host: Option<String>,
    notice: Option<Notice>,
}

impl Default for Screen {
    fn default() -> Self {
        Self {
            pane: Pane::Decisions,
            open: Open::Nothing,
            scroll: 0,
            filter: String::new(),
            only_refused: false,
            paused: None,
            sort: Sort::Requests,
            table: Pane::Agents,
            decision: None,
            ticket: None,
            agent: None,
            host: None,
            notice: None,
        }
    }
}

impl Screen {
    /// Does what a key says.
    pub fn key(&mut self, key: KeyEvent, model: &Model, now: SystemTime) -> Action {
        if key.kind == KeyEventKind::Release {
            return Action::Nothing;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Action::Quit } else { Action::Nothing };
        }
        match &mut self.open {
            Open::Nothing => return self.in_pane(key.code, model, now),
            Open::Filter => match key.code {
                KeyCode::Enter => self.open = Open::Nothing,
                KeyCode::Esc => {
                    self.filter.clear();
                    self.open = Open::Nothing;
                }
                code => write(&mut self.filter, code),
            },
            Open::Answer(draft) => match key.code {
                KeyCode::Enter => {
                    let answer = AnswerApprovalRequest {
                        ticket: draft.approval.ticket.clone(),
                        verdict: draft.verdict.into(),
                        by: String::new(),
                        why: draft.why.clone(),
                    };
                    self.close();
                    return Action::Answer(answer);
                }
                KeyCode::Esc => self.close(),
                code if self.scrolls(code) => {}
                code => {
                    if let Open::Answer(draft) = &mut self.open {
                        write(&mut draft.why, code);
                    }
                }
            },
            Open::Approval(approval) => match key.code {
                KeyCode::Char('a') => {
                    let approval = approval.as_ref().clone();
                    self.draft(approval, Verdict::Approve);
                }
                KeyCode::Char('d') => {
                    let approval = approval.as_ref().clone();
                    self.draft(approval, Verdict::Refuse);
                }
                code => self.read(code),
            },
            Open::Help | Open::Decision(..) => self.read(key.code),
        }
        Action::Nothing
    }

    /// Says something for a while.
    pub fn say(&mut self, text: String, is_bad: bool, now: SystemTime) {
        self.notice = Some(Notice { text, is_bad, until: now + NOTICE });
    }

    /// What was said, as long as it stays.
    pub fn notice(&self, now: SystemTime) -> Option<&Notice> {
        self.notice.as_ref().filter(|notice| now < notice.until)
    }

    /// The decisions that are shown, the newest first, and which of them is chosen.
    pub fn decisions<'a>(&self, model: &'a Model) -> Vec<(u64, &'a Row)> {
        let text = self.filter.to_lowercase();
        let wanted = |(place, row): &(u64, &Row)| {
            self.paused.is_none_or(|paused| *place < paused)
                && (!self.only_refused || row.exchange.standing() != Standing::Allowed)
                && (text.is_empty() || row.has(&text))
        };
        model.rows().filter(wanted).collect()
    }

    /// The agents, or the hosts, that are shown.
    pub fn names<'a>(&self, pane: Pane, model: &'a Model, now: SystemTime) -> Vec<(&'a str, &'a Entry)> {
        let tally = if pane == Pane::Hosts { &model.hosts } else { &model.agents };
        let text = self.filter.to_lowercase();
        let mut rows = tally.rows(self.sort, now);
        // A filter may name a host, and no agent: it is of decisions then.
        if rows.iter().any(|(name, _)| name.to_lowercase().contains(&text)) {
            rows.retain(|(name, _)| name.to_lowercase().contains(&text));
        }
        rows
    }

    /// Which decision is chosen, as its row: the newest, unless a person has chosen one.
    pub fn chosen_decision(&self, rows: &[(u64, &Row)]) -> usize {
        self.decision.and_then(|chosen| rows.iter().position(|(place, _)| *place <= chosen)).unwrap_or(0)
    }

    /// Which question is chosen, as its row.
    pub fn chosen_approval(&self, rows: &[Approval]) -> usize {
        self.ticket.as_ref().and_then(|chosen| rows.iter().position(|row| row.ticket == *chosen)).unwrap_or(0)
    }

    /// Which agent or host is chosen, as its row.
    pub fn chosen_name(&self, pane: Pane, rows: &[(&str, &Entry)]) -> usize {
        let chosen = if pane == Pane::Hosts { &self.host } else { &self.agent };
        chosen.as_ref().and_then(|chosen| rows.iter().position(|(name, _)| name == chosen)).unwrap_or(0)
    }

    fn in_pane(&mut self, code: KeyCode, model: &Model, now: SystemTime) -> Action {
        match code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('?') => self.show(Open::Help),
            KeyCode::Char('/') => self.open = Open::Filter,
            KeyCode::Char('f') => self.only_refused = !self.only_refused,
            KeyCode::Char('p') => self.paused = if self.paused.is_some() { None } else { Some(model.next()) },
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('1') => self.go(Pane::Decisions),
            KeyCode::Char('2') => self.go(Pane::Approvals),
            KeyCode::Char('3') => self.go(Pane::Agents),
            KeyCode::Char('4') => self.go(Pane::Hosts),
            KeyCode::Tab => self.go(self.pane.next()),
            KeyCode::BackTab => self.go(self.pane.previous()),
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Down | KeyCode::Char('j') => self.choose(model, now, |row| row.saturating_add(1)),
            KeyCode::Up | KeyCode::Char('k') => self.choose(model, now, |row| row.saturating_sub(1)),
            KeyCode::PageDown => self.choose(model, now, |row| row.saturating_add(PAGE)),
            KeyCode::PageUp => self.choose(model, now, |row| row.saturating_sub(PAGE)),
            KeyCode::Home | KeyCode::Char('g') => self.choose(model, now, |_| 0),
            KeyCode::End | KeyCode::Char('G') => self.choose(model, now, |_| usize::MAX),
            KeyCode::Enter => self.look(model, now),
            KeyCode::Char('a') => self.answer(model, Verdict::Approve),
            KeyCode::Char('d') => self.answer(model, Verdict::Refuse),
            _ => {}
        }
        Action::Nothing
    }

    fn go(&mut self, pane: Pane) {
        self.pane = pane;
        if matches!(pane, Pane::Agents | Pane::Hosts) {
            self.table = pane;
        }
    }

    fn choose(&mut self, model: &Model, now: SystemTime, step: impl Fn(usize) -> usize) {
        match self.pane {
            Pane::Decisions => {
                let rows = self.decisions(model);
                let row = step(self.chosen_decision(&rows)).min(rows.len().saturating_sub(1));
                // Who is at the top goes with what comes.
                self.decision = rows.get(row).filter(|_| row > 0).map(|(place, _)| *place);
            }
            Pane::Approvals => {
                let row = step(self.chosen_approval(&model.pending)).min(model.pending.len().saturating_sub(1));
                self.ticket = model.pending.get(row).map(|approval| approval.ticket.clone());
            }
            Pane::Agents | Pane::Hosts => {
                let rows = self.names(self.pane, model, now);
                let row = step(self.chosen_name(self.pane, &rows)).min(rows.len().saturating_sub(1));
                let name = rows.get(row).map(|(name, _)| (*name).to_owned());
                *(if self.pane == Pane::Hosts { &mut self.host } else { &mut self.agent }) = name;
            }
        }
    }

    fn look(&mut self, model: &Model, now: SystemTime) {
        match self.pane {
            Pane::Decisions => {
                let rows = self.decisions(model);
                if let Some((place, row)) = rows.get(self.chosen_decision(&rows)) {
                    let open = Open::Decision(*place, Box::new(row.exchange.clone()));
                    self.show(open);
                }
            }
            Pane::Approvals => {
                if let Some(approval) = model.pending.get(self.chosen_approval(&model.pending)) {
                    self.show(Open::Approval(Box::new(approval.clone())));
                }
            }
            Pane::Agents | Pane::Hosts => {
                let rows = self.names(self.pane, model, now);
                if let Some((name, _)) = rows.get(self.chosen_name(self.pane, &rows)) {
                    self.filter = (*name).to_owned();
                    self.pane = Pane::Decisions;
                }
            }
        }
    }

    /// Asks before an answer is given. From elsewhere the keys only lead to the questions.
    fn answer(&mut self, model: &Model, verdict: Verdict) {
        if self.pane != Pane::Approvals {
            return self.go(Pane::Approvals);
        }
        if let Some(approval) = model.pending.get(self.chosen_approval(&model.pending)) {
            self.draft(approval.clone(), verdict);
        }
    }

    fn draft(&mut self, approval: Approval, verdict: Verdict) {
        self.show(Open::Answer(Box::new(Draft { approval, verdict, why: String::new() })));
    }

    fn show(&mut self, open: Open) {
        (self.open, self.scroll) = (open, 0);
    }

    fn close(&mut self) {
        self.show(Open::Nothing);
    }

    fn read(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Char('q' | '?') | KeyCode::Esc | KeyCode::Enter => self.close(),
            code => {
                self.scrolls(code);
            }
        }
    }

    fn scrolls(&mut self, code: KeyCode) -> bool {
        self.scroll = match code {
            KeyCode::Down => self.scroll.saturating_add(1),
            KeyCode::Up => self.scroll.saturating_sub(1),
            KeyCode::PageDown => self.scroll.saturating_add(PAGE),
            KeyCode::PageUp => self.scroll.saturating_sub(PAGE),
            _ => return false,
        };
        true
    }
}

fn write(text: &mut String, code: KeyCode) {
    match code {
        KeyCode::Char(character) if !character.is_control() && text.chars().count() < LONGEST => text.push(character),
        KeyCode::Backspace => {
            text.pop();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::News;
    use super::super::model::tests::{at, decided};
    use super::*;
    use crate::cli::approvals::view::tests::approval;
    use crate::pipeline::audit;

    fn press(screen: &mut Screen, model: &Model, keys: &str) -> Action {
        let mut action = Action::Nothing;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\t' => KeyCode::Tab,
                '\u{8}' => KeyCode::Backspace,
                character => KeyCode::Char(character),
            };
            assert_eq!(action, Action::Nothing);
            action = screen.key(code.into(), model, at(60));
        }
        action
    }

    fn model() -> Model {
        let mut model = Model::default();
        for (number, verdict) in
            [audit::Verdict::Allow, audit::Verdict::Deny, audit::Verdict::Allow].into_iter().enumerate()
        {
            model.take(decided(&format!("r{number}"), "ann", &format!("h{number}.example"), verdict, 0), at(0));
        }
        let second = Approval { ticket: "apr_second".into(), ..approval() };
        model.take(News::Approvals(Ok(vec![approval(), second])), at(0));
        model
    }

    fn shown(screen: &Screen, model: &Model) -> String {
        screen.decisions(model).iter().map(|(_, row)| &row.exchange.decision.request_id[1..]).collect()
    }

    #[test]
    fn an_answer_is_given_only_after_it_was_confirmed() {
        let (model, mut screen) = (model(), Screen::default());
        // From another pane the key leads to the questions, and no further.
        assert_eq!(press(&mut screen, &model, "a\u{1b}"), Action::Nothing);
        assert_eq!(screen.pane, Pane::Approvals);
        assert_eq!(press(&mut screen, &model, "a\u{1b}"), Action::Nothing);
        let answer = |ticket: &str, verdict: Verdict, why: &str| {
            let (ticket, why) = (ticket.to_owned(), why.to_owned());
            Action::Answer(AnswerApprovalRequest { ticket, verdict: verdict.into(), by: String::new(), why })
        };
        assert_eq!(press(&mut screen, &model, "a\n"), answer("apr_7k2m", Verdict::Approve, ""));
        assert_eq!(press(&mut screen, &model, "jdnot q\u{8}\n"), answer("apr_second", Verdict::Refuse, "not "));
        assert_eq!(press(&mut screen, &model, "\na\n"), answer("apr_second", Verdict::Approve, ""));
        assert!(matches!(screen.open, Open::Nothing));
    }

    #[test]
    fn an_answer_is_to_what_was_shown_whatever_comes_in_between() {
        let (mut model, mut screen) = (model(), Screen::default());
        press(&mut screen, &model, "2a");
        model.take(News::Approvals(Ok(vec![Approval { ticket: "apr_other".into(), ..approval() }])), at(0));
        let Action::Answer(answer) = press(&mut screen, &model, "\n") else { panic!("no answer") };
        assert_eq!(answer.ticket, "apr_7k2m");
        model.take(News::Approvals(Ok(Vec::new())), at(0));
        assert_eq!(press(&mut screen, &model, "a\n"), Action::Nothing);
    }

    #[test]
    fn what_is_not_looked_for_is_not_shown() {
        let (mut model, mut screen) = (model(), Screen::default());
        assert_eq!(shown(&screen, &model), "210");
        press(&mut screen, &model, "f");
        assert_eq!(shown(&screen, &model), "1");
        press(&mut screen, &model, "f/H0.EX");
        assert_eq!(shown(&screen, &model), "0");
        press(&mut screen, &model, "\np");
        assert_eq!((shown(&screen, &model), &*screen.filter), ("0".into(), "H0.EX"));
        model.take(decided("r3", "ann", "h0.example", audit::Verdict::Allow, 1), at(1));
        assert_eq!(shown(&screen, &model), "0");
        press(&mut screen, &model, "p");
        assert_eq!(shown(&screen, &model), "30");
        press(&mut screen, &model, "\u{1b}");
        assert_eq!(shown(&screen, &model), "3210");
        // An agent that is looked at is looked for.
        press(&mut screen, &model, "4jj\n");
        assert_eq!((screen.pane, &*screen.filter, &*shown(&screen, &model)), (Pane::Decisions, "h2.example", "2"));
    }

    #[test]
    fn what_was_chosen_stays_chosen() {
        let (mut model, mut screen) = (model(), Screen::default());
        press(&mut screen, &model, "j");
        model.take(decided("r3", "ann", "h0.example", audit::Verdict::Allow, 1), at(1));
        let rows = screen.decisions(&model);
        assert_eq!(rows[screen.chosen_decision(&rows)].0, 1);
        press(&mut screen, &model, "\n");
        assert!(matches!(&screen.open, Open::Decision(1, exchange) if &*exchange.decision.request_id == "r1"));
        press(&mut screen, &model, "\u{1b}g");
        model.take(decided("r4", "ann", "h0.example", audit::Verdict::Allow, 1), at(1));
        assert_eq!(screen.chosen_decision(&screen.decisions(&model)), 0);
        press(&mut screen, &model, "GG");
        let rows = screen.decisions(&model);
        assert_eq!(screen.chosen_decision(&rows), 4);
    }

    #[test]
    fn q_ends_it_and_only_where_it_is_no_text() {
        let (model, mut screen) = (model(), Screen::default());
        assert_eq!(press(&mut screen, &model, "/q"), Action::Nothing);
        assert_eq!(press(&mut screen, &model, "\n?q\n"), Action::Nothing, "it closes what is open");
        press(&mut screen, &model, "\u{1b}");
        assert_eq!(press(&mut screen, &model, "q"), Action::Quit);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        press(&mut screen, &model, "2a");
        assert_eq!(screen.key(interrupt, &model, at(60)), Action::Quit);
    }
}
