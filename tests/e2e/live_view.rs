//! Who watches sees what happens, answers what waits, and gets the terminal back.

use std::path::Path;

use attache::control::api::State;
use rustix::process::Signal;

use crate::support::attache::{Setup, attache};
use crate::support::terminal::OnTerminal;
use crate::support::{Attache, Upstream, script, until};

const POLICY: &str = r#"
allowedDomains: [api.example.com]
rules:
  - {name: Held, host: api.example.com, path: "/held/**", action: {approval: {hold: 25s, expires: 10m}}}
"#;

fn up(upstream: &Upstream) -> Setup {
    Attache::up(POLICY).agent("researcher").resolve("api.example.com", upstream)
}

/// `attache top` on a terminal.
fn top(state_dir: &Path, columns: u16, rows: u16) -> OnTerminal {
    let mut command = attache(state_dir);
    command.args(["top", "--interval", "0.1", "--state-dir"]).arg(state_dir);
    OnTerminal::start(&command, columns, rows)
}

#[tokio::test]
async fn traffic_is_seen_as_it_happens() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = up(&upstream).start().await;
    // Before anybody looks.
    attache.curl(["https://api.example.com/earlier"]).await;
    attache.wait_log(|record| record["path"] == "/earlier" && record["bytes"].is_u64()).await;

    let mut top = top(&attache.ready().state_dir, 120, 36);
    let pid = format!("pid {}", attache.service().await);
    top.wait_for(&["ready", "live", &pid, "api.example.com/earlier", "3 Agents", "4 Hosts", "nothing waits"]).await;
    attache.curl(["https://api.example.com/seen?token=t0p"]).await;
    attache.curl(["https://evil.example/stolen"]).await;
    let seen = |screen: &str| {
        let line = |texts: &[&str]| screen.lines().any(|line| texts.iter().all(|text| line.contains(text)));
        line(&["researcher", "allowed", "200", "GET", "api.example.com/seen?token=***"])
            && line(&["researcher", "blocked", "403", "evil.example", "domain_not_allowed"])
            && line(&["researcher  ", " 3 ", " 2 ", " 1 "])
            && line(&["evil.example ", " 1 "])
    };
    let screen = top.wait("both requests", seen).await;
    assert!(!screen.contains("t0p"), "{screen}");

    top.press("f");
    top.wait("only what was refused", |screen| screen.contains("evil.example") && !screen.contains("/seen")).await;
    top.press("f/EARLIER\r");
    top.wait("what was looked for", |screen| screen.contains("/earlier") && !screen.contains("/seen")).await;
    top.press("\r");
    top.wait_for(&["wanted     GET https://api.example.com/earlier", "outcome    ", "rule       "]).await;
    top.resize(80, 24);
    // A key that is pressed in the same moment may wait for the next one.
    let is_last = |screen: &str| screen.lines().nth(23).is_some_and(|line| line.starts_with("Enter look"));
    top.wait("a smaller screen", is_last).await;
    top.press("q\u{1b}");
    top.wait("all panes", |screen| screen.contains("4 Hosts") != screen.contains("3 Agents")).await;
    top.press("p");
    top.wait_for(&["PAUSED"]).await;
    attache.curl(["https://api.example.com/later"]).await;
    let screen = top.wait_for(&["PAUSED (1 newer)"]).await;
    assert!(!screen.contains("/lat"), "{screen}");
    top.press("p");
    top.wait_for(&["api.example.com/lat"]).await;
    top.press("q");
    assert_eq!(top.end().await.code(), Some(0));
}

