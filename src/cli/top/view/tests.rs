//! What stands on the screen.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyCode;
use ratatui::style::{Color, Modifier};

use super::super::model::tests::{at, decided, decision, ended};
use super::super::model::{Model, News};
use super::*;
use crate::cli::approvals::view::tests::approval;
use crate::control::api::{Approval, StatusReply};
use crate::pipeline::audit::{FindingNote, Record, Verdict};

const COLOURED: Theme = Theme { colours: true };

fn drawn(model: &Model, screen: &mut Screen, (width, height): (u16, u16), theme: Theme) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model, screen, theme, at(60))).unwrap();
    terminal
}

/// The lines, without what stands behind them.
fn lines(model: &Model, screen: &mut Screen, size: (u16, u16)) -> Vec<String> {
    let terminal = drawn(model, screen, size, COLOURED);
    let cells = terminal.backend().buffer().content();
    let line = |cells: &[ratatui::buffer::Cell]| cells.iter().map(|cell| cell.symbol()).collect::<String>();
    cells.chunks(usize::from(size.0)).map(|cells| line(cells).trim_end().to_owned()).collect()
}

fn press(screen: &mut Screen, model: &Model, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            key => KeyCode::Char(key),
        };
        screen.key(code.into(), model, at(60));
    }
}

fn status() -> StatusReply {
    StatusReply {
        pid: 4711,
        ready: true,
        policy_revision: "0123456789ab".into(),
        started_at_ms: 1_700_000_000_000 - 3_600_000,
        ..StatusReply::default()
    }
}

fn question() -> Approval {
    Approval { asked_at_ms: 1_700_000_048_000, expires_at_ms: 1_700_000_900_000, ..approval() }
}

/// A minute's traffic of two agents.
fn busy() -> Model {
    let mut model = Model::default();
    let mut found = decision("f", "researcher", "api.example.com", Verdict::Deny, 59);
    found.reason = Some("dlp_blocked".into());
    found.path = "/v1/upload".into();
    found.findings = vec![FindingNote {
        rule: "builtin:aws-key".into(),
        category: "secret".into(),
        confidence: "high".into(),
        action: "block".into(),
        location: "body.$.a".into(),
        fingerprint: "00".into(),
    }];
    let news = [
        News::Past(Vec::new(), at(0)),
        News::Status(status()),
        News::Approvals(Ok(vec![question()])),
        decided("a", "researcher", "api.example.com", Verdict::Allow, 57),
        decided("b", "researcher", "evil.example", Verdict::Deny, 57),
        decided("c", "mailer", "api.example.com", Verdict::RateLimited, 58),
        decided("d", "mailer", "api.example.com", Verdict::Allow, 58),
        decided("e", "mailer", "db.example.com", Verdict::Allow, 59),
        News::Record(Box::new(Record::Decision(Box::new(found))), Some(9)),
        ended("a", 200, ""),
        ended("d", 503, "UF"),
    ];
    news.into_iter().for_each(|news| model.take(news, at(60)));
    model
}

#[test]
fn eighty_columns_and_twenty_four_rows_suffice() {
    let screen = lines(&busy(), &mut Screen::default(), (80, 24));
    let expected = "\
attaché  policy 0123456789ab  pid 4711  ready  up 1h01m  live       22:14:20 UTC
now 2.0/s  1m 0.1/s  allow 2  block 2  limit 1  pend 0  fail 1               ███
─ 2 Approvals: 1 WAITS ─────────────────────────────────────────────────────────
TICKET   AGE EXPIRES AGENT REQUEST                           RULES          HELD
apr_7k2m 12s 14m     ann   POST https://api.example.com/v1/… Refunds, Large    1
─ 3 Agents by requests ─────────────────────────────────────────────────────────
NAME       REQS ALLOW BLOCK LIMIT PEND FAIL REQ/S TOP REASON
mailer        3     1     0     1    0    1  0.05 rate_limited
researcher    3     1     2     0    0    0  0.05 dlp_blocked
─ 1 Decisions ──────────────────────────────────────────────────────────────────
TIME     AGENT      STATUS  CODE METHOD URL                   REASON OR RULE DLP
22:14:19 researcher blocked 403  GET    api.example.com/v1/u… dlp_blocked    1!
22:14:19 mailer     allowed -    GET    db.example.com/v1/th… allowedDomain…
22:14:18 mailer     failed  503  GET    api.example.com/v1/t… allowedDomain…
22:14:18 mailer     limited 429  GET    api.example.com/v1/t… rate_limited
22:14:17 researcher blocked 403  GET    evil.example/v1/thin… domain_not_al…
22:14:17 researcher allowed 200  GET    api.example.com/v1/t… allowedDomain…






Enter look  / filter  f refused  p pause  ↑↓ choose  Tab pane  ? help  q quit";
    assert_eq!(screen.join("\n"), expected);
}

