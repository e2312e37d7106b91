//! A request or a text, looked at as the proxy does.

use std::hash::RandomState;
use std::sync::Arc;
use std::time::Instant;

use crate::pipeline::agent::AgentId;
use crate::pipeline::dlp::Dlp;
use crate::pipeline::dlp::finding::Finding;
use crate::pipeline::dlp::known::{Held, Known};
use crate::pipeline::dlp::scan::Lens;
use crate::pipeline::guard::{Guard, Memory, Outgoing};
use crate::pipeline::message::{Fields, Host};
use crate::pipeline::policy::decision::{Denial, Reason};
use crate::pipeline::policy::inspect::{Inspect, Refusal};

/// A request.
#[derive(Debug, Default)]
pub struct Request {
    /// Scheme, authority, path and query, as they were written.
    pub url: String,
    /// Its header fields.
    pub headers: Vec<(String, String)>,
    /// Its body in the pieces in which it comes.
    pub body: Vec<Vec<u8>>,
    /// What follows its body.
    pub trailers: Vec<(String, String)>,
}

/// What was found, and what kept anybody from looking at all of it.
#[derive(Debug, Default)]
pub struct Seen {
    /// What was found.
    pub findings: Vec<Finding>,
    /// Why the message would be refused whatever is in it.
    pub refused: Option<&'static str>,
}

/// Looks at the requests of one agent, one after the other.
#[derive(Debug)]
pub struct Looker {
    dlp: Arc<Dlp>,
    agent: AgentId,
    known: Arc<Known>,
    guard: Guard,
    requests: usize,
}

impl Looker {
    /// What a policy says about an agent, with `held` as the only credential.
    pub fn new(dlp: Arc<Dlp>, agent: AgentId, held: Option<&str>) -> Self {
        let values = held.map(|value| (Held::credential("credential"), value.as_bytes()));
        let (known, _) = Known::new(values, &[] as &[&[u8]]);
        let known = Arc::new(known);
        let name: Arc<str> = "agent".into();
        let handed = known.clone();
        let memory = Arc::new(Memory::new(&RandomState::new()));
        let agents = vec![name; agent.0 + 1];
        let guard = Guard::new(dlp.clone(), agents, Arc::new(move || handed.clone()), memory);
        Self { dlp, agent, known, guard, requests: 0 }
    }

    /// What requests to nowhere in particular are looked at with.
    pub fn lens(&self) -> Lens {
        self.dlp.requests(self.agent, &nowhere(), 443, "/", self.known.clone())
    }

    /// Looks at a body that is whole, of a request to nowhere in particular.
    pub fn body(&mut self, content_type: &str, body: &[u8]) -> Seen {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        self.request(&Request { headers, body: vec![body.to_vec()], ..Request::default() })
    }

    /// Looks at a request.
    pub fn request(&mut self, request: &Request) -> Seen {
        let url = Url::of(&request.url);
        let host = Host::parse(url.host).unwrap_or_else(|_| nowhere());
        let names: Vec<String> = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        let mut fields: Vec<(&str, &[u8])> = Vec::new();
        for (name, (_, value)) in names.iter().zip(&request.headers) {
            fields.push((name, value.as_bytes()));
        }
        // The proxy refuses user information, and so looks at none.
        fields.extend((!url.userinfo.is_empty()).then_some(("userinfo", url.userinfo.as_bytes())));
        self.requests += 1;
        let ends = request.body.iter().all(Vec::is_empty) && request.trailers.is_empty();
        let outgoing = Outgoing {
            id: &self.requests.to_string(),
            agent: self.agent,
            host: &host,
            port: 443,
            path: url.path,
            query: Some(url.query).filter(|query| !query.is_empty()),
            fields: &fields,
            ends,
            now: Instant::now(),
        };
        let looked = match self.guard.look(&outgoing) {
            Ok(looked) => looked,
            Err(Refusal { denial, findings }) => return Seen { refused: limit(&denial), findings },
        };
        let mut findings = looked.findings;
        let Some(mut body) = looked.body else { return Seen { findings, refused: None } };
        let mut out = Vec::new();
        let fields =
            request.trailers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone().into_bytes()));
        let trailers = Fields::new(fields.collect());
        let outcome = match request.body.as_slice() {
            [whole] if request.trailers.is_empty() => body.whole(whole, &mut out),
            pieces => {
                let pushed = pieces.iter().try_for_each(|piece| body.push(piece, &mut out));
                pushed.and_then(|()| body.finish(Some(&trailers), &mut out))
            }
        };
        findings.extend(body.findings());
        Seen { findings, refused: outcome.err().and_then(|denial| limit(&denial)) }
    }
}

fn nowhere() -> Host {
    Host::Address(std::net::Ipv4Addr::UNSPECIFIED.into())
}

/// Why a message is refused whatever is in it.
fn limit(denial: &Denial) -> Option<&'static str> {
    let found = matches!(denial.reason, Reason::DlpBlocked | Reason::OwnCredentials);
    (!found).then(|| denial.reason.as_str())
}

/// The parts of a URL, as they were written: nothing here is refused, since a secret may stand in any of them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Url<'a> {
    userinfo: &'a str,
    host: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Url<'a> {
    fn of(text: &'a str) -> Self {
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (userinfo, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self { userinfo, host, path, query }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_its_parts() {
        let url = Url::of("https://u:p@a.example:8443/x/y?k=v?w");
        assert_eq!(url, Url { userinfo: "u:p", host: "a.example", path: "/x/y", query: "k=v?w" });
        assert_eq!(Url::of("https://a.example?k"), Url { host: "a.example", query: "k", ..Url::default() });
    }
}
