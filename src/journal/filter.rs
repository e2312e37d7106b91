//! Which exchanges somebody wants to see.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::SystemTime;

use memchr::memmem::Finder;

use super::exchange::{Exchange, Standing};
use super::reader::Sieve;
use crate::pipeline::audit::{ApprovalRecord, Verdict, rfc3339};

/// What an exchange has to be like; whatever is not given does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The agent's name.
    pub agent: Option<String>,
    /// How it ended.
    pub status: Option<Status>,
    /// Where it went.
    pub host: Option<HostFilter>,
    /// The entry of the policy that decided.
    pub rule: Option<String>,
    /// Why it was refused.
    pub reason: Option<String>,
    /// Decided then or later.
    pub since: Option<SystemTime>,
    /// Decided before then.
    pub until: Option<SystemTime>,
    /// What stands somewhere in it, whatever the case; in lower case.
    pub text: Option<String>,
}

impl Filter {
    /// Whether an exchange is to be shown.
    pub fn admits(&self, exchange: &Exchange) -> bool {
        let decision = &exchange.decision;
        let same = |wanted: &Option<String>, found: Option<&str>| match wanted {
            Some(wanted) => found == Some(wanted),
            None => true,
        };
        same(&self.agent, decision.agent.as_deref())
            && same(&self.rule, decision.rule.as_deref())
            && same(&self.reason, exchange.reason())
            && self.status.is_none_or(|status| status.admits(exchange))
            && self.host.as_ref().is_none_or(|host| host.admits(&decision.host))
            && self.since.is_none_or(|since| decision.time >= since)
            && self.until.is_none_or(|until| decision.time < until)
            && self.text.as_ref().is_none_or(|text| stands_in(text, exchange))
    }

    /// Whether what a person was asked is to be shown. Who asks for what only requests have is not shown it.
    pub fn admits_approval(&self, approval: &ApprovalRecord) -> bool {
        let Self { agent, status, host, rule, reason, since, until, text } = self;
        (status.is_none() && rule.is_none() && reason.is_none() && text.is_none())
            && agent.as_ref().is_none_or(|agent| **agent == *approval.agent)
            && host.as_ref().is_none_or(|host| host.admits(&approval.host))
            && since.is_none_or(|since| approval.time >= since)
            && until.is_none_or(|until| approval.time < until)
    }

    /// [`Filter::admits`] at a glance, of a decision's line. What may become another one later, as a status does, is let through.
    pub fn sieve(&self) -> Option<Sieve> {
        let field = |name: &str, value: &str| Some(format!("\"{name}\":{}", serde_json::to_string(value).ok()?));
        let host = match &self.host {
            Some(HostFilter::Exactly(host)) => field("host", host),
            // The end of the host, wherever it stands: a dot and a quote in between would be escaped.
            Some(HostFilter::Below(domain)) => Some(format!("{domain}\"")),
            None => None,
        };
        let named = |name, value: &Option<String>| value.as_deref().and_then(|value| field(name, value));
        let needles = [named("agent", &self.agent), named("rule", &self.rule), host];
        let finders: Vec<_> =
            needles.into_iter().flatten().map(|needle| Finder::new(needle.as_bytes()).into_owned()).collect();
        // Times are written with the same number of digits, so that their text compares as they do.
        let bound = |time: Option<SystemTime>| time.and_then(rfc3339::text);
        let (since, until) = (bound(self.since), bound(self.until));
        if finders.is_empty() && since.is_none() && until.is_none() {
            return None;
        }
        let time = Finder::new(b"\",\"time\":\"").into_owned();
        Some(Box::new(move |line| {
            let time = || line.get(time.find(line)? + 10..)?.get(..27);
            let is_then = (since.is_none() && until.is_none())
                || time().is_none_or(|time| {
                    since.is_none_or(|since| time >= &since[..]) && until.is_none_or(|until| time < &until[..])
                });
            is_then && finders.iter().all(|finder| finder.find(line).is_some())
        }))
    }
}

/// In what is shown of it, or in its URL, of which host and path stand apart there.
fn stands_in(text: &str, exchange: &Exchange) -> bool {
    let decision = &exchange.decision;
    let url = format!("{}://{}{}", decision.scheme.as_deref().unwrap_or_default(), decision.host, decision.path);
    let shown = serde_json::to_string(exchange).unwrap_or_default();
    url.to_lowercase().contains(text) || shown.to_lowercase().contains(text)
}

/// How an exchange has to have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// In one word.
    Standing(Standing),
    /// By what was decided.
    Verdict(Verdict),
    /// By the status that the agent got.
    Code(u16),
}

impl Status {
    fn admits(self, exchange: &Exchange) -> bool {
        match self {
            Self::Standing(standing) => exchange.standing() == standing,
            Self::Verdict(verdict) => exchange.decision.decision == verdict,
            Self::Code(code) => exchange.status() == Some(code),
        }
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let standings =
            [Standing::Allowed, Standing::Blocked, Standing::Failed, Standing::Unknown, Standing::Unreconciled];
        if let Some(standing) = standings.into_iter().find(|standing| standing.as_str() == text) {
            return Ok(Self::Standing(standing));
        }
        match text {
            "limited" => Ok(Self::Verdict(Verdict::RateLimited)),
            "pending" => Ok(Self::Verdict(Verdict::Pending)),
            _ => match text.parse() {
                Ok(code @ 100..=599) => Ok(Self::Code(code)),
                _ => Err("neither allowed, blocked, limited, pending, failed, unknown or unreconciled, nor an HTTP \
                          status code"
                    .into()),
            },
        }
    }
}

