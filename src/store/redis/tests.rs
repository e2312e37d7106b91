mod book;
mod clocked;
mod count;

use super::*;
use crate::store::tests::server::Server;

#[tokio::test]
async fn every_key_is_in_one_slot_and_goes_away_by_itself() {
    use crate::store::tests::{by, charge, petition, soon};
    let server = Server::start();
    let store = server.patient().await;
    let far = Duration::from_secs(60);
    let cap: Charges = [charge("cap {x}", "a{b}", 1000, far, 1)].into_iter().collect();
    soon(store.admit(&cap, None)).await.unwrap();
    let mut waits = Vec::new();
    for request in 0..3 {
        let Asked::Open { ticket, .. } = soon(store.ask(&petition("a{b}", request, far))).await else { panic!() };
        let mut wait = store.wait(&ticket, Instant::now() + far);
        // One poll, so that it queues up.
        while store.list().await.unwrap().iter().all(|open| open.ticket != ticket || open.waiting == 0) {
            let _ = tokio::time::timeout(Duration::from_millis(5), &mut wait).await;
        }
        if request > 0 {
            let verdict = if request == 1 { Verdict::Approve } else { Verdict::Refuse };
            store.answer(&ticket, verdict, by("ops", Some("why"))).await.unwrap();
        }
        waits.push(wait);
    }
    let mut connection = server.connection().await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    assert!(keys.len() > 10, "{keys:?}");
    for key in keys {
        assert!(key.starts_with("attache:{default}:1:"), "{key}");
        let left: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
        assert!(left > 0 && left < 200_000, "{key}: {left}");
    }
}

#[tokio::test]
async fn namespaces_are_apart() {
    use crate::store::tests::{charge, soon};
    let server = Server::start();
    let cap: Charges = [charge("cap", "a", 1, Duration::from_secs(60), 1)].into_iter().collect();
    for namespace in ["blue", "green"] {
        let options =
            Options { namespace: namespace.into(), budget: Duration::from_secs(10), ..Options::new(server.url()) };
        let store = Redis::start(options).unwrap();
        assert!(store.connected(Duration::from_secs(60)).await);
        assert_eq!(soon(store.admit(&cap, None)).await, Ok(None), "{namespace}");
        assert!(soon(store.admit(&cap, None)).await.is_err(), "{namespace}");
    }
}

#[tokio::test]
async fn a_server_that_may_throw_counts_away_says_so() {
    let full = ["--maxmemory", "64mb", "--maxmemory-policy", "volatile-lru"];
    for (arguments, expected) in [(&full[..], "volatile-lru"), (&full[..2], "noeviction"), (&full[2..], "noeviction")] {
        let server = Server::with(arguments);
        drop(server.patient().await);
        let (mut connection, scripts) = (server.connection().await, scripts::Scripts::default());
        let (_, eviction): (String, String) =
            scripts.run(Script::Probe, "test", Arguments::new(), &mut connection).await.unwrap();
        assert_eq!(eviction, expected);
    }
}

#[tokio::test]
async fn a_user_who_may_no_more_than_the_documents_say_is_enough() {
    use crate::store::tests::{by, charge, petition, soon};
    let text = include_str!("../../../docs/store.md").replace('\n', " ");
    let rights = text.split("ACL SETUSER attache on >… ").nth(1).unwrap().split('`').next().unwrap();
    let server = Server::start();
    drop(server.patient().await);
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER").arg("attache").arg("on").arg(">hunter2");
    rights.split_whitespace().for_each(|right| _ = user.arg(right));
    let _: () = user.query_async(&mut server.connection().await).await.unwrap();
    let url = format!("{}?user=attache&pass=hunter2", server.url());
    let store = Redis::start(Options { budget: Duration::from_secs(10), ..Options::new(url) }).unwrap();
    assert!(store.connected(Duration::from_secs(20)).await);
    let far = Duration::from_secs(60);
    let cap: Charges = [charge("cap", "a", 1, far, 1)].into_iter().collect();
    assert_eq!(soon(store.admit(&cap, None)).await, Ok(None));
    let petition = petition("a", 1, far);
    let Asked::Open { ticket, .. } = soon(store.ask(&petition)).await else { panic!() };
    store.answer(&ticket, Verdict::Approve, by("ops", None)).await.unwrap();
    assert!(matches!(store.wait(&ticket, Instant::now() + far).await, Standing::Approved(_)));
    assert_eq!(store.list().await.unwrap().len(), 1);
    assert!(soon(store.admit(&Charges::new(), Some(petition.fingerprint))).await.is_ok());
    let mut connection = Client::open(format!("{}?user=attache&pass=hunter2", server.url()))
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    for command in ["FLUSHALL", "KEYS"] {
        let refused = redis::cmd(command).arg("*").query_async::<()>(&mut connection).await.unwrap_err();
        assert_eq!(refused.code(), Some("NOPERM"), "{command}: {refused}");
    }
    let outside = redis::cmd("SET").arg("other").arg(1).query_async::<()>(&mut connection).await.unwrap_err();
    assert_eq!(outside.code(), Some("NOPERM"), "{outside}");
}

