//! The questions that are open, and what was answered: one approval lets exactly one request out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    About, AnswerError, Answered, Asked, Fingerprint, MOST_PENDING, Petition, Redeemed, Standing, Ticket, Verdict,
};

/// How long an approval is kept for the one who was told of it. Past that, somebody else who waits is told too.
pub const RESERVED: Duration = Duration::from_secs(1);
/// Questions an agent may have in the book, answered ones included: refusals and unused approvals stay for a while.
pub const MOST_KEPT: usize = 1000;

/// All questions of all agents.
#[derive(Debug, Default)]
pub struct Book {
    questions: HashMap<Ticket, Question>,
    /// Each fingerprint has at most one question.
    tickets: HashMap<Fingerprint, Ticket>,
    /// The number the next one who waits gets.
    next: u64,
}

/// One who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter(u64);

/// What one who waits does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Goes: the question stands like this for them.
    Go(Standing),
    /// Asks again at this time, or when something was answered.
    WaitUntil(Instant),
}

/// A question as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub ticket: Ticket,
    /// What is asked.
    pub about: Arc<About>,
    /// How it stands.
    pub standing: Standing,
    /// When it was asked.
    pub asked: Instant,
    /// Until when it can be answered, or what was answered counts.
    pub until: Instant,
    /// How many identical requests are held open for it.
    pub waiting: usize,
}

#[derive(Debug)]
struct Question {
    about: Arc<About>,
    state: State,
    asked: Instant,
    until: Instant,
    expires: Duration,
    /// Whether nobody was told yet that it is open.
    unannounced: bool,
    /// The longest waiting first.
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
enum State {
    Pending,
    Approved { answered: Answered, told: Option<Told> },
    Refused(Answered),
}

/// Who was told of an approval; none: one who did not wait.
#[derive(Debug)]
struct Told {
    waiter: Option<Waiter>,
    at: Instant,
}

impl Book {
    /// Opens a question under this name, or finds the one that is open for the same request. The name is one that
    /// nobody can guess.
    pub fn ask(&mut self, petition: &Petition, name: &Ticket, now: Instant) -> Asked {
        if let Some(ticket) = self.tickets.get(&petition.fingerprint)
            && let Some(question) = self.questions.get_mut(ticket).filter(|question| now < question.until)
        {
            let standing = question.standing_for(None, now);
            let new = std::mem::take(&mut question.unannounced);
            let expires = question.until.saturating_duration_since(now);
            return Asked::Open { ticket: ticket.clone(), standing, expires, new };
        }
        self.sweep(now);
        let own = self.questions.values().filter(|question| question.about.agent == petition.about.agent);
        let (mut pending, mut kept) = (0, 0);
        for question in own {
            kept += 1;
            pending += usize::from(matches!(question.state, State::Pending));
        }
        if pending >= MOST_PENDING || kept >= MOST_KEPT {
            return Asked::TooMany;
        }
        let ticket = name.clone();
        let question = Question {
            about: Arc::new(petition.about.clone()),
            state: State::Pending,
            asked: now,
            until: now + petition.expires,
            expires: petition.expires,
            unannounced: false,
            waiting: VecDeque::new(),
        };
        self.tickets.insert(petition.fingerprint, ticket.clone());
        self.questions.insert(ticket.clone(), question);
        Asked::Open { ticket, standing: Standing::Pending, expires: petition.expires, new: true }
    }

    /// Queues up for an answer. Whoever does must [`Self::leave`], unless [`Self::turn`] let them go.
    pub fn enter(&mut self, ticket: &str, now: Instant) -> Option<Waiter> {
        let question = self.questions.get_mut(ticket).filter(|question| now < question.until)?;
        let waiter = Waiter(self.next);
        self.next += 1;
        question.waiting.push_back(waiter);
        Some(waiter)
    }

    /// What one who waits does now. Once they are let go, they do not wait any more.
    pub fn turn(&mut self, ticket: &str, waiter: Waiter, now: Instant) -> Turn {
        let Some(question) = self.questions.get_mut(ticket).filter(|question| now < question.until) else {
            return Turn::Go(Standing::Expired);
        };
        match question.standing_for(Some(waiter), now) {
            Standing::Pending if matches!(question.state, State::Pending) => Turn::WaitUntil(question.until),
            // Approved, but for somebody else: perhaps they do not come for it.
            Standing::Pending => Turn::WaitUntil(question.until.min(now + RESERVED)),
            standing => {
                question.waiting.retain(|other| *other != waiter);
                Turn::Go(standing)
            }
        }
    }

