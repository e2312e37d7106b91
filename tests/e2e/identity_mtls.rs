//! Agents known by their client certificates: what one shows holds for its whole tunnel, and never leaves.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::support::ca::{ClientCertificate, Until, client_as};
use crate::support::{Answer, Attache, Ca, PROTOCOLS, Upstream, curl, records, tunnel, until, within};

const BOB: &str = "bob-token-0123456789";
const ANN_ID: &str = "spiffe://prod.example/ns/agents/sa/ann";
const BOB_ID: &str = "spiffe://prod.example/ns/agents/sa/bob";

const POLICY: &str = "
allowedDomains: [shared.example]
agents:
  ann: {identity: [{spiffe: spiffe://prod.example/ns/agents/sa/ann}], allowedDomains: [ann.example]}
  bob:
    identity: [{spiffe: spiffe://prod.example/ns/agents/sa/bob}, {token: {env: BOB_TOKEN}}]
    allowedDomains: [bob.example]
";

const HOSTS: [&str; 3] = ["shared.example", "ann.example", "bob.example"];

/// An attaché behind TLS, and the authority of its agents.
struct Place {
    upstream: Upstream,
    attache: Attache,
    agents: Ca,
    files: TempDir,
}

impl Place {
    async fn new(more: &str) -> Place {
        let files = tempfile::tempdir().unwrap();
        let agents = Ca::new("test agents");
        let (certificate, key) = Ca::shared().server_pem(&["127.0.0.1"]);
        let file = |name: &str, text: &str| {
            let path = files.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.into_os_string()
        };
        let flags = [
            ("--proxy-tls-cert", file("proxy.pem", &certificate)),
            ("--proxy-tls-key", file("proxy.key", &key)),
            ("--client-ca", file("agents.pem", agents.pem())),
        ];
        file("trusted.pem", Ca::shared().pem());
        let upstream = Upstream::https(HOSTS).await;
        let mut setup = Attache::up(&format!("{more}{POLICY}")).env("BOB_TOKEN", BOB);
        setup = setup.flags(flags.into_iter().flat_map(|(flag, value)| [flag.into(), value]));
        for host in HOSTS {
            setup = setup.resolve(host, &upstream);
        }
        let attache = setup.start().await;
        assert!(attache.ready().proxy.starts_with("https://"), "{:?}", attache.ready());
        Place { upstream, attache, agents, files }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// curl with a certificate, or none, and what is on record of it.
    async fn ask(&self, certificate: Option<&ClientCertificate>, arguments: &[&str]) -> Answer {
        let mut own: Vec<String> = vec!["--proxy".into(), self.attache.ready().proxy.clone()];
        let mut flag = |name: &str, path: PathBuf| own.extend([name.to_owned(), path.display().to_string()]);
        flag("--proxy-cacert", self.files.path().join("trusted.pem"));
        flag("--cacert", self.attache.ready().bundle.clone());
        if let Some(certificate) = certificate {
            flag("--proxy-cert", self.file("agent.pem", &certificate.pem));
            flag("--proxy-key", self.file("agent.key", &certificate.key_pem));
        }
        own.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        curl(own).await
    }

    fn certificate(&self, uris: &[&str]) -> ClientCertificate {
        self.agents.client(uris, Until::LongFromNow)
    }
}

/// The status of the one who answered.
fn status(answer: &Answer) -> u16 {
    if answer.status == 0 { answer.connect_status } else { answer.status }
}

#[tokio::test]
async fn the_spiffe_id_of_a_certificate_names_the_agent() {
    let place = Place::new("").await;
    let (ann, bob) = (place.certificate(&[ANN_ID]), place.certificate(&[BOB_ID]));
    let bob_token = format!("Authorization: Bearer {BOB}");
    for protocol in PROTOCOLS {
        for (certificate, url, more, expected) in [
            (&ann, "https://ann.example/", None, Ok("ann")),
            (&bob, "https://bob.example/", None, Ok("bob")),
            (&ann, "http://ann.example/", None, Ok("ann")),
            (&ann, "https://shared.example/", None, Ok("ann")),
            (&ann, "https://bob.example/", None, Err((403, "domain_not_allowed"))),
            (&bob, "http://ann.example/", None, Err((403, "domain_not_allowed"))),
            // Two identities of one agent agree; a Bearer of the agent's own is none.
            (&bob, "https://shared.example/", Some(&*bob_token), Ok("bob")),
            (&ann, "https://shared.example/", Some("Authorization: Bearer sk-own"), Ok("ann")),
            (&ann, "http://shared.example/", Some("Authorization: Bearer sk-own"), Ok("ann")),
            // A certificate holds inside its tunnel, whatever is said there.
            (&ann, "https://shared.example/", Some(&*bob_token), Err((401, "identity_conflict"))),
            (&ann, "http://shared.example/", Some(&*bob_token), Err((401, "identity_conflict"))),
        ] {
            let before = place.upstream.requests().len();
            let mut arguments = vec![protocol.flag(), url];
            arguments.extend(more.iter().flat_map(|header| ["-H", header]));
            let answer = place.ask(Some(certificate), &arguments).await;
            let record = records(&place.attache).pop().unwrap();
            let arrived = place.upstream.requests().split_off(before);
            match expected {
                Ok(agent) => {
                    assert_eq!(status(&answer), 200, "{url} {answer:?} {record}");
                    assert_eq!((&record["agent"], &record["identity"]), (&agent.into(), &"mtls".into()), "{record}");
                    let text = format!("{:?}", arrived[0].headers);
                    assert!(!text.contains("spiffe") && !text.contains(BOB), "{text}");
                    assert!(arrived[0].header("x-forwarded-client-cert").is_none(), "{text}");
                }
                Err((refused, reason)) => {
                    assert_eq!((status(&answer), record["reason"].as_str()), (refused, Some(reason)), "{url} {record}");
                    assert!(arrived.is_empty(), "{url}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_that_names_nobody_is_refused_even_where_callers_have_a_default() {
    let place = Place::new("defaultAgent: bob").await;
    for (uris, reason) in [
        (&["spiffe://prod.example/ns/agents/sa/carl"][..], "unknown_identity"),
        (&["spiffe://prod.example/ns/agents/sa/ann/"], "unknown_identity"),
        (&["spiffe://prod.example/ns/agents/sa/Ann"], "unknown_identity"),
        (&["https://prod.example/ns/agents/sa/ann"], "unknown_identity"),
        (&[], "unknown_identity"),
        (&[ANN_ID, BOB_ID], "identity_conflict"),
        (&[ANN_ID, ANN_ID], "identity_conflict"),
        (&["spiffe://prod.example/ns/agents/sa/ann,"], "identity_conflict"),
    ] {
        let certificate = place.certificate(uris);
        for (url, refused) in [("https://shared.example/", 407), ("http://shared.example/", 401)] {
            let answer = place.ask(Some(&certificate), &[url]).await;
            let record = records(&place.attache).pop().unwrap();
            assert_eq!((status(&answer), record["reason"].as_str()), (refused, Some(reason)), "{uris:?} {record}");
            assert_eq!(record["agent"].as_str(), None, "{record}");
        }
    }
    assert!(place.upstream.requests().is_empty());
}

#[tokio::test]
async fn without_a_certificate_of_the_agents_ca_there_is_no_connection() {
    let place = Place::new("defaultAgent: bob").await;
    let stranger = Ca::new("another authority").client(&[ANN_ID], Until::LongFromNow);
    let expired = place.agents.client(&[ANN_ID], Until::LongAgo);
    let token = format!("bob:{BOB}");
    for certificate in [None, Some(&stranger), Some(&expired)] {
        for url in ["https://shared.example/", "http://shared.example/"] {
            let answer = place.ask(certificate, &["--proxy-user", &token, url]).await;
            assert_ne!(answer.exit, 0, "{answer:?}");
            assert_eq!(status(&answer), 0, "{answer:?}");
        }
    }
    // Nor is there one in clear.
    let proxy = format!("http://{}", place.attache.proxy());
    let answer = curl(["--proxy", &proxy, "http://shared.example/"]).await;
    assert_ne!(answer.exit, 0, "{answer:?}");
    assert!(place.upstream.requests().is_empty());
    assert!(records(&place.attache).is_empty());
}

#[tokio::test]
async fn a_certificate_holds_in_its_tunnel_until_it_ends_or_policy_takes_it_away() {
    let place = Place::new("").await;
    let open = async |certificate: &ClientCertificate| {
        let config = client_as(Ca::shared().pem(), certificate);
        let stream = TcpStream::connect(place.attache.proxy()).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let to_proxy = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let to_proxy = within("the handshake with the proxy", to_proxy).await.unwrap();
        let inside = tunnel::connect_over(to_proxy, "shared.example:443", &[]).await.unwrap();
        tunnel::tls(inside, Some("shared.example"), &place.attache.ca_pem(), &[]).await.unwrap()
    };
    const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: shared.example\r\n\r\n";

    // On a busy machine the shortest life may be over before the first request is.
    let (mut short, mut lives) = (None, [4, 8, 16].into_iter());
    while short.is_none() {
        let seconds = lives.next().expect("no certificate lived long enough for one request");
        let mut tunnel = open(&place.agents.client(&[ANN_ID], Until::Seconds(seconds))).await;
        short = tunnel::raw(&mut tunnel, ASK).await.starts_with("HTTP/1.1 200").then_some(tunnel);
    }
    let mut short = short.unwrap();
    let refused = until("the end of the certificate", async || {
        let answer = tunnel::raw(&mut short, ASK).await;
        (!answer.starts_with("HTTP/1.1 200")).then_some(answer)
    })
    .await;
    assert!(refused.starts_with("HTTP/1.1 401") && refused.contains("unknown_identity"), "{refused}");

    let mut long = open(&place.certificate(&[ANN_ID])).await;
    assert!(tunnel::raw(&mut long, ASK).await.starts_with("HTTP/1.1 200"));
    place.attache.replace_policy(&POLICY.replace("/sa/ann}", "/sa/ann-the-second}"));
    let refused = until("the policy without ann's certificate", async || {
        let answer = tunnel::raw(&mut long, ASK).await;
        (!answer.starts_with("HTTP/1.1 200")).then_some(answer)
    })
    .await;
    assert!(refused.starts_with("HTTP/1.1 401") && refused.contains("unknown_identity"), "{refused}");
}

#[tokio::test]
async fn tunnels_that_open_at_the_same_time_keep_their_own_certificate() {
    let place = Place::new("").await;
    let certificates = [("ann", place.certificate(&[ANN_ID])), ("bob", place.certificate(&[BOB_ID]))];
    for (name, certificate) in &certificates {
        place.file(&format!("{name}.pem"), &certificate.pem);
        place.file(&format!("{name}.key"), &certificate.key_pem);
    }
    let asks = (0..20).map(|n| {
        let (name, _) = &certificates[n % 2];
        let path = |end: &str| place.files.path().join(format!("{name}.{end}")).display().to_string();
        let ready = place.attache.ready();
        let trusted = place.files.path().join("trusted.pem").display().to_string();
        let mut arguments = vec!["--proxy".to_owned(), ready.proxy.clone(), "--proxy-cacert".into(), trusted];
        arguments.extend(["--proxy-cert".into(), path("pem"), "--proxy-key".into(), path("key")]);
        arguments.extend(["--cacert".into(), ready.bundle.display().to_string()]);
        arguments.push(format!("https://shared.example/{name}/{n}"));
        curl(arguments)
    });
    let answers = futures_util::future::join_all(asks).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let records = records(&place.attache);
    assert_eq!(records.len(), 20);
    let crossed = records.iter().filter(|record| {
        let path = record["path"].as_str().unwrap();
        path.split('/').nth(1) != record["agent"].as_str()
    });
    assert_eq!(crossed.count(), 0, "requests on record under another agent's name");
}

#[tokio::test]
async fn files_that_cannot_serve_are_named_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = Ca::shared().server_pem(&["127.0.0.1"]);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (good, key, missing) = (file("a.pem", &certificate), file("a.key", &key), "/nowhere/a.pem".to_owned());
    for (flags, says) in [
        (vec!["--proxy-tls-cert", &good], "--proxy-tls-key"),
        (vec!["--proxy-tls-key", &key], "--proxy-tls-cert"),
        (vec!["--client-ca", &good], "--proxy-tls-cert"),
        (
            vec!["--proxy-tls-cert", &missing, "--proxy-tls-key", &key],
            "`--proxy-tls-cert /nowhere/a.pem`: No such file",
        ),
        (vec!["--proxy-tls-cert", &key, "--proxy-tls-key", &key], "there is no certificate in it"),
        (vec!["--proxy-tls-cert", &good, "--proxy-tls-key", &good], "there is no private key in it"),
        (vec!["--proxy-tls-cert", &good, "--proxy-tls-key", &key, "--client-ca", &good], "not a certificate authority"),
    ] {
        let output = Attache::up(POLICY).env("BOB_TOKEN", BOB).flags(flags.iter().copied()).refused().await;
        assert_eq!(output.exit, 2, "{flags:?} {output:?}");
        assert!(output.stderr.contains(says), "{flags:?} {output:?}");
    }
}

#[tokio::test]
async fn a_policy_and_flags_that_do_not_go_together_are_named() {
    let upstream = Upstream::https(["shared.example"]).await;
    let plain = Attache::up(POLICY).env("BOB_TOKEN", BOB).resolve("shared.example", &upstream).start().await;
    plain.wait_stderr("without --client-ca nobody is asked for a certificate").await;
    // What an agent says of a certificate counts for nothing.
    for header in ["X-Forwarded-Client-Cert: URI=spiffe://prod.example/ns/agents/sa/ann", "Attache-Peer: 9999999999;"] {
        for url in ["https://shared.example/", "http://shared.example/"] {
            let answer = plain.curl(["--proxy-header", header, "-H", header, url]).await;
            assert_eq!(answer.status, 401, "{answer:?}");
            assert_eq!(records(&plain).pop().unwrap()["reason"], "no_identity");
        }
    }
    assert!(upstream.requests().is_empty());
}