#[test]
fn a_large_screen_has_both_tables_and_cuts_nothing() {
    let screen = lines(&busy(), &mut Screen::default(), (140, 40));
    let at = |begin: &str| screen.iter().position(|line| line.starts_with(begin)).unwrap();
    let (agents, hosts, decisions) = (at("─ 3 Agents"), at("─ 4 Hosts"), at("─ 1 Decisions"));
    assert!(agents < hosts && hosts < decisions, "{screen:#?}");
    assert_eq!(screen[hosts + 2], "api.example.com    4     1     1     1    0    1  0.07 dlp_blocked");
    assert_eq!(screen[hosts + 4], "evil.example       1     0     1     0    0    0  0.02 domain_not_allowed");
    assert!(screen[decisions + 5].ends_with(" rate_limited") && !screen.join("").contains('…'), "{screen:#?}");
    // Wider still, the tables stand side by side.
    let screen = lines(&busy(), &mut Screen::default(), (200, 30));
    assert!(screen.iter().any(|line| line.contains("3 Agents") && line.contains("4 Hosts")), "{screen:#?}");
}

#[test]
fn no_size_is_too_small_or_too_large() {
    let mut model = busy();
    for number in 0..300 {
        let id = format!("r{number}");
        model.take(decided(&id, &id, &format!("{id}.example"), Verdict::Allow, 59), at(60));
    }
    let mut approvals = Vec::new();
    approvals.resize_with(50, question);
    model.take(News::Approvals(Ok(approvals)), at(60));
    for size in [(1, 1), (10, 3), (20, 5), (40, 12), (80, 24), (300, 100), (500, 4)] {
        for keys in ["", "2", "2\n", "2a", "3", "4", "?", "1\n", "/x"] {
            let mut screen = Screen::default();
            press(&mut screen, &model, keys);
            drawn(&model, &mut screen, size, COLOURED);
        }
    }
    // However far down, what is chosen is in sight.
    let mut screen = Screen::default();
    press(&mut screen, &model, "G");
    let terminal = drawn(&model, &mut screen, (80, 24), COLOURED);
    let chosen = |cell: &&ratatui::buffer::Cell| cell.modifier.contains(Modifier::REVERSED);
    assert!(terminal.backend().buffer().content()[80 * 12..].iter().filter(chosen).count() >= 80);
    let text = lines(&model, &mut screen, (80, 24)).join("\n");
    assert!(text.contains("22:14:17 researcher allowed 200"), "the oldest one: {text}");
}

#[test]
fn what_an_agent_writes_is_shown_and_not_obeyed() {
    let evil = "a\u{1b}[2J\u{9b}31m\u{202e}b\r\nc\u{200b}\u{7}";
    let mut model = busy();
    let mut hostile = decision("x", evil, evil, Verdict::Deny, 59);
    (hostile.path, hostile.method) = (format!("/{evil}").into(), evil.into());
    (hostile.query, hostile.detail) = (Some(evil.into()), Some(evil.into()));
    hostile.reason = Some(evil.to_owned().into());
    model.take(News::Record(Box::new(Record::Decision(Box::new(hostile))), None), at(60));
    let asked = Approval {
        ticket: evil.into(),
        path: format!("/{evil}"),
        query: Some(evil.into()),
        agent: evil.into(),
        rules: vec![evil.into()],
        body_preview: evil.into(),
        ..question()
    };
    model.take(News::Approvals(Ok(vec![asked])), at(60));
    for keys in ["", "2", "2\n", "2a", "3", "4", "1\n", "4\n"] {
        for size in [(80, 24), (200, 50)] {
            let mut screen = Screen::default();
            press(&mut screen, &model, keys);
            screen.say(evil.into(), true, at(60));
            let terminal = drawn(&model, &mut screen, size, COLOURED);
            for cell in terminal.backend().buffer().content() {
                let obeyed = |c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{200b}');
                assert!(!cell.symbol().contains(obeyed), "{keys:?}: {:?}", cell.symbol());
            }
        }
    }
    assert!(
        lines(&model, &mut Screen::default(), (200, 50)).join("").contains("/a\\u{1b}[2J\\u{9b}31m\\u{202e}b\\r\\nc")
    );
}

