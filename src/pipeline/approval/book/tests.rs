use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const EXPIRES: Duration = Duration::from_secs(900);

fn petition(agent: &str, request: u8) -> Petition {
    let mut fingerprint = [request; 32];
    fingerprint[0] = agent.len() as u8;
    Petition {
        fingerprint: Fingerprint(fingerprint),
        about: About {
            agent: agent.into(),
            rules: vec!["refunds".into()],
            method: "POST".into(),
            scheme: "https",
            host: "api.example.com".into(),
            port: 443,
            path: "/v1/refunds".into(),
            query: None,
            content_type: None,
            fields: Vec::new(),
            body_bytes: 1,
            body_sha256: [request; 32],
            body_preview: Box::from([request]),
        },
        hold: SECOND * 20,
        expires: EXPIRES,
        notify: Vec::new(),
    }
}

fn by(who: &str) -> Answered {
    Answered { by: who.into(), why: None }
}

/// A book with its clock and its supply of names.
struct Desk {
    book: Book,
    now: Instant,
    names: u32,
}

impl Desk {
    fn new() -> Self {
        Self { book: Book::default(), now: Instant::now(), names: 0 }
    }

    fn ask(&mut self, petition: &Petition) -> Asked {
        self.names += 1;
        self.book.ask(petition, &format!("apr_{}", self.names).into(), self.now)
    }

    /// Asks, and how it stands.
    fn open(&mut self, petition: &Petition) -> (Ticket, Standing) {
        match self.ask(petition) {
            Asked::Open { ticket, standing, .. } => (ticket, standing),
            other => panic!("{other:?}"),
        }
    }

    fn queue(&mut self, ticket: &Ticket) -> Waiter {
        self.book.enter(ticket, self.now).unwrap()
    }

    fn turn(&mut self, ticket: &Ticket, waiter: Waiter) -> Turn {
        self.book.turn(ticket, waiter, self.now)
    }

    fn answer(&mut self, ticket: &Ticket, verdict: Verdict) -> Result<(), AnswerError> {
        self.book.answer(ticket, verdict, by("ops"), self.now).map(|_| ())
    }

    fn redeem(&mut self, petition: &Petition) -> Option<Redeemed> {
        self.book.redeem(petition.fingerprint, self.now)
    }
}

fn approved() -> Standing {
    Standing::Approved(by("ops"))
}

#[test]
fn an_approval_lets_the_next_retry_out_once() {
    let (mut desk, refund) = (Desk::new(), petition("a", 1));
    let (ticket, standing) = desk.open(&refund);
    assert_eq!(standing, Standing::Pending);
    assert_eq!(desk.redeem(&refund), None);
    desk.answer(&ticket, Verdict::Approve).unwrap();
    assert_eq!(desk.redeem(&petition("a", 2)), None, "another request");
    assert_eq!(desk.redeem(&petition("ab", 1)), None, "another agent");
    assert_eq!(desk.open(&refund), (ticket.clone(), approved()));
    assert_eq!(desk.redeem(&refund), Some(Redeemed { ticket: ticket.clone(), answered: by("ops") }));
    assert_eq!(desk.redeem(&refund), None);
    let (next, standing) = desk.open(&refund);
    assert_eq!(standing, Standing::Pending);
    assert_ne!(next, ticket);
}

#[test]
fn identical_requests_share_a_question_and_one_is_released_for_each_approval() {
    let (mut desk, refund) = (Desk::new(), petition("a", 1));
    let (ticket, _) = desk.open(&refund);
    let first = desk.queue(&ticket);
    assert_eq!(desk.open(&refund).0, ticket);
    let second = desk.queue(&ticket);
    assert!(matches!(desk.turn(&ticket, first), Turn::WaitUntil(_)));
    desk.answer(&ticket, Verdict::Approve).unwrap();
    assert!(matches!(desk.turn(&ticket, second), Turn::WaitUntil(_)), "the first waited longer");
    assert_eq!(desk.open(&refund).1, Standing::Pending, "it is not for one who comes just now");
    assert_eq!(desk.turn(&ticket, first), Turn::Go(approved()));
    assert!(matches!(desk.turn(&ticket, second), Turn::WaitUntil(_)));
    assert!(desk.redeem(&refund).is_some());

    // The second still waits, and needs an approval of its own.
    assert_eq!(desk.redeem(&refund), None);
    assert!(matches!(desk.turn(&ticket, second), Turn::WaitUntil(_)));
    assert_eq!(desk.book.entries(desk.now).map(|e| (e.standing, e.waiting)).next(), Some((Standing::Pending, 1)));
    desk.answer(&ticket, Verdict::Approve).unwrap();
    assert_eq!(desk.turn(&ticket, second), Turn::Go(approved()));
    assert!(desk.redeem(&refund).is_some());
    assert_eq!(desk.book.entries(desk.now).count(), 0);
}

