use std::time::Duration;

use super::super::rehearse::tests::staged;
use super::*;

const POLICY: &str = r#"
allowedDomains: [api.example.com, {pattern: jira.example.com, httpRestrictions: [{method: GET, path: "/rest/*"}]}]
agents:
  ann: {identity: [{token: {env: ANN_TOKEN}}]}
  bob: {identity: [{sourceAddress: 10.9.0.0/16}]}
rules:
  - {name: Cap, host: api.example.com, path: /capped, action: {rateLimit: {requests: 2, per: minute}}}
  - {name: Ask, host: api.example.com, path: /asks, action: {approval: {hold: 20s, notify: []}}}
  - {name: Watched, host: api.example.com, path: /watched, mode: monitor, action: block}
  - {name: No deletes, host: api.example.com, method: DELETE, action: block}
credentials:
  - {name: api, envVarKey: NOT_SET, injections: [{domain: api.example.com, headerName: X-Key, headerFormat: "{value}"}]}
"#;

fn ran(cases: &str) -> Result<Vec<Ran>, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cases.yaml");
    std::fs::write(&file, cases).unwrap();
    let stage = staged(POLICY, None);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let read = cases::read(&file).and_then(|read| prepared(read, &stage, None)).map_err(|error| error.to_string());
    let named = |text: String| text.replace(&file.display().to_string(), "cases.yaml");
    let (cases, problems) = read.map_err(named)?;
    let all = cases.iter().map(|case| Ran::of(case, &problems, &stage, now));
    Ok(all.map(|ran| Ran { file: "cases.yaml".to_owned(), ..ran }).collect())
}

