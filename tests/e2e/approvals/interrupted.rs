//! Whatever happens while a request is held: without an approval that counts in the end, it does not go out.

use rustix::process::Signal;

use super::{ORIGIN, POLICY, Place};
use crate::support::{Answer, process, script, until};

#[tokio::test]
async fn nothing_goes_out_for_an_agent_that_has_gone() {
    let place = Place::new().await;
    for protocol in ["--http1.1", "--http2"] {
        let path = format!("/held/gone{protocol}");
        let url = format!("{ORIGIN}{path}");
        let gone = place.attache.curl(["--max-time", "1", protocol, "--data", "x", &url]).await;
        assert_eq!(gone.exit, 28, "{gone:?}");
        let record = place.attache.wait_record("the record of it", |record| record["path"] == path).await;
        assert_eq!((&record["decision"], &record["reason"]), (&"error".into(), &"client_gone".into()), "{record}");
        let question = place.question(&path, 0).await;
        assert_eq!(record["approval"]["ticket"], question.ticket, "{record}");
        place.approve(&question.ticket).await;
        assert!(place.upstream.connections().is_empty());
    }
    // The approval is there for when the agent comes again, and for one request.
    for (number, protocol) in ["--http1.1", "--http2"].into_iter().enumerate() {
        let url = format!("{ORIGIN}/held/gone{protocol}");
        assert_eq!(place.attache.curl(["--data", "x", &url]).await.status, 200);
        assert_eq!(place.reached().len(), number + 1);
    }
}

const AGENTS: &str = "
agents:
  ann: {identity: [{token: {env: ANN}}]}
";

/// The policy changes while the request is held; then somebody approves it.
#[tokio::test]
async fn a_policy_that_changed_meanwhile_decides_again() {
    let policy = format!("{POLICY}{AGENTS}");
    let place =
        Place::with(&policy, |setup| setup.env("ANN", "ann-token-0123456789").env("OTHER", "another-0123456789"));
    let place = place.await;
    let blocked =
        policy.replace("rules:", "rules:\n  - {name: Block, host: api.example.com, method: POST, action: block}");
    let host_blocked = format!("{policy}\nblockedDomains: [api.example.com]");
    let revoked = policy.replace("env: ANN", "env: OTHER");
    let renamed = policy.replace("name: Held", "name: Held otherwise");
    let more = policy.replace(
        "rules:",
        "rules:\n  - {name: Second, host: api.example.com, method: POST, action: {approval: {hold: 1s}}}",
    );
    let unasked = policy.replace("path: \"/held/**\"", "path: \"/elsewhere\"");
    for (case, changed, status, reason) in [
        ("a newer rule blocks it", &blocked, 403, Some("rule_blocked")),
        ("its host is blocked", &host_blocked, 403, Some("domain_blocked")),
        ("its token is revoked", &revoked, 407, Some("invalid_token")),
        ("another rule asks", &renamed, 403, Some("approval_pending")),
        ("one more rule asks", &more, 403, Some("approval_pending")),
        ("nothing asks any more", &unasked, 200, None),
    ] {
        let before = place.reached().len();
        let path = format!("/held/{}", case.replace(' ', "-"));
        let url = format!("http://api.example.com{path}");
        // A hold that is over soon after, for those that are asked about again.
        place.replace(&policy).await;
        let header = "Proxy-Authorization: Bearer ann-token-0123456789";
        let arguments = ["--header", header, "--data", "x", &url];
        let (answer, ()) = tokio::join!(place.attache.curl(arguments), async {
            let question = place.question(&path, 1).await;
            place.replace(changed).await;
            place.approve(&question.ticket).await;
            if reason == Some("approval_pending") {
                // Asked under another name, which the old approval is nothing to.
                let other = place.question(&path, 1).await;
                assert_ne!(other.ticket, question.ticket, "{case}");
                place.answer(&other.ticket, attache::control::api::Verdict::Refuse, case).await.unwrap();
            }
        });
        match reason {
            Some("approval_pending") => assert_eq!((answer.status, refusal(&answer)), (403, "approval_refused".into())),
            Some(reason) => {
                assert_eq!((answer.status, refusal(&answer)), (status, reason.to_owned()), "{case}: {answer:?}")
            }
            None => assert_eq!(answer.status, 200, "{case}: {answer:?}"),
        }
        assert_eq!(place.reached().len(), before + usize::from(status == 200), "{case}");
    }
}