#[test]
fn without_colours_there_are_none() {
    let model = busy();
    let red = |theme: Theme| {
        let terminal = drawn(&model, &mut Screen::default(), (80, 24), theme);
        terminal.backend().buffer().content().iter().filter(|cell| cell.fg != Color::Reset).count()
    };
    assert!(red(COLOURED) > 0);
    assert_eq!(red(Theme { colours: false }), 0);
}

#[test]
fn whoever_answers_sees_what_goes_out() {
    let (model, mut screen) = (busy(), Screen::default());
    press(&mut screen, &model, "2a");
    press(&mut screen, &model, "it is fine");
    let text = lines(&model, &mut screen, (80, 24)).join("\n");
    for part in [
        "─ Approve: apr_7k2m ",
        " agent    ann\n",
        " rules    Refunds, Large\n",
        " request  POST https://api.example.com/v1/refunds\n query    id=7&dry\n",
        "   | {\"a\": 1}\n",
        "\nEnter LETS THIS GO OUT, Esc does nothing. Why (may be empty): it is fine",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    press(&mut screen, &model, "\u{1b}d");
    let text = lines(&model, &mut screen, (80, 24)).join("\n");
    assert!(text.contains("Deny: apr_7k2m") && text.contains("Enter REFUSES THIS"), "{text}");

    // What does not fit says so, and comes into sight.
    press(&mut screen, &model, "\u{1b}");
    let mut model = model;
    let body: String = (0..100).map(|number| format!("line {number}\n")).collect();
    model.take(News::Approvals(Ok(vec![Approval { body_preview: body.into(), ..question() }])), at(60));
    press(&mut screen, &model, "a");
    assert!(lines(&model, &mut screen, (80, 24)).join("\n").contains("more lines below: ↓"));
    (0..20).for_each(|_| drop(screen.key(KeyCode::PageDown.into(), &model, at(60))));
    let text = lines(&model, &mut screen, (80, 24)).join("\n");
    assert!(text.contains("line 99") && !text.contains("below"), "{text}");
}

#[test]
fn all_of_a_decision_is_shown_with_what_becomes_of_it() {
    let (mut model, mut screen) = (busy(), Screen::default());
    press(&mut screen, &model, "j\n");
    let text = lines(&model, &mut screen, (80, 24)).join("\n");
    assert!(text.contains("wanted     GET https://db.example.com/v1/things"), "{text}");
    assert!(text.contains("outcome    not known yet"), "{text}");
    model.take(ended("e", 204, ""), at(60));
    let text = lines(&model, &mut screen, (80, 24)).join("\n");
    assert!(text.contains("status     204") && text.contains("outcome    12ms"), "{text}");
    press(&mut screen, &model, "\u{1b}k\n");
    let text = lines(&model, &mut screen, (80, 24)).join("\n");
    assert!(text.contains("found      builtin:aws-key (secret, high): block, in body.$.a"), "{text}");
}

#[test]
fn what_is_wrong_stands_at_the_top() {
    let mut model = busy();
    model.take(decided("x", "researcher", "api.example.com", Verdict::Error, 59), at(60));
    assert!(lines(&model, &mut Screen::default(), (80, 24))[1].starts_with(" 1 PASSED US BY "));
    model.take(News::Status(StatusReply { ready: false, reload_error: "bad".into(), ..status() }), at(60));
    let line = lines(&model, &mut Screen::default(), (120, 24)).swap_remove(0);
    assert!(line.contains("(the file is refused)") && line.contains("NOT READY"), "{line}");
    model.take(News::Approvals(Err("the store\u{7} is gone".into())), at(60));
    let text = lines(&model, &mut Screen::default(), (80, 24)).join("\n");
    assert!(text.contains("nobody knows what waits: the store\\u{7} is gone"), "{text}");
    model.take(News::Lost("nobody\u{7} listens".into()), at(50));
    let screen = lines(&model, &mut Screen::default(), (80, 24));
    assert!(screen[0].contains("SERVICE GONE for 10s, asking again"), "{screen:#?}");
    assert_eq!(screen[1], "nobody\\u{7} listens");
}

#[test]
fn all_keys_are_told_at_once() {
    let (model, mut screen) = (busy(), Screen::default());
    press(&mut screen, &model, "?");
    let text = lines(&model, &mut screen, (80, 24)).join("\n");
    assert!(text.contains("Times are UTC.") && !text.contains("below"), "{text}");
}
