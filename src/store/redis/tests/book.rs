//! The scripts keep approvals as the book does: the same things happen to both at the same times, and what one says
//! the other says.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::clocked::{Clocked, script};
use super::wire::{self, AdmitReply, AnswerReply, AskReply, ListReply, WaitReply};
use crate::pipeline::approval::book::{Book, Turn, Waiter};
use crate::pipeline::approval::{AnswerError, Answered, Asked, Fingerprint, Petition, Standing, Ticket, Verdict};
use crate::pipeline::limit::Charges;
use crate::store::tests::{by, petition};

/// Short, so that much of what happens is that things expire.
const EXPIRES: Duration = Duration::from_secs(4);
/// Few, so that the bounds are met.
const MOST_PENDING: usize = 20;

#[derive(Debug, Clone)]
enum Act {
    Ask(u8),
    Wait(u8),
    Turn(usize),
    Leave(usize),
    Answer(u8, bool),
    Redeem(u8),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0..3_u8).prop_map(Act::Ask),
        3 => (0..30_u8).prop_map(Act::Ask),
        3 => (0..3_u8).prop_map(Act::Wait),
        2 => any::<usize>().prop_map(Act::Turn),
        1 => any::<usize>().prop_map(Act::Leave),
        3 => (0..3_u8, prop::bool::weighted(0.7)).prop_map(|(request, yes)| Act::Answer(request, yes)),
        3 => (0..3_u8).prop_map(Act::Redeem),
        2 => prop_oneof![0..50_u64, 900..1100_u64, 0..1900_u64].prop_map(|millis| Act::Pass(millis * 1000)),
    ]
}

struct Scripts {
    ask: redis::Script,
    wait: redis::Script,
    leave: redis::Script,
    answer: redis::Script,
    admit: redis::Script,
    list: redis::Script,
}

/// Both of them, with what the test knows.
struct Pair<'a> {
    server: &'a mut Clocked,
    scripts: &'a Scripts,
    book: Book,
    start: Instant,
    micros: u64,
    names: usize,
    tickets: HashMap<u8, Ticket>,
    waiters: Vec<(Ticket, Waiter, String)>,
    /// Those who were let go, and may be gone before they go on.
    told: Vec<(Ticket, Waiter, String)>,
}

impl Pair<'_> {
    fn now(&self) -> Instant {
        self.start + Duration::from_micros(self.micros)
    }

    fn run<T: redis::FromRedisValue>(&mut self, script: &redis::Script, arguments: &[&str]) -> T {
        self.server.run(script, self.micros, arguments)
    }

    fn ask(&mut self, request: u8) -> (Asked, Asked) {
        let petition = asking(request);
        self.names += 1;
        let name: Ticket = format!("apr_{}", self.names).into();
        let expires = EXPIRES.as_micros().to_string();
        let (most, kept) = (MOST_PENDING.to_string(), crate::pipeline::approval::book::MOST_KEPT.to_string());
        let about = wire::about_to_json(&petition.about);
        let fingerprint = petition.fingerprint.to_string();
        let arguments = [&fingerprint, &*name, "agent", &expires, &about, &most, &kept];
        let reply: AskReply = self.run(&self.scripts.ask, &arguments);
        let (book, now) = (&mut self.book, self.start + Duration::from_micros(self.micros));
        let expected = book.ask(&petition, &name, now);
        if let Asked::Open { ticket, .. } = &expected {
            self.tickets.insert(request, ticket.clone());
        }
        (expected, wire::asked(reply))
    }

    /// How it stands for one who waits: none if they wait on.
    fn turn(&mut self, ticket: &Ticket, waiter: Option<Waiter>, id: &str) -> (Option<Standing>, Option<Standing>) {
        let reply: WaitReply = self.run(&self.scripts.wait, &[ticket, id, ""]);
        let expected = match waiter.map(|waiter| self.book.turn(ticket, waiter, self.now())) {
            Some(Turn::Go(standing)) => Some(standing),
            Some(Turn::WaitUntil(_)) => None,
            None => Some(Standing::Expired),
        };
        (expected, Some(wire::standing(reply)).filter(|standing| *standing != Standing::Pending))
    }

    fn listed(&mut self) -> (Vec<Line>, Vec<Line>) {
        let reply: ListReply = self.run(&self.scripts.list, &[]);
        let got = wire::listed(reply).into_iter().map(|open| (open.ticket, open.standing, open.waiting));
        let expected = self.book.entries(self.now()).map(|entry| (entry.ticket, entry.standing, entry.waiting));
        let sorted = |mut lines: Vec<Line>| {
            lines.sort_by(|a, b| a.0.cmp(&b.0));
            lines
        };
        (sorted(expected.collect()), sorted(got.collect()))
    }
}

type Line = (Ticket, Standing, usize);

fn asking(request: u8) -> Petition {
    petition("agent", request, EXPIRES)
}

fn fingerprint(request: u8) -> Fingerprint {
    asking(request).fingerprint
}

