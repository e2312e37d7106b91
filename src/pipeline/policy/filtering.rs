//! Response filters: which fields of what comes back the agent may see.
//!
//! Filters restrict, so they match looser than what permits, as rules do. All that match apply.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::pipeline::agent::AgentId;
use crate::pipeline::policy::decision::RuleId;
use crate::pipeline::policy::matcher::{HostPattern, Methods, restricting};
use crate::pipeline::policy::path::PathPattern;
use crate::pipeline::policy::places::Places;
use crate::pipeline::policy::rule::Asked;
use crate::pipeline::response_filter::{Filter, Form};

/// A filter at its place.
#[derive(Debug)]
pub struct ResponseFilter {
    /// Its name in records and answers.
    pub id: RuleId,
    /// The hosts; without a port, on every port.
    pub pattern: HostPattern,
    /// The paths; none means all.
    pub path: Option<PathPattern>,
    /// The methods.
    pub methods: Methods,
    /// The agents; none means all.
    pub agents: Option<Vec<AgentId>>,
    /// The fields.
    pub fields: Arc<Filter>,
    /// Whether an answer that is no success (2xx) passes as it is where it is not JSON.
    pub passes_unparsable_errors: bool,
    /// What it does, in words for people.
    pub words: Box<str>,
}

/// The filters of one request.
pub type Filters = SmallVec<[Arc<ResponseFilter>; 1]>;

/// What becomes of an answer that is filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// Its body goes through the filters. Should it turn out to be none that can, it is refused (502).
    Filter(Form),
    /// It passes as it is.
    Pass,
    /// It is refused (502): fields that nobody looked at could be in it.
    Refuse,
}

/// What becomes of an answer, as its head is. Without filters it passes.
pub fn treatment(filters: &[Arc<ResponseFilter>], method: &str, status: u16, content_type: Option<&[u8]>) -> Treatment {
    let lets_errors_pass = || filters.iter().all(|filter| filter.passes_unparsable_errors);
    match status {
        _ if filters.is_empty() => Treatment::Pass,
        // What another protocol carries is no JSON text.
        101 => Treatment::Refuse,
        100..=199 | 204 | 304 => Treatment::Pass,
        _ if method == "HEAD" => Treatment::Pass,
        // The agent chose the part: it could begin at what a path leads to, and be a text of its own.
        206 => Treatment::Refuse,
        _ => match content_type.and_then(Form::of) {
            Some(form) => Treatment::Filter(form),
            None if !(200..300).contains(&status) && lets_errors_pass() => Treatment::Pass,
            None => Treatment::Refuse,
        },
    }
}

/// All response filters of a policy.
#[derive(Debug, Default)]
pub(super) struct ResponseFilters {
    places: Places<ResponseFilter>,
}

impl ResponseFilters {
    /// Adds a filter.
    pub(super) fn add(&mut self, filter: ResponseFilter) {
        let (agents, name, path) = (filter.agents.clone(), filter.pattern.name.clone(), filter.path.clone());
        self.places.add(agents.as_deref(), &name, path.as_ref(), filter);
    }

    /// Shows every filter that matches a request of this agent which would leave by this port, some of them twice.
    pub(super) fn matching(
        &self,
        agent: AgentId,
        asked: &Asked<'_>,
        port: u16,
        mut take: impl FnMut(&Arc<ResponseFilter>),
    ) {
        for level in restricting(&asked.levels) {
            self.places.find(agent, level, &asked.path, |filter| {
                if filter.matches(asked, port) {
                    take(filter);
                }
            });
        }
    }
}

impl ResponseFilter {
    fn matches(&self, asked: &Asked<'_>, port: u16) -> bool {
        asked.is_at(self.pattern.port, port)
            && self.methods.restricts(&asked.head.method)
            && self.path.as_ref().is_none_or(|path| path.restricts(&asked.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::response_filter::FieldPath;

    fn filter(passes_unparsable_errors: bool) -> Arc<ResponseFilter> {
        Arc::new(ResponseFilter {
            id: "responseFilters[0]".into(),
            pattern: HostPattern::parse("a.example").unwrap(),
            path: None,
            methods: Methods::Any,
            agents: None,
            fields: Arc::new(Filter::include([FieldPath::parse("id").unwrap()])),
            passes_unparsable_errors,
            words: "".into(),
        })
    }

    #[test]
    fn what_cannot_be_filtered_is_refused() {
        use Treatment::{Pass, Refuse};
        let (json, html) = (Some("application/json"), Some("text/html"));
        for (method, status, kind, strict, lenient) in [
            ("GET", 200, json, Treatment::Filter(Form::Json), Treatment::Filter(Form::Json)),
            (
                "GET",
                404,
                Some("application/problem+json"),
                Treatment::Filter(Form::Json),
                Treatment::Filter(Form::Json),
            ),
            ("POST", 200, Some("text/event-stream"), Treatment::Filter(Form::Events), Treatment::Filter(Form::Events)),
            ("GET", 200, html, Refuse, Refuse),
            ("GET", 299, html, Refuse, Refuse),
            ("GET", 200, None, Refuse, Refuse),
            ("GET", 404, html, Refuse, Pass),
            ("GET", 302, html, Refuse, Pass),
            ("GET", 500, None, Refuse, Pass),
            ("GET", 206, json, Refuse, Refuse),
            ("GET", 101, None, Refuse, Refuse),
            ("GET", 103, None, Pass, Pass),
            ("HEAD", 200, html, Pass, Pass),
            ("GET", 204, html, Pass, Pass),
            ("GET", 304, None, Pass, Pass),
        ] {
            let of = |filters: &[_]| treatment(filters, method, status, kind.map(str::as_bytes));
            assert_eq!(of(&[filter(false)]), strict, "{method} {status} {kind:?}");
            assert_eq!(of(&[filter(true)]), lenient, "{method} {status} {kind:?}");
            assert_eq!(of(&[filter(true), filter(false)]), strict, "{method} {status} {kind:?}");
            assert_eq!(of(&[]), Pass);
        }
    }
}
