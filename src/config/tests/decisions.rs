//! Policies as they are written, and what they decide.

use std::fmt::Write;
use std::time::SystemTime;

use super::*;
use crate::config::compile::{self, Setting};
use crate::pipeline::agent::AgentId;
use crate::pipeline::message::{Authority, Door, Fields, Host, RequestHead};
use crate::pipeline::policy::{Permit, Reason, RuleId, Ruleset};
use crate::secrets::Environment;

pub fn load(text: &str) -> Result<Ruleset, String> {
    let environment = Environment::from_iter([]);
    let setting = Setting { agent: None, environment: Some(&environment), pod: None };
    parse("policy.yaml", text)
        .compile(None, |policy, problems| compile::compile(policy, setting, "rev", problems))
        .map(|accepted| accepted.value.rules)
        .map_err(|problems| problems.to_string())
}

/// A request: its door, method, URL without scheme, and header fields.
#[derive(Debug, Clone)]
pub struct Ask {
    pub door: Door,
    pub method: String,
    pub authority: String,
    pub target: String,
    pub fields: Vec<(String, String)>,
}

impl Ask {
    pub fn new(door: Door, method: &str, url: &str) -> Self {
        let (authority, target) = url.split_at(url.find('/').unwrap_or(url.len()));
        Self { door, method: method.into(), authority: authority.into(), target: target.into(), fields: Vec::new() }
    }

    /// `None`: it is malformed.
    pub fn head(&self) -> Option<RequestHead> {
        let own = [(":method", &self.method), (":authority", &self.authority), (":path", &self.target)];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.clone()));
        let fields = own.chain(self.fields.iter().cloned()).map(|(name, value)| (name, value.into_bytes()));
        RequestHead::parse(self.door, Fields::new(fields.collect())).ok()
    }
}

/// What came of a request, in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub way: Result<String, (Reason, Option<RuleId>)>,
    pub limits: Vec<RuleId>,
    pub approvals: Vec<RuleId>,
    pub watched: Vec<RuleId>,
    pub entries: Vec<RuleId>,
    pub would: Option<(Reason, Option<RuleId>)>,
    pub credentials: Vec<String>,
}

impl Verdict {
    pub fn admits(&self) -> bool {
        self.way.is_ok()
    }

    fn refused(reason: Reason, rule: Option<RuleId>) -> Self {
        let none = Vec::new;
        let way = Err((reason, rule));
        Self {
            way,
            limits: none(),
            approvals: none(),
            watched: none(),
            entries: none(),
            would: None,
            credentials: Vec::new(),
        }
    }

    fn admitted(permit: &Permit) -> Self {
        let mut credentials: Vec<_> = permit.injections().map(|injection| injection.name.to_string()).collect();
        credentials.sort();
        Self {
            way: Ok(format!("{}:{}", permit.scheme().as_str(), permit.port())),
            limits: permit.limits().iter().map(|limit| limit.rule.clone()).collect(),
            approvals: permit.approvals().iter().map(|terms| terms.rule.clone()).collect(),
            watched: permit.watched().iter().chain(permit.watched_limits().iter().map(|l| &l.rule)).cloned().collect(),
            entries: permit.entries().cloned().collect(),
            would: permit.would().map(|denial| (denial.reason, denial.rule.clone())),
            credentials,
        }
    }

    /// In a line, for tables.
    fn brief(&self) -> String {
        let mut text = match &self.way {
            Ok(way) => way.clone(),
            Err((reason, rule)) => return format!("{} {}", reason.as_str(), rule.as_deref().unwrap_or("-")),
        };
        for (what, rules) in [("limit", &self.limits), ("ask", &self.approvals), ("watch", &self.watched)] {
            rules.iter().for_each(|rule| write!(text, " {what} {rule}").unwrap());
        }
        if let Some((reason, rule)) = &self.would {
            write!(text, " would {} {}", reason.as_str(), rule.as_deref().unwrap_or("-")).unwrap();
        }
        self.credentials.iter().for_each(|name| write!(text, " with {name}").unwrap());
        text
    }
}

