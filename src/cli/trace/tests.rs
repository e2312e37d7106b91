use std::time::{Duration, SystemTime};

use super::super::rehearse::tests::staged;
use super::*;

const POLICY: &str = r#"
organization: {allowedDomains: ["*.example.com"]}
allowedDomains: [api.example.com, {pattern: jira.example.com, httpRestrictions: [{method: GET, path: "/rest/*"}]}]
agents: {ann: {identity: [{sourceAddress: 10.0.0.0/8}]}, mon: {identity: [{sourceAddress: 11.0.0.0/8}], mode: monitor}}
rules:
  - {name: Cap, host: api.example.com, path: "/v1/*", action: {rateLimit: {requests: 10, per: hour}}}
  - {name: Ask, host: api.example.com, path: /v1/refunds, action: {approval: {hold: 20s, notify: []}}}
  - {name: Watch, host: api.example.com, path: /v1/refunds, action: monitor}
credentials:
  - name: key
    envVarKey: KEY
    injections: [{domain: api.example.com, headerName: X-Key, headerFormat: "{value}"}, {domain: api.example.com, path: "/v1/*", queryParam: key}]
"#;

fn text(agent: &str, method: &str, url: &str) -> String {
    let stage = staged(POLICY, None);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let request = Request { agent: Some(agent.to_owned()), ..Request::new(method, url, at).unwrap() };
    let ended = stage.rehearsal.run(&request);
    let text = Trace::of(&stage, &request, &ended).text(false);
    text.replace(&*stage.rehearsal.rules().revision, "REVISION")
}

#[test]
fn the_way_is_told_stage_by_stage() {
    let asks = "\
POST https://api.example.com/v1/x/../refunds
policy revision REVISION, at 2027-01-15T08:00:00Z

✓ identify      ann, as you say
                agents.ann  policy.yaml:4:10
✓ normalize     through a tunnel, in TLS, leaves as https://api.example.com:443; Envoy resolves the path to `/v1/refunds`
✓ organization  within its ceiling
                organization.allowedDomains[*.example.com]  policy.yaml:2:33
✓ domains       allowed
                allowedDomains[api.example.com]  policy.yaml:3:18
✓ rules         none blocks it; watched by
                rules[Watch]  policy.yaml:8:5
✓ credentials   would inject `key` into the header `x-key`, `key` into the query parameter `key`
                credentials[key]  policy.yaml:10:5
– address       api.example.com, port 443, is not looked up here
✓ limits        would be counted: 10 per 1h
                rules[Cap]  policy.yaml:6:5
✗ approvals     a person would be asked: held 20s, open for 15m
                rules[Ask]  policy.yaml:7:5
✗ verdict       pending: 403 approval_pending
                hint: send exactly the same request again after the seconds in `Retry-After`; any change asks anew
                once approved: allow
";
    assert_eq!(text("ann", "POST", "https://api.example.com/v1/x/../refunds"), asks);
    let watched = "\
GET http://jira.example.com/x
policy revision REVISION, at 2027-01-15T08:00:00Z

✓ identify      mon, as you say
                agents.mon  policy.yaml:4:58
✓ normalize     to the proxy itself, leaves as https://jira.example.com:443
✓ organization  within its ceiling
                organization.allowedDomains[*.example.com]  policy.yaml:2:33
! domains       would be deny route_not_allowed; it is only watched
                allowedDomains[jira.example.com]  policy.yaml:3:35
✓ rules         none blocks it
– credentials   none goes with it
– address       jira.example.com, port 443, is not looked up here
– limits        none applies
– approvals     nobody has to agree
✓ verdict       allow
                it passes only because that is not enforced, and gets no credential
";
    assert_eq!(text("mon", "GET", "http://jira.example.com/x"), watched);
    let refused = "\
GET https://other.example.com/
policy revision REVISION, at 2027-01-15T08:00:00Z

✓ identify      ann, as you say
                agents.ann  policy.yaml:4:10
✓ normalize     through a tunnel, in TLS
✓ organization  nothing of it is in the way
✗ domains       domain not allowed by policy (already at CONNECT)
– rules
– credentials
– address
– limits
– approvals
✗ verdict       deny: 403 domain_not_allowed
                hint: use an allowed domain, or ask for this one to be added to `allowedDomains`
";
    assert_eq!(text("ann", "GET", "https://other.example.com/"), refused);
}

#[test]
fn what_becomes_of_the_answer_is_told() {
    let policy = r#"
allowedDomains: [api.example.com]
agents: {ann: {identity: [{sourceAddress: 10.0.0.0/8}]}, mon: {identity: [{sourceAddress: 11.0.0.0/8}], mode: monitor}}
responseFilters:
  - {name: Users, host: api.example.com, path: "/v1/*", includeFields: [id, "\"a.b\".c"]}
  - {host: api.example.com, path: /v1/users, method: GET, excludeFields: ["[].ssn"]}
  - {host: api.example.com, path: /v2/users, excludeFields: [ssn]}
"#;
    let stage = staged(policy, None);
    let verdict = |agent: &str, json: bool| {
        let request = Request::new("GET", "https://api.example.com/V1/users", SystemTime::UNIX_EPOCH).unwrap();
        let request = Request { agent: Some(agent.to_owned()), ..request };
        let ended = stage.rehearsal.run(&request);
        let trace = Trace::of(&stage, &request, &ended);
        if json { trace.json()["responseFilters"].to_string() } else { trace.text(false) }
    };
    let text = verdict("ann", false);
    let expected = "\
✓ verdict       allow
                responseFilters[1]  policy.yaml:6:5
                responseFilters[Users]  policy.yaml:5:5
                answer: without `[].ssn`
                answer: only `id`, `\"a.b\".c`
";
    assert!(text.ends_with(expected), "{text}");
    assert!(verdict("mon", false).contains("answer, were it enforced: without `[].ssn`\n"));
    let json = verdict("ann", true);
    assert!(json.starts_with(r#"[{"does":"without `[].ssn`","enforced":true,"entry":{"#), "{json}");
}

#[test]
fn what_a_request_says_is_nothing_that_a_terminal_obeys() {
    let stage = staged(POLICY, None);
    let mut request = Request::new("GET", "https://api.example.com/", SystemTime::UNIX_EPOCH).unwrap();
    request.authority = "api.example.com\u{1b}[2J".to_owned();
    let ended = stage.rehearsal.run(&request);
    assert!(!Trace::of(&stage, &request, &ended).text(false).contains('\u{1b}'));
    assert!(Trace::of(&stage, &request, &ended).text(true).contains("\u{1b}[31m✗\u{1b}[0m"));
}
