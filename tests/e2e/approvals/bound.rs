//! An approval is for one request, and for no other that looks like it.

use attache::control::api::{State, Verdict};
use tempfile::NamedTempFile;

use super::{ORIGIN, POLICY, Place};
use crate::support::{tunnel, until, within};

#[tokio::test]
async fn an_approval_admits_no_request_that_differs() {
    let place = Place::new().await;
    let base = ["--request", "POST", "--header", "Content-Type: text/plain", "--data", "amount=1", "/asked/a?to=ann"];
    let send = async |change: Option<(usize, &str)>, more: &[&str]| {
        let mut arguments = base.map(str::to_owned);
        if let Some((at, text)) = change {
            arguments[at] = text.to_owned();
        }
        arguments[6] = format!("{ORIGIN}{}", arguments[6]);
        place.attache.curl(arguments.iter().map(String::as_str).chain(more.iter().copied())).await
    };
    let ticket = Place::ticket(&send(None, &[]).await);
    place.approve(&ticket).await;
    let mut others = vec![];
    for (case, change, more) in [
        ("method", Some((1, "PUT")), &[][..]),
        ("path", Some((6, "/asked/b?to=ann")), &[]),
        ("path's case", Some((6, "/asked/A?to=ann")), &[]),
        ("query", Some((6, "/asked/a?to=bob")), &[]),
        ("no query", Some((6, "/asked/a")), &[]),
        ("more query", Some((6, "/asked/a?to=ann&")), &[]),
        ("content type", Some((3, "Content-Type: application/json")), &[]),
        ("no content type", Some((3, "Content-Type:")), &[]),
        ("body", Some((5, "amount=2")), &[]),
        ("longer body", Some((5, "amount=10")), &[]),
        ("no body", Some((5, "")), &[]),
        ("encoding", None, &["--header", "Content-Encoding: identity"]),
    ] {
        let answer = send(change, more).await;
        let other = Place::ticket(&answer);
        assert_ne!(other, ticket, "{case}");
        assert!(!others.contains(&other), "{case}");
        others.push(other);
    }
    assert!(place.upstream.connections().is_empty());

    // What is no part of it may differ: by another protocol, with other fields, it is the same request.
    let answer = send(None, &["--http1.1", "--header", "X-Trace: 7"]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_ne!(Place::ticket(&send(None, &[]).await), ticket);
    let seen = place.upstream.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].path.as_str(), seen[0].text().as_str()), ("/asked/a?to=ann", "amount=1"));
}

#[tokio::test]
async fn an_approval_for_one_agent_is_none_for_another() {
    let policy = format!(
        "{POLICY}
agents:
  ann: {{identity: [{{token: {{env: ANN}}}}]}}
  bob: {{identity: [{{token: {{env: BOB}}}}]}}
"
    );
    let (ann, bob) = ("ann-token-0123456789", "bob-token-0123456789");
    let place = Place::with(&policy, |setup| setup.env("ANN", ann).env("BOB", bob)).await;
    let get = async |token: &str| {
        let header = format!("Proxy-Authorization: Bearer {token}");
        place.attache.curl(["--header", &header, "http://api.example.com/asked/x"]).await
    };
    let (of_ann, of_bob) = (Place::ticket(&get(ann).await), Place::ticket(&get(bob).await));
    assert_ne!(of_ann, of_bob);
    place.approve(&of_ann).await;
    assert_eq!(Place::ticket(&get(bob).await), of_bob);
    assert_eq!(get(ann).await.status, 200);
    assert_eq!(place.reached().len(), 1);
}