pub fn decide_at(rules: &Ruleset, agent: AgentId, ask: &Ask, wall: SystemTime) -> Verdict {
    let Some(head) = ask.head() else { return Verdict::refused(Reason::MalformedRequest, None) };
    match rules.decide(agent, &head, wall) {
        Ok(permit) => Verdict::admitted(&permit),
        Err(denial) => Verdict::refused(denial.reason, denial.rule),
    }
}

pub fn decide(rules: &Ruleset, agent: AgentId, ask: &Ask) -> Verdict {
    decide_at(rules, agent, ask, SystemTime::UNIX_EPOCH)
}

fn brief(policy: &str, ask: &Ask) -> String {
    let rules = load(policy).unwrap_or_else(|problems| panic!("{problems}"));
    decide(&rules, AgentId(0), ask).brief()
}

fn get(url: &str) -> Ask {
    Ask::new(Door::Tls, "GET", url)
}

/// Each action with each other, in both orders; `~` is one that is not enforced.
#[test]
fn actions_have_a_precedence_and_the_order_of_rules_has_none() {
    let rule = |name: &str| {
        let (action, mode) = match name.strip_suffix('~') {
            Some(action) => (action, "monitor"),
            None => (name, "enforce"),
        };
        let action = match action.trim_start_matches('2') {
            "block" => "block",
            "ask" => "approval",
            "cap" => "{rateLimit: {requests: 1, per: 1s}}",
            _ => "monitor",
        };
        format!("{{name: {name}, host: a.example, action: {action}, mode: {mode}}}")
    };
    let blocked = "rule_blocked rules[block]";
    for (one, other, expected) in [
        ("block", "2block", "rule_blocked rules[2block]"),
        ("block", "ask", blocked),
        ("block", "cap", blocked),
        ("block", "look", blocked),
        ("block", "2block~", blocked),
        ("block", "ask~", blocked),
        ("block", "cap~", blocked),
        ("ask", "2ask", "https:443 ask rules[2ask] ask rules[ask] with key"),
        ("ask", "cap", "https:443 limit rules[cap] ask rules[ask] with key"),
        ("ask", "look", "https:443 ask rules[ask] watch rules[look] with key"),
        ("ask", "block~", "https:443 ask rules[ask] would rule_blocked rules[block~]"),
        ("ask", "2ask~", "https:443 ask rules[ask] would approval_pending rules[2ask~]"),
        ("ask", "cap~", "https:443 ask rules[ask] watch rules[cap~] with key"),
        ("cap", "2cap", "https:443 limit rules[2cap] limit rules[cap] with key"),
        ("cap", "look", "https:443 limit rules[cap] watch rules[look] with key"),
        ("cap", "block~", "https:443 limit rules[cap] would rule_blocked rules[block~]"),
        ("cap", "ask~", "https:443 limit rules[cap] would approval_pending rules[ask~]"),
        ("cap", "2cap~", "https:443 limit rules[cap] watch rules[2cap~] with key"),
        ("look", "2look", "https:443 watch rules[2look] watch rules[look] with key"),
        ("look", "block~", "https:443 watch rules[look] would rule_blocked rules[block~]"),
        ("look", "ask~", "https:443 watch rules[look] would approval_pending rules[ask~]"),
        ("look", "cap~", "https:443 watch rules[look] watch rules[cap~] with key"),
        ("block~", "2block~", "https:443 would rule_blocked rules[2block~]"),
        ("block~", "ask~", "https:443 would rule_blocked rules[block~]"),
        ("block~", "cap~", "https:443 watch rules[cap~] would rule_blocked rules[block~]"),
        ("ask~", "2ask~", "https:443 would approval_pending rules[2ask~]"),
        ("ask~", "cap~", "https:443 watch rules[cap~] would approval_pending rules[ask~]"),
        ("cap~", "2cap~", "https:443 watch rules[2cap~] watch rules[cap~] with key"),
    ] {
        for (first, second) in [(one, other), (other, one)] {
            let policy = format!(
                "allowedDomains: [a.example]\n\
                 credentials: [{{name: key, envVarKey: K, injections: [{{domain: a.example, queryParam: k}}]}}]\n\
                 rules: [{}, {}]",
                rule(first),
                rule(second)
            );
            assert_eq!(brief(&policy, &get("a.example/")), expected, "{first}, {second}");
        }
    }
}

