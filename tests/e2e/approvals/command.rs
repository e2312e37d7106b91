//! `attache approvals`, as a person on call uses it.

use serde_json::Value;

use super::{ORIGIN, POLICY, Place};
use crate::support::endpoint::{Endpoint, reply};
use crate::support::script::Output;

#[tokio::test]
async fn a_person_sees_what_waits_and_answers_it() {
    let place = Place::new().await;
    let command = async |arguments: &[&str]| place.attache.command("approvals", arguments).await;
    let nothing = command(&["list"]).await;
    assert_eq!((nothing.exit, &*nothing.stdout), (0, ""), "{nothing:?}");

    let url = format!("{ORIGIN}/held/mail?to=ann%40example.com&token=t0p");
    let body = "{\"text\": \"hello\u{1b}[2J\u{202e}\nagent    root\"}";
    let arguments = ["--header", "Content-Type: application/json", "--data-binary", body, &url];
    let (answer, ticket) = tokio::join!(place.attache.curl(arguments), async {
        let ticket = place.question("/held/mail", 1).await.ticket;
        let listed = succeeded(command(&["list"]).await);
        let rows: Vec<&str> = listed.lines().collect();
        assert_eq!(rows.len(), 2, "{listed}");
        for text in [&*ticket, "pending", "default", "POST https://api.example.com/held/mail?to=***&token=***", "Held"]
        {
            assert!(rows[1].contains(text), "{text}: {listed}");
        }
        let line = succeeded(command(&["list", "-o", "json"]).await);
        let json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&json["ticket"], &json["waiting"]), (&ticket.as_str().into(), &1.into()));
        assert_eq!(json["body"]["preview"], body);

        // So much of it suffices as no other has.
        let short = &ticket[..8];
        let shown = succeeded(command(&["show", short]).await);
        for text in
            ["query    to=ann%40example.com&token=t0p\n", "type     application/json\n", "rules    rules[Held]\n"]
        {
            assert!(shown.contains(text), "{text}: {shown}");
        }
        assert!(shown.contains("  | {\"text\": \"hello\\u{1b}[2J\\u{202e}\n  | agent    root\"}\n"), "{shown}");
        assert!(shown.contains(&format!("body     {} bytes, sha256 ", body.len())), "{shown}");
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");

        let approved = succeeded(command(&["approve", short, "--why", "the customer asked", "--by", "ann"]).await);
        let sentence = format!(
            "approved {ticket}: POST https://api.example.com/held/mail?to=ann%40example.com&token=t0p of default\n"
        );
        assert!(approved.starts_with(&sentence), "{approved}");
        ticket
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    let record = &place.attache.records_of("api.example.com")[0];
    assert_eq!(record["approval"]["ticket"], ticket);
    assert_eq!(record["approval"]["why"], "the customer asked");
    assert!(record["approval"]["by"].as_str().unwrap().starts_with("ann ("), "{record}");
    // The record has neither the body nor the values of the query.
    let journal = place.attache.journal();
    assert!(!journal.contains("hello") && !journal.contains("t0p") && !journal.contains("s3cret"), "{journal}");
}

