//! A request or a text, looked at as the proxy does: by the guard that looks into live traffic, in a world where policy
//! admits everything else.

use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cli::Failure;
use crate::config::{self, compile};
use crate::pipeline::agent::AgentId;
use crate::pipeline::dlp::Dlp;
use crate::pipeline::dlp::finding::{Action, Finding};
use crate::pipeline::dlp::known::{Held, Known};
use crate::pipeline::dlp::scan::{Lens, Report};
use crate::pipeline::dlp::surface::{Layout, Surface};
use crate::pipeline::guard::{Guard, Memory};
use crate::pipeline::message::{Door, Fields, Host, RequestHead};
use crate::pipeline::policy::decision::{Denial, Reason};
use crate::pipeline::policy::inspect::{Inspect, Inspector, Subject};
use crate::pipeline::policy::{Permit, Ruleset};

/// What is looked with: a policy's `dlp`, an agent, and values that are held.
#[derive(Clone)]
pub struct Eye {
    dlp: Arc<Dlp>,
    agent: AgentId,
    /// The names of the agents, by their place.
    agents: Vec<Arc<str>>,
    /// A policy that admits everything.
    open: Arc<Ruleset>,
    /// Values that must not leave.
    held: Vec<(Held, Vec<u8>)>,
}

/// Looks at the requests of one agent, one after the other.
pub struct Looker {
    eye: Eye,
    guard: Guard,
    known: Arc<Known>,
    requests: usize,
}

/// A request.
#[derive(Debug, Default)]
pub struct Request {
    /// Its method.
    pub method: String,
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

/// A host that is nowhere (RFC 2606, 2).
const NOWHERE: &str = "nowhere.invalid";

impl Eye {
    /// Looks as `dlp` says for this agent; `agents` are the names of all.
    ///
    /// # Errors
    /// Never, unless attaché itself is broken.
    pub fn new(dlp: Arc<Dlp>, agent: AgentId, agents: Vec<Arc<str>>) -> Result<Self, Failure> {
        let setting = compile::Setting { agent: None, environment: None };
        let everything = config::parse("everything", "allowedDomains: [\"*\"]\n");
        let open = everything.compile(None, |policy, problems| compile::compile(policy, setting, "", problems));
        let open = open.map_err(Failure::runtime)?.value.rules;
        Ok(Self { dlp, agent, agents, open: Arc::new(open), held: Vec::new() })
    }

    /// Looks for a value that is held, too.
    pub fn hold(&mut self, held: Held, value: Vec<u8>) {
        self.held.push((held, value));
    }

    /// Begins with nothing seen before.
    pub fn looker(&self) -> Looker {
        let none: &[&[u8]] = &[];
        let values = self.held.iter().map(|(held, value)| (held.clone(), value.as_slice()));
        let known = Arc::new(Known::new(values, none).0);
        let memory = Arc::new(Memory::new(&RandomState::new()));
        memory.set_known(known.clone());
        let guard = Guard::new(self.dlp.clone(), self.agents.clone(), memory);
        Looker { eye: self.clone(), guard, known, requests: 0 }
    }
}

impl Looker {
    /// What requests to nowhere in particular are looked at with.
    pub fn lens(&self) -> Result<Lens, Failure> {
        let host = Host::parse(NOWHERE).map_err(|_| Failure::runtime("the host is none"))?;
        Ok(self.eye.dlp.requests(self.eye.agent, &host, 443, "/", self.known.clone()))
    }

    /// Looks at a body that is whole, of a request to nowhere in particular.
    pub fn body(&mut self, content_type: &str, body: &[u8]) -> Result<Seen, Failure> {
        self.request(&Request {
            method: "POST".to_owned(),
            url: format!("https://{NOWHERE}/"),
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: vec![body.to_vec()],
            trailers: Vec::new(),
        })
    }