#[test]
fn an_approval_that_nobody_comes_for_goes_to_the_next() {
    let (mut desk, refund) = (Desk::new(), petition("a", 1));
    let (ticket, _) = desk.open(&refund);
    let [first, second, third] = [(); 3].map(|()| desk.queue(&ticket));
    desk.answer(&ticket, Verdict::Approve).unwrap();

    // Told, but gone before it could go on.
    assert_eq!(desk.turn(&ticket, first), Turn::Go(approved()));
    desk.book.leave(&ticket, first);
    assert_eq!(desk.turn(&ticket, second), Turn::Go(approved()));

    // Told, and never heard of again.
    assert_eq!(desk.turn(&ticket, third), Turn::WaitUntil(desk.now + RESERVED));
    desk.now += RESERVED;
    assert_eq!(desk.turn(&ticket, third), Turn::Go(approved()));
    assert!(desk.redeem(&refund).is_some());
    assert_eq!(desk.redeem(&refund), None);
}

#[test]
fn two_retries_at_once_are_not_both_told_to_go() {
    let (mut desk, refund) = (Desk::new(), petition("a", 1));
    let (ticket, _) = desk.open(&refund);
    desk.answer(&ticket, Verdict::Approve).unwrap();
    assert_eq!(desk.open(&refund).1, approved());
    assert_eq!(desk.open(&refund).1, Standing::Pending);
    desk.now += RESERVED;
    assert_eq!(desk.open(&refund).1, approved());
}

#[test]
fn refused_is_refused_for_all_who_wait_and_for_retries_until_it_expires() {
    let (mut desk, refund) = (Desk::new(), petition("a", 1));
    let (ticket, _) = desk.open(&refund);
    let waiter = desk.queue(&ticket);
    desk.now += EXPIRES / 2;
    desk.answer(&ticket, Verdict::Refuse).unwrap();
    let refused = Standing::Refused(by("ops"));
    assert_eq!(desk.turn(&ticket, waiter), Turn::Go(refused.clone()));
    assert_eq!(desk.answer(&ticket, Verdict::Approve), Err(AnswerError::AlreadyAnswered(ticket.clone())));
    desk.now += EXPIRES - SECOND;
    assert_eq!(desk.open(&refund), (ticket.clone(), refused));
    assert_eq!(desk.redeem(&refund), None);
    desk.now += SECOND;
    let (next, standing) = desk.open(&refund);
    assert_eq!(standing, Standing::Pending);
    assert_ne!(next, ticket);
}

#[test]
fn an_approval_can_be_taken_back_until_it_is_used() {
    let (mut desk, refund) = (Desk::new(), petition("a", 1));
    let (ticket, _) = desk.open(&refund);
    desk.answer(&ticket, Verdict::Approve).unwrap();
    assert_eq!(desk.answer(&ticket, Verdict::Approve), Err(AnswerError::AlreadyAnswered(ticket.clone())));
    desk.answer(&ticket, Verdict::Refuse).unwrap();
    assert_eq!(desk.redeem(&refund), None);
}