#[tokio::test]
async fn options_that_cannot_be_are_refused_without_their_password() {
    let refused = |options: Options| Redis::start(options).err().unwrap().to_string();
    for url in ["http://user:hunter2@host", "redis://:hunter2@host:port", "hunter2", "redis://:hunter2@host/x", ""] {
        let text = refused(Options::new(url));
        assert!(text.contains("redis://HOST:PORT") && !text.contains("hunter2"), "{text}");
    }
    for namespace in ["", "a}b", "a b", "ä"] {
        let text = refused(Options { namespace: namespace.into(), ..Options::new("redis://127.0.0.1") });
        assert!(text.contains("cannot be a namespace"), "{text}");
    }
    let text = refused(Options { ca: Some(b"none".to_vec()), ..Options::new("redis://127.0.0.1") });
    assert!(text.contains("rediss://"), "{text}");
}

#[tokio::test]
async fn a_server_is_reached_by_tls_with_certificates_on_both_ends() {
    let ca = issue(None, "test CA", &[]);
    let end = issue(Some(&ca), "an end", &["localhost", "127.0.0.1"]);
    let stranger = issue(None, "another CA", &[]);
    let server = Server::start();
    let port = in_front(&server, &ca, &end).await;
    let identity = || Identity { certificate: end.0.pem().into(), key: end.1.serialize_pem().into() };
    let options = |ca: &Issued, identity| Options {
        ca: Some(ca.0.pem().into()),
        identity,
        budget: Duration::from_secs(10),
        ..Options::new(format!("rediss://localhost:{port}"))
    };
    // It is up once its socket answers.
    drop(server.patient().await);
    let store = Redis::start(options(&ca, Some(identity()))).unwrap();
    assert!(store.connected(Duration::from_secs(60)).await);
    for (ca, identity) in [(&ca, None), (&stranger, Some(identity()))] {
        let store = Redis::start(options(ca, identity)).unwrap();
        assert!(!store.connected(Duration::from_millis(500)).await);
    }
}

/// Speaks TLS in front of a server, as one built with it does, and asks for certificates; its port.
async fn in_front(server: &Server, ca: &Issued, end: &Issued) -> u16 {
    use tokio_rustls::rustls;

    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.0.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
    let key = rustls::pki_types::PrivateKeyDer::try_from(end.1.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![end.0.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("localhost:0").await.unwrap();
    let (port, socket) = (listener.local_addr().unwrap().port(), server.socket());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, socket) = (acceptor.clone(), socket.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut server = tokio::net::UnixStream::connect(socket).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    port
}

type Issued = (rcgen::Certificate, rcgen::KeyPair, rcgen::CertificateParams);

fn issue(issuer: Option<&Issued>, subject: &str, names: &[&str]) -> Issued {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, subject);
    let certificate = match issuer {
        Some((_, ca_key, ca)) => params.signed_by(&key, &rcgen::Issuer::from_params(ca, ca_key)).unwrap(),
        None => {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.self_signed(&key).unwrap()
        }
    };
    (certificate, key, params)
}