    /// Waits no more. An approval that this one was told of is free for the next.
    pub fn leave(&mut self, ticket: &str, waiter: Waiter) {
        let Some(question) = self.questions.get_mut(ticket) else { return };
        question.waiting.retain(|other| *other != waiter);
        if let State::Approved { told, .. } = &mut question.state {
            told.take_if(|told| told.waiter == Some(waiter));
        }
    }

    /// Takes a person's answer. What was approved and not used yet can still be refused.
    ///
    /// # Errors
    /// As [`AnswerError`] says.
    pub fn answer(
        &mut self,
        ticket: &str,
        verdict: Verdict,
        answered: Answered,
        now: Instant,
    ) -> Result<Entry, AnswerError> {
        let Some(question) = self.questions.get_mut(ticket) else { return Err(AnswerError::Unknown(ticket.into())) };
        if question.until <= now {
            return Err(AnswerError::Expired(ticket.into()));
        }
        question.state = match (&question.state, verdict) {
            (State::Pending, Verdict::Approve) => State::Approved { answered, told: None },
            (State::Pending | State::Approved { .. }, Verdict::Refuse) => State::Refused(answered),
            _ => return Err(AnswerError::AlreadyAnswered(ticket.into())),
        };
        question.until = now + question.expires;
        Ok(question.entry(&ticket.into()))
    }

    /// Uses an approval up. The others who wait for the same question ask it anew.
    pub fn redeem(&mut self, fingerprint: Fingerprint, now: Instant) -> Option<Redeemed> {
        let ticket = self.tickets.get(&fingerprint)?.clone();
        let question = self.questions.get_mut(&ticket).filter(|question| now < question.until)?;
        let State::Approved { answered, .. } = &question.state else { return None };
        let redeemed = Redeemed { ticket: ticket.clone(), answered: answered.clone() };
        if question.waiting.is_empty() {
            self.questions.remove(&ticket);
            self.tickets.remove(&fingerprint);
        } else {
            question.state = State::Pending;
            question.asked = now;
            question.until = now + question.expires;
            question.unannounced = true;
        }
        Some(redeemed)
    }

    /// Everything that is open or whose answer still counts, in no order.
    pub fn entries(&self, now: Instant) -> impl Iterator<Item = Entry> {
        let open = self.questions.iter().filter(move |(_, question)| now < question.until);
        open.map(|(ticket, question)| question.entry(ticket))
    }

    /// Drops what has expired.
    fn sweep(&mut self, now: Instant) {
        self.questions.retain(|_, question| now < question.until);
        self.tickets.retain(|_, ticket| self.questions.contains_key(ticket));
    }
}

impl Question {
    fn entry(&self, ticket: &Ticket) -> Entry {
        Entry {
            ticket: ticket.clone(),
            about: self.about.clone(),
            standing: self.standing(),
            asked: self.asked,
            until: self.until,
            waiting: self.waiting.len(),
        }
    }

    fn standing(&self) -> Standing {
        match &self.state {
            State::Pending => Standing::Pending,
            State::Approved { answered, .. } => Standing::Approved(answered.clone()),
            State::Refused(answered) => Standing::Refused(answered.clone()),
        }
    }

    /// How it stands for one who waits, or for one who comes just now: an approval is for the first of those who
    /// wait, and for nobody else while they are about to use it.
    fn standing_for(&mut self, waiter: Option<Waiter>, now: Instant) -> Standing {
        let first = self.waiting.front().copied();
        if let State::Approved { answered, told } = &mut self.state {
            let is_reserved = told.as_ref().is_some_and(|told| now.saturating_duration_since(told.at) < RESERVED);
            if is_reserved || waiter != first {
                return Standing::Pending;
            }
            *told = Some(Told { waiter, at: now });
            return Standing::Approved(answered.clone());
        }
        self.standing()
    }
}

#[cfg(test)]
mod tests;
