//! Cases to look at, one in a line of JSON, and what was found in each of them in the same form.

use std::io::{BufRead, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::look::{Eye, Request, Seen};
use super::scan::Level;
use crate::cli::Failure;
use crate::cli::output::json_line;
use crate::pipeline::dlp::known::Held;

/// A case. What else stands in it means nothing here.
#[derive(Deserialize)]
struct Case {
    /// Printed as it came.
    id: Value,
    /// The body of a `text/plain` request.
    #[serde(default)]
    text: Option<String>,
    /// The requests of one agent, in order.
    #[serde(default)]
    requests: Vec<CaseRequest>,
    /// `known_secret`: a credential is held, whose value is `secret`.
    #[serde(default)]
    category: String,
    #[serde(default)]
    secret: Option<String>,
}

#[derive(Debug, Deserialize)]
struct CaseRequest {
    #[serde(default)]
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    trailers: Vec<(String, String)>,
    #[serde(default)]
    body_b64: String,
    /// The lengths of the pieces in which the body comes; without them it comes at once.
    #[serde(default)]
    chunks: Vec<usize>,
}

#[derive(Debug, Serialize)]
struct Found {
    id: Value,
    findings: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    rule: String,
    category: String,
    confidence: &'static str,
    action: &'static str,
    location: String,
}

/// Looks at each case with empty state, and writes what was found as it goes. True if anything was.
pub fn run(input: &mut dyn BufRead, name: &str, eye: &Eye, level: Level, out: &mut dyn Write) -> Result<bool, Failure> {
    let mut any = false;
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let read = input.read_line(&mut line);
        let wrong =
            |error: &dyn std::fmt::Display| Failure::usage(format!("{name}:{number}: this is no case: {error}"));
        if read.map_err(|error| wrong(&error))? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let case: Case = serde_json::from_str(&line).map_err(|error| wrong(&error))?;
        let requests: Result<Vec<_>, _> = case.requests.into_iter().map(CaseRequest::read).collect();
        let requests = requests.map_err(|error| wrong(&error))?;
        let mut eye = eye.clone();
        if let Some(secret) = case.secret.filter(|_| case.category == "known_secret") {
            eye.hold(Held::credential("held"), secret.into_bytes());
        }
        let mut looker = eye.looker();
        let mut findings = Vec::new();
        if let Some(text) = &case.text {
            rows(looker.body("text/plain", text.as_bytes()), level, &mut findings);
        }
        for request in &requests {
            rows(looker.request(request), level, &mut findings);
        }
        if !findings.is_empty() {
            any = true;
            writeln!(out, "{}", json_line(&Found { id: case.id, findings })?)?;
        }
    }
    Ok(any)
}

impl CaseRequest {
    fn read(self) -> Result<Request, base64::DecodeError> {
        let whole = STANDARD.decode(&self.body_b64)?;
        let mut rest = whole.as_slice();
        let mut body = Vec::new();
        for length in self.chunks {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            body.push(piece.to_vec());
            rest = after;
        }
        if !rest.is_empty() {
            body.push(rest.to_vec());
        }
        Ok(Request { url: self.url, headers: self.headers, body, trailers: self.trailers })
    }
}

fn rows(seen: Seen, level: Level, rows: &mut Vec<Row>) {
    rows.extend(seen.refused.map(|reason| Row {
        rule: reason.as_str().to_owned(),
        category: "limit".to_owned(),
        confidence: "confirmed",
        action: "block",
        location: "body".to_owned(),
    }));
    let shown = seen.findings.into_iter().filter(|finding| level.shows(finding.action));
    rows.extend(shown.map(|finding| Row {
        rule: finding.rule.to_string(),
        category: finding.category.to_string(),
        confidence: finding.confidence.as_str(),
        action: finding.action.as_str(),
        location: finding.location(),
    }));
}

#[cfg(test)]
mod tests {
    use super::super::PolicyArgs;
    use super::*;

    fn scanned(level: Level, lines: &str) -> Vec<Value> {
        let eye = PolicyArgs { policy: None }.eye(None).unwrap_or_else(|_| panic!("the default policy"));
        let mut out = Vec::new();
        run(&mut lines.as_bytes(), "cases", &eye, level, &mut out).unwrap_or_else(|_| panic!("{lines}"));
        String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    const TOKEN: &str = "ghp_q8Zr3vTn5kLwXy2Bc7Df9Gh4Jm6Np1Qs0Tu3";

    #[test]
    fn a_case_with_something_in_it_is_printed_and_no_other() {
        let body = STANDARD.encode(format!(r#"{{"a":"{TOKEN}"}}"#));
        let lines = [
            format!(r#"{{"id":1,"text":"a {TOKEN} b","secret":"x","expect":"match"}}"#),
            r#"{"id":"two","text":"nothing at all"}"#.to_owned(),
            String::new(),
            format!(
                r#"{{"id":"3","requests":[{{"method":"POST","url":"https://a.example/x","headers":[["content-type","application/json"]],"body_b64":"{body}","chunks":[999]}}]}}"#
            ),
            format!(r#"{{"id":4,"requests":[{{"method":"GET","url":"https://a.example/x?q={TOKEN}"}}]}}"#),
            format!(
                r#"{{"id":5,"requests":[{{"method":"GET","url":"https://a.example/","headers":[["x-note","{TOKEN}"]]}}]}}"#
            ),
        ];
        let found = scanned(Level::Block, &lines.join("\n"));
        let ids: Vec<_> = found.iter().map(|line| line["id"].clone()).collect();
        assert_eq!(ids, [1.into(), Value::from("3"), 4.into(), 5.into()]);
        let places: Vec<_> = found.iter().map(|line| line["findings"][0]["location"].as_str().unwrap()).collect();
        assert_eq!(places[1], "body.$.a");
        assert!(places[2].starts_with("query") && places[3].contains("x-note"), "{places:?}");
        assert!(!found.iter().any(|line| line.to_string().contains("q8Zr3")));
    }

    #[test]
    fn a_line_that_is_no_case_is_named() {
        let eye = PolicyArgs { policy: None }.eye(None).unwrap_or_else(|_| panic!("the default policy"));
        for (lines, place) in [("{}", "cases:1:"), ("{\"id\":1}\nx", "cases:2:")] {
            let failure = run(&mut lines.as_bytes(), "cases", &eye, Level::Block, &mut Vec::new()).unwrap_err();
            assert!(failure.code == 2 && failure.message.starts_with(place), "{failure:?}");
        }
    }
}
