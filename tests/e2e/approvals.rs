//! Nothing goes out that a person has to agree to and has not, and what goes out is what they agreed to.

mod bound;
mod command;
mod held;
mod interrupted;
mod many;

use std::path::PathBuf;

use attache::control;
use attache::control::api::{AnswerApprovalRequest, Approval, State, Verdict};
use serde_json::Value;

use crate::support::attache::Setup;
use crate::support::{Answer, Attache, Upstream, until};

/// `/held/…` is held for longer than any of these tests lasts, `/asked/…` not at all.
const POLICY: &str = r#"
allowedDomains: [api.example.com]
rules:
  - {name: Held, host: api.example.com, path: "/held/**", action: {approval: {hold: 25s, expires: 10m}}}
  - {name: Asked, host: api.example.com, path: "/asked/**", action: {approval: {hold: 0s, expires: 10m}}}
credentials:
  - {name: key, envVarKey: KEY, injections: [{domain: api.example.com, headerName: X-Key, headerFormat: "{value}"}]}
"#;

const ORIGIN: &str = "https://api.example.com";

/// An upstream, an attaché before it, and whoever decides.
struct Place {
    upstream: Upstream,
    attache: Attache,
}

impl Place {
    async fn new() -> Place {
        Place::with(POLICY, |setup| setup).await
    }

    async fn with(policy: &str, more: impl FnOnce(Setup) -> Setup) -> Place {
        let upstream = Upstream::https(["api.example.com"]).await;
        let setup = Attache::up(policy).env("KEY", "s3cret").resolve("api.example.com", &upstream);
        let attache = more(setup).start().await;
        Place { upstream, attache }
    }

    fn socket(&self) -> PathBuf {
        self.attache.ready().state_dir.join("control.sock")
    }

    /// Everything that is open, or whose answer still counts.
    async fn open(&self) -> Vec<Approval> {
        control::list_approvals(&self.socket()).await.unwrap()
    }

    /// The question about this path, once it is pending and so many identical requests wait for it.
    async fn question(&self, path: &str, waiting: u32) -> Approval {
        until(&format!("a question about {path} for which {waiting} wait"), async || {
            let wanted = |a: &Approval| a.path == path && a.state() == State::Pending && a.waiting == waiting;
            self.open().await.into_iter().find(wanted)
        })
        .await
    }

    async fn answer(&self, ticket: &str, verdict: Verdict, why: &str) -> Result<Approval, tonic::Status> {
        let answer =
            AnswerApprovalRequest { ticket: ticket.into(), verdict: verdict.into(), by: "ann".into(), why: why.into() };
        control::answer_approval(&self.socket(), answer).await
    }

    async fn approve(&self, ticket: &str) {
        self.answer(ticket, Verdict::Approve, "it is fine").await.unwrap();
    }

    /// Sends what curl is told to, and approves the question about it, before which nothing may have left.
    async fn approved(&self, path: &str, arguments: &[&str]) -> Answer {
        let before = self.upstream.requests().len();
        let url = format!("{ORIGIN}{path}");
        let arguments: Vec<&str> = arguments.iter().copied().chain([&*url]).collect();
        let (answer, ()) = tokio::join!(self.attache.curl(arguments), async {
            let asked = path.split('?').next().unwrap();
            let question = self.question(asked, 1).await;
            assert_eq!(self.upstream.requests().len(), before, "{path}: it has left before anybody agreed");
            self.approve(&question.ticket).await;
        });
        answer
    }

    /// What `/asked/…` is answered before anybody agreed: its ticket.
    fn ticket(answer: &Answer) -> String {
        assert_eq!(answer.status, 403, "{answer:?}");
        let json = answer.json();
        assert_eq!(json["reason"], "approval_pending", "{json}");
        json["ticket"].as_str().unwrap().to_owned()
    }

    /// The lines about questions, in the order they were written.
    fn events(&self) -> Vec<Value> {
        let journal = self.attache.journal();
        let lines = journal.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["type"] == "approval").collect()
    }

    /// The lines about one question, once there are so many.
    async fn events_of(&self, ticket: &str, count: usize) -> Vec<Value> {
        until(&format!("{count} lines about {ticket}"), async || {
            let mut events = self.events();
            events.retain(|event| event["ticket"] == ticket);
            (events.len() >= count).then_some(events)
        })
        .await
    }

    /// The paths that have reached the upstream.
    fn reached(&self) -> Vec<String> {
        self.upstream.requests().into_iter().map(|seen| seen.path).collect()
    }
}