#[test]
fn a_question_is_open_from_when_it_was_asked_and_retries_do_not_prolong_it() {
    let (mut desk, refund) = (Desk::new(), petition("a", 1));
    let (ticket, _) = desk.open(&refund);
    desk.now += EXPIRES - SECOND;
    assert_eq!(
        desk.ask(&refund),
        Asked::Open { ticket: ticket.clone(), standing: Standing::Pending, expires: SECOND, new: false }
    );
    let waiter = desk.queue(&ticket);
    assert_eq!(desk.turn(&ticket, waiter), Turn::WaitUntil(desk.now + SECOND));
    desk.now += SECOND;
    assert_eq!(desk.turn(&ticket, waiter), Turn::Go(Standing::Expired));
    assert_eq!(desk.answer(&ticket, Verdict::Approve), Err(AnswerError::Expired(ticket.clone())));
    assert_ne!(desk.open(&refund).0, ticket);
    assert_eq!(desk.answer(&ticket, Verdict::Approve), Err(AnswerError::Unknown(ticket.clone())));
    assert_eq!(desk.book.enter(&ticket, desk.now), None);
}

#[test]
fn an_approval_runs_out_when_it_is_not_used() {
    let (mut desk, refund) = (Desk::new(), petition("a", 1));
    let (ticket, _) = desk.open(&refund);
    desk.now += EXPIRES - SECOND;
    desk.answer(&ticket, Verdict::Approve).unwrap();
    let before = desk.now;
    desk.now = before + EXPIRES - SECOND;
    assert_eq!(desk.open(&refund).1, approved());
    desk.now = before + EXPIRES;
    assert_eq!(desk.redeem(&refund), None);
    assert_eq!(desk.open(&refund).1, Standing::Pending);
}

#[test]
fn an_agent_has_so_many_open_questions_and_may_always_join_one() {
    let mut desk = Desk::new();
    let first = desk.open(&petition("a", 0)).0;
    for request in 1..MOST_PENDING as u8 {
        desk.open(&petition("a", request));
    }
    assert_eq!(desk.ask(&petition("a", 100)), Asked::TooMany);
    assert_eq!(desk.open(&petition("a", 3)).1, Standing::Pending);
    assert_eq!(desk.open(&petition("bb", 100)).1, Standing::Pending, "another agent");
    desk.answer(&first, Verdict::Refuse).unwrap();
    assert_eq!(desk.open(&petition("a", 100)).1, Standing::Pending, "there is room again");
    desk.now += EXPIRES;
    assert_eq!(desk.open(&petition("a", 101)).1, Standing::Pending);
    assert_eq!(desk.book.questions.len(), 1, "what has expired is dropped");
    assert_eq!(desk.book.tickets.len(), 1);
}

#[test]
fn what_is_answered_cannot_fill_the_memory() {
    let mut desk = Desk::new();
    let mut petition = petition("a", 0);
    for request in 0..MOST_KEPT as u32 {
        petition.fingerprint.0[4..8].copy_from_slice(&request.to_be_bytes());
        let ticket = desk.open(&petition).0;
        desk.answer(&ticket, Verdict::Refuse).unwrap();
    }
    petition.fingerprint.0[8] = 1;
    assert_eq!(desk.ask(&petition), Asked::TooMany);
    desk.now += EXPIRES;
    desk.open(&petition);
}

#[test]
fn each_opening_is_told_once() {
    let (mut desk, refund) = (Desk::new(), petition("a", 1));
    let is_new = |desk: &mut Desk| matches!(desk.ask(&refund), Asked::Open { new: true, .. });
    assert!(is_new(&mut desk));
    assert!(!is_new(&mut desk));
    let ticket = desk.book.entries(desk.now).next().unwrap().ticket;
    desk.queue(&ticket);
    let other = desk.queue(&ticket);
    desk.answer(&ticket, Verdict::Approve).unwrap();
    assert!(!is_new(&mut desk));
    assert!(desk.redeem(&petition("a", 1)).is_some());
    assert!(is_new(&mut desk), "asked anew for {other:?}");
    assert!(!is_new(&mut desk));
}

#[derive(Debug, Clone)]
enum Act {
    Ask(u8),
    Enter(u8),
    Turn(usize),
    Leave(usize),
    Answer(u8, bool),
    Redeem(u8),
    Pass(u16),
}

