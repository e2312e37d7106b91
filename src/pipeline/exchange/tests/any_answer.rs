//! What holds whatever the store, the people and the world answer, and whatever policy is in force by then.

use proptest::prelude::*;

use super::arbitrary::{head, is_malformed};
use super::obligations::{approval, limit};
use super::*;
use crate::pipeline::limit::Weight;
use crate::pipeline::policy::rule::{Mode, Rule};

/// Two policies under which everything is limited, watched and asked about, and one under which nothing is.
fn policies() -> [Arc<Ruleset>; 3] {
    let everywhere = |rule: Rule| Rule { pattern: HostPattern::parse("*").unwrap(), ..rule };
    let obliging = |revision: &str| {
        policy(revision, |rules| {
            rules.agents.set_default(AgentId(0));
            rules.add_rule(everywhere(limit("cap", Weight::Request)));
            rules.add_rule(everywhere(approval("ask", 20)));
            rules.add_rule(everywhere(Rule { mode: Mode::Monitor, ..limit("seen", Weight::Request) }));
        })
    };
    let free = policy("free", |rules| rules.agents.set_default(AgentId(0)));
    [obliging("one"), obliging("two"), free]
}

fn pick<const N: usize, T: Clone>(choices: [T; N], by: u8) -> T {
    choices[usize::from(by) % N].clone()
}

/// An answer to what was asked for, mostly a good one.
fn answer(effect: &Effect, by: u8) -> Option<Event> {
    let open = |standing| Asked::Open { ticket: "apr_1".into(), standing, expires: Duration::from_secs(9), new: true };
    let excess = Excess::Reached { rule: "rules[cap]".into(), retry_after: None };
    let good = !by.is_multiple_of(8);
    Some(match effect {
        Effect::Resolve { .. } => {
            let ip: IpAddr = if good { PUBLIC } else { "127.0.0.1" }.parse().unwrap();
            Event::Resolved(Ok(Resolved::Looked(SmallVec::from_slice(&[ip]))))
        }
        Effect::Reply(Reply::HoldBody { .. }) => {
            Event::Body { bytes: vec![by; if good { 1 } else { MOST_HELD }].into(), whole: good }
        }
        Effect::Look(_) => Event::Looked(if good { Ok(()) } else { Err(excess) }),
        Effect::Ask(_) if good => Event::Asked(open(Standing::Approved(answered()))),
        Effect::Ask(_) => Event::Asked(pick(
            [
                open(Standing::Pending),
                open(Standing::Refused(answered())),
                open(Standing::Expired),
                Asked::TooMany,
                Asked::Unavailable,
            ],
            by / 8,
        )),
        Effect::Admit { redeem, .. } => {
            let used = redeem.map(|_| Redeemed { ticket: "apr_1".into(), answered: answered() });
            let refusals = [Err(NotAdmitted::NotApproved), Err(NotAdmitted::Excess(excess)), Ok(None)];
            Event::Admitted(if !by.is_multiple_of(3) { Ok(used) } else { pick(refusals, by / 3) })
        }
        Effect::FetchSecrets(wanted) => {
            let secret = || Some(Arc::new(Secret::new(Zeroizing::new(b"s".to_vec())).ok().unwrap()));
            Event::Secrets(wanted.iter().map(|_| if good { secret() } else { None }).collect())
        }
        Effect::Record(_) => Event::Recorded(good),
        Effect::Reply(_) | Effect::Note(_) | Effect::Pass(_) => return None,
    })
}

/// An answer that nobody may have asked for.
fn stray(by: u8) -> Event {
    let effects = [
        Effect::Look(SmallVec::new()),
        Effect::Admit { charges: SmallVec::new(), redeem: Some(Fingerprint([7; 32])) },
        Effect::FetchSecrets(SmallVec::from_slice(&[CredentialId(0)])),
        Effect::Reply(Reply::HoldBody { response: false, plaintext: false }),
        Effect::Record(Box::new(DecisionRecord::new("".into(), SystemTime::UNIX_EPOCH, Verdict::Allow, "".into()))),
        Effect::Resolve { host: Host::parse("api.example").unwrap(), port: 443 },
    ];
    let asked = Asked::Open {
        ticket: "apr_2".into(),
        standing: Standing::Approved(answered()),
        expires: Duration::ZERO,
        new: false,
    };
    match usize::from(by) % (effects.len() + 1) {
        at if at < effects.len() => answer(&effects[at], 1).unwrap(),
        _ => Event::Asked(asked),
    }
}

