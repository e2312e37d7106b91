use super::*;
use crate::config::compile::{Setting, compile};

const POLICY: &str = r#"
organization:
  blockedDomains: [paste.example]
  rules: [{name: No deletes, host: "*", method: DELETE, action: block}]
allowedDomains:
  - api.example.com
  - "http://plain.example.com"
  - 10.1.2.3
  - {pattern: jira.example.com, httpRestrictions: [{method: GET, path: "/rest/*"}]}
agents:
  ann: {identity: [{token: {sha256: "TOKEN"}}], allowedDomains: [ann.example.com]}
  bob: {identity: [{sourceAddress: 10.9.0.0/16}]}
rules:
  - {name: Cap, host: api.example.com, path: /capped, action: {rateLimit: {requests: 2, per: minute}}}
  - {name: Ask, host: api.example.com, path: /asks, action: {approval: {hold: 20s, notify: []}}}
  - {name: Watched, host: api.example.com, path: /watched, mode: monitor, action: block}
credentials:
  - name: api
    envVarKey: NOT_SET_ANYWHERE
    injections: [{domain: api.example.com, headerName: X-Key, headerFormat: "{value}"}]
"#;

fn rehearsal() -> Rehearsal {
    let hash = crate::pipeline::agent::TokenHash::of(b"a-token-of-ann-that-is-long").0;
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let setting = Setting { agent: None, environment: None, pod: None };
    let accepted = crate::config::parse("policy.yaml", &POLICY.replace("TOKEN", &hash))
        .compile(None, |policy, problems| compile(policy, setting, "rev", problems));
    Rehearsal::new(accepted.unwrap_or_else(|problems| panic!("{problems}")).value.rules)
}

fn request(agent: Option<&str>, line: &str) -> Request {
    let (method, url) = line.split_once(' ').unwrap();
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    Request { agent: agent.map(str::to_owned), ..Request::new(method, url, at).unwrap() }
}

#[test]
fn a_request_ends_where_live_traffic_would() {
    let rehearsal = rehearsal();
    for (agent, line, status, reason, stage) in [
        (Some("ann"), "GET https://api.example.com/x", None, None, Stage::Verdict),
        (Some("ann"), "GET http://api.example.com/x", None, None, Stage::Verdict),
        (Some("ann"), "GET http://plain.example.com/x", None, None, Stage::Verdict),
        (Some("ann"), "GET https://ann.example.com/", None, None, Stage::Verdict),
        (Some("bob"), "GET https://ann.example.com/", Some(403), Some(Reason::DomainNotAllowed), Stage::Domains),
        (Some("bob"), "GET https://other.example/", Some(403), Some(Reason::DomainNotAllowed), Stage::Domains),
        (Some("ann"), "GET https://api.paste.example/", Some(403), Some(Reason::DomainBlocked), Stage::Organization),
        (Some("ann"), "DELETE https://api.example.com/x", Some(403), Some(Reason::RuleBlocked), Stage::Organization),
        (Some("ann"), "GET https://jira.example.com/x", Some(403), Some(Reason::RouteNotAllowed), Stage::Domains),
        (
            Some("ann"),
            "GET https://jira.example.com/rest/../x",
            Some(403),
            Some(Reason::RouteNotAllowed),
            Stage::Domains,
        ),
        (Some("ann"), "GET https://api.example.com/a%2fb", Some(400), Some(Reason::MalformedPath), Stage::Normalize),
        (Some("ann"), "GET https://127.1/", Some(400), Some(Reason::MalformedAuthority), Stage::Normalize),
        (Some("ann"), "GET https://10.1.2.3/", Some(403), Some(Reason::AddressForbidden), Stage::Address),
        (Some("ann"), "GET https://api.example.com/asks", Some(403), Some(Reason::ApprovalPending), Stage::Approvals),
        (None, "GET https://api.example.com/x", Some(401), Some(Reason::NoIdentity), Stage::Identify),
    ] {
        let ended = rehearsal.run(&request(agent, line));
        assert_eq!((ended.status(), ended.reason, ended.stage), (status, reason, stage), "{line}: {ended:#?}");
        assert_eq!(ended.is_admitted(), status.is_none(), "{line}");
    }
}