#[tokio::test]
async fn a_body_too_large_to_hold_is_not_asked_about() {
    let place = Place::new().await;
    let body = vec![b'x'; 2 << 20];
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &body).unwrap();
    let data = format!("@{}", file.path().display());
    for more in ["Accept: */*", "Transfer-Encoding: chunked"] {
        let url = format!("{ORIGIN}/held/large");
        let arguments = ["--http1.1", "--request", "POST", "--header", "Expect:", "--data-binary", &data];
        let answer = place.attache.curl(arguments.into_iter().chain(["--header", more, &url])).await;
        assert_eq!(answer.status, 413, "{more}: {answer:?}");
        assert_eq!(answer.json()["reason"], "body_too_large_for_approval");
    }
    // The answer comes before the body has ended, and then the stream is closed (RFC 9113, section 8.1), which curl and
    // others report without the answer.
    for length in [None, Some(body.len())] {
        let stream = tunnel::connect(place.attache.proxy(), "api.example.com:443", &[]).await.unwrap();
        let stream = tunnel::tls(stream, Some("api.example.com"), &place.attache.ca_pem(), &["h2"]).await.unwrap();
        let mut client = tunnel::h2(stream).await;
        let mut request = http::Request::post(format!("{ORIGIN}/held/large"));
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let (answer, mut sending) = client.send_request(request.body(()).unwrap(), false).unwrap();
        sending.send_data(body.clone().into(), true).unwrap();
        let answer = within("an answer", answer).await.unwrap();
        assert_eq!(answer.status(), 413, "{length:?}");
    }
    assert_eq!(place.open().await, []);
    assert!(place.upstream.connections().is_empty());
}

#[tokio::test]
async fn what_is_over_a_limit_is_refused_before_anybody_is_asked() {
    let policy = POLICY.replace(
        "credentials:",
        "  - {name: Cap, host: api.example.com, path: '/asked/**', action: {rateLimit: {requests: 1, per: hour}}}\ncredentials:",
    );
    let place = Place::with(&policy, |setup| setup).await;
    let get = async || place.attache.curl([format!("{ORIGIN}/asked/capped")]).await;
    let ticket = Place::ticket(&get().await);
    // Asking costs nothing: only what goes out counts.
    assert_eq!(Place::ticket(&get().await), ticket);
    place.approve(&ticket).await;
    assert_eq!(get().await.status, 200);
    let limited = get().await;
    assert_eq!(limited.status, 429, "{limited:?}");
    assert_eq!((&limited.json()["reason"], &limited.json()["rule"]), (&"rate_limited".into(), &"rules[Cap]".into()));
    assert!(limited.header("retry-after").is_some());
    assert_eq!(place.open().await, [], "nobody was asked");
    assert_eq!(place.reached().len(), 1);
}

#[tokio::test]
async fn a_missing_secret_does_not_use_an_approval_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let policy = POLICY.replace("envVarKey: KEY", &format!("file: {}", file.display()));
    let place = Place::with(&policy, |setup| setup).await;
    let get = async || place.attache.curl([format!("{ORIGIN}/asked/secret")]).await;
    let ticket = Place::ticket(&get().await);
    place.approve(&ticket).await;
    for _ in 0..2 {
        // Whoever was told of an approval has a second's time to use it.
        let refused = until("its turn", async || Some(get().await).filter(|answer| answer.status != 403));
        let refused = refused.await;
        assert_eq!((refused.status, &refused.json()["reason"]), (503, &"secret_unavailable".into()), "{refused:?}");
    }
    assert!(place.upstream.connections().is_empty());
    assert_eq!(place.open().await[0].state(), State::Approved);
    std::fs::write(&file, "from-the-file").unwrap();
    until("the secret", async || (get().await.status == 200).then_some(())).await;
    assert_eq!(place.upstream.requests()[0].header("x-key"), Some("from-the-file"));
    assert_ne!(Place::ticket(&get().await), ticket);
    assert_eq!(place.reached().len(), 1);
}

/// An approval can be taken back as long as nothing has gone out for it.
#[tokio::test]
async fn what_was_approved_can_still_be_refused() {
    let place = Place::new().await;
    let get = async || place.attache.curl([format!("{ORIGIN}/asked/back")]).await;
    let ticket = Place::ticket(&get().await);
    place.approve(&ticket).await;
    place.answer(&ticket, Verdict::Refuse, "on second thoughts").await.unwrap();
    assert_eq!(get().await.json()["reason"], "approval_refused");
    let again = place.answer(&ticket, Verdict::Approve, "").await.unwrap_err();
    assert_eq!(again.code(), tonic::Code::FailedPrecondition, "{again}");
    assert!(place.upstream.connections().is_empty());
}