#[test]
fn what_a_rule_is_about() {
    let policy = |rule: &str| {
        format!(
            "allowedDomains: [a.example, b.a.example, 93.184.216.34, 'a.example:8443', 'http://p.example', {{pattern: t.example, httpRestrictions: [{{method: TRACE}}]}}]\n\
             agents: {{ann: {{}}, bob: {{}}}}\ndefaultAgent: ann\n\
             rules: [{{name: r, action: block, {rule}}}]"
        )
    };
    let plain = |url: &str| Ask::new(Door::Proxy, "GET", url);
    let with = |fields: &[(&str, &str)]| Ask {
        fields: fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..get("a.example/")
    };
    for (rule, ask, blocked) in [
        ("host: a.example", get("a.example/"), true),
        ("host: a.example", get("b.a.example/"), false),
        ("host: '*.a.example'", get("b.a.example/"), true),
        ("host: '*.a.example'", get("a.example/"), false),
        ("host: a.example", get("a.example:8443/"), true),
        ("host: 'a.example:8443'", get("a.example:8443/"), true),
        ("host: 'a.example:8443'", get("a.example/"), false),
        ("host: 'a.example:443'", get("a.example/"), true),
        ("host: 'a.example:80'", get("a.example/"), false),
        ("host: 'a.example:80'", plain("a.example/"), true),
        ("host: 'a.example:80'", plain("a.example:80/"), true),
        ("host: 'http://a.example'", get("a.example/"), true),
        ("host: p.example", plain("p.example/"), true),
        ("host: 'p.example:80'", plain("p.example/"), true),
        ("host: '*', agents: [bob]", get("a.example/"), false),
        ("host: '*', agents: [ann, bob]", get("a.example/"), true),
        ("host: '*', agents: all", get("a.example/"), true),
        ("host: '*'", get("93.184.216.34/"), true),
        ("host: 93.184.216.34", get("93.184.216.34/"), true),
        ("host: '*', method: POST", get("a.example/"), false),
        ("host: '*', method: GET", Ask::new(Door::Tls, "HEAD", "a.example/"), true),
        ("host: '*', method: HEAD", get("a.example/"), false),
        ("host: '*', method: [put, get]", get("a.example/"), true),
        ("host: '*', method: any", Ask::new(Door::Tls, "TRACE", "t.example/"), true),
        ("host: '*', query: {a: '1'}", get("a.example/?a=1"), true),
        ("host: '*', query: {a: '1'}", get("a.example/?a=2"), false),
        ("host: '*', query: {a: '1'}", get("a.example/?a=2&a=1"), true),
        ("host: '*', query: {a: '1'}", get("a.example/?a=1&a=2"), true),
        ("host: '*', query: {a: '1'}", get("a.example/?%61=%31"), true),
        ("host: '*', query: {a: '1'}", get("a.example/?A=1"), true),
        ("host: '*', query: {a: '1'}", get("a.example/?x;a=1"), true),
        ("host: '*', query: {a: '1'}", get("a.example/?a[]=1"), true),
        ("host: '*', query: {a: '1'}", get("a.example/?a%5B0%5D=1"), true),
        ("host: '*', query: {a: '1'}", get("a.example/?+a=1%20"), true),
        ("host: '*', query: {a: '1'}", get("a.example/?aa=1"), false),
        ("host: '*', query: {'a[b]': '1'}", get("a.example/?a[b]=1"), true),
        ("host: '*', query: {'a[b]': '1'}", get("a.example/?a=1"), false),
        ("host: '*', query: {a: 'x y'}", get("a.example/?a=x+y"), true),
        ("host: '*', query: {a: '1;2'}", get("a.example/?a=1;2"), true),
        ("host: '*', query: {a: ''}", get("a.example/?a"), true),
        ("host: '*', query: {a: ''}", get("a.example/"), false),
        ("host: '*', query: {a: '*'}", get("a.example/?a=anything"), true),
        ("host: '*', query: {a: '1', b: '2'}", get("a.example/?a=1"), false),
        ("host: '*', query: {a: '1', b: '2'}", get("a.example/?b=2&a=1"), true),
        ("host: '*', headers: {X-Danger: a}", with(&[("x-danger", "A")]), true),
        ("host: '*', headers: {X-Danger: a}", with(&[("x-danger", "b"), ("x-danger", "a")]), true),
        ("host: '*', headers: {X-Danger: a}", with(&[("x-danger", "b, a")]), true),
        ("host: '*', headers: {X-Danger: 'b, a'}", with(&[("x-danger", "b, a")]), true),
        ("host: '*', headers: {X-Danger: a}", with(&[("x-danger", "ab")]), false),
        ("host: '*', headers: {X-Danger: a}", with(&[("x-other", "a")]), false),
        ("host: '*', headers: {X-Danger: '*'}", with(&[("x-danger", "")]), true),
        ("host: '*', headers: {X-Danger: 'a*'}", with(&[("x-danger", "x,abc")]), true),
        // What stays behind still says what the agent was about.
        ("host: '*', headers: {X-HTTP-Method-Override: '*'}", with(&[("x-http-method-override", "PUT")]), true),
    ] {
        let expected = if blocked { "rule_blocked rules[r]" } else { "https:443" };
        assert_eq!(brief(&policy(rule), &ask), expected, "{rule} and {ask:?}");
    }
}

