use super::*;

const FILE: &str = "example.policygroup.json";
/// The token of the documented example, which is never written out again.
const TOKEN: &str = "proxy-abc123";

/// The documented example: one route with a filter, one that is refused.
fn example() -> String {
    format!(
        r#"{{
  "localToken": "{TOKEN}",
  "policies": [
    {{
      "baseUrl": "https://api.example.com",
      "localUpstreamTokenKey": "EXAMPLE_API_KEY",
      "rules": [
        {{
          "route": "/v1/users",
          "method": "GET",
          "action": "allow",
          "response_filter": {{"type": "include_fields", "fields": ["id", "name", "email"]}}
        }},
        {{"route": "/v1/users/*", "method": "DELETE", "action": "deny"}}
      ]
    }}
  ]
}}"#
    )
}

/// A group with one API of these rules, each `METHOD ROUTE ACTION`.
fn group(rules: &[&str], more: &str) -> String {
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| match rule.split(' ').collect::<Vec<_>>()[..] {
            [method, route, action] => {
                format!(r#"{{"route": "{route}", "method": "{method}", "action": "{action}"}}"#)
            }
            _ => panic!("{rule}"),
        })
        .collect();
    let rules = rules.join(",\n");
    format!(
        "{{\"localToken\": \"0123456789abcdef\",{more}\n\"policies\": [{{\"baseUrl\": \"https://api.example.com\", \"rules\": [\n{rules}\n]}}]}}"
    )
}

/// What the agent may reach, without its identity.
fn allowed(text: &str) -> String {
    let (policy, _) = imported(Format::Abac, &[(FILE, text)], &options());
    policy.split("    allowedDomains:\n").nth(1).unwrap_or("nothing").to_owned()
}

#[test]
fn the_documented_example() {
    let (policy, warnings) = imported(Format::Abac, &[(FILE, &example())], &options());
    same(
        &policy,
        r#"# yaml-language-server: $schema=policy.schema.json
# Imported by `attache import --from abac` from example.policygroup.json.
# Read it before you use it, and the warnings that came with it.
version: 1

agents:
  # example.policygroup.json
  example:
    identity:
      # localToken, hashed
      - {token: {sha256: 61c28cd3c1eafb43ec86bbdd9f44d9edf519419eb69ce0542e7763d606e24091}}
    allowedDomains:
      # policies[0], api.example.com
      - pattern: api.example.com
        httpRestrictions:
          # rules[0]
          - {method: GET, path: /v1/users}
      - pattern: api.example.com
        action: deny
        httpRestrictions:
          # rules[1]
          - {method: DELETE, path: "/v1/users/{id}"}

credentials:
  # example.policygroup.json, localUpstreamTokenKey
  - name: example-api-key
    envVarKey: EXAMPLE_API_KEY
    agents: [example]
    injections:
      # policies[0]
      - {domain: api.example.com, headerName: x-api-key, headerFormat: "{value}"}

responseFilters:
  # example.policygroup.json, policies[0].rules[0]
  - {host: api.example.com, path: /v1/users, method: GET, agents: [example], includeFields: [id, name, email]}
"#,
    );
    assert_eq!(
        warnings,
        [
            "2:17 warning: this token has fewer than 16 characters and can be guessed",
            "6:32 warning: no header is named for this key: `x-api-key` is assumed",
        ]
    );
    assert!(!policy.contains(TOKEN));
}

