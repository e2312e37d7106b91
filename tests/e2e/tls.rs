//! Whom agents trust, and whom attaché trusts in their place.

use std::sync::Arc;

use http::Version;
use tokio::process::Command;
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::support::process::Running;
use crate::support::{Attache, Ca, PROXY_VARIABLES, Upstream, script, tunnel, until};

#[tokio::test]
async fn every_name_has_its_own_certificate_from_the_one_authority() {
    let upstream = Upstream::https(["*.example.com"]).await;
    let attache = Attache::up("allowedDomains: ['*.example.com']")
        .resolve("one.example.com", &upstream)
        .resolve("two.example.com", &upstream)
        .start()
        .await;
    let ca = attache.ca_pem();
    for host in ["one.example.com", "two.example.com", "one.example.com"] {
        let stream = tunnel::connect(attache.proxy(), &format!("{host}:443"), &[]).await.unwrap();
        // Which also checks the chain, the dates and the name.
        let mut stream = tunnel::tls(stream, Some(host), &ca, &["http/1.1"]).await.unwrap();
        let chain = stream.get_ref().1.peer_certificates().unwrap().to_vec();
        assert_eq!(names(&chain[0]), [host]);
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = tunnel::raw(&mut stream, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // An authority that the agent does not trust is not ours.
    let stream = tunnel::connect(attache.proxy(), "one.example.com:443", &[]).await.unwrap();
    assert!(tunnel::tls(stream, Some("one.example.com"), Ca::shared().pem(), &[]).await.is_err());
}

#[tokio::test]
async fn both_protocols_meet_on_both_sides() {
    let (new, old) = (
        Upstream::named(["new.example.com"]).alpn(["h2"]).start().await,
        Upstream::named(["old.example.com"]).alpn(["http/1.1"]).start().await,
    );
    let attache = Attache::up("allowedDomains: ['*.example.com']")
        .resolve("new.example.com", &new)
        .resolve("old.example.com", &old)
        .start()
        .await;
    for (flag, spoken) in [("--http1.1", "1.1"), ("--http2", "2")] {
        for (host, upstream, version) in
            [("new.example.com", &new, Version::HTTP_2), ("old.example.com", &old, Version::HTTP_11)]
        {
            let answer = attache.curl([flag, "--data", "hello", &format!("https://{host}/echo?x=1")]).await;
            assert_eq!((answer.status, answer.version.as_str()), (200, spoken), "{host}: {answer:?}");
            let seen = upstream.requests().pop().unwrap();
            assert_eq!((seen.version, seen.authority.as_str()), (version, host), "{flag}");
            assert_eq!(seen.sni.as_deref(), Some(host), "{flag}");
            assert_eq!((seen.path.as_str(), seen.text().as_str()), ("/echo?x=1", "hello"), "{flag} {host}");
        }
    }
    assert_eq!((new.requests().len(), old.requests().len()), (2, 2));
}

#[tokio::test]
async fn there_is_no_certificate_for_a_name_that_policy_could_never_allow() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up("allowedDomains: [api.example.com]\nblockedDomains: [evil.example]")
        .resolve("api.example.com", &upstream)
        .agent("researcher")
        .start()
        .await;
    let ca = attache.ca_pem();
    for sni in ["other.example.com", "evil.example", "sub.api.example.com", "example.com"] {
        // The tunnel is to an allowed host: the TLS name alone gives it away.
        let stream = tunnel::connect(attache.proxy(), "api.example.com:443", &[]).await.unwrap();
        let refused = tunnel::tls(stream, Some(sni), &ca, &[]).await.unwrap_err().to_string();
        assert!(refused.contains("HandshakeFailure"), "{sni}: {refused}");
        let record = attache.wait_record(sni, |record| record["host"] == sni).await;
        assert_eq!(record["method"], "TLS", "{record}");
        assert_eq!(record["decision"], "deny", "{record}");
        assert_eq!(record["reason"], "certificate_refused", "{record}");
        assert_eq!(record["agent"], "researcher", "{record}");
    }
    let stream = tunnel::connect(attache.proxy(), "api.example.com:443", &[]).await.unwrap();
    assert!(tunnel::tls(stream, None, &ca, &[]).await.is_err(), "no address is allowed, so none has a certificate");
    assert!(upstream.connections().is_empty());
}

#[tokio::test]
async fn a_name_in_upper_case_is_the_same_name() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up("allowedDomains: [api.example.com]").resolve("api.example.com", &upstream).start().await;
    let program = "
import os, socket, ssl
host, port = os.environ['PROXY'].split(':')
stream = socket.create_connection((host, int(port)), 20)
stream.sendall(b'CONNECT API.Example.COM:443 HTTP/1.1\\r\\nHost: API.Example.COM:443\\r\\n\\r\\n')
assert stream.recv(4096).startswith(b'HTTP/1.1 200')
context = ssl.create_default_context(cafile=os.environ['CA'])
context.check_hostname = False
tls = context.wrap_socket(stream, server_hostname='API.EXAMPLE.COM')
print(tls.getpeercert()['subjectAltName'])
tls.sendall(b'GET /shouted HTTP/1.1\\r\\nHost: Api.EXAMPLE.com\\r\\nConnection: close\\r\\n\\r\\n')
print(tls.recv(4096).split(b'\\r\\n')[0])";
    let (proxy, ca) = (attache.proxy().to_string(), attache.ready().ca.display().to_string());
    let output = script::run(script::python(program), &[("PROXY", &proxy), ("CA", &ca)]).await;
    assert_eq!(output.stdout, "(('DNS', 'api.example.com'),)\nb'HTTP/1.1 200 OK'\n", "{output:?}");
    assert_eq!(upstream.requests()[0].path, "/shouted");
    assert_eq!(upstream.requests()[0].sni.as_deref(), Some("api.example.com"));
}