#[test]
fn conditions_that_no_request_can_meet_are_errors() {
    for (header, wrong) in [("Host", true), ("':path'", true), ("X Danger", true), ("X-Danger", false)] {
        let policy = format!("rules: [{{name: r, host: '*', action: block, headers: {{{header}: a}}}}]");
        assert_eq!(load(&policy).is_err(), wrong, "{header}");
    }
}

#[test]
fn hours_as_they_are_written() {
    let rule = |hours: &str| {
        format!("allowedDomains: [a.example]\nrules: [{{name: r, host: a.example, action: block, only: {{{hours}}}}}]")
    };
    let blocked = |hours: &str, at: &str| {
        let rules = load(&rule(hours)).unwrap_or_else(|problems| panic!("{problems}"));
        let wall = at.parse::<jiff::Timestamp>().unwrap().into();
        !decide_at(&rules, AgentId(0), &get("a.example/"), wall).admits()
    };
    for (hours, at, expected) in [
        ("days: [mon], from: '18:00', to: '24:00', timezone: UTC", "2026-01-05T23:59:59Z", true),
        ("days: [mon], from: '18:00', to: '24:00', timezone: UTC", "2026-01-06T00:00:00Z", false),
        ("days: [mon], from: '18:00', to: '00:00', timezone: UTC", "2026-01-05T23:59:59Z", true),
        ("days: [mon], from: '22:00', to: '06:00', timezone: UTC", "2026-01-06T05:59:59Z", true),
        ("days: [mon], from: '22:00', to: '06:00', timezone: UTC", "2026-01-05T05:59:59Z", false),
        ("from: 08:00, to: 18:00, timezone: Europe/Berlin", "2026-07-06T06:00:00Z", true),
        ("from: 08:00, to: 18:00, timezone: Europe/Berlin", "2026-01-05T06:00:00Z", false),
        ("days: [sun], timezone: America/New_York", "2026-01-05T04:59:59Z", true),
    ] {
        assert_eq!(blocked(hours, at), expected, "{hours} at {at}");
    }
    for hours in [
        "from: '24:00', to: '06:00', timezone: UTC",
        "from: '08:00', to: '08:00', timezone: UTC",
        "from: '00:00', to: '24:00', timezone: UTC",
        "from: '8:00', to: '18:00', timezone: UTC",
        "from: '08:00', to: '24:01', timezone: UTC",
        "from: '08:00', to: '25:00', timezone: UTC",
        "from: '08:00', timezone: UTC",
        "days: [], timezone: UTC",
        "days: [monday], timezone: UTC",
        "days: [mon]",
        "days: [mon], timezone: Berlin",
        "timezone: UTC",
    ] {
        assert!(load(&rule(hours)).is_err(), "{hours}");
    }
}

