//! A request or a text, looked at as the proxy does.

use std::sync::Arc;

use crate::pipeline::agent::AgentId;
use crate::pipeline::dlp::Dlp;
use crate::pipeline::dlp::finding::Finding;
use crate::pipeline::dlp::inflate::{Coding, Inflater};
use crate::pipeline::dlp::scan::{Lens, Report};
use crate::pipeline::dlp::surface::{Layout, Surface, joined, multipart};
use crate::pipeline::message::Host;

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

/// Looks at the requests of one agent.
#[derive(Debug)]
pub struct Looker {
    dlp: Arc<Dlp>,
    agent: AgentId,
}

impl Looker {
    /// What a policy says about an agent.
    pub fn new(dlp: Arc<Dlp>, agent: AgentId) -> Self {
        Self { dlp, agent }
    }

    /// What requests to nowhere in particular are looked at with.
    pub fn lens(&self) -> Lens {
        let nowhere = Host::Address(std::net::Ipv4Addr::UNSPECIFIED.into());
        self.dlp.requests(self.agent, &nowhere, 443, "/")
    }

    /// Looks at a body that is whole, of a request to nowhere in particular.
    pub fn body(&self, content_type: &str, body: &[u8]) -> Seen {
        let mut report = Report::default();
        let refused = look_at_body(&self.lens(), content_type.as_bytes(), &[], body, &mut report);
        seen(report, refused)
    }

    /// Looks at a request.
    pub fn request(&self, request: &Request) -> Seen {
        let url = Url::of(&request.url);
        let nowhere = Host::Address(std::net::Ipv4Addr::UNSPECIFIED.into());
        let host = Host::parse(url.host).unwrap_or(nowhere);
        let lens = self.dlp.requests(self.agent, &host, 443, url.path);
        let mut report = Report::default();
        for (name, text) in [("host", url.host), ("userinfo", url.userinfo), ("path", url.path)] {
            lens.scan(&Surface::new(text.as_bytes(), Layout::Plain(name.into())), Vec::new(), &mut report);
        }
        scan(&lens, Surface::new(url.query.as_bytes(), Layout::Form("query".into())), &mut report);
        for (name, value) in request.headers.iter().chain(&request.trailers) {
            let line = format!("{name}: {value}");
            let layout = Layout::Plain(format!("header {}", name.to_ascii_lowercase()).into());
            lens.scan(&Surface::new(line.as_bytes(), layout), Vec::new(), &mut report);
        }
        let of = |wanted: &str| {
            let field = request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            field.map_or("", |(_, value)| value.as_str())
        };
        let body = request.body.concat();
        let codings = match codings(of("content-encoding")) {
            Some(codings) => codings,
            None => return seen(report, Some("undecodable")),
        };
        let refused = look_at_body(&lens, of("content-type").as_bytes(), &codings, &body, &mut report);
        seen(report, refused)
    }
}

fn seen(report: Report, refused: Option<&'static str>) -> Seen {
    let refused = refused.or(report.exhausted.then_some("budget_exhausted"));
    Seen { findings: report.findings, refused }
}

fn codings(header: &str) -> Option<Vec<Coding>> {
    let named: Option<Vec<_>> = header.split(',').map(|name| Coding::parse(name.as_bytes())).collect();
    Some(named?.into_iter().flatten().collect())
}

fn look_at_body(
    lens: &Lens,
    content_type: &[u8],
    codings: &[Coding],
    body: &[u8],
    report: &mut Report,
) -> Option<&'static str> {
    if body.is_empty() {
        return None;
    }
    let mut plain = Vec::new();
    let chain = codings.iter().rev().map(|coding| coding.step()).collect();
    let text = match codings {
        [] => body,
        _ => {
            let mut inflater = Inflater::new(codings);
            if inflater.push(body, &mut plain).and_then(|()| inflater.finish(&mut plain)).is_err() {
                return Some("undecodable");
            }
            &plain
        }
    };
    let kind = content_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    let name: Arc<str> = "body".into();
    let parts = match multipart::boundary(content_type) {
        None => None,
        Some(boundary) => match boundary.and_then(|boundary| multipart::parts(text, &boundary)) {
            Ok(parts) => Some(parts),
            Err(_) => return Some("malformed_body"),
        },
    };
    let layout = match &parts {
        Some(parts) => Layout::Multipart(name, parts),
        None if kind.ends_with(b"json") => Layout::Json(name),
        None if kind == b"application/x-www-form-urlencoded" => Layout::Form(name),
        None => Layout::Plain(name),
    };
    scan(lens, Surface { text, layout, chain, offset: 0 }, report);
    None
}

fn scan(lens: &Lens, surface: Surface<'_>, report: &mut Report) {
    let pieces = joined(surface.text, &surface.values());
    lens.scan(&surface, pieces, report);
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
