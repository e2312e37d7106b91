//! Records in, counts out.

use super::tally::Sort;
use super::*;
use crate::pipeline::audit::{Direction, InspectionAction, InspectionRecord, OutcomeRecord};

/// A time of the fake clock, in seconds.
pub fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

/// A decision about `host`.
pub fn decision(id: &str, agent: &str, host: &str, verdict: Verdict, second: u64) -> DecisionRecord {
    let mut decision = DecisionRecord::new(id.into(), at(second), verdict, "rev1".into());
    decision.agent = Some(agent.into());
    decision.method = "GET".into();
    decision.scheme = Some("https".into());
    decision.host = host.into();
    decision.port = Some(443);
    decision.path = "/v1/things".into();
    match verdict {
        Verdict::Allow => decision.rule = Some(format!("allowedDomains[{host}]").into()),
        Verdict::Deny => decision.reason = Some("domain_not_allowed".into()),
        Verdict::RateLimited => decision.reason = Some("rate_limited".into()),
        Verdict::Pending => decision.reason = Some("approval_pending".into()),
        Verdict::Error => decision.reason = Some("unreconciled".into()),
    }
    decision.status = match verdict {
        Verdict::Allow | Verdict::Error => None,
        Verdict::RateLimited => Some(429),
        Verdict::Deny | Verdict::Pending => Some(403),
    };
    decision
}

/// A decision, as it is written.
pub fn decided(id: &str, agent: &str, host: &str, verdict: Verdict, second: u64) -> News {
    News::Record(Box::new(Record::Decision(Box::new(decision(id, agent, host, verdict, second)))), Some(7))
}

/// What became of one, as it is written.
pub fn ended(id: &str, status: u16, flags: &str) -> News {
    News::Record(Box::new(Record::Outcome(Box::new(outcome(id, status, flags)))), Some(8))
}

fn outcome(id: &str, status: u16, flags: &str) -> OutcomeRecord {
    let flags = flags.into();
    OutcomeRecord { known: true, status, flags, duration_ms: 12.5, ..OutcomeRecord::unknown(id.into(), at(1)) }
}

fn cut(id: &str) -> News {
    News::Record(
        Box::new(Record::Inspection(Box::new(InspectionRecord {
            request_id: id.into(),
            time: at(2),
            direction: Direction::Request,
            action: InspectionAction::Blocked,
            reason: Some("dlp_blocked".into()),
            detail: None,
            rule: None,
            status: Some(403),
            findings: Vec::new(),
            bytes: 3,
        }))),
        None,
    )
}

fn model(news: impl IntoIterator<Item = News>) -> Model {
    let mut model = Model::default();
    news.into_iter().for_each(|news| model.take(news, at(10)));
    model
}

fn counts(model: &Model, agent: &str) -> Counts {
    let rows = model.agents.rows(Sort::Name, at(10));
    rows.into_iter().find(|(name, _)| *name == agent).unwrap().1.counts
}

#[test]
fn each_is_counted_as_what_became_of_it() {
    let model = model([
        decided("a", "ann", "x.example", Verdict::Allow, 0),
        decided("b", "ann", "x.example", Verdict::Allow, 0),
        decided("c", "ann", "y.example", Verdict::Deny, 0),
        decided("d", "ann", "y.example", Verdict::RateLimited, 0),
        decided("e", "bob", "y.example", Verdict::Pending, 0),
        decided("f", "bob", "y.example", Verdict::Error, 0),
        ended("a", 200, ""),
        ended("b", 503, "UF"),
        ended("c", 403, ""),
    ]);
    let expected = Counts { allowed: 1, blocked: 1, limited: 1, pending: 1, failed: 2 };
    assert_eq!((model.total, model.total.all()), (expected, 6));
    assert_eq!(counts(&model, "ann"), Counts { pending: 0, failed: 1, ..expected });
    assert_eq!(counts(&model, "bob"), Counts { pending: 1, failed: 1, ..Counts::default() });
    assert_eq!(model.unreconciled, 1);
    let newest: Vec<_> = model.rows().map(|(_, row)| &*row.exchange.decision.request_id).collect();
    assert_eq!(newest, ["f", "e", "d", "c", "b", "a"]);
    assert_eq!(model.at(1).unwrap().exchange.status(), Some(503));
}