/// What the organization says, what stands below it, the request, and what comes of it.
#[test]
fn nothing_below_the_organization_widens_it() {
    let tls = get("a.example/x");
    let plain = Ask::new(Door::Proxy, "GET", "a.example/x");
    let outside = "outside_organization";
    for (organization, below, ask, expected) in [
        ("{}", "allowedDomains: [a.example]", &tls, "https:443"),
        ("allowedDomains: []", "allowedDomains: [a.example]", &tls, outside),
        ("allowedDomains: [b.example]", "allowedDomains: ['*']", &tls, outside),
        ("allowedDomains: ['*.example']", "allowedDomains: [a.example]", &tls, "https:443"),
        ("allowedDomains: ['*.a.example']", "allowedDomains: [a.example]", &tls, outside),
        ("allowedDomains: [a.example]", "allowedDomains: ['a.example:8443']", &get("a.example:8443/"), outside),
        ("allowedDomains: [a.example]", "allowedDomains: ['http://a.example']", &plain, outside),
        ("allowedDomains: ['http://a.example']", "allowedDomains: [a.example]", &plain, outside),
        ("allowedDomains: ['http://a.example']", "allowedDomains: ['http://a.example']", &plain, "http:80"),
        (
            "allowedDomains: [a.example]",
            "agents: {d: {profiles: [p]}}\nprofiles: {p: {allowedDomains: [c.example]}}",
            &get("c.example/"),
            outside,
        ),
        ("allowedDomains: [a.example]", "agents: {d: {allowedDomains: [c.example]}}", &get("c.example/"), outside),
        ("allowedDomains: [a.example]", "agents: {d: {mode: monitor}}", &get("c.example/"), outside),
        ("allowedDomains: [a.example]", "agents: {d: {mode: monitor}}", &tls, "https:443 would domain_not_allowed -"),
        (
            "blockedDomains: [example]",
            "agents: {d: {mode: monitor}}",
            &tls,
            "domain_blocked organization.blockedDomains[example]",
        ),
        (
            "blockedDomains: [example]",
            "allowedDomains: [a.example]",
            &tls,
            "domain_blocked organization.blockedDomains[example]",
        ),
        (
            "blockedDomains: ['a.example:443']",
            "allowedDomains: [a.example]",
            &plain,
            "domain_blocked organization.blockedDomains[a.example:443]",
        ),
        (
            "blockedDomains: ['a.example:80']",
            "allowedDomains: [a.example]",
            &plain,
            "domain_blocked organization.blockedDomains[a.example:80]",
        ),
        (
            "allowedDomains: ['*.example', {pattern: a.example, action: deny}]",
            "allowedDomains: [a.example]",
            &tls,
            outside,
        ),
        (
            "allowedDomains: ['*.example', {pattern: a.example, httpRestrictions: [{path: /y}]}]",
            "allowedDomains: [a.example]",
            &tls,
            outside,
        ),
        (
            "allowedDomains: [{pattern: a.example, httpRestrictions: [{method: GET, path: /x}]}]",
            "allowedDomains: [a.example]",
            &tls,
            "https:443",
        ),
        // The exact matches permit: the looser ones are for what restricts.
        (
            "allowedDomains: [{pattern: a.example, httpRestrictions: [{method: GET, path: /X}]}]",
            "allowedDomains: [a.example]",
            &tls,
            outside,
        ),
        (
            "rules: [{name: no, host: '*', action: block}]",
            "agents: {d: {mode: monitor, allowedDomains: [a.example]}}",
            &tls,
            "rule_blocked organization.rules[no]",
        ),
        (
            "rules: [{name: no, host: '*', action: approval}]",
            "agents: {d: {mode: monitor, allowedDomains: [a.example]}}",
            &tls,
            "https:443 ask organization.rules[no]",
        ),
        (
            "rules: [{name: no, host: '*', action: block, mode: monitor}]",
            "allowedDomains: [a.example]",
            &tls,
            "https:443 would rule_blocked organization.rules[no]",
        ),
        // The same name below is another rule.
        (
            "rules: [{name: no, host: '*', action: monitor}]",
            "allowedDomains: [a.example]\nrules: [{name: no, host: '*', action: block}]",
            &tls,
            "rule_blocked rules[no]",
        ),
        // The ceiling bounds the way that was chosen below it, and never opens another.
        (
            "allowedDomains: ['http://a.example']",
            "allowedDomains: [{pattern: a.example, httpRestrictions: [{path: /y}]}, 'http://a.example']",
            &plain,
            outside,
        ),
    ] {
        let organization = if organization == "{}" { "{}".to_owned() } else { format!("{{{organization}}}") };
        let policy = format!("organization: {organization}\n{below}\n");
        let found = brief(&policy, ask);
        let same = if expected == outside { found.starts_with(outside) } else { found == expected };
        assert!(same, "{policy}\n{found}, not {expected}");
    }
}