#[tokio::test]
async fn a_killed_service_takes_its_questions_along() {
    let place = Place::new().await;
    let urls = ["--http1.1", "--http2"].map(|protocol| (protocol, format!("{ORIGIN}/held/killed{protocol}")));
    let [first, second] = &urls;
    let (one, two, killed) = tokio::join!(
        place.attache.curl([first.0, "--data", "x", &first.1]),
        place.attache.curl([second.0, "--data", "x", &second.1]),
        async {
            let question = place.question("/held/killed--http1.1", 1).await;
            place.question("/held/killed--http2", 1).await;
            (place.attache.kill9_service().await, question)
        }
    );
    for answer in [one, two] {
        assert_eq!((answer.status, refusal(&answer)), (503, "no_verdict".into()), "{answer:?}");
    }
    let (service, question) = killed;
    place.attache.wait_restart(service).await;
    until("the new service", async || attache::control::status(&place.socket()).await.ok()).await;
    assert_eq!(place.open().await, []);
    let late = place.answer(&question.ticket, attache::control::api::Verdict::Approve, "").await.unwrap_err();
    assert_eq!(late.code(), tonic::Code::NotFound, "{late}");
    assert!(place.upstream.connections().is_empty());

    until("Envoy to have found it", async || {
        let answer = place.attache.curl([format!("{ORIGIN}/other")]).await;
        (answer.status == 200).then_some(())
    })
    .await;
    // It goes on as if nothing had been: the agent asks anew.
    let answer = place.approved("/held/after", &["--data", "x"]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(place.reached(), ["/other", "/held/after"]);
}

#[tokio::test]
async fn a_killed_envoy_takes_the_request_along() {
    let place = Place::new().await;
    let url = format!("{ORIGIN}/held/envoy");
    let (answer, question) = tokio::join!(place.attache.curl(["--data", "x", &url]), async {
        let question = place.question("/held/envoy", 1).await;
        assert!(process::signal(place.attache.envoy().await, Signal::KILL));
        question
    });
    assert_ne!(answer.exit, 0, "{answer:?}");
    let record = place.attache.wait_record("the record of it", |record| record["path"] == "/held/envoy").await;
    assert_eq!(record["reason"], "client_gone", "{record}");
    let question = place.question(&question.path, 0).await;
    place.approve(&question.ticket).await;
    assert!(place.upstream.connections().is_empty());
    let again = until("the next Envoy", async || {
        let answer = place.attache.curl(["--data", "x", &url]).await;
        (answer.exit == 0 && answer.status != 503).then_some(answer)
    });
    assert_eq!(again.await.status, 200);
    assert_eq!(place.reached(), ["/held/envoy"]);
}

/// The agent sends what needs a person, and tries to be that person.
#[tokio::test]
async fn an_agent_cannot_answer_for_a_person() {
    let upstream = crate::support::Upstream::https(["api.example.com"]).await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let agent = "
import json, os, subprocess, threading, requests
answers = []
def send():
    answers.append(requests.post('https://api.example.com/held/mine', data='x'))
held = threading.Thread(target=send)
held.start()
def attache(*arguments):
    command = [os.environ['THE_ATTACHE'], 'approvals', '--state-dir', os.environ['THE_STATE'], *arguments]
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
    return [done.returncode, done.stdout]
with open(os.environ['THE_TICKET']) as fifo:
    ticket = fifo.read().strip()
tried = [attache('list'), attache('show', ticket), attache('approve', ticket), attache('deny', ticket)]
open(os.environ['THE_END'], 'w').write('tried')
held.join()
print(json.dumps({'tried': tried, 'status': answers[0].status_code, 'reason': answers[0].json().get('reason')}))
";
    let (fifo, end) = (folder.path().join("ticket"), folder.path().join("end"));
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let run = crate::support::Attache::up(POLICY)
        .env("KEY", "s3cret")
        .env("THE_ATTACHE", env!("CARGO_BIN_EXE_attache"))
        .env("THE_STATE", &text(&state))
        .env("THE_TICKET", &text(&fifo))
        .env("THE_END", &text(&end))
        .state_dir(&state)
        .resolve("api.example.com", &upstream)
        .run(script::python(agent));
    let socket = state.join("control.sock");
    let operator = async {
        let question = until("the question", async || {
            attache::control::list_approvals(&socket).await.ok()?.into_iter().next().filter(|q| q.waiting == 1)
        });
        let question = question.await;
        let (path, ticket) = (fifo.clone(), question.ticket.clone());
        tokio::task::spawn_blocking(move || std::fs::write(path, ticket).unwrap()).await.unwrap();
        until("the agent's attempts", async || end.exists().then_some(())).await;
        let after = attache::control::list_approvals(&socket).await.unwrap();
        let answer = attache::control::api::AnswerApprovalRequest {
            ticket: question.ticket.clone(),
            verdict: attache::control::api::Verdict::Refuse.into(),
            ..Default::default()
        };
        attache::control::answer_approval(&socket, answer).await.unwrap();
        (question, after)
    };
    let (output, (question, after)) = tokio::join!(run, operator);
    assert_eq!(after, [question], "it is as pending as before");
    let seen: serde_json::Value =
        serde_json::from_str(output.stdout.trim()).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    for tried in seen["tried"].as_array().unwrap() {
        assert_eq!(*tried, serde_json::json!([5, ""]), "{output:?}");
    }
    assert_eq!((&seen["status"], &seen["reason"]), (&403.into(), &"approval_refused".into()), "{seen}");
    assert!(upstream.connections().is_empty());
}

impl Place {
    /// Puts another policy in force.
    async fn replace(&self, policy: &str) {
        let revision = async || attache::control::status(&self.socket()).await.unwrap().policy_revision;
        let before = revision().await;
        if std::fs::read_to_string(self.attache.policy()).unwrap() == policy {
            return;
        }
        self.attache.replace_policy(policy);
        until("the policy", async || (revision().await != before).then_some(())).await;
    }
}

fn refusal(answer: &Answer) -> String {
    answer.json()["reason"].as_str().unwrap_or_default().to_owned()
}