/// What has been fulfilled, as seen from outside.
#[derive(Debug, Default)]
struct Seen {
    /// Limits had room since the request was last decided.
    looked: bool,
    /// What is being asked, and what was agreed to.
    asking: Option<Fingerprint>,
    agreed: Vec<Fingerprint>,
    /// Charges and approvals that were used together.
    admitted: usize,
    fetched: bool,
}

fn rules_of(charges: &Charges) -> Vec<&str> {
    charges.iter().map(|charge| &*charge.limit.rule).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn nothing_leaves_before_everything_is_fulfilled(
        incoming in head(), ends in any::<bool>(),
        steps in proptest::collection::vec((any::<u8>(), proptest::option::weighted(0.03, any::<u8>()), 0usize..24), 0..40),
    ) {
        let policies = policies();
        let malformed = is_malformed(&incoming);
        let mut exchange = Exchange::new(policies[0].clone(), now());
        let mut in_force = 0;
        let mut effect = exchange.on(Event::Request(Incoming { ends, ..incoming }), &policies[0], now());
        let (mut seen, mut records, mut held) = (Seen::default(), 0, 0);
        for (by, unasked, swap) in steps {
            match &effect {
                Effect::Record(_) => records += 1,
                Effect::Reply(Reply::HoldBody { .. }) => held += 1,
                // Answered: whoever asks for more is not listened to.
                Effect::Reply(_) => break,
                _ => {}
            }
            let event = match (unasked, answer(&effect, by)) {
                (Some(unasked), _) => stray(unasked),
                (None, Some(event)) => event,
                (None, None) => break,
            };
            if swap < policies.len() {
                in_force = swap;
            }
            match (&effect, &event) {
                (Effect::Look(_), Event::Looked(Ok(()))) => seen.looked = true,
                // Whoever says it: what answers the question is its answer.
                (Effect::Ask(_), Event::Asked(Asked::Open { standing: Standing::Approved(_), .. })) => {
                    seen.agreed.extend(seen.asking.take());
                }
                (Effect::Admit { charges, .. }, Event::Admitted(Ok(_))) if rules_of(charges).contains(&"rules[cap]") => {
                    seen.admitted += 1;
                }
                _ => {}
            }
            let used = matches!((&effect, &event), (Effect::Admit { redeem: Some(_), .. }, Event::Admitted(Ok(Some(_)))));
            let recorded = matches!(&event, Event::Recorded(true));
            let was_allow = matches!(&effect, Effect::Record(record) if record.decision == Verdict::Allow);
            effect = exchange.on(event, &policies[in_force], now());
            let obliged = exchange.rules.revision.as_ref() != "free";
            prop_assert!(seen.admitted <= 1, "charged twice");
            prop_assert!(!malformed || matches!(&effect, Effect::Record(_) | Effect::Reply(Reply::Deny(_))));
            match &effect {
                Effect::Resolve { .. } => seen.looked = false,
                Effect::Reply(Reply::HoldBody { .. }) => prop_assert!(!ends && held == 0, "held twice"),
                Effect::Look(charges) => {
                    prop_assert!(obliged && !seen.looked);
                    prop_assert_eq!(rules_of(charges), ["rules[cap]"]);
                }
                Effect::Ask(petition) => {
                    prop_assert!(obliged && seen.looked);
                    seen.asking = Some(petition.fingerprint);
                }
                Effect::FetchSecrets(_) => {
                    prop_assert!(!obliged || (seen.looked && !seen.agreed.is_empty()));
                    seen.fetched = true;
                }
                Effect::Admit { charges, redeem: None } => prop_assert_eq!(rules_of(charges), ["rules[seen]"]),
                Effect::Admit { charges, redeem: Some(fingerprint) } => {
                    prop_assert!(obliged && seen.fetched && seen.agreed.contains(fingerprint));
                    prop_assert_eq!(rules_of(charges), ["rules[cap]"]);
                }
                Effect::Record(record) if record.decision == Verdict::Allow => {
                    prop_assert!(records == 0 && (!obliged || (used && seen.admitted == 1)));
                }
                Effect::Record(_) => {}
                Effect::Reply(Reply::Allow(_)) => prop_assert!(recorded && was_allow && records == 1),
                Effect::Reply(Reply::Deny(_)) => prop_assert!(records == 1),
                Effect::Reply(Reply::Tunnel { .. }) => prop_assert!(false, "the request was no CONNECT"),
                Effect::Note(_) | Effect::Pass(_) => prop_assert!(false, "nothing is looked into"),
            }
        }
    }
}
