//! Tokens that end: at the moment policy says, or when their file is taken away.

use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::support::Stage::{Connect, Request};
use crate::support::{Ask, Attache, Protocol, Upstream, Way, records, tunnel, until};

const ANN: &str = "ann-token-0123456789";
const BOB: &str = "bob-token-0123456789";
const PROXY: &str = "Proxy-Authorization";
const OWN: &str = "Authorization";
const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: shared.example\r\n\r\n";

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A moment as policy writes it.
fn in_seconds(seconds: u64) -> String {
    let end = jiff::Timestamp::try_from(SystemTime::now() + Duration::from_secs(seconds)).unwrap();
    end.to_string()
}

async fn start(upstream: &Upstream, policy: &str) -> Attache {
    let setup = Attache::up(policy).env("ANN_TOKEN", ANN).env("BOB_TOKEN", BOB);
    setup.resolve("shared.example", upstream).start().await
}

#[tokio::test]
async fn a_token_ends_at_its_moment_in_an_open_tunnel_too() {
    let upstream = Upstream::https(["shared.example"]).await;
    let policy = |end: &str| {
        format!(
            "allowedDomains: [shared.example]\ndefaultAgent: bob\nagents:\n\
             \x20 ann: {{identity: [{{token: {{env: ANN_TOKEN, expires: {end}}}}}]}}\n\
             \x20 bob: {{identity: [{{token: {{env: BOB_TOKEN, expires: 2100-01-01T00:00:00Z}}}}]}}\n",
        )
    };
    let attache = start(&upstream, &policy("2100-01-01T00:00:00Z")).await;
    let ask = |way, header: &str, token: &str| {
        let ask = Ask::get(Protocol::Http1, "https://shared.example/").by(way);
        match way {
            Way::Tunnel if header == PROXY => ask.connect_header(header, &bearer(token)),
            _ => ask.header(header, bearer(token)),
        }
    };
    let mut open = ask(Way::Tunnel, PROXY, ANN).open(&attache).await.unwrap();
    let first = tunnel::raw(&mut open, ASK).await;
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    attache.replace_policy(&policy(&in_seconds(2)));
    let refused = until("the end of the token", async || {
        let answer = tunnel::raw(&mut open, ASK).await;
        (!answer.starts_with("HTTP/1.1 200")).then_some(answer)
    })
    .await;
    assert!(refused.starts_with("HTTP/1.1 401") && refused.contains("invalid_token"), "{refused}");
    assert!(!refused.contains("ann"), "the answer says whose token it was: {refused}");
    let record = records(&attache).pop().unwrap();
    assert_eq!(record["detail"], "a token of `ann` that has expired", "{record}");

    // Each way to show it is the same, none is the default agent, and it never leaves as the agent's own.
    let arrived = upstream.requests().len();
    for (way, header, stage, status) in [
        (Way::Tunnel, PROXY, Connect, 407),
        (Way::Tunnel, OWN, Request, 401),
        (Way::Absolute, PROXY, Request, 407),
        (Way::Absolute, OWN, Request, 401),
        (Way::HostStyle, OWN, Request, 401),
    ] {
        let expired = ask(way, header, ANN).send(&attache).await;
        assert_eq!((expired.stage, expired.status, &*expired.reason()), (stage, status, "invalid_token"), "{way:?}");
        if (way, header) == (Way::Tunnel, OWN) {
            continue;
        }
        // One that never was is answered in the same words.
        let unknown = ask(way, header, "nobody-0123456789").send(&attache).await;
        let words = |reply: &crate::support::ask::Reply| {
            let mut json = reply.json();
            json["requestId"] = serde_json::Value::Null;
            (reply.stage, reply.status, json)
        };
        assert_eq!(words(&expired), words(&unknown), "{way:?} {header}");
    }
    assert_eq!(upstream.requests().len(), arrived);
    assert_eq!(ask(Way::Tunnel, PROXY, BOB).send(&attache).await.status, 200);
}

/// ann's token is in a file, bob's is not.
struct Files {
    folder: TempDir,
    attache: Attache,
    upstream: Upstream,
}

impl Files {
    async fn new() -> Files {
        let folder = tempfile::tempdir().unwrap();
        let upstream = Upstream::https(["shared.example"]).await;
        std::fs::write(folder.path().join("ann"), ANN).unwrap();
        let policy = Files::policy(&folder, "");
        let attache = start(&upstream, &policy).await;
        Files { folder, attache, upstream }
    }

