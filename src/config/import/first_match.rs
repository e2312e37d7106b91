//! Lists in which the first rule that matches decides, as lists whose order means nothing.
//!
//! In this language a refusal wins over every permission. A list says the same in both readings once what never
//! comes into force is gone, unless a permission stands before a refusal that a later permission needs: there the
//! order cannot be kept.

use super::super::decode::Rejection;
use super::super::error::quote;
use crate::pipeline::policy::path::PathPattern;

/// One rule of such a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which paths.
    pub route: Route,
    /// Which method, in upper case; `None`: every one.
    pub method: Option<String>,
    /// Whether it permits.
    pub allow: bool,
}

/// What becomes of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is needed, or does no harm where it stands.
    Kept,
    /// The rule of this index decides all of its requests before it is asked.
    Unreached(usize),
    /// It refuses only what nothing behind it permits.
    Redundant,
}

/// A refusal and the permission before it that it must not touch, by their indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clash {
    /// The refusal.
    pub deny: usize,
    /// The permission.
    pub allow: usize,
}

/// What becomes of each rule when the order no longer counts, in a list whose end refuses.
pub fn without_order(rules: &[Rule]) -> Result<Vec<Fate>, Clash> {
    let unreached = |index: usize| {
        let rule = rules.get(index)?;
        rules.iter().take(index).position(|earlier| earlier.covers(rule))
    };
    let mut fates: Vec<Fate> =
        (0..rules.len()).map(|index| unreached(index).map_or(Fate::Kept, Fate::Unreached)).collect();
    let live = |index: &usize| matches!(fates.get(*index), Some(Fate::Kept));
    let reached: Vec<usize> = (0..rules.len()).filter(live).collect();
    for deny in reached.iter().copied() {
        let Some(rule) = rules.get(deny).filter(|rule| !rule.allow) else { continue };
        let permits = || {
            let allows = reached.iter().filter_map(|index| Some((*index, rules.get(*index)?)));
            allows.filter(|(_, other)| other.allow)
        };
        // A refusal also takes what only looks like its requests, so that is what it must not touch.
        let mut touched = permits().filter(|(_, other)| rule.touches(other));
        let needed = permits().any(|(index, other)| index > deny && rule.overlaps(other));
        match (needed, touched.find(|(index, _)| !needed || *index < deny)) {
            (true, Some((allow, _))) => return Err(Clash { deny, allow }),
            (false, Some(_)) => {
                if let Some(fate) = fates.get_mut(deny) {
                    *fate = Fate::Redundant;
                }
            }
            (_, None) => {}
        }
    }
    Ok(fates)
}

impl Rule {
    fn covers(&self, other: &Self) -> bool {
        (self.method.is_none() || self.method == other.method) && self.route.covers(&other.route)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let methods = self.method.is_none() || other.method.is_none() || self.method == other.method;
        methods && self.route.overlaps(&other.route, |a, b| a == b)
    }

    /// Whether this rule, as a refusal of ours, takes requests that `other` permits: it folds case and the like, and
    /// with GET takes HEAD.
    pub fn touches(&self, other: &Self) -> bool {
        let head = self.method.as_deref() == Some("GET") && other.method.as_deref() == Some("HEAD");
        let methods = head || self.method.is_none() || other.method.is_none() || self.method == other.method;
        methods && self.route.overlaps(&other.route, |a, b| loose(a) == loose(b))
    }
}

/// A path in which `*` as a whole segment stands for exactly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route(Vec<Option<String>>);

impl Route {
    /// Reads a route: one slash in front is put there if it is missing, one at the end taken away.
    pub fn parse(text: &str) -> Result<Self, Rejection> {
        let path = text.strip_prefix('/').unwrap_or(text);
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut segments = Vec::new();
        for segment in path.split('/').filter(|_| !path.is_empty()) {
            if segment != "*" && segment.contains('*') {
                return Err(Rejection::new(
                    format!("{} has a `*` that is not a whole segment, which there is the sign itself", quote(text)),
                    "write whole segments, or one rule for each path that is meant",
                ));
            }
            if matches!(segment, "" | "." | "..") || segment.contains(['{', '}', '?', '#', '%', '\\']) {
                return Err(Rejection::new(
                    format!("{} has the segment {}, which no pattern of paths can say", quote(text), quote(segment)),
                    "write the path as requests have it, without query, escapes or braces",
                ));
            }
            segments.push((segment != "*").then(|| segment.to_owned()));
        }
        let route = Self(segments);
        match PathPattern::parse(&route.pattern()) {
            Ok(_) => Ok(route),
            Err(error) => Err(Rejection::new(
                format!("{} is no pattern of paths: {error}", quote(text)),
                "write the path as requests have it",
            )),
        }
    }

    /// Every path there is cannot be said by a route: this is the pattern of ours, `{id}` for each `*`.
    pub fn pattern(&self) -> String {
        let mut pattern = String::new();
        let mut stars = 0;
        for segment in &self.0 {
            pattern.push('/');
            match segment {
                Some(literal) => pattern.push_str(literal),
                None => {
                    stars += 1;
                    pattern.push_str(&if stars == 1 { "{id}".to_owned() } else { format!("{{id{stars}}}") });
                }
            }
        }
        if pattern.is_empty() {
            pattern.push('/');
        }
        pattern
    }

    fn covers(&self, other: &Self) -> bool {
        let mut pairs = self.0.iter().zip(&other.0);
        self.0.len() == other.0.len() && pairs.all(|(mine, theirs)| mine.is_none() || mine == theirs)
    }

