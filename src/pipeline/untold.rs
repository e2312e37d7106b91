//! What an agent put into the words of a request does not stand in the record of it, if it may not leave.
//!
//! A request that was looked into says where something was found. One that was refused before that is looked at here,
//! for its record alone: host, path, query and method are text of the agent's own.

use crate::pipeline::approval::About;
use crate::pipeline::audit::{DecisionRecord, redacted_query};
use crate::pipeline::message::registered_method;

/// What stands for what is left out.
const LEFT_OUT: &str = "***";
/// The longest part of a path or name that can be a word, in bytes.
const WORD: usize = 16;

/// The words of a request, on their way into a record.
#[derive(Debug)]
pub struct Words<'r> {
    /// The method.
    pub method: &'r mut Box<str>,
    /// The host.
    pub host: &'r mut Box<str>,
    /// The path.
    pub path: &'r mut Box<str>,
    /// The query, its values taken out before.
    pub query: &'r mut Option<Box<str>>,
}

impl<'r> From<&'r mut DecisionRecord> for Words<'r> {
    fn from(record: &'r mut DecisionRecord) -> Self {
        let DecisionRecord { method, host, path, query, .. } = record;
        Self { method, host, path, query }
    }
}

impl About {
    /// The same for those who do not decide: the query's values are left out of it, and what `finds` anything.
    pub fn told(&self, finds: impl Fn(&str) -> bool) -> Self {
        let mut about = self.clone();
        about.query = about.query.as_deref().map(redacted_query);
        about.content_type = about.content_type.filter(|named| !finds(named));
        let Self { method, host, path, query, .. } = &mut about;
        Words { method, host, path, query }.leave_out(finds);
        about
    }
}

impl Words<'_> {
    /// Leaves out what `finds` anything in.
    pub fn leave_out(&mut self, finds: impl Fn(&str) -> bool) {
        self.leave_out_of(|_, text| finds(text), &finds);
    }

    /// Leaves out what was found at these places, as findings name them.
    pub fn leave_out_found<'p>(&mut self, places: impl Iterator<Item = &'p str> + Clone, finds: impl Fn(&str) -> bool) {
        // What was found in the request as a whole, or over several, may have a part anywhere.
        let at = |place: &str| places.clone().any(|found| found == place || found == "request" || found == "requests");
        self.leave_out_of(|place, _| at(place), finds);
    }

    fn leave_out_of(&mut self, suspects: impl Fn(&str, &str) -> bool, finds: impl Fn(&str) -> bool) {
        if registered_method(self.method).is_none() && !self.method.is_empty() && suspects("method", self.method) {
            *self.method = LEFT_OUT.into();
        }
        if suspects("path", self.path) {
            let words = only_words(self.path, '/', usize::MAX);
            *self.path = if finds(&words) { format!("/{LEFT_OUT}").into() } else { words.into() };
        }
        if let Some(query) = self.query.as_mut().filter(|query| suspects("query", query)) {
            let pairs = query.split('&').map(|pair| {
                let (name, value) = pair.split_at(pair.find('=').unwrap_or(pair.len()));
                only_words(name, '.', usize::MAX) + value
            });
            let words = pairs.collect::<Vec<_>>().join("&");
            *query = if finds(&words) { LEFT_OUT.into() } else { words.into() };
        }
        // Who lowers its letters has not made it another: names are read alike in both.
        let finds = |text: &str| finds(text) || finds(&text.to_ascii_uppercase());
        if suspects("host", self.host) || suspects("host", &self.host.to_ascii_uppercase()) {
            let labels = self.host.split('.').count();
            // Whom a name belongs to is said as long as it can be.
            let ways = [2, 1].map(|kept| only_words(self.host, '.', labels.saturating_sub(kept)));
            *self.host = ways.into_iter().find(|way| !finds(way)).map_or(LEFT_OUT.into(), Into::into);
        }
    }
}

/// A text in which the first `count` parts are left out, but for short words.
fn only_words(text: &str, separator: char, count: usize) -> String {
    let is_word = |part: &str| part.len() <= WORD && part.bytes().all(|b| b.is_ascii_lowercase() || b"-_".contains(&b));
    let is_version = |part: &str| part.len() <= 3 && part.starts_with('v');
    let parts = text.split(separator).enumerate().map(|(at, part)| match part {
        part if at >= count || is_word(part) || is_version(part) => part,
        _ => LEFT_OUT,
    });
    parts.collect::<Vec<_>>().join(&separator.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = [&'static str; 4];

    fn left([method, host, path, query]: Case, leave_out: impl Fn(&mut Words<'_>)) -> [String; 4] {
        let (mut method, mut host, mut path): (Box<str>, Box<str>, Box<str>) =
            (method.into(), host.into(), path.into());
        let mut query = Some(query.into());
        leave_out(&mut Words { method: &mut method, host: &mut host, path: &mut path, query: &mut query });
        [method.into(), host.into(), path.into(), query.unwrap_or_default().into()]
    }

    #[test]
    fn what_is_found_is_left_out_and_the_rest_stands() {
        let finds = |text: &str| ["S3cr3t", "sunshine-garden"].iter().any(|secret| text.contains(secret));
        for (given, expected) in [
            (["GET", "a.example", "/v1/x", "q=***"], ["GET", "a.example", "/v1/x", "q=***"]),
            (["PURGE", "a.example", "/", ""], ["PURGE", "a.example", "/", ""]),
            (["S3cr3t", "a.example", "/", ""], ["***", "a.example", "/", ""]),
            (["GET", "S3cr3t.api.a1.example", "/", ""], ["GET", "***.api.a1.example", "/", ""]),
            (["GET", "api.S3cr3t.example", "/", ""], ["GET", "api.***.example", "/", ""]),
            (["GET", "a.S3cr3t", "/", ""], ["GET", "***", "/", ""]),
            (["GET", "a.example", "/v1/S3cr3t/users", ""], ["GET", "a.example", "/v1/***/users", ""]),
            (["GET", "a.example", "/v1/sunshine-garden", ""], ["GET", "a.example", "/***", ""]),
            (["GET", "a.example", "/", "page=***&S3cr3t=***"], ["GET", "a.example", "/", "page=***&***=***"]),
            (["GET", "a.example", "/", "sunshine-garden=***"], ["GET", "a.example", "/", "***"]),
        ] {
            assert_eq!(left(given, |words| words.leave_out(finds)), expected, "{given:?}");
        }
    }

    #[test]
    fn what_was_found_somewhere_is_left_out_there_alone() {
        let given = ["AB12", "x1.y1.example", "/A1", "B2=***"];
        for (place, expected) in [
            ("method", ["***", "x1.y1.example", "/A1", "B2=***"]),
            ("host", ["AB12", "***.y1.example", "/A1", "B2=***"]),
            ("path", ["AB12", "x1.y1.example", "/***", "B2=***"]),
            ("query", ["AB12", "x1.y1.example", "/A1", "***=***"]),
            ("header", given),
            ("requests", ["***", "***.y1.example", "/***", "***=***"]),
        ] {
            let found = left(given, |words| words.leave_out_found(std::iter::once(place), |_| false));
            assert_eq!(found, expected, "{place}");
        }
    }

    #[test]
    fn a_registered_method_is_nobodys_own_text() {
        let found = left(["PROPFIND", "a.example", "/", ""], |words| words.leave_out(|_| true));
        assert_eq!(found[0], "PROPFIND");
    }
}
