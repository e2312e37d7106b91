//! Which exchanges are shown.

use std::time::SystemTime;

use crate::journal::filter::{self, HostFilter, Status};
use crate::pipeline::policy::Reason;
use clap::builder::PossibleValuesParser;
use jiff::civil::DateTime;
use jiff::{SpanRelativeTo, Timestamp, tz::TimeZone};

/// What an exchange has to be like; whatever is not given does not matter.
#[derive(Debug, clap::Args)]
pub struct Filter {
    /// Only this agent's
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,

    /// Only those that ended so: allowed, blocked, limited, pending, failed, unknown, unreconciled, or an HTTP status
    /// code
    #[arg(long, value_name = "STATUS")]
    status: Option<Status>,

    /// Only those for this host; `*.example.com` stands for every subdomain and not for example.com
    #[arg(long, value_name = "HOST")]
    host: Option<HostFilter>,

    /// Only those that this entry of the policy decided
    #[arg(long, value_name = "RULE")]
    rule: Option<String>,

    /// Only those refused for this reason, as in `route_not_allowed`
    #[arg(long, value_name = "REASON", hide_possible_values = true,
          value_parser = PossibleValuesParser::new(Reason::ALL.iter().map(|reason| reason.as_str())))]
    reason: Option<String>,

    /// Only those decided since then: a duration back from now (15m, 2h30m, 7d) or a time (2026-11-20T09:30:00Z,
    /// 2026-11-20; UTC unless it says otherwise)
    #[arg(long, value_name = "DURATION|TIME", value_parser = |text: &str| since(text, Timestamp::now()))]
    since: Option<SystemTime>,

    /// Only those decided before then, written the same way
    #[arg(long, value_name = "DURATION|TIME", value_parser = |text: &str| since(text, Timestamp::now()))]
    until: Option<SystemTime>,

    /// Only those in which this text stands somewhere, in upper or lower case: a path, a detail, a request's id
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
}

impl Filter {
    /// What they say together.
    pub fn wanted(&self) -> filter::Filter {
        filter::Filter {
            agent: self.agent.clone(),
            status: self.status,
            host: self.host.clone(),
            rule: self.rule.clone(),
            reason: self.reason.clone(),
            since: self.since,
            until: self.until,
            text: self.text.as_ref().map(|text| text.to_lowercase()),
        }
    }
}

fn since(text: &str, now: Timestamp) -> Result<SystemTime, String> {
    let unclear = || "neither a duration (15m, 2h30m, 7d) nor a time (2026-11-20T09:30:00Z, 2026-11-20)".to_owned();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.into());
    }
    if let Ok(time) = text.parse::<DateTime>() {
        let time = time.to_zoned(TimeZone::UTC).map_err(|_| unclear())?;
        return Ok(time.timestamp().into());
    }
    let span: jiff::Span = text.parse().map_err(|_| unclear())?;
    // Months and years are of no one length, and refused.
    let back = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| unclear())?;
    let then = now.checked_sub(back.abs()).map_err(|_| unclear())?;
    Ok(then.into())
}

#[cfg(test)]
pub mod tests {
    use crate::journal::exchange::Exchange;
    use crate::pipeline::audit::{DecisionRecord, OutcomeRecord, Verdict};
    use clap::Parser;

    use super::*;

    pub fn exchange(verdict: Verdict) -> Exchange {
        let decision = DecisionRecord {
            request_id: "r1".into(),
            time: Timestamp::from_second(1_700_000_000).unwrap().into(),
            agent: Some("ann".into()),
            identity: None,
            source: None,
            destination: None,
            method: "GET".into(),
            scheme: Some("https".into()),
            host: "api.example.com".into(),
            port: Some(443),
            path: "/v1".into(),
            query: None,
            decision: verdict,
            reason: (verdict == Verdict::Deny).then(|| "route_not_allowed".into()),
            detail: None,
            rule: Some("allowedDomains[0]".into()),
            would: None,
            watched: Vec::new(),
            approval: None,
            credential: Vec::new(),
            placeholders: Vec::new(),
            findings: Vec::new(),
            policy_revision: "rev".into(),
            upstream: None,
            status: (verdict == Verdict::Deny).then_some(403),
            decision_micros: 1,
        };
        Exchange::new(decision)
    }