    fn overlaps(&self, other: &Self, same: impl Fn(&str, &str) -> bool) -> bool {
        let mut pairs = self.0.iter().zip(&other.0);
        let meet = |(a, b): (&Option<String>, &Option<String>)| match (a, b) {
            (Some(a), Some(b)) => same(a, b),
            _ => true,
        };
        self.0.len() == other.0.len() && pairs.all(meet)
    }
}

/// A segment as refusals of ours see it.
fn loose(segment: &str) -> String {
    segment.split(';').next().unwrap_or_default().trim_end().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::policy::path::PathView;

    fn rule(allow: bool, method: &str, route: &str) -> Rule {
        let method = Some(method.to_owned()).filter(|method| !method.is_empty());
        Rule { route: Route::parse(route).unwrap(), method, allow }
    }

    fn allow(method: &str, route: &str) -> Rule {
        rule(true, method, route)
    }

    fn deny(method: &str, route: &str) -> Rule {
        rule(false, method, route)
    }

    #[test]
    fn a_star_is_one_segment() {
        for (route, pattern) in [
            ("/v1/users", "/v1/users"),
            ("/v1/users/*", "/v1/users/{id}"),
            ("/v1/*/posts/*", "/v1/{id}/posts/{id2}"),
            ("v1/users/", "/v1/users"),
            ("/", "/"),
            ("", "/"),
            ("*", "/{id}"),
        ] {
            assert_eq!(Route::parse(route).unwrap().pattern(), pattern, "{route}");
        }
        for refused in ["/v1/us*", "/v1/**", "/v1/{id}", "/v1?x=1", "/a//b", "/a/../b", "/a/./b", "/a%20b", "/a b"] {
            assert!(Route::parse(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn what_never_comes_into_force_is_found() {
        use Fate::{Kept, Redundant, Unreached};
        for (name, rules, expected) in [
            ("apart", vec![allow("GET", "/users"), deny("DELETE", "/users/*")], Ok(vec![Kept, Kept])),
            ("deny before allow", vec![deny("", "/users/me"), allow("", "/users/*")], Ok(vec![Kept, Kept])),
            ("deny behind what covers it", vec![allow("", "/a/*"), deny("GET", "/a/b")], Ok(vec![Kept, Unreached(0)])),
            ("allow behind what covers it", vec![deny("", "/a/*"), allow("GET", "/a/b")], Ok(vec![Kept, Unreached(0)])),
            ("the default refuses it", vec![allow("GET", "/a/b"), deny("", "/a/*")], Ok(vec![Kept, Redundant])),
            ("HEAD beside a refused GET", vec![deny("GET", "/a"), allow("HEAD", "/a")], Ok(vec![Redundant, Kept])),
            ("case apart", vec![deny("", "/A"), allow("", "/a")], Ok(vec![Redundant, Kept])),
            (
                "between two permissions",
                vec![allow("GET", "/a/b"), deny("", "/a/*"), allow("", "/*/*")],
                Err(Clash { deny: 1, allow: 0 }),
            ),
            (
                "between two that it touches by case",
                vec![allow("", "/A/b"), deny("", "/a/b"), allow("", "/a/*")],
                Err(Clash { deny: 1, allow: 0 }),
            ),
            (
                "the last is never reached",
                vec![allow("GET", "/a/b"), deny("", "/a/*"), allow("", "/a/c")],
                Ok(vec![Kept, Redundant, Unreached(1)]),
            ),
        ] {
            assert_eq!(without_order(&rules), expected, "{name}");
        }
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let segment = prop::sample::select(vec!["a", "A", "b", "*"]);
        let method = prop::sample::select(vec!["", "GET", "HEAD", "POST"]);
        (any::<bool>(), method, prop::collection::vec(segment, 1..3))
            .prop_map(|(allow, method, segments)| rule(allow, method, &segments.join("/")))
    }

    proptest! {
        /// Nothing is admitted that was not, and what was is refused only where a refusal before it looks the same.
        #[test]
        fn both_readings_agree(rules in prop::collection::vec(any_rule(), 0..6)) {
            let Ok(fates) = without_order(&rules) else { return Ok(()) };
            let kept: Vec<_> = rules.iter().zip(&fates).filter(|(_, f)| **f == Fate::Kept).map(|(r, _)| r).collect();
            for method in ["GET", "HEAD", "POST"] {
                for path in ["/a", "/A", "/b", "/c", "/a/a", "/a/A", "/a/b", "/b/a", "/A/c", "/c/c"] {
                    let is = |rule: &Rule, method: &str| {
                        let pattern = PathPattern::parse(&rule.route.pattern()).unwrap();
                        (rule.method.as_deref().is_none_or(|m| m == method)).then_some(pattern)
                    };
                    let exactly = |rule: &&Rule| is(rule, method).is_some_and(|pattern| pattern.permits(path));
                    let loosely = |rule: &&Rule| {
                        let pattern = is(rule, method).or_else(|| is(rule, "GET").filter(|_| method == "HEAD"));
                        pattern.is_some_and(|pattern| pattern.restricts(&PathView::of(path)))
                    };
                    let first = rules.iter().find(exactly);
                    let before = first.is_some_and(|rule| rule.allow);
                    let refused = kept.iter().filter(|r| !r.allow).any(loosely);
                    let after = !refused && kept.iter().filter(|r| r.allow).any(exactly);
                    prop_assert!(before || !after, "{} {} is admitted only now: {:?}", method, path, rules);
                    if before && !after {
                        let place = rules.iter().position(|rule| exactly(&rule)).unwrap();
                        let excuse = rules.iter().take(place).any(|rule| !rule.allow && loosely(&rule));
                        prop_assert!(excuse, "{} {} is admitted no more: {:?}", method, path, rules);
                    }
                }
            }
        }
    }
}