/// What is late is told one thing or the other.
fn class(result: Result<(), AnswerError>) -> &'static str {
    match result {
        Ok(()) => "taken",
        Err(AnswerError::Unknown(_) | AnswerError::Expired(_)) => "gone",
        Err(AnswerError::AlreadyAnswered(_)) => "answered",
        Err(AnswerError::Unavailable) => "unavailable",
    }
}

#[test]
fn the_scripts_keep_approvals_as_the_book_does() {
    let scripts = Scripts {
        ask: script(include_str!("../scripts/ask.lua")),
        wait: script(include_str!("../scripts/wait.lua")),
        leave: script(include_str!("../scripts/leave.lua")),
        answer: script(include_str!("../scripts/answer.lua")),
        admit: script(include_str!("../scripts/admit.lua")),
        list: script(include_str!("../scripts/list.lua")),
    };
    let server = RefCell::new(Clocked::new());
    let mut runner = TestRunner::new(Config { max_shrink_iters: 200, ..Config::with_cases(80) });
    let run = runner.run(&vec(act(), 1..120), |acts| {
        let mut server = server.borrow_mut();
        let _: () = server.command(&["FLUSHALL"]);
        let pair = Pair {
            server: &mut server,
            scripts: &scripts,
            book: Book::default(),
            start: Instant::now(),
            micros: 0,
            names: 0,
            tickets: HashMap::new(),
            waiters: Vec::new(),
            told: Vec::new(),
        };
        replay(pair, acts)
    });
    run.unwrap();
}

fn replay(mut pair: Pair<'_>, acts: Vec<Act>) -> Result<(), TestCaseError> {
    for act in acts {
        match act {
            Act::Ask(request) => {
                let (expected, got) = pair.ask(request);
                prop_assert_eq!(got, expected, "ask {}", request);
            }
            Act::Wait(request) => {
                let Some(ticket) = pair.tickets.get(&request).cloned() else { continue };
                let waiter = pair.book.enter(&ticket, pair.now());
                pair.names += 1;
                let id = pair.names.to_string();
                let (expected, got) = pair.turn(&ticket, waiter, &id);
                prop_assert_eq!(&got, &expected, "wait {}", request);
                if let Some(waiter) = waiter {
                    let place = if expected.is_none() { &mut pair.waiters } else { &mut pair.told };
                    place.push((ticket, waiter, id));
                }
            }
            Act::Turn(_) if pair.waiters.is_empty() => {}
            Act::Leave(_) if pair.waiters.is_empty() && pair.told.is_empty() => {}
            Act::Turn(at) => {
                let at = at % pair.waiters.len();
                turn(&mut pair, at)?;
            }
            Act::Leave(at) => {
                let (ticket, waiter, id) = match pair.told.pop() {
                    Some(told) => told,
                    None => pair.waiters.remove(at % pair.waiters.len()),
                };
                pair.book.leave(&ticket, waiter);
                let _: i64 = pair.run(&pair.scripts.leave, &[&ticket, &id]);
            }
            Act::Answer(request, yes) => {
                let Some(ticket) = pair.tickets.get(&request).cloned() else { continue };
                let (verdict, word) = if yes { (Verdict::Approve, "approved") } else { (Verdict::Refuse, "refused") };
                let Answered { by, why } = by("ops", yes.then_some("fine"));
                let arguments: Vec<&str> = [&*ticket, word, &by].into_iter().chain(why.as_deref()).collect();
                let reply: AnswerReply = pair.run(&pair.scripts.answer, &arguments);
                let expected =
                    pair.book.answer(&ticket, verdict, Answered { by: by.clone(), why: why.clone() }, pair.now());
                let got = wire::answered(reply, &ticket);
                prop_assert_eq!(class(got.map(|_| ())), class(expected.map(|_| ())), "answer {}", request);
            }
            Act::Redeem(request) => {
                let named = fingerprint(request);
                let reply: AdmitReply = pair.run(&pair.scripts.admit, &["admit", &named.to_string()]);
                let got = wire::admitted(reply, &Charges::new(), true).ok().flatten();
                prop_assert_eq!(got, pair.book.redeem(named, pair.now()), "redeem {}", request);
            }
            Act::Pass(micros) => {
                // Those who wait say so more often than that.
                for at in (0..pair.waiters.len()).rev() {
                    turn(&mut pair, at)?;
                }
                pair.micros += micros;
            }
        }
        let (expected, got) = pair.listed();
        prop_assert_eq!(got, expected);
    }
    Ok(())
}

fn turn(pair: &mut Pair<'_>, at: usize) -> Result<(), TestCaseError> {
    let (ticket, waiter, id) = pair.waiters[at].clone();
    let (expected, got) = pair.turn(&ticket, Some(waiter), &id);
    prop_assert_eq!(&got, &expected, "turn of {}", id);
    if expected.is_some() {
        let told = pair.waiters.remove(at);
        pair.told.push(told);
    }
    Ok(())
}