impl fmt::Display for Status {
    /// As it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standing(standing) => f.write_str(standing.as_str()),
            Self::Verdict(Verdict::RateLimited) => f.write_str("limited"),
            Self::Verdict(verdict) => f.write_str(verdict.as_str()),
            Self::Code(code) => code.fmt(f),
        }
    }
}

/// A host, or a domain whose subdomains are meant; lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostFilter {
    /// This one.
    Exactly(String),
    /// Those below, with its leading dot.
    Below(String),
}

impl HostFilter {
    fn admits(&self, host: &str) -> bool {
        match self {
            Self::Exactly(wanted) => host == wanted,
            Self::Below(domain) => host.len() > domain.len() && host.ends_with(domain.as_str()),
        }
    }
}

impl fmt::Display for HostFilter {
    /// As it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(host) => f.write_str(host),
            Self::Below(domain) => write!(f, "*{domain}"),
        }
    }
}

impl FromStr for HostFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.to_lowercase();
        let text = text.strip_suffix('.').unwrap_or(&text);
        let wrong = || "a host (api.example.com), or `*.` and a domain whose subdomains are meant".to_owned();
        // A name has one dot at its end at most (RFC 1034, 3.1), and brackets are for addresses (RFC 3986, 3.2.2).
        if text.ends_with('.') {
            return Err(wrong());
        }
        let address = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let unbracketed = address.filter(|text| text.parse::<Ipv6Addr>().is_ok()).unwrap_or(text);
        match text.strip_prefix('*') {
            Some(domain) if domain.len() > 1 && domain.starts_with('.') && !domain.contains('*') => {
                Ok(Self::Below(domain.into()))
            }
            None if !text.is_empty() => Ok(Self::Exactly(unbracketed.into())),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::journal::line::Line as _;
    use crate::pipeline::audit::DecisionRecord;

    fn decision(agent: &str, host: &str, second: u64) -> DecisionRecord {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let mut decision = DecisionRecord::new("r".into(), time, Verdict::Allow, "rev".into());
        (decision.agent, decision.host) = (Some(agent.into()), host.into());
        (decision.rule, decision.path) = (Some(format!("rules[{agent}]").into()), format!("/{host}").into());
        decision
    }

    proptest! {
        #[test]
        fn a_sieve_lets_through_whatever_the_filter_admits(
            wanted in ("[ab\"\\\\é]{1,2}", "(\\*\\.)?[ab]\\.[ab]", 0_u64..4, 0_u64..4),
            found in ("[ab\"\\\\é]{1,2}", "([ab]\\.)?[ab]\\.[ab]", 0_u64..4),
            given: (bool, bool, bool, bool, bool),
        ) {
            let (agent, host, since, until) = wanted;
            let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            let filter = Filter {
                agent: given.0.then(|| agent.clone()),
                host: given.1.then(|| host.parse().unwrap()),
                rule: given.2.then(|| format!("rules[{agent}]")),
                since: given.3.then(|| at(since)),
                until: given.4.then(|| at(until)),
                ..Filter::default()
            };
            let decision = decision(&found.0, &found.1, found.2);
            let mut line = Vec::new();
            decision.write(&mut line).unwrap();
            let passes = filter.sieve().is_none_or(|sieve| sieve(&line));
            prop_assert!(passes || !filter.admits(&Exchange::new(decision)), "{}", String::from_utf8_lossy(&line));
        }
    }

    #[test]
    fn a_host_is_read_as_it_is_shown() {
        for (text, expected) in [
            ("API.example.com.", Some("api.example.com")),
            ("*.Example.com", Some("*.example.com")),
            ("[2001:DB8::1]", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[a.example.]", Some("[a.example.]")),
            ("a.example..", None),
            ("*.a..", None),
            ("*.", None),
            (".", None),
            ("", None),
        ] {
            let host = text.parse::<HostFilter>();
            assert_eq!(host.as_ref().ok().map(ToString::to_string).as_deref(), expected, "{text}");
            let Ok(host) = host else { continue };
            assert_eq!(host.to_string().parse(), Ok(host));
        }
    }

    #[test]
    fn a_sieve_keeps_back_what_does_not_matter() {
        let line = |decision: DecisionRecord| {
            let mut line = Vec::new();
            decision.write(&mut line).unwrap();
            line
        };
        let filter = Filter { agent: Some("ann".into()), host: "*.b.example".parse().ok(), ..Filter::default() };
        let sieve = filter.sieve().unwrap();
        assert!(sieve(&line(decision("ann", "a.b.example", 1))));
        assert!(!sieve(&line(decision("bob", "a.b.example", 1))));
        assert!(!sieve(&line(decision("ann", "a.b.example.net", 1))));
        let early = Filter { until: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(5)), ..Filter::default() };
        let sieve = early.sieve().unwrap();
        assert!(sieve(&line(decision("ann", "a", 4))) && !sieve(&line(decision("ann", "a", 5))));
        assert!(Filter { text: Some("x".into()), ..Filter::default() }.sieve().is_none());
    }

    #[test]
    fn a_text_is_found_wherever_it_stands() {
        let mut exchange = Exchange::new(decision("ann", "a.example", 1));
        exchange.decision.detail = Some("Not On The List".into());
        for (text, expected) in [
            ("on the list", true),
            ("/a.example", true),
            ("a.example/a.ex", true),
            ("rules[ann]", true),
            ("bob", false),
        ] {
            let filter = Filter { text: Some(text.into()), ..Filter::default() };
            assert_eq!(filter.admits(&exchange), expected, "{text}");
        }
    }
}