    pub fn outcome(status: u16, flags: &str) -> OutcomeRecord {
        OutcomeRecord {
            request_id: "r1".into(),
            time: SystemTime::UNIX_EPOCH,
            status,
            bytes_sent: 1,
            bytes_received: 2,
            duration_ms: 1.5,
            upstream: None,
            flags: flags.into(),
            details: String::new(),
            known: true,
        }
    }

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        filter: Filter,
    }

    fn parse(options: &[&str]) -> Result<Filter, clap::Error> {
        Command::try_parse_from([&["logs"], options].concat()).map(|command| command.filter)
    }

    #[test]
    fn each_filter_admits_what_it_names_and_nothing_else() {
        let denied = exchange(Verdict::Deny);
        for (options, expected) in [
            (&[][..], true),
            (&["--agent", "ann"], true),
            (&["--agent", "an"], false),
            (&["--status", "blocked"], true),
            (&["--status", "allowed"], false),
            (&["--status", "failed"], false),
            (&["--status", "limited"], false),
            (&["--status", "pending"], false),
            (&["--status", "403"], true),
            (&["--status", "404"], false),
            (&["--host", "API.example.com."], true),
            (&["--host", "example.com"], false),
            (&["--host", "*.example.com"], true),
            (&["--host", "*.com"], true),
            (&["--host", "*.api.example.com"], false),
            (&["--host", "*.ample.com"], false),
            (&["--rule", "allowedDomains[0]"], true),
            (&["--rule", "allowedDomains[1]"], false),
            (&["--reason", "route_not_allowed"], true),
            (&["--reason", "no_identity"], false),
            (&["--since", "2023-11-14T22:13:20Z"], true),
            (&["--since", "2023-11-14T22:13:21Z"], false),
            (&["--since", "1h"], false),
            (&["--until", "2023-11-14T22:13:20Z"], false),
            (&["--until", "2023-11-14T22:13:21Z"], true),
            (&["--text", "V1"], true),
            (&["--text", "v2"], false),
            (&["--agent", "ann", "--status", "blocked"], true),
            (&["--agent", "ann", "--status", "allowed"], false),
        ] {
            assert_eq!(parse(options).unwrap().wanted().admits(&denied), expected, "{options:?}");
        }
        let failed = Exchange { outcome: Some(outcome(503, "UF")), ..exchange(Verdict::Allow) };
        assert!(parse(&["--status", "failed"]).unwrap().wanted().admits(&failed));
        assert!(parse(&["--status", "503"]).unwrap().wanted().admits(&failed));
        assert!(parse(&["--status", "limited"]).unwrap().wanted().admits(&exchange(Verdict::RateLimited)));
        assert!(parse(&["--status", "pending"]).unwrap().wanted().admits(&exchange(Verdict::Pending)));
        let nobody = Exchange::new(DecisionRecord { agent: None, ..denied.decision.clone() });
        assert!(!parse(&["--agent", "ann"]).unwrap().wanted().admits(&nobody));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for options in [
            ["--status", "denied"],
            ["--status", "99"],
            ["--status", "600"],
            ["--host", "*"],
            ["--host", "*example.com"],
            ["--host", "*."],
            ["--host", ""],
            ["--reason", "route_not_alowed"],
            ["--since", "yesterday"],
            ["--since", "1 month"],
            ["--since", ""],
        ] {
            assert!(parse(&options).is_err(), "{options:?}");
        }
        let message = parse(&["--reason", "route_not_alowed"]).unwrap_err().to_string();
        assert!(message.contains("route_not_allowed"), "{message}");
    }

    #[test]
    fn since_is_a_duration_or_a_time() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("15m", "2026-11-20T11:45:00Z"),
            ("2h30m", "2026-11-20T09:30:00Z"),
            ("90 seconds", "2026-11-20T11:58:30Z"),
            ("5m ago", "2026-11-20T11:55:00Z"),
            ("7d", "2026-11-13T12:00:00Z"),
            ("PT1H", "2026-11-20T11:00:00Z"),
            ("2026-11-20T09:30:00Z", "2026-11-20T09:30:00Z"),
            ("2026-11-20T09:30:00+01:00", "2026-11-20T08:30:00Z"),
            ("2026-11-20T09:30", "2026-11-20T09:30:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
        ] {
            let expected: Timestamp = expected.parse().unwrap();
            assert_eq!(since(text, now), Ok(expected.into()), "{text}");
        }
    }
}
