//! An inspector for tests, which finds three words: what must not pass, what is replaced, and what makes it panic.
//!
//! The request's own fields say what is looked into, so that one policy does for all cases. It stands where unit tests
//! and end-to-end tests reach it; each tells in a module `seam` where the types are.

use super::seam::{
    Action, AgentId, BodyInspection, Category, Confidence, Denial, Fields, Finding, Inspect, InspectResponse,
    Inspection, Inspector, Reason, Refusal, ResponseHead, ResponseInspection, Subject, Unheld,
};

/// A request or response with it is refused.
pub const FORBIDDEN: &str = "FORBIDDEN";
/// It is replaced by [`REPLACEMENT`].
pub const REPLACED: &str = "REPLACE-ME";
pub const REPLACEMENT: &str = "[REDACTED:word]";
/// Whoever looks at it panics.
pub const PANICS: &str = "PANIC!";

/// Looks into the bodies of requests with `x-body: stream | any-length | refuse`, which is what becomes of one that is
/// not held, and into the responses to those with `x-response: now | hold`, which is whether the head waits.
#[derive(Debug, Default)]
pub struct Watcher;

impl Inspector for Watcher {
    fn finds(&self, _: Option<AgentId>, text: &str) -> bool {
        text.contains(FORBIDDEN)
    }

    fn open(&self, subject: &Subject<'_>) -> Result<Inspection, Refusal> {
        let mut inspection = Inspection::default();
        let told = |name| subject.head.fields.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
        let note = told("x-note").unwrap_or_default();
        if note.contains(PANICS) {
            panic!("asked to");
        }
        if note.contains(FORBIDDEN) {
            return Err(Refusal { denial: denial(false), findings: vec![finding(Action::Block, "header x-note")] });
        }
        if note.contains(REPLACED) {
            inspection.findings.push(finding(Action::Redact, "header x-note"));
            inspection.set.push(("x-note".into(), note.replace(REPLACED, REPLACEMENT).into_bytes()));
        }
        if let Some(query) = subject.head.query.as_deref().filter(|query| query.contains(REPLACED)) {
            inspection.findings.push(finding(Action::Redact, "query"));
            inspection.query = Some(query.replace(REPLACED, "redacted").into());
        }
        let unheld = match told("x-body").as_deref() {
            Some("any-length") => Some(Unheld::StreamOfAnyLength),
            Some("stream") => Some(Unheld::Stream),
            Some("refuse") => Some(Unheld::Refuse),
            _ => None,
        };
        let body = |unheld| BodyInspection { inspect: Box::new(Words::new("body", false)), unheld };
        inspection.request = unheld.filter(|_| !subject.ends).map(body);
        inspection.response = told("x-response").map(|way| {
            let response: Box<dyn InspectResponse> = Box::new(Response { holds_head: way == "hold" });
            response
        });
        Ok(inspection)
    }
}

#[derive(Debug)]
struct Response {
    holds_head: bool,
}

impl InspectResponse for Response {
    fn open(self: Box<Self>, head: &ResponseHead) -> Result<ResponseInspection, Refusal> {
        let note = String::from_utf8_lossy(head.fields.get("x-note").unwrap_or_default()).into_owned();
        if note.contains(FORBIDDEN) {
            return Err(Refusal { denial: denial(true), findings: vec![finding(Action::Block, "header x-note")] });
        }
        let mut inspection = ResponseInspection { holds_head: self.holds_head, ..ResponseInspection::default() };
        if !head.ends {
            inspection.body = Some(Box::new(Words::new("response", true)));
            inspection.remove.push("content-length".into());
        }
        Ok(inspection)
    }
}

/// Looks for the words, and keeps no more than what may become one.
#[derive(Debug)]
struct Words {
    surface: &'static str,
    response: bool,
    kept: Vec<u8>,
    found: Vec<Finding>,
}

impl Words {
    fn new(surface: &'static str, response: bool) -> Self {
        Self { surface, response, kept: Vec::new(), found: Vec::new() }
    }
}

impl Inspect for Words {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Denial> {
        self.kept.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(rest) = self.kept.get(from..).filter(|rest| !rest.is_empty()) {
            // What cannot begin a word needs no second look.
            let Some(at) = rest.iter().position(|byte| b"FRP".contains(byte)) else {
                out.extend_from_slice(rest);
                from += rest.len();
                break;
            };
            out.extend_from_slice(&rest[..at]);
            from += at;
            let rest = &rest[at..];
            if rest.starts_with(PANICS.as_bytes()) {
                panic!("asked to");
            }
            if rest.starts_with(FORBIDDEN.as_bytes()) {
                self.found.push(finding(Action::Block, self.surface));
                return Err(denial(self.response));
            }
            if rest.starts_with(REPLACED.as_bytes()) {
                self.found.push(finding(Action::Redact, self.surface));
                out.extend_from_slice(REPLACEMENT.as_bytes());
                from += REPLACED.len();
            } else if [FORBIDDEN, REPLACED, PANICS].iter().any(|word| word.as_bytes().starts_with(rest)) {
                break;
            } else {
                out.push(rest[0]);
                from += 1;
            }
        }
        self.kept.drain(..from);
        Ok(())
    }

    fn finish(&mut self, trailers: Option<&Fields>, out: &mut Vec<u8>) -> Result<(), Denial> {
        let mut values = trailers.into_iter().flat_map(Fields::iter).map(|(_, value)| value);
        if values.any(|value| String::from_utf8_lossy(value).contains(FORBIDDEN)) {
            self.found.push(finding(Action::Block, "trailers"));
            return Err(denial(self.response));
        }
        out.append(&mut self.kept);
        Ok(())
    }

    fn findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.found)
    }
}

fn denial(response: bool) -> Denial {
    Denial::by(if response { Reason::ResponseBlocked } else { Reason::DlpBlocked }, &"dlp.words".into())
}

fn finding(action: Action, surface: &str) -> Finding {
    Finding {
        rule: "word".into(),
        category: Category::Credentials,
        confidence: Confidence::High,
        action,
        surface: surface.into(),
        place: None,
        chain: std::iter::empty().collect(),
        range: 0..1,
        example: false,
        fingerprint: 7,
    }
}
