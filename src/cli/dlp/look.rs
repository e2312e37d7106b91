//! A request or a text, looked at by what looks into live traffic.

use std::hash::RandomState;
use std::sync::Arc;
use std::time::Instant;

use crate::pipeline::agent::AgentId;
use crate::pipeline::dlp::Dlp;
use crate::pipeline::dlp::finding::{Action, Finding};
use crate::pipeline::dlp::known::{Held, Known};
use crate::pipeline::dlp::scan::Lens;
use crate::pipeline::guard::{Guard, Memory, Outgoing};
use crate::pipeline::message::{Fields, Host};
use crate::pipeline::policy::decision::{Denial, Reason};
use crate::pipeline::policy::inspect::{Inspect, Refusal};

/// What is looked with: a policy's `dlp`, an agent, and values that are held.
#[derive(Clone)]
pub struct Eye {
    dlp: Arc<Dlp>,
    agent: AgentId,
    /// The names of the agents, by their place.
    agents: Vec<Arc<str>>,
    /// Values that must not leave.
    held: Vec<(Held, Vec<u8>)>,
}

/// Looks at the requests of one agent, one after the other.
pub struct Looker {
    dlp: Arc<Dlp>,
    agent: AgentId,
    known: Arc<Known>,
    guard: Guard,
    requests: usize,
}

/// A request.
#[derive(Debug, Default)]
pub struct Request {
    /// Scheme, authority, path and query, as they were written.
    pub url: String,
    /// Its header fields.
    pub headers: Vec<(String, String)>,
    /// Its body, in the pieces in which it comes: one that comes in several is looked at as it comes.
    pub body: Vec<Vec<u8>>,
    /// What follows its body.
    pub trailers: Vec<(String, String)>,
}

/// What was found in a message.
#[derive(Debug, Default)]
pub struct Seen {
    /// What was found.
    pub findings: Vec<Finding>,
    /// Why the message is refused, if not for what was found in it.
    pub refused: Option<Reason>,
}

impl Eye {
    /// Looks as `dlp` says for this agent; `agents` are the names of all.
    pub fn new(dlp: Arc<Dlp>, agent: AgentId, agents: Vec<Arc<str>>) -> Self {
        Self { dlp, agent, agents, held: Vec::new() }
    }

    /// Looks for a value that is held, too.
    pub fn hold(&mut self, held: Held, value: Vec<u8>) {
        self.held.push((held, value));
    }

    /// Begins with nothing seen before.
    pub fn looker(&self) -> Looker {
        let values = self.held.iter().map(|(held, value)| (held.clone(), value.as_slice()));
        let known = Arc::new(Known::new(values, &[] as &[&[u8]]).0);
        let handed = known.clone();
        let memory = Arc::new(Memory::new(&RandomState::new()));
        let guard = Guard::new(self.dlp.clone(), self.agents.clone(), Arc::new(move || handed.clone()), memory);
        Looker { dlp: self.dlp.clone(), agent: self.agent, known, guard, requests: 0 }
    }
}

impl Looker {
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
        let values = request.headers.iter().map(|(_, value)| value.as_bytes());
        let mut fields: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(values).collect();
        // The proxy refuses user information, and so looks at none.
        fields.extend((!url.userinfo.is_empty()).then_some(("userinfo", url.userinfo.as_bytes())));
        self.requests += 1;
        let outgoing = Outgoing {
            id: &self.requests.to_string(),
            agent: self.agent,
            host: &host,
            port: 443,
            method: "GET",
            path: url.path,
            query: Some(url.query).filter(|query| !query.is_empty()),
            fields: &fields,
            ends: request.body.iter().all(Vec::is_empty) && request.trailers.is_empty(),
            now: Instant::now(),
        };
        let looked = match self.guard.look(&outgoing) {
            Ok(looked) => looked,
            Err(Refusal { denial, findings }) => return seen(findings, Some(denial)),
        };
        let mut findings = looked.findings;
        let Some(mut body) = looked.body else { return seen(findings, None) };
        let outcome = body_of(&mut body, request);
        findings.extend(body.findings());
        seen(findings, outcome.err())
    }
}

fn nowhere() -> Host {
    Host::Address(std::net::Ipv4Addr::UNSPECIFIED.into())
}

fn body_of(inspect: &mut dyn Inspect, request: &Request) -> Result<(), Denial> {
    let trailers = request.trailers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone().into_bytes()));
    let trailers = (!request.trailers.is_empty()).then(|| Fields::new(trailers.collect()));
    let mut out = Vec::new();
    match request.body.as_slice() {
        [whole] if trailers.is_none() => inspect.whole(whole, &mut out),
        pieces => {
            for piece in pieces {
                inspect.push(piece, &mut out)?;
                out.clear();
            }
            inspect.finish(trailers.as_ref(), &mut out)
        }
    }
}

fn seen(findings: Vec<Finding>, denial: Option<Denial>) -> Seen {
    let for_findings = findings.iter().any(|finding| finding.action >= Action::Redact);
    Seen { refused: denial.map(|denial| denial.reason).filter(|_| !for_findings), findings }
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