#[test]
fn an_allow_that_was_not_carried_out_is_none() {
    let allowed = || decided("a", "ann", "x.example", Verdict::Allow, 0);
    let taken_back = decided("a", "ann", "x.example", Verdict::Deny, 1);
    for (news, expected) in [
        (vec![allowed(), taken_back], Counts { blocked: 1, ..Counts::default() }),
        (vec![allowed(), cut("a"), cut("a")], Counts { blocked: 1, ..Counts::default() }),
        (
            vec![allowed(), decided("a", "ann", "x.example", Verdict::Error, 1)],
            Counts { failed: 1, ..Counts::default() },
        ),
    ] {
        let model = model(news);
        assert_eq!((model.total, counts(&model, "ann")), (expected, expected));
        assert_eq!(model.rows().count(), 1);
        assert!(model.agents.rows(Sort::Name, at(1))[0].1.top_reason().is_some());
        assert_eq!(model.unreconciled, expected.failed);
    }
}

#[test]
fn what_is_told_twice_is_counted_once() {
    let past = |outcome: Option<OutcomeRecord>| {
        let allowed = |id, second| Exchange::new(decision(id, "ann", "x.example", Verdict::Allow, second));
        News::Past(vec![Exchange { outcome, ..allowed("a", 0) }, allowed("b", 1)], at(0))
    };
    let mut model = model([
        past(None),
        decided("a", "ann", "x.example", Verdict::Allow, 0),
        decided("b", "ann", "x.example", Verdict::Allow, 1),
        decided("c", "ann", "x.example", Verdict::Allow, 2),
    ]);
    assert_eq!(model.total, Counts { allowed: 3, ..Counts::default() });
    // The service was gone, and what happened in the meantime is told afterwards.
    model.take(News::Lost("gone".into()), at(20));
    model.take(past(Some(outcome("a", 503, "UF"))), at(30));
    assert_eq!(model.total, Counts { allowed: 2, failed: 1, ..Counts::default() });
    assert_eq!(model.rows().count(), 3);
}

#[test]
fn what_is_kept_is_bounded_and_what_is_counted_is_not() {
    let mut model = Model::keeping(3, 2);
    for number in 0..100 {
        let (id, name) = (format!("r{number}"), format!("n{number}"));
        model.take(decided(&id, &name, &name, Verdict::Allow, number), at(number));
    }
    assert_eq!((model.rows().count(), model.places.len()), (3, 3));
    assert_eq!(model.agents.rows(Sort::Name, at(0)).len(), 2);
    assert_eq!((model.total.allowed, model.agents.others.allowed), (100, 98));
    // Of what is no longer kept nothing is changed any more.
    model.take(ended("r5", 503, "UF"), at(100));
    assert_eq!(model.total.failed, 0);
    assert_eq!(model.next(), 100);
    assert!(model.at(96).is_none() && model.at(97).is_some());
}

#[test]
fn rates_are_of_the_time_that_was_seen() {
    let mut model = Model::default();
    model.take(News::Past(Vec::new(), at(0)), at(0));
    for second in 0..10 {
        for number in 0..4 {
            model.take(decided(&format!("{second}-{number}"), "a", "h", Verdict::Allow, second), at(second));
        }
    }
    assert_eq!(model.rates(at(10)), (4.0, 4.0));
    assert_eq!(model.rates(at(60)), (0.0, 40.0 / 60.0));
    assert_eq!(model.rates(at(600)), (0.0, 0.0));
}

#[test]
fn while_the_service_is_gone_nothing_waits() {
    let approval = crate::cli::approvals::view::tests::approval;
    let answered = Approval { state: State::Approved.into(), ..approval() };
    let mut model = model([News::Status(StatusReply::default()), News::Approvals(Ok(vec![approval(), answered]))]);
    assert_eq!((&model.link, model.pending.len()), (&Link::Live, 1));
    model.take(News::Lost("gone".into()), at(20));
    model.take(News::Lost("still gone".into()), at(21));
    assert_eq!((&model.link, model.pending.len()), (&Link::Lost("still gone".into(), at(20)), 0));
    assert_eq!(model.unasked.as_deref(), Some("the service is gone"));
    model.take(News::Status(StatusReply::default()), at(22));
    model.take(News::Approvals(Ok(vec![approval()])), at(22));
    assert_eq!((&model.link, &model.unasked, model.pending.len()), (&Link::Live, &None, 1));
    // Where the store does not answer, that nothing waits would be a guess.
    model.take(News::Approvals(Err("the store".into())), at(23));
    assert_eq!((model.unasked.as_deref(), model.pending.len()), (Some("the store"), 0));
}

#[test]
fn an_exchange_is_found_by_what_is_shown_of_it() {
    let model = model([decided("a", "ann", "x.example", Verdict::Deny, 0)]);
    let (_, row) = model.rows().next().unwrap();
    for text in ["ann", "blocked", "x.example/v1", "domain_not", "403"] {
        assert!(row.has(text), "{text}");
    }
    assert!(!row.has("bob"));
}