#[tokio::test]
async fn what_waits_is_answered_with_a_key() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = up(&upstream).start().await;
    let mut top = top(&attache.ready().state_dir, 100, 30);
    top.wait_for(&["live", "nothing waits"]).await;

    let arguments = ["--data", "amount=5", "https://api.example.com/held/refund?id=7"];
    let (answer, ()) = tokio::join!(attache.curl(arguments), async {
        top.wait_for(&["Approvals: 1 WAITS", "POST https://api.example.com/held/refund?id=***"]).await;
        top.press("2a");
        top.wait_for(&["Approve: apr_", "query    id=7", "| amount=5", "Enter LETS THIS GO OUT"]).await;
        assert_eq!(upstream.requests().len(), 0, "it has left before anybody agreed");
        top.press("the customer asked\r");
        top.wait_for(&["approved apr_", "nothing waits"]).await;
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    top.wait("it on the list", |screen| screen.lines().any(|l| l.contains("allowed 200") && l.contains("/held/")))
        .await;
    let record = attache.wait_log(|record| record["path"] == "/held/refund").await;
    assert_eq!(record["approval"]["why"], "the customer asked", "{record}");
    assert!(record["approval"]["by"].as_str().unwrap().contains("uid "), "{record}");

    // Esc answers nothing; `d` refuses.
    let (answer, ()) = tokio::join!(attache.curl(["https://api.example.com/held/other"]), async {
        top.wait_for(&["Approvals: 1 WAITS", "/held/other"]).await;
        top.press("a");
        top.wait_for(&["Enter LETS THIS GO OUT"]).await;
        top.press("\u{1b}");
        top.wait("the pane again", |screen| !screen.contains("Enter LETS")).await;
        let open = attache::control::list_approvals(&attache.socket()).await.unwrap();
        assert!(open.iter().any(|approval| approval.state() == State::Pending), "{open:?}");
        top.press("d");
        top.wait_for(&["Enter REFUSES THIS"]).await;
        top.press("no\r");
        top.wait_for(&["refused apr_", "nothing waits"]).await;
    });
    assert_eq!((answer.status, &answer.json()["reason"]), (403, &"approval_refused".into()), "{answer:?}");
    assert_eq!(upstream.requests().len(), 1);
    // Ctrl-C, as it comes from a terminal that hands on every key.
    top.press("\u{3}");
    assert_eq!(top.end().await.code(), Some(0));
}

#[tokio::test]
async fn a_service_that_has_gone_is_found_again() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let folder = tempfile::tempdir().unwrap();
    let state_dir = folder.path().join("state");
    let mut first = up(&upstream).state_dir(&state_dir).start().await;
    let mut top = top(&state_dir, 100, 30);
    first.curl(["https://api.example.com/first"]).await;
    top.wait_for(&["live", "/first"]).await;
    first.stop().await;
    top.wait_for(&["SERVICE GONE", "asking again", "control.sock"]).await;

    let second = up(&upstream).state_dir(&state_dir).start().await;
    let pid = format!("pid {}", second.service().await);
    top.wait_for(&["live", &pid]).await;
    second.curl(["https://api.example.com/second"]).await;
    let screen = top.wait_for(&["/first", "/second"]).await;
    assert_eq!(screen.matches("/first").count(), 1, "{screen}");
    top.signal(Signal::TERM);
    assert_eq!(top.end().await.code(), Some(0));
}

#[tokio::test]
async fn where_there_is_no_terminal_it_says_what_to_use() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let mut attache = up(&upstream).start().await;
    let refused = attache.command("top", &[]).await;
    assert_eq!((refused.exit, &*refused.stdout), (2, ""), "{refused:?}");
    assert!(refused.stderr.contains("attache logs --follow"), "{refused:?}");

    attache.curl(["https://evil.example/\u{e9}?a=b"]).await;
    let frame = until("the request in a frame", async || {
        let frame = attache.command("top", &["--once"]).await;
        assert_eq!((frame.exit, &*frame.stderr), (0, ""), "{frame:?}");
        frame.stdout.contains("domain_not_allowed").then_some(frame.stdout)
    })
    .await;
    assert!(frame.starts_with("attaché  policy ") && frame.contains("  ready  up "), "{frame}");
    assert!(!frame.contains('\u{1b}') && frame.lines().count() == 40, "{frame}");

    let state_dir = attache.ready().state_dir.clone();
    attache.stop().await;
    let mut command = crate::support::attache::attache(&state_dir);
    let gone = script::output(command.args(["top", "--once", "--state-dir"]).arg(&state_dir)).await;
    assert_eq!((gone.exit, &*gone.stdout), (5, ""), "{gone:?}");
    // On a terminal too, and before it is taken over.
    let mut top = top(&state_dir, 200, 30);
    top.wait_for(&["cannot be reached", "has been stopped"]).await;
    assert_eq!(top.end().await.code(), Some(5));
}