    /// Looks at a request.
    pub fn request(&mut self, request: &Request) -> Result<Seen, Failure> {
        self.requests += 1;
        let id = self.requests.to_string();
        let url = Url::of(&request.url);
        let fields = request.fields(&url);
        if let Some((head, permit)) = self.admitted(request, url.host, url.target, &fields) {
            return Ok(self.admitted_request(&id, &head, &permit, request));
        }
        // What cannot be sent is refused for that; here it is looked at all the same.
        let mut report = Report::default();
        self.lens()?.scan(&Surface::new(request.url.as_bytes(), Layout::Plain("url".into())), Vec::new(), &mut report);
        let Some((head, permit)) = self.admitted(request, NOWHERE, "/", &fields) else {
            return Ok(Seen { findings: report.findings, refused: Some(Reason::MalformedRequest) });
        };
        let mut seen = self.admitted_request(&id, &head, &permit, request);
        seen.findings.extend(report.findings);
        Ok(seen)
    }

    fn admitted(
        &self,
        request: &Request,
        host: &str,
        target: &str,
        fields: &[(String, Vec<u8>)],
    ) -> Option<(RequestHead, Permit)> {
        let method = if request.method.is_empty() { "POST" } else { &request.method };
        let pseudo = [(":method", method), (":scheme", "https"), (":authority", host), (":path", target)];
        let pseudo = pseudo.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        let all = pseudo.into_iter().chain(fields.iter().cloned()).collect();
        let head = RequestHead::parse(Door::Tls, Fields::new(all)).ok()?;
        let permit = self.eye.open.decide(self.eye.agent, &head, SystemTime::now()).ok()?;
        Some((head, permit))
    }

    fn admitted_request(&self, id: &str, head: &RequestHead, permit: &Permit, request: &Request) -> Seen {
        let ends = request.body.iter().all(Vec::is_empty) && request.trailers.is_empty();
        let subject = Subject { id, head, stays: &[], permit, ends, now: Instant::now() };
        let mut inspection = match self.guard.open(&subject) {
            Ok(inspection) => inspection,
            Err(refusal) => return seen(refusal.findings, Some(refusal.denial)),
        };
        let mut findings = std::mem::take(&mut inspection.findings);
        let Some(mut body) = inspection.request.map(|body| body.inspect) else { return seen(findings, None) };
        let outcome = body_of(&mut *body, request);
        findings.extend(body.findings());
        seen(findings, outcome.err())
    }
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

impl Request {
    /// The fields as a client sends them: what stands before the host of a URL goes into `Authorization`.
    fn fields(&self, url: &Url<'_>) -> Vec<(String, Vec<u8>)> {
        let mut fields: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.as_bytes().to_vec()))
            .filter(|(name, _)| name != "host")
            .collect();
        if !url.userinfo.is_empty() && !fields.iter().any(|(name, _)| name == "authorization") {
            let value = format!("Basic {}", STANDARD.encode(url.userinfo));
            fields.push(("authorization".to_owned(), value.into_bytes()));
        }
        fields
    }
}

/// The parts of a URL, as they were written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Url<'a> {
    userinfo: &'a str,
    host: &'a str,
    target: &'a str,
}

impl<'a> Url<'a> {
    fn of(text: &'a str) -> Self {
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (userinfo, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        // Every port is as good as another here.
        let host = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let host = if host.is_empty() { NOWHERE } else { host };
        Self { userinfo, host, target: if target.is_empty() { "/" } else { target } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_its_parts() {
        for (text, userinfo, host, target) in [
            ("https://u:p@a.example:8443/x/y?k=v?w", "u:p", "a.example", "/x/y?k=v?w"),
            ("https://a.example?k", "", "a.example", "?k"),
            ("https://[2001:db8::1]/x", "", "[2001:db8::1]", "/x"),
            ("", "", NOWHERE, "/"),
        ] {
            assert_eq!(Url::of(text), Url { userinfo, host, target }, "{text}");
        }
    }
}
