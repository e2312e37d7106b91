//! An attaché before one upstream that all of a test's hosts lead to: what is let through by mistake arrives there.

use std::fmt;
use std::future::Future;

use serde_json::Value;

use super::ask::Reply;
use super::attache::Setup;
use super::upstream::Seen;
use super::{Ask, Attache, Protocol, Upstream, Way, records};

pub struct Place {
    /// Where TLS leads, on port 443 and 8443.
    pub upstream: Upstream,
    /// Where plaintext leads, on port 80.
    pub plain: Upstream,
    pub attache: Attache,
}

/// What came of a request, once answer, upstream and record agree. As text it is `200` for what has passed, else
/// status, reason and entry: `403 rule_blocked rules[No deletes]`, with `CONNECT` before it where the tunnel was
/// refused.
#[derive(Debug)]
pub struct Outcome {
    pub reply: Reply,
    /// Its record; null for what Envoy refuses by itself.
    pub record: Value,
    /// The request as it arrived.
    pub seen: Option<Seen>,
    text: String,
}

impl Place {
    pub async fn new<const N: usize>(policy: &str, hosts: [&str; N]) -> Place {
        Place::with(policy, hosts, |setup| setup).await
    }

    pub async fn with<const N: usize>(policy: &str, hosts: [&str; N], more: impl FnOnce(Setup) -> Setup) -> Place {
        let (upstream, plain) = (Upstream::https(hosts).await, Upstream::http().await);
        let mut setup = Attache::up(policy);
        for host in hosts {
            setup = setup.resolve(host, &upstream).resolve_port(host, 8443, &upstream).resolve_port(host, 80, &plain);
        }
        Place { upstream, plain, attache: more(setup).start().await }
    }

    /// Everything that has arrived, however.
    pub fn arrived(&self) -> Vec<Seen> {
        [self.upstream.requests(), self.plain.requests()].concat()
    }

    /// Sends it; one at a time. An answer, an upstream and a record that contradict each other fail the test.
    pub async fn send(&self, ask: Ask) -> Outcome {
        let sent = ask.clone().send(&self.attache);
        self.outcome(ask, sent).await
    }

    /// The same byte by byte, over HTTP/2 too.
    pub async fn send_bytes(&self, ask: Ask) -> Outcome {
        let sent = ask.clone().send_bytes(&self.attache);
        self.outcome(ask, sent).await
    }

    async fn outcome(&self, ask: Ask, sent: impl Future<Output = Reply>) -> Outcome {
        let (tls, plain) = (self.upstream.requests().len(), self.plain.requests().len());
        let case = format!("{ask:?}");
        let reply = sent.await;
        let mut arrived = self.upstream.requests().split_off(tls);
        arrived.extend(self.plain.requests().split_off(plain));
        let body = serde_json::from_str::<Value>(&reply.body).unwrap_or_default();
        let passed = (200..400).contains(&reply.status);
        assert_eq!(arrived.len(), usize::from(passed), "{case}: {reply:?} {arrived:?}");
        let seen = arrived.pop();
        let wanted = |record: &Value| match &body["requestId"] {
            Value::String(id) => record["requestId"] == **id,
            // To HEAD there is no body.
            _ => (record["decision"] == "allow") == passed,
        };
        let record = records(&self.attache).into_iter().rfind(wanted).unwrap_or_default();
        let text = match &seen {
            Some(seen) => {
                let path = equivalent(seen.path.split('?').next().unwrap());
                assert_eq!((&record["method"], &record["path"]), (&(&*seen.method).into(), &path.into()), "{record}");
                let port = record["port"].as_u64().unwrap();
                let (host, named) = seen.authority.split_once(':').unwrap_or((&seen.authority, ""));
                assert_eq!(record["host"], host.trim_end_matches('.').to_ascii_lowercase(), "{record} {seen:?}");
                assert!(["".to_owned(), port.to_string()].contains(&named.to_owned()), "{record} {seen:?}");
                let scheme = if seen.sni.is_some() { "https" } else { "http" };
                assert_eq!((&record["decision"], &record["scheme"]), (&"allow".into(), &scheme.into()), "{record}");
                reply.status.to_string()
            }
            None => {
                if record["requestId"].is_string() && body["requestId"].is_string() {
                    assert_eq!((&record["reason"], &record["rule"]), (&body["reason"], &body["rule"]), "{case}");
                    assert!(record["upstream"].is_null() && record["credential"].is_null(), "{case}: {record}");
                }
                let stage = if reply.stage == super::Stage::Connect { "CONNECT" } else { "" };
                let text = |name: &str| body[name].as_str().unwrap_or_default();
                format!("{stage} {} {} {}", reply.status, text("reason"), text("rule")).trim().to_owned()
            }
        };
        Outcome { reply, record, seen, text }
    }

    /// Sends each and compares what comes of it; says all that differs, not only the first.
    pub async fn check<S: AsRef<str>>(&self, cases: impl IntoIterator<Item = (Ask, S)>) {
        let mut wrong = Vec::new();
        for (ask, expected) in cases {
            let case = format!("{ask:?}");
            let found = self.send(ask).await.to_string();
            if found != expected.as_ref() {
                wrong.push(format!("{case}: expected `{}`, found `{found}`", expected.as_ref()));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Outcome {
    /// Why it would have been refused, were that enforced: reason and entry.
    pub fn would(&self) -> String {
        let would = &self.record["would"];
        let text = |name: &str| would[name].as_str().unwrap_or_default();
        format!("{} {}", text("reason"), text("rule")).trim().to_owned()
    }
}

/// The same request by every way into the proxy that a protocol has. `target` is a host and a path.
pub fn every_way(protocol: Protocol, method: &str, target: &str) -> Vec<Ask> {
    let (tls, plain) = (format!("https://{target}"), format!("http://{target}"));
    let mut ways = vec![
        Ask::new(protocol, method, &tls),
        Ask::new(protocol, method, &plain),
        Ask::new(protocol, method, &plain).by(Way::PlainTunnel),
    ];
    if protocol == Protocol::Http1 {
        ways.push(Ask::new(protocol, method, &plain).by(Way::HostStyle));
    }
    ways
}

/// The path with what RFC 3986 §6.2.2 calls equivalent spelled in one way: unreserved bytes as themselves.
pub fn equivalent(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let byte = u8::from_str_radix(&after[..2], 16).unwrap();
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        rest = &after[2..];
    }
    out + rest
}