#[test]
fn identities_count_as_they_are_shown() {
    let rehearsal = rehearsal();
    let run = |agent, source: Option<&str>, header: Option<(&str, &str)>| {
        let mut request = request(agent, "GET https://api.example.com/x");
        request.source = source.map(|text| text.parse().unwrap());
        if let Some((name, value)) = header {
            request.add_header(name, value).unwrap();
        }
        let ended = rehearsal.run(&request);
        (ended.record.agent.as_deref().map(str::to_owned), ended.status(), ended.at_connect)
    };
    let (ann, bob) = (Some("ann".to_owned()), Some("bob".to_owned()));
    let token = "Bearer a-token-of-ann-that-is-long";
    assert_eq!(run(None, None, Some(("Proxy-Authorization", token))), (ann.clone(), None, false));
    assert_eq!(run(None, None, Some(("Authorization", token))), (ann, None, false));
    assert_eq!(run(None, Some("10.9.1.1"), None), (bob, None, false));
    // Nobody is somebody else by saying so.
    assert_eq!(run(Some("bob"), None, Some(("Proxy-Authorization", token))), (None, Some(407), true));
    assert_eq!(run(Some("ann"), Some("10.9.1.1"), None), (None, Some(407), true));
    assert_eq!(run(None, None, Some(("Proxy-Authorization", "Bearer unknown"))), (None, Some(407), true));
}

#[test]
fn what_comes_with_a_request_is_told_by_name() {
    let rehearsal = rehearsal();
    let ended = rehearsal.run(&request(Some("ann"), "GET http://api.example.com/capped"));
    let grant = ended.grant.unwrap();
    assert_eq!((grant.scheme, grant.port), ("https", 443));
    assert_eq!(ended.grounds.entries, [RuleId::from("allowedDomains[api.example.com]")]);
    assert_eq!(grant.credentials, [(RuleId::from("api"), Slot::Header("x-key".into()))]);
    assert_eq!((&*grant.limits[0].rule, grant.limits[0].most), ("rules[Cap]", 2));
    assert_eq!(ended.looks_up, Some(("api.example.com".into(), 443)));
    assert_eq!(ended.record.upstream, None);

    let watched = rehearsal.run(&request(Some("ann"), "GET https://api.example.com/watched"));
    assert!(watched.is_admitted());
    assert_eq!(watched.record.would.unwrap().rule.as_deref(), Some("rules[Watched]"));
    assert!(watched.grant.unwrap().credentials.is_empty() && watched.record.credential.is_empty());
}

#[test]
fn a_person_says_what_the_request_has_them_say() {
    let rehearsal = rehearsal();
    for (person, reason) in [
        (Person::Silent, Some(Reason::ApprovalPending)),
        (Person::Refuses, Some(Reason::ApprovalRefused)),
        (Person::Approves, None),
    ] {
        let request =
            Request { person, body: b"{}".to_vec(), ..request(Some("ann"), "POST https://api.example.com/asks") };
        let ended = rehearsal.run(&request);
        assert_eq!(ended.reason, reason);
        assert_eq!((ended.petitions.len(), ended.held_body), (1, true));
        assert_eq!(ended.petitions[0].about.body_bytes, 2);
    }
}

#[test]
fn requests_are_counted_in_a_row_and_not_otherwise() {
    let rehearsal = rehearsal();
    let mut counters = Counters::default();
    let mut request = request(Some("ann"), "GET https://api.example.com/capped");
    let after = |counters: &mut Counters, request: &Request| rehearsal.run_after(counters, request).status();
    assert_eq!([(); 3].map(|()| after(&mut counters, &request)), [None, None, Some(429)]);
    assert_eq!([(); 3].map(|()| rehearsal.run(&request).status()), [None; 3]);
    assert_eq!(after(&mut counters, &Request { agent: Some("bob".into()), ..request.clone() }), None);
    request.at += Duration::from_secs(60);
    assert_eq!(after(&mut counters, &request), None);
}