fn act() -> impl Strategy<Value = Act> {
    let request = 0..30_u8;
    prop_oneof![
        4 => request.clone().prop_map(Act::Ask),
        3 => (0..4_u8).prop_map(Act::Ask),
        3 => (0..4_u8).prop_map(Act::Enter),
        3 => any::<usize>().prop_map(Act::Turn),
        1 => any::<usize>().prop_map(Act::Leave),
        3 => (0..4_u8, prop::bool::weighted(0.7)).prop_map(|(request, yes)| Act::Answer(request, yes)),
        1 => (request, any::<bool>()).prop_map(|(request, yes)| Act::Answer(request, yes)),
        3 => (0..4_u8).prop_map(Act::Redeem),
        1 => prop_oneof![0..100_u16, any::<u16>()].prop_map(Act::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_goes_out_without_an_approval_of_its_own(acts in prop::collection::vec(act(), 1..200)) {
        let mut desk = Desk::new();
        let mut tickets: HashMap<u8, Ticket> = HashMap::new();
        let mut waiters: Vec<(u8, Ticket, Waiter)> = Vec::new();
        // What is approved and not used, refused or run out: until when.
        let mut good: HashMap<u8, Instant> = HashMap::new();
        for act in acts {
            match act {
                Act::Ask(request) => match desk.ask(&petition("a", request)) {
                    Asked::Open { ticket, standing, expires, .. } => {
                        prop_assert!(expires <= EXPIRES);
                        if matches!(standing, Standing::Approved(_)) {
                            prop_assert!(good.get(&request).is_some_and(|until| desk.now < *until));
                        }
                        if tickets.insert(request, ticket.clone()) != Some(ticket) {
                            let pending = desk.book.entries(desk.now).filter(|e| e.standing == Standing::Pending);
                            prop_assert!(pending.count() <= MOST_PENDING);
                        }
                    }
                    Asked::TooMany => {
                        let pending = desk.book.entries(desk.now).filter(|e| e.standing == Standing::Pending);
                        prop_assert!(pending.count() >= MOST_PENDING);
                    }
                    Asked::Unavailable => prop_assert!(false),
                },
                Act::Enter(request) => {
                    if let Some(ticket) = tickets.get(&request)
                        && let Some(waiter) = desk.book.enter(ticket, desk.now)
                    {
                        waiters.push((request, ticket.clone(), waiter));
                    }
                }
                Act::Turn(at) if !waiters.is_empty() => {
                    let at = at % waiters.len();
                    let (request, ticket, waiter) = waiters[at].clone();
                    match desk.turn(&ticket, waiter) {
                        Turn::WaitUntil(later) => prop_assert!(later > desk.now),
                        Turn::Go(standing) => {
                            if matches!(standing, Standing::Approved(_)) {
                                prop_assert!(good.get(&request).is_some_and(|until| desk.now < *until));
                            }
                            prop_assert_ne!(standing, Standing::Pending);
                            waiters.remove(at);
                        }
                    }
                }
                Act::Leave(at) if !waiters.is_empty() => {
                    let (_, ticket, waiter) = waiters.remove(at % waiters.len());
                    desk.book.leave(&ticket, waiter);
                }
                Act::Answer(request, yes) => {
                    if let Some(ticket) = tickets.get(&request).cloned() {
                        let verdict = if yes { Verdict::Approve } else { Verdict::Refuse };
                        if desk.answer(&ticket, verdict).is_ok() {
                            good.remove(&request);
                            if yes {
                                good.insert(request, desk.now + EXPIRES);
                            }
                        }
                    }
                }
                Act::Redeem(request) => {
                    let had = good.remove(&request).is_some_and(|until| desk.now < until);
                    prop_assert_eq!(desk.redeem(&petition("a", request)).is_some(), had);
                }
                Act::Pass(steps) => desk.now += Duration::from_millis(20) * steps.into(),
                Act::Turn(_) | Act::Leave(_) => {}
            }
            let entries: Vec<_> = desk.book.entries(desk.now).collect();
            let approved = entries.iter().filter(|e| matches!(e.standing, Standing::Approved(_))).count();
            prop_assert_eq!(approved, good.values().filter(|until| desk.now < **until).count());
        }
    }
}