    fn policy(folder: &TempDir, more: &str) -> String {
        let path = folder.path().join("ann");
        format!(
            "allowedDomains: [shared.example{more}]\nagents:\n  ann: {{identity: [{{token: {{file: {}}}}}]}}\n\
             \x20 bob: {{identity: [{{token: {{env: BOB_TOKEN}}}}]}}\n",
            path.display()
        )
    }

    /// Puts another token in place, all at once.
    fn write(&self, token: &str) {
        let draft = self.folder.path().join("draft");
        std::fs::write(&draft, token).unwrap();
        std::fs::rename(draft, self.folder.path().join("ann")).unwrap();
    }

    async fn status(&self, token: &str) -> u16 {
        let ask = Ask::get(Protocol::Http1, "https://shared.example/").connect_header(PROXY, &bearer(token));
        ask.send(&self.attache).await.status
    }

    async fn becomes(&self, token: &str, status: u16) {
        let what = format!("{status} for `{token}`");
        until(&what, async || (self.status(token).await == status).then_some(())).await;
    }
}

#[tokio::test]
async fn a_token_file_is_read_again_when_it_changes() {
    let files = Files::new().await;
    let ask = Ask::get(Protocol::Http1, "https://shared.example/").connect_header(PROXY, &bearer(ANN));
    let mut open = ask.open(&files.attache).await.unwrap();
    assert!(tunnel::raw(&mut open, ASK).await.starts_with("HTTP/1.1 200"));

    let next = "ann-token-that-follows";
    assert_eq!(files.status(next).await, 407);
    files.write(&format!("{next}\n"));
    files.becomes(next, 200).await;
    assert_eq!(files.status(ANN).await, 407);
    // The tunnel was opened with the one that is no more.
    let arrived = files.upstream.requests().len();
    let refused = tunnel::raw(&mut open, ASK).await;
    assert!(refused.starts_with("HTTP/1.1 401") && refused.contains("invalid_token"), "{refused}");
    assert_eq!(files.upstream.requests().len(), arrived);
    assert_eq!(files.status(BOB).await, 200);
}

#[tokio::test]
async fn a_token_file_that_is_gone_or_empty_revokes_its_token_alone() {
    let files = Files::new().await;
    for gone in [true, false] {
        files.becomes(ANN, 200).await;
        match gone {
            true => std::fs::remove_file(files.folder.path().join("ann")).unwrap(),
            false => files.write(""),
        }
        files.becomes(ANN, 407).await;
        assert_eq!(files.status(BOB).await, 200);
        assert_eq!(files.status("").await, 407);
        files.attache.wait_stderr("a token of `ann`: ").await;
        files.write(ANN);
    }
    files.becomes(ANN, 200).await;

    // What happens to tokens hangs on no other change of the policy, and stops none.
    files.attache.replace_policy("allowedDomains: [");
    files.attache.wait_stderr("the policy is wrong").await;
    std::fs::remove_file(files.folder.path().join("ann")).unwrap();
    files.becomes(ANN, 407).await;
    files.attache.replace_policy(&Files::policy(&files.folder, ", other.example"));
    let other = async || {
        let ask = Ask::get(Protocol::Http1, "https://other.example/").connect_header(PROXY, &bearer(BOB));
        (ask.send(&files.attache).await.status != 403).then_some(())
    };
    until("the policy with another domain", other).await;
    assert_eq!(files.status(ANN).await, 407);
}

#[tokio::test]
async fn a_token_that_two_agents_come_to_have_is_neithers() {
    let files = Files::new().await;
    files.becomes(BOB, 200).await;
    files.write(BOB);
    files.becomes(ANN, 407).await;
    assert_eq!(files.status(BOB).await, 407);
    files.write(ANN);
    files.becomes(ANN, 200).await;
    assert_eq!(files.status(BOB).await, 200);
}

#[tokio::test]
async fn a_token_file_that_is_missing_at_the_start_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let output = Attache::up(&Files::policy(&folder, "")).env("BOB_TOKEN", BOB).refused().await;
    assert_eq!(output.exit, 2, "{output:?}");
    assert!(output.stderr.contains("the token cannot be had"), "{output:?}");
}