#[tokio::test]
async fn an_upstream_that_is_not_who_it_should_be_gets_nothing() {
    let stranger = Arc::new(Ca::new("untrusted"));
    let upstreams = [
        ("name.example.com", "another name", Upstream::named(["other.example.com"]).start().await),
        ("parent.example.com", "the parent's name", Upstream::named(["example.com"]).start().await),
        ("expired.example.com", "expired", Upstream::named(["expired.example.com"]).expired().start().await),
        (
            "unknown.example.com",
            "unknown authority",
            Upstream::named(["unknown.example.com"]).ca(stranger).start().await,
        ),
        ("self.example.com", "self-signed", Upstream::named(["self.example.com"]).self_signed().start().await),
        ("plain.example.com", "no TLS at all", Upstream::http().await),
    ];
    let mut setup = Attache::up(
        "allowedDomains: ['*.example.com']
credentials:
  - name: key
    envVarKey: KEY
    injections: [{domain: '*.example.com', headerName: Authorization, headerFormat: 'Bearer {value}'}]",
    )
    .env("KEY", "s3cret-of-the-upstream");
    for (host, _, upstream) in &upstreams {
        setup = setup.resolve(host, upstream);
    }
    let attache = setup.start().await;
    for (host, case, upstream) in &upstreams {
        for protocol in ["--http1.1", "--http2"] {
            let answer = attache.curl([protocol, &format!("https://{host}/")]).await;
            assert_eq!(answer.status, 502, "{case}: {answer:?}");
            let json = answer.json();
            assert_eq!((&json["error"], &json["reason"]), (&"unavailable".into(), &"upstream_tls".into()), "{case}");
            assert!(!answer.text().contains("s3cret"), "{case}");
        }
        assert!(upstream.requests().is_empty(), "{case}: {:?}", upstream.requests());
        let record = attache.wait_record(case, |record| record["host"] == *host && record["status"] == 502).await;
        assert!(record["flags"].as_str().unwrap().contains("UF"), "{case}: {record}");
        assert_eq!(record["credential"], "key", "{case}: {record}");
    }
}

#[tokio::test]
async fn after_a_kill_the_same_client_goes_on_with_the_trust_it_has() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = Attache::up("allowedDomains: [api.example.com]").resolve("api.example.com", &upstream).start().await;
    let go = tempfile::tempdir().unwrap();
    let go = go.path().join("go");
    let program = "
import httpx, os, time
client = httpx.Client(timeout=20)
print(client.get('https://api.example.com/before').status_code, flush=True)
while not os.path.exists(os.environ['GO']):
    time.sleep(0.01)
print(client.get('https://api.example.com/after').status_code, flush=True)";
    let arguments = script::python(program);
    let mut command = Command::new(&arguments[0]);
    command.args(&arguments[1..]);
    for variable in PROXY_VARIABLES {
        command.env_remove(variable);
    }
    command
        .env("HTTPS_PROXY", format!("http://{}", attache.proxy()))
        .env("SSL_CERT_FILE", &attache.ready().ca)
        .env("GO", &go);
    let mut client = Running::start("python", command);
    assert_eq!(client.line().await, "200");

    let ca = attache.ca_pem();
    let killed = attache.kill9_service().await;
    attache.wait_restart(killed).await;
    // Any request will do to see that Envoy has found the new service.
    until("the new service", async || (attache.curl(["https://api.example.com/"]).await.status == 200).then_some(()))
        .await;
    std::fs::write(&go, "").unwrap();
    assert_eq!(client.line().await, "200");
    assert_eq!(attache.ca_pem(), ca);
    assert_eq!(upstream.requests().iter().filter(|seen| seen.path == "/after").count(), 1);
}

/// The DNS names of a certificate.
fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let names = names.value.general_names.iter().map(|name| match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        other => panic!("{other:?}"),
    });
    names.collect()
}