#[test]
fn a_filter_that_cannot_be_said_here_is_refused() {
    for (fields, at, message) in [
        (r#"["id", "$.ssn"]"#, "12:74", "`$.ssn` is not the path of a field: `$` as a name has to stand in quotes"),
        ("[]", "12:67", "expected a list of fields, found an empty one"),
    ] {
        let text = example().replace(r#"["id", "name", "email"]"#, fields);
        let problems = refused(Format::Abac, &[(FILE, &text)], &options());
        assert!(brief(&problems).contains(&format!("{at} {message}")), "{problems}");
    }
}

#[test]
fn the_order_of_rules_is_compiled_away() {
    for (name, rules, expected) in [
        (
            "a refusal in front wins here too",
            vec!["GET /users/me deny", "GET /users/* allow"],
            r#"      # policies[0], api.example.com
      - pattern: api.example.com
        httpRestrictions:
          # rules[1]
          - {method: GET, path: "/users/{id}"}
      - pattern: api.example.com
        action: deny
        httpRestrictions:
          # rules[0]
          - {method: GET, path: /users/me}
"#,
        ),
        (
            "a refusal behind what covers it never counts",
            vec![" /users/* allow", "DELETE /users/me deny"],
            r#"      # policies[0], api.example.com
      # rules[1] never counts: rules[0] comes first: {method: DELETE, path: /users/me}
      - pattern: api.example.com
        httpRestrictions:
          # rules[0]
          - {path: "/users/{id}"}
"#,
        ),
        (
            "an exception from the default is no exception from anything",
            vec!["GET /users/me allow", " /users/* deny"],
            r#"      # policies[0], api.example.com
      # rules[1] refuses only what nothing allows: {path: "/users/{id}"}
      - pattern: api.example.com
        httpRestrictions:
          # rules[0]
          - {method: GET, path: /users/me}
"#,
        ),
        ("nothing is allowed", vec![" /users/* deny"], "nothing"),
    ] {
        assert_eq!(allowed(&group(&rules, "")), expected, "{name}");
    }
}

#[test]
fn an_order_that_cannot_be_kept_is_refused() {
    let text = group(&["GET /users/me allow", " /users/* deny", "GET /*/* allow"], "");
    let problems = refused(Format::Abac, &[(FILE, &text)], &options());
    assert_eq!(
        brief(&problems),
        ["4:1 the order of these rules cannot be kept: here a refusal always wins, and this one would also refuse \
          what rules[0], example.policygroup.json:3:1, allows before it"]
    );
}

#[test]
fn an_open_default_is_kept_and_warned_about() {
    let open = r#" "defaultAction": "allow","#;
    let text = group(&["DELETE /users/* deny", "GET /users allow"], open);
    let (policy, warnings) = imported(Format::Abac, &[(FILE, &text)], &options());
    let expected = r#"        httpRestrictions:
          # rules[1]
          - {method: GET, path: /users}
          # defaultAction: every other route
          - {path: /**}
      - pattern: api.example.com
        action: deny
        httpRestrictions:
          # rules[0]
          - {method: DELETE, path: "/users/{id}"}
"#;
    assert!(policy.contains(expected), "{policy}");
    assert_eq!(warnings, ["1:53 warning: `defaultAction` lets every route pass that no rule is about"]);

    let text = group(&["DELETE /users/me allow", "DELETE /users/* deny"], open);
    let problems = refused(Format::Abac, &[(FILE, &text)], &options());
    assert!(brief(&problems)[1].contains("cannot be kept"), "{problems}");
}

#[test]
fn each_key_goes_into_its_header() {
    let api = |more: &str| {
        format!(
            r#"{{"localToken": "0123456789abcdef", "policies": [{{"baseUrl": "https://api.example.com",
            "localUpstreamTokenKey": "KEY", {more} "rules": [{{"route": "/", "action": "allow"}}]}}]}}"#
        )
    };
    for (more, expected) in [
        (r#""upstreamTokenType": "bearer","#, r#"headerName: Authorization, headerFormat: "Bearer {value}""#),
        (
            r#""upstreamTokenType": "custom", "upstreamHeaderString": "x-bb-api-key","#,
            r#"headerName: x-bb-api-key, headerFormat: "{value}""#,
        ),
        (r#""upstreamHeaderString": "x-bb-api-key","#, r#"headerName: x-bb-api-key, headerFormat: "{value}""#),
        (r#""upstreamTokenType": null,"#, r#"headerName: x-api-key, headerFormat: "{value}""#),
    ] {
        let (policy, _) = imported(Format::Abac, &[(FILE, &api(more))], &options());
        let injection = format!("- {{domain: api.example.com, {expected}}}");
        assert!(policy.contains(&injection), "{more}\n{policy}");
    }
    for (more, expected) in [
        (r#""upstreamTokenType": "custom","#, "`custom` needs `upstreamHeaderString`"),
        (r#""upstreamTokenType": "basic","#, "this `upstreamTokenType` is not known"),
        (r#""upstreamHeaderString": "x y","#, "`upstreamHeaderString` is not the name of a header"),
        (r#""upstreamTokenType": "bearer", "upstreamHeaderString": "x","#, "`upstreamHeaderString` beside `bearer`"),
        (r#""upstreamTokenTyp": "bearer","#, "unknown key `upstreamTokenTyp` in a policy"),
    ] {
        let problems = refused(Format::Abac, &[(FILE, &api(more))], &options());
        assert!(problems.to_string().contains(expected), "{more}: {problems}");
    }
}

#[test]
fn hosts_are_what_base_urls_name() {
    let api = |url: &str| {
        format!(
            r#"{{"localToken": "0123456789abcdef", "policies": [{{"baseUrl": "{url}", "localUpstreamTokenKey": "KEY",
            "upstreamTokenType": "bearer", "rules": [{{"route": "/", "action": "allow"}}]}}]}}"#
        )
    };
    for (url, pattern, plaintext) in [
        ("https://API.Example.com/", "api.example.com", false),
        ("https://api.example.com:443", "api.example.com", false),
        ("https://api.example.com:8443", "\"api.example.com:8443\"", false),
        ("http://api.example.com", "\"http://api.example.com\"", true),
    ] {
        let (policy, warnings) = imported(Format::Abac, &[(FILE, &api(url))], &options());
        assert!(policy.contains(&format!("- pattern: {pattern}\n")), "{url}\n{policy}");
        assert!(policy.contains(&format!("{{domain: {pattern}, ")), "{url}\n{policy}");
        assert_eq!(policy.contains("plaintext: true"), plaintext, "{policy}");
        assert_eq!(warnings.len(), usize::from(plaintext), "{warnings:?}");
    }
    for url in ["api.example.com", "ftp://a.example", "https://*.example.com", "https://*", "https://a.example/v1"] {
        refused(Format::Abac, &[(FILE, &api(url))], &options());
    }
    for url in ["https://user:hunter2@a.example", "https://a.example/?key=hunter2", "hunter2"] {
        let problems = refused(Format::Abac, &[(FILE, &api(url))], &options());
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
    }
}

#[test]
fn groups_are_agents_and_share_neither_token_nor_credential() {
    let group = |token: &str| {
        format!(
            r#"{{"localToken": "{token}", "policies": [
                {{"baseUrl": "https://a.example", "localUpstreamTokenKey": "KEY", "upstreamTokenType": "bearer",
                  "rules": [{{"route": "/", "action": "allow"}}]}},
                {{"baseUrl": "https://A.example", "rules": [{{"route": "/other", "action": "allow"}}]}}]}}"#
        )
    };
    let (first, second) = (group("0123456789abcdef"), group("fedcba9876543210"));
    let sources = [("x/team one.policygroup.json", &*first), ("y/team one.policygroup.json", &*second)];
    let (policy, warnings) = imported(Format::Abac, &sources, &options());
    for expected in ["  team-one:\n", "  team-one-2:\n", "- name: key\n", "- name: key-2\n", "agents: [team-one-2]"] {
        assert!(policy.contains(expected), "{expected}\n{policy}");
    }
    assert!(!policy.contains("/other"), "{policy}");
    assert!(warnings[0].contains("policies[1] is left out: of two for one host, only the first"), "{warnings:?}");

    let same = [("a.policygroup.json", &*first), ("b.policygroup.json", &*first)];
    let problems = refused(Format::Abac, &same, &options());
    let message = "this `localToken` is also that of a.policygroup.json:1:16";
    assert!(brief(&problems).iter().any(|line| line.ends_with(message)), "{problems}");
    assert!(!problems.to_string().contains("0123456789abcdef"), "{problems}");
}

#[test]
fn what_cannot_be_said_is_refused() {
    for (rule, expected) in [
        ("GET /us* allow", "3:11 `/us*` has a `*` that is not a whole segment, which there is the sign itself"),
        ("GET /a/{id} allow", "3:11 `/a/{id}` has the segment `{id}`, which no pattern of paths can say"),
        ("GET /a?b allow", "3:11 `/a?b` has the segment `a?b`, which no pattern of paths can say"),
        ("TRACE /a allow", "3:27 `TRACE` is not a method that can be imported"),
        ("ANY /a allow", "3:27 `ANY` is not a method that can be imported"),
        ("GET /a audit", "3:44 `audit` is not an action"),
    ] {
        let problems = refused(Format::Abac, &[(FILE, &group(&[rule], ""))], &options());
        let found = brief(&problems);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{rule}: {found:?}");
    }
    for (text, expected) in [
        ("{}", "a policy group needs `localToken`"),
        (r#"{"localToken": "0123456789abcdef", "policies": []}"#, "found an empty one"),
        (r#"{"localToken": "", "policies": []}"#, "expected a token, found an empty text"),
        (r#"{"localToken": "a b", "policies": []}"#, "this token has a blank"),
        (&group(&[], r#" "rateLimit": 1,"#), "unknown key `rateLimit` in a policy group"),
        (
            r#"{"localToken": "0123456789abcdef", "policies": [{"baseUrl": "https://a.example", "rules": [],
               "localUpstreamTokenKey": "sk-1-2"}]}"#,
            "`localUpstreamTokenKey` is not the name of an environment variable",
        ),
    ] {
        let problems = refused(Format::Abac, &[(FILE, text)], &options());
        assert!(problems.to_string().contains(expected), "{text}: {problems}");
        assert!(!problems.to_string().contains("sk-1-2"), "{problems}");
    }
}