#[test]
fn a_ceiling_that_undoes_its_own_restrictions_is_an_error() {
    let policy =
        "organization: {allowedDomains: [a.example, {pattern: 'A.example:443', httpRestrictions: [{path: /x}]}]}";
    assert!(load(policy).unwrap_err().contains("these restrictions have no effect"));
}

#[test]
fn a_tunnel_and_a_certificate_are_bounded_like_the_requests_inside() {
    let policy = |organization: &str, mode: &str| {
        format!(
            "organization: {{{organization}}}\nagents: {{d: {{mode: {mode}, allowedDomains: [a.example, 'b.example:8443', 192.0.2.1]}}}}"
        )
    };
    for (organization, mode, host, port, tunnel, certificate) in [
        ("", "enforce", "a.example", 443, true, true),
        ("", "enforce", "a.example", 8443, false, true),
        ("", "enforce", "b.example", 8443, true, true),
        ("", "enforce", "c.example", 443, false, false),
        ("", "monitor", "c.example", 443, true, true),
        ("blockedDomains: [example]", "enforce", "a.example", 443, false, false),
        ("blockedDomains: [example]", "monitor", "a.example", 443, false, false),
        ("blockedDomains: ['a.example:443']", "enforce", "a.example", 443, false, false),
        ("allowedDomains: [a.example]", "enforce", "b.example", 8443, false, false),
        ("allowedDomains: [a.example]", "monitor", "b.example", 8443, false, false),
        ("allowedDomains: [a.example]", "monitor", "a.example", 443, true, true),
        ("allowedDomains: ['c.example:9000']", "monitor", "c.example", 9000, true, true),
        ("allowedDomains: ['http://a.example']", "enforce", "a.example", 443, false, false),
        ("allowedDomains: [a.example]", "enforce", "192.0.2.1", 443, false, false),
        ("allowedDomains: [192.0.2.1]", "enforce", "192.0.2.1", 443, true, true),
    ] {
        let rules = load(&policy(organization, mode)).unwrap_or_else(|problems| panic!("{problems}"));
        let host = Authority::parse(host.as_bytes()).unwrap().host;
        let opened = rules.decide_tunnel(rules.agents.ids(), &host, port).is_ok();
        assert_eq!((opened, rules.may_intercept(&host)), (tunnel, certificate), "{organization} {mode} {host}:{port}");
        if let Host::Address(address) = host {
            assert_eq!(rules.literal_hosts().contains(&address), certificate, "{organization}");
        }
    }
}