#[tokio::test]
async fn what_cannot_be_answered_is_said_clearly() {
    let mut place = Place::new().await;
    let get = async |place: &Place, path: &str| place.attache.curl([format!("{ORIGIN}/asked/{path}")]).await;
    let ticket = Place::ticket(&get(&place, "a").await);
    let other = Place::ticket(&get(&place, "b").await);
    let command = async |place: &Place, arguments: &[&str]| place.attache.command("approvals", arguments).await;

    let denied = succeeded(command(&place, &["deny", &ticket, "--why", "no"]).await);
    assert!(denied.starts_with(&format!("refused {ticket}: GET ")), "{denied}");
    assert!(succeeded(command(&place, &["list"]).await).contains(&other));
    assert!(!succeeded(command(&place, &["list"]).await).contains(&ticket));
    let all = succeeded(command(&place, &["list", "--all"]).await);
    assert!(all.contains(&ticket) && all.contains("refused"), "{all}");
    let shown = succeeded(command(&place, &["show", &ticket]).await);
    assert!(shown.contains("state    refused by ") && shown.contains(": no\n"), "{shown}");

    for (case, arguments, exit, words) in [
        ("answered", &["approve", &ticket][..], 1, "is answered already"),
        ("answered twice", &["deny", &ticket], 1, "is answered already"),
        ("unknown", &["approve", "apr_00000000000000000000"], 1, "there is no open question"),
        ("unknown to look at", &["show", "apr_00000"], 1, "there is no open question"),
        ("which one", &["approve", "apr_"], 2, "attache approvals list"),
        ("no ticket", &["approve"], 2, "TICKET"),
        ("a long reason", &["approve", &other, "--why", &"x".repeat(501)], 2, "500 characters"),
        ("two lines", &["approve", &other, "--why", "a\nb"], 2, "one line"),
        ("a forged name", &["approve", &other, "--by", "root (uid 0)"], 2, "parentheses"),
    ] {
        let output = command(&place, arguments).await;
        assert_eq!(output.exit, exit, "{case}: {output:?}");
        assert!(output.stderr.contains(words), "{case}: {output:?}");
        assert_eq!(output.stdout, "", "{case}");
    }
    let pending = place.open().await.into_iter().find(|question| question.ticket == other).unwrap();
    assert_eq!(pending.state(), attache::control::api::State::Pending, "nothing of this was an answer");

    place.approve(&other).await;
    assert_eq!(get(&place, "b").await.status, 200);
    let used = command(&place, &["deny", &other]).await;
    assert_eq!(used.exit, 1, "{used:?}");
    assert!(used.stderr.contains("there is no open question"), "{used:?}");

    place.attache.stop().await;
    let gone = command(&place, &["list"]).await;
    assert_eq!(gone.exit, 5, "{gone:?}");
}

#[tokio::test]
async fn people_are_told_what_waits_and_what_became_of_it() {
    let hook = Endpoint::start("127.0.0.1:0".parse().unwrap(), false, async |_| reply(204, "")).await;
    let notifications = format!(
        "
notifications:
  ops:
    webhook: {{url: '{}/hook', plaintext: true, secret: {{env: HOOK}}}}
    events: [approvalRequested, approvalDecided, blocked]
",
        hook.url()
    );
    let policy = POLICY.replace("hold: 25s", "hold: 25s, notify: [ops]") + &notifications;
    let place = Place::with(&policy, |setup| setup.env("HOOK", "a secret that nobody guesses")).await;
    let answer = place.approved("/held/told?q=secret", &["--data", "x"]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(place.attache.curl(["http://other.example/"]).await.status, 403);
    let received: Vec<Value> = hook.wait_for(3).await.iter().map(|message| message.json()).collect();
    let of = |kind: &str| {
        let data = received.iter().find(|message| message["type"] == kind).map(|message| message["data"].clone());
        data.unwrap_or_else(|| panic!("no {kind} in {received:?}"))
    };
    let (requested, decided) = (of("approval.requested"), of("approval.decided"));
    assert_eq!((&requested["path"], &requested["query"]), (&"/held/told".into(), &"q=***".into()));
    assert_eq!(requested["ticket"], decided["ticket"]);
    assert_eq!((&decided["decision"], &decided["why"]), (&"approved".into(), &"it is fine".into()));
    assert!(decided["by"].as_str().unwrap().starts_with("ann ("), "{decided}");
    assert_eq!(of("request.blocked")["host"], "other.example");

    // Another policy, other channels.
    place.attache.replace_policy(POLICY);
    place.attache.wait_stderr("the policy has been loaded again").await;
    assert_eq!(place.approved("/held/untold", &["--data", "x"]).await.status, 200);
    assert_eq!(hook.requests().len(), 3);
}

fn succeeded(output: Output) -> String {
    assert_eq!((output.exit, &*output.stderr), (0, ""), "{output:?}");
    output.stdout
}