#[test]
fn what_is_expected_and_comes_passes() {
    let ran = ran(r#"
agent: ann
cases:
  - GET https://api.example.com/x: allow
  - DELETE https://api.example.com/x: {decision: deny, status: 403, reason: rule_blocked, rule: "rules[No deletes]"}
  - name: a credential goes with it
    request: GET http://api.example.com/x
    expect: {decision: allow, credentials: [api], rule: "allowedDomains[api.example.com]", would: nothing}
  - {request: GET https://jira.example.com/rest, expect: {reason: route_not_allowed, credentials: []}}
  - {request: GET https://other.example.com/, agent: bob, expect: deny}
  - request: GET https://api.example.com/watched
    expect: {decision: allow, would: {decision: deny, reason: rule_blocked, rule: "rules[Watched]"}, credentials: []}
  - name: asks
    steps:
      - GET https://api.example.com/asks: pending
      - {request: {method: GET, url: "https://api.example.com/asks", approved: true}, expect: allow}
      - {request: {method: GET, url: "https://api.example.com/asks", approved: false}, expect: {reason: approval_refused}}
  - name: the cap
    steps:
      - {request: GET https://api.example.com/capped, repeat: 2, expect: allow}
      - {request: GET https://api.example.com/capped, expect: {decision: rate_limited, status: 429, rule: "rules[Cap]"}}
      - {request: GET https://api.example.com/capped, agent: bob, expect: allow}
      - {request: GET https://api.example.com/capped, after: 59s, expect: rate_limited}
      - {request: GET https://api.example.com/capped, after: 1s, repeat: 2, expect: allow}
  - {request: GET https://api.example.com/capped, repeat: 2, expect: allow}
  - request: {method: GET, url: "https://api.example.com/x", source: 10.9.1.1}
    expect: {decision: deny, status: 407, reason: identity_conflict}
"#)
    .unwrap();
    assert_eq!(ran.len(), 10);
    for case in &ran {
        let mismatches: Vec<_> = case.failures.iter().map(|failed| &failed.mismatches).collect();
        assert!(case.failures.is_empty(), "{}: {mismatches:?}", case.name);
    }
}

#[test]
fn what_is_not_as_expected_is_told_with_its_place_and_its_way() {
    let ran = ran(r#"- name: deletes
  request: {method: DELETE, url: "https://api.example.com/x", agent: ann}
  expect: {decision: allow, rule: "rules[No delete]"}
- name: too much
  agent: ann
  request: GET https://api.example.com/capped
  repeat: 3
  expect: allow
- request: {method: GET, url: "https://api.example.com/watched", agent: ann}
  expect: {would: nothing, credentials: [api]}
- {request: {method: GET, url: "https://api.example.com/x", agent: ann}, expect: allow}
"#)
    .unwrap();
    let text = report::text(&ran, false, false);
    for line in [
        "✗ cases.yaml:1:3 deletes\n",
        "  DELETE https://api.example.com/x (agent ann) (line 1)\n",
        "    decision     expected allow, got deny\n",
        "    rule         expected rules[No delete], got rules[No deletes]\n",
        "the policy has no entry of this name; did you mean `rules[No deletes]`?\n",
        "    ✗ rules         blocked by a rule of the policy\n",
        "rules[No deletes]  policy.yaml:10:5\n",
        "✗ cases.yaml:4:3 too much\n",
        "  GET https://api.example.com/capped (agent ann), time 3 of 3 (line 4)\n",
        "    would        expected nothing, got rule_blocked\n",
        "    credentials  expected api, got none\n",
        "4 cases: 3 not as expected\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("✓ cases.yaml"), "{text}");
    assert!(report::text(&ran, true, false).contains("✓ cases.yaml:11:3 GET https://api.example.com/x\n"));

    let json = report::json(&ran);
    assert_eq!((&json["passed"], &json["failed"]), (&1.into(), &3.into()));
    let failure = &json["cases"][0]["failures"][0];
    assert_eq!(failure["mismatches"][0]["got"], "deny");
    assert_eq!(failure["explanation"]["rule"]["line"], 10);
    assert_eq!(json["cases"][1]["failures"][0]["repetition"], 3);

    let junit = report::junit(&ran);
    assert!(junit.contains("<testsuite name=\"cases.yaml\" tests=\"4\" failures=\"3\">"), "{junit}");
    assert!(junit.contains("<failure message=\"decision: expected allow, got deny; rule: "), "{junit}");
}

#[test]
fn a_mistake_in_a_file_of_cases_is_told_with_its_place() {
    for (cases, expected) in [
        ("- GET https://a.example/: alow", "1:27: error: `alow` is not a decision"),
        ("- {request: GET /x, expect: allow}", "`/x` is no absolute URL"),
        ("- {request: GET https://a.example/}", "a case needs `expect`"),
        ("- {expect: allow}", "a case needs `request`"),
        ("- {request: GET https://a.example/, expect: {}}", "nothing is expected"),
        ("- {request: GET https://a.example/, expect: {reason: rule_blockt}}", "did you mean `rule_blocked`?"),
        ("- {request: GET https://a.example/, expects: allow}", "did you mean `expect`?"),
        ("- {request: GET https://a.example/, agent: amn, expect: allow}", "did you mean `ann`?"),
        (
            "- {request: GET https://a.example/, expect: allow, steps: [GET https://a.example/: allow]}",
            "either `steps` or",
        ),
        ("- {steps: []}", "found an empty one"),
        ("- {request: {method: GET, url: \"https://a.example/\", headers: {x_y: a}}, expect: allow}", "Envoy refuses"),
        ("cases: []", "found an empty one"),
        ("[]", "found an empty one"),
        ("agent: ann", "needs `cases`"),
        (
            "- steps:\n  - {request: {method: GET, url: \"https://a.example/\", at: 2026-01-02T00:00:00Z}, expect: allow}\n  - {request: {method: GET, url: \"https://a.example/\", at: 2026-01-01T00:00:00Z}, expect: allow}",
            "this step is earlier than one before it",
        ),
    ] {
        let error = ran(cases).err().unwrap_or_else(|| panic!("{cases} was read"));
        assert!(error.contains(expected), "{cases}\n{error}");
    }
}