/// A rule that only watches makes the credential stay behind; that must not set aside what the credential refuses.
#[test]
fn what_a_credential_refuses_is_refused_whatever_else_is_watched() {
    let policy = |rule: &str| {
        format!(
            "allowedDomains: [a.example]\n\
             credentials: [{{name: key, envVarKey: K, endpoints: [{{methods: [GET], paths: [/v1]}}],\n  \
               injections: [{{domain: a.example, queryParam: k}}]}}]\n\
             rules: [{rule}]"
        )
    };
    let refused = "endpoint_not_allowed credentials[key].endpoints";
    for (rule, path, expected) in [
        ("", "/v1/x", "https:443 with key"),
        ("", "/v2", refused),
        ("{name: r, host: a.example, action: block, mode: monitor}", "/v2", refused),
        ("{name: r, host: a.example, action: approval, mode: monitor}", "/v2", refused),
        ("{name: r, host: a.example, action: block, mode: monitor}", "/v1", "https:443 would rule_blocked rules[r]"),
    ] {
        assert_eq!(brief(&policy(rule), &get(&format!("a.example{path}"))), expected, "{rule} {path}");
    }
}

/// The filters of a request, those that are only watched with a `?`.
fn filters(rules: &Ruleset, agent: AgentId, ask: &Ask) -> Vec<String> {
    let permit = rules.decide(agent, &ask.head().unwrap(), SystemTime::UNIX_EPOCH).unwrap();
    let enforced = permit.filters().iter().map(|filter| filter.id.to_string());
    enforced.chain(permit.watched_filters().iter().map(|filter| format!("{}?", filter.id))).collect()
}

#[test]
fn every_response_filter_that_matches_applies() {
    let rules = load(
        "allowedDomains: ['*.example', 'a.example:8443', 'http://c.example']
agents: {ann: {}, bob: {}, mon: {mode: monitor}}
responseFilters:
- {name: Users, host: a.example, path: /v1/users, method: GET, includeFields: [id]}
- {host: '*.example', excludeFields: [ssn]}
- {name: Bob, host: a.example, agents: [bob], excludeFields: [x]}
- {name: Port, host: 'a.example:8443', excludeFields: [y]}
- {name: Below, host: a.example, path: '/v1/*/x', excludeFields: [y]}
- {name: Plain, host: 'c.example:80', excludeFields: [y]}
",
    )
    .unwrap();
    let (ann, bob, mon) = (AgentId(0), AgentId(1), AgentId(2));
    for (agent, door, method, url, expected) in [
        (ann, Door::Tls, "GET", "a.example/v1/users", &["1", "Users"][..]),
        // Looser than what permits, as rules.
        (ann, Door::Tls, "GET", "a.example/V1/Users/", &["1", "Users"]),
        (ann, Door::Tls, "GET", "a.example/v1/users;a=b", &["1", "Users"]),
        (ann, Door::Tls, "HEAD", "a.example/v1/users%20", &["1", "Users"]),
        (ann, Door::Proxy, "GET", "a.example/v1/users?a=b", &["1", "Users"]),
        (ann, Door::Tls, "POST", "a.example/v1/users", &["1"]),
        (ann, Door::Tls, "GET", "a.example/v1/users/1", &["1"]),
        (ann, Door::Tls, "GET", "a.example/v1/1/x", &["1", "Below"]),
        (ann, Door::Tls, "GET", "b.example/v1/users", &["1"]),
        (bob, Door::Tls, "GET", "a.example/", &["1", "Bob"]),
        (ann, Door::Tls, "GET", "a.example:8443/", &["1", "Port"]),
        (ann, Door::Proxy, "GET", "c.example/", &["1", "Plain"]),
        (mon, Door::Tls, "GET", "a.example/v1/users", &["1?", "Users?"]),
    ] {
        let found = filters(&rules, agent, &Ask::new(door, method, url));
        let expected: Vec<_> = expected
            .iter()
            .map(|name| match name.strip_suffix('?') {
                Some(name) => format!("responseFilters[{name}]?"),
                None => format!("responseFilters[{name}]"),
            })
            .collect();
        assert_eq!(found, expected, "{method} {url}");
    }
}
