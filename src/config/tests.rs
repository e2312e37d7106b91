use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::error::disguises;
use super::files::SIZE_LIMIT;
use super::schema::{Action, Identity, Methods, SecretSource, Slot, TokenSource, Upgrade};
use super::*;

fn accepted(text: &str) -> Accepted<Policy> {
    match compiled(parse("policy.yaml", text)) {
        Ok(accepted) => accepted,
        Err(problems) => panic!("{problems}"),
    }
}

fn compiled(draft: Draft) -> Result<Accepted<Policy>, Problems> {
    draft.compile(None, |policy, _| Some(policy.clone()))
}

fn problems(draft: Draft) -> Problems {
    match compiled(draft) {
        Ok(accepted) => accepted.warnings,
        Err(problems) => problems,
    }
}

/// `line:column message | fix` of each problem.
fn complaints(text: &str) -> Vec<String> {
    brief(&problems(parse("policy.yaml", text)))
}

fn brief(problems: &Problems) -> Vec<String> {
    problems
        .iter()
        .map(|problem| {
            let place = problem.at.map(|at| format!("{}:{} ", at.line, at.column)).unwrap_or_default();
            let warning = if problem.severity == Severity::Warning { "warning: " } else { "" };
            let fix = problem.fix.as_deref().unwrap_or("-");
            format!("{place}{warning}{} | {fix}", problem.message)
        })
        .collect()
}

#[test]
fn every_mistake_is_reported_with_its_place_and_the_fix() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "not YAML at all",
            "a: 1\n- b\n",
            &["2:3 this is not YAML: while parsing a block mapping, did not find expected key | -"],
        ),
        ("policy is a list", "- a\n", &["1:1 expected a policy, which is a mapping, found a list | -"]),
        ("policy is a text", "just text\n", &["1:1 expected a policy, which is a mapping, found a text | -"]),
        (
            "unknown version",
            "version: 2\n",
            &["1:10 version `2` of the policy language is not known | this version of attache reads `version: 1`"],
        ),
        ("quoted version", "version: \"1\"\n", &[]),
        ("version is a list", "version: [1]\n", &["1:10 expected the number 1, found a list | -"]),
        (
            "unknown and unenforced keys",
            "allowDomains: []\n\
                 rules: []\n\
                 service: x\n",
            &[
                "1:1 unknown key `allowDomains` in a policy | did you mean `allowedDomains`?",
                "2:1 `rules` is not enforced by this version of attache, so a policy that relies on it is refused | remove `rules`, or use a version that enforces it",
                "3:1 unknown key `service` in a policy | did you mean `services`?",
            ],
        ),
        (
            "domains are a text",
            "allowedDomains: a.example\n",
            &["1:17 expected a list of domains, found a text | write `[` and `]` around it"],
        ),
        (
            "domains are a mapping",
            "allowedDomains: {a: b}\n",
            &["1:17 expected a list of domains, found a mapping | -"],
        ),
        (
            "domains are nothing",
            "allowedDomains:\n",
            &["1:1 expected a list of domains, found nothing | an empty list is `[]`"],
        ),
        (
            "entries of wrong types",
            "allowedDomains: [1, true, ~, '', [a], {pattern: x, action: permit}]\n",
            &[
                "1:18 expected a domain, found a number | to write it as a text, put it in quotes",
                "1:21 expected a domain, found a boolean | to write it as a text, put it in quotes",
                "1:27 expected a domain, found nothing | give it a value, or remove it",
                "1:30 expected a domain, found an empty text | -",
                "1:34 expected a domain or an allow entry, found a list | -",
                "1:60 `permit` is not an action | write one of `allow`, `deny` and `block`",
            ],
        ),
        (
            "allow entries incomplete",
            "allowedDomains:\n\
                 \x20 - action: allow\n\
                 \x20 - {pattern: a, httpRestrictions: []}\n\
                 \x20 - {pattern: a, httpRestrictions: [{}]}\n\
                 \x20 - {pattern: a, httpRestrictions: [{methods: GET, path: /a}]}\n",
            &[
                "2:5 an allow entry needs `pattern` | -",
                "3:36 expected a list of methods and paths, found an empty one | to allow every method and path remove the key; to allow nothing remove the entry",
                "4:37 a restriction needs `method`, `path` or both | write `{method: GET, path: \"/v1/*\"}`",
                "5:38 unknown key `methods` in a restriction | did you mean `method`?",
            ],
        ),
        (
            "methods",
            "allowedDomains: [{pattern: a, httpRestrictions: [{method: [GET, any]}, {method: CONNECT}, {method: 'G T'}, {method: [TRACE, GTE]}]}]\n",
            &[
                "1:65 `any` stands alone | remove the other methods, or `any`",
                "1:81 CONNECT opens the tunnel to the proxy and is never forwarded | list the methods of the requests inside the tunnel",
                "1:100 `G T` is not a method | did you mean `GET`?",
                "1:118 warning: TRACE sends the request back to the agent, injected credentials included | remove TRACE",
                "1:125 warning: `GTE` is not a common method | did you mean `GET`?",
            ],
        ),
        (
            "upgrades and address ranges",
            "allowedDomains: [{pattern: a, upgrades: [websockets], allowPrivate: [10.0.0.1/8, 10.0.0.0/33, x], allowOverrideHeaders: yes}]\n",
            &[
                "1:42 `websockets` is not a protocol to switch to | did you mean `websocket`?",
                "1:70 `10.0.0.1/8` has bits set beyond its prefix | write 10.0.0.0/8, or 10.0.0.1 for the one address",
                "1:82 `10.0.0.0/33` is not an address range | write an address and a prefix length, such as 10.20.0.0/16",
                "1:95 `x` is not an address range | write an address and a prefix length, such as 10.20.0.0/16",
                "1:121 expected `true` or `false`, found the text `yes` | in YAML 1.2 only `true` and `false` are booleans",
            ],
        ),
        (
            "deny with grants",
            "allowedDomains: [{pattern: a, action: deny, upgrades: [websocket]}]\n",
            &[
                "1:18 warning: an entry that denies grants nothing | remove `upgrades`, `allowPrivate` and `allowOverrideHeaders` from it",
            ],
        ),
        (
            "block entry is a mapping",
            "blockedDomains: [{pattern: a}]\n",
            &["1:18 expected a domain, found a mapping | -"],
        ),
        (
            "no agents",
            "agents: {}\n",
            &[
                "1:9 `agents` names nobody, so every caller would be refused | name an agent, or remove the key: a policy without `agents` has exactly one",
            ],
        ),
        ("agents are a list", "agents: [a]\n", &["1:9 expected a mapping from names to agents, found a list | -"]),
        (
            "agent names and keys",
            "agents: {all: {}, 'a b': {}, -x: {}, ok: {rateLimit: {}, mode: monitor, identities: []}}\n",
            &[
                "1:10 `all` stands for every agent and cannot name one | choose another name",
                "1:19 `a b` cannot be a name | a name is 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first of them a letter or digit",
                "1:30 `-x` cannot be a name | a name is 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first of them a letter or digit",
                "1:43 `rateLimit` is not enforced by this version of attache, so a policy that relies on it is refused | remove `rateLimit`, or use a version that enforces it",
                "1:58 `mode` is not enforced by this version of attache, so a policy that relies on it is refused | remove `mode`, or use a version that enforces it",
                "1:73 unknown key `identities` in an agent | did you mean `identity`?",
            ],
        ),
        (
            "identities",
            "agents:\n\
                 \x20 a:\n\
                 \x20   identity:\n\
                 \x20     - spiffe: spiffe://x\n\
                 \x20     - sourceAddress: 10.0.0.0/8\n\
                 \x20     - token: hunter2\n\
                 \x20     - token: {env: hunter-2, expires: x}\n\
                 \x20     - token: {sha256: abc}\n\
                 \x20     - token: {value: hunter2}\n\
                 \x20     - {token: {env: A}, header: {}}\n\
                 \x20     - header: {name: Authorization, value: x, trusted: true}\n\
                 \x20     - header: {name: X-A, value: \"a\\n\
                 b\"}\n\
                 \x20     - header: {name: X-Envoy-A, value: a, trusted: no}\n\
                 \x20     - password: hunter2\n",
            &[
                "4:9 `spiffe` is not enforced by this version of attache, so a policy that relies on it is refused | remove `spiffe`, or use a version that enforces it",
                "5:9 `sourceAddress` is not enforced by this version of attache, so a policy that relies on it is refused | remove `sourceAddress`, or use a version that enforces it",
                "6:16 a token is not written into the policy | write where it is: `{env: NAME}`, `{file: /run/secrets/token}` or `{sha256: …}`",
                "7:22 this is not the name of an environment variable | write the variable's name (letters, digits and `_`), not its value",
                "7:32 `expires` is not enforced by this version of attache, so a policy that relies on it is refused | remove `expires`, or use a version that enforces it",
                "8:25 this is not a SHA-256 | write 64 hexadecimal digits, as `printf %s \"$TOKEN\" | sha256sum` prints them",
                "9:16 a token has one of `env`, `file` and `sha256` | write where it is: `{env: NAME}`, `{file: /run/secrets/token}` or `{sha256: …}`",
                "9:17 unknown key `value` in a token | the keys of a token are `env`, `file` and `sha256`",
                "10:9 an identity is one of `token` and `header` | write each as an entry of its own: `- token: {env: NAME}`",
                "10:35 a header identity needs `name` | -",
                "10:35 a header identity needs `value` | -",
                "10:35 a header identity needs `trusted` | -",
                "11:24 the header `Authorization` cannot name an agent | for a token use `token: {env: …}`; otherwise a header of its own, such as `X-Attache-Agent`",
                "12:17 a header identity needs `trusted` | -",
                "12:36 `a\\nb` cannot be the value of a header | a header's value is printable ASCII without blanks around it",
                "13:24 the header `X-Envoy-A` is the proxy's own and cannot name an agent | use a header of its own, such as `X-Attache-Agent`",
                "13:54 expected `true` or `false`, found the text `no` | in YAML 1.2 only `true` and `false` are booleans",
                "14:9 an identity is one of `token` and `header` | write each as an entry of its own: `- token: {env: NAME}`",
                "14:9 unknown key `password` in an identity | the keys of an identity are `token` and `header`",
            ],
        ),
        (
            "identities shared",
            "agents:\n\
                 \x20 a: {identity: [{token: {env: T}}, {header: {name: X-Attache-Agent, value: a, trusted: true}}]}\n\
                 \x20 b: {identity: [{token: {env: T}}, {header: {name: x-attache-agent, value: a, trusted: false}}]}\n\
                 \x20 c: {}\n\
                 defaultAgent: d\n",
            &[
                "3:18 this identity is given twice; first at policy.yaml:2:18 | an identity names one agent: give each its own",
                "3:37 this identity is given twice; first at policy.yaml:2:37 | an identity names one agent: give each its own",
                "3:46 warning: a header that is not trusted names nobody | write `trusted: true` where only what you trust can reach the proxy; otherwise use a token",
                "5:15 there is no agent `d` | add it under `agents`",
            ],
        ),
        (
            "default agent without agents",
            "defaultAgent: a\nproxyChallenge: on\n",
            &[
                "1:15 `defaultAgent` chooses among `agents`, and the policy names none | remove it: a policy without `agents` has exactly one, named by `--agent`",
                "2:17 expected `true` or `false`, found the text `on` | in YAML 1.2 only `true` and `false` are booleans",
            ],
        ),
        (
            "credentials incomplete",
            "credentials:\n\
                 \x20 - name: a\n\
                 \x20 - {name: a b, envVarKey: sk-live, file: x}\n\
                 \x20 - {name: a, value: hunter2}\n\
                 \x20 - {name: b, vault: x, service: openai, endpoints: []}\n",
            &[
                "2:5 a credential has one of `envVarKey` and `file` | write where the secret is: `envVarKey: NAME` or `file: /run/secrets/name`",
                "3:5 a credential has one of `envVarKey` and `file` | write where the secret is: `envVarKey: NAME` or `file: /run/secrets/name`",
                "3:12 `a b` cannot be a name | a name is 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first of them a letter or digit",
                "3:28 this is not the name of an environment variable | write the variable's name (letters, digits and `_`), not its value",
                "4:5 a credential has one of `envVarKey` and `file` | write where the secret is: `envVarKey: NAME` or `file: /run/secrets/name`",
                "4:15 unknown key `value` in a credential | the keys of a credential are `name`, `envVarKey`, `file`, `injections`, `agents` and `placeholder`",
                "5:15 `vault` is not enforced by this version of attache, so a policy that relies on it is refused | remove `vault`, or use a version that enforces it",
                "5:25 `service` is not enforced by this version of attache, so a policy that relies on it is refused | remove `service`, or use a version that enforces it",
                "5:42 `endpoints` is not enforced by this version of attache, so a policy that relies on it is refused | remove `endpoints`, or use a version that enforces it",
            ],
        ),
        (
            "credentials together",
            "credentials: [{name: a, envVarKey: A}, {name: a, envVarKey: B, agents: [], injections: []}, {name: b, file: f, agents: all, injections: [{domain: x, queryParam: key}]},  {name: a, file: f, agents: [x]}]\n",
            &[
                "1:72 expected a list of agents, found an empty one | name the agents that may use it, or write `all`",
                "1:178 the credential `a` is given twice; first at policy.yaml:1:22 | a name stands for one credential: rename one, or list all its injections in one entry",
                "1:199 warning: the policy names no agents, so `x` can use this only when started with `--agent x` | add `agents`, or remove the list",
            ],
        ),
        (
            "injections",
            "credentials:\n\
                 - name: a\n\
                 \x20 envVarKey: A\n\
                 \x20 injections:\n\
                 \x20 - {}\n\
                 \x20 - {domain: x, headerName: Authorization}\n\
                 \x20 - {domain: x, headerName: Host, headerFormat: {value}}\n\
                 \x20 - {domain: x, headerName: 'A B', headerFormat: '{value}'}\n\
                 \x20 - {domain: x, headerName: A, headerFormat: x, queryParam: y}\n\
                 \x20 - {domain: x, queryParam: '?y', headerFormat: x}\n\
                 \x20 - {domain: x, queryParam: y, plaintext: 1}\n",
            &[
                "5:5 an injection has one of `headerName` and `queryParam` | write `headerName: Authorization` with `headerFormat: \"Bearer {value}\"`",
                "5:5 an injection needs `domain` | -",
                "6:5 an injection with `headerName` needs `headerFormat` | write `headerFormat: \"Bearer {value}\"`, or `\"{value}\"` for the credential alone",
                "7:29 the header `Host` is the proxy's own and cannot carry a credential | name the header that the API documents for its key",
                "7:49 expected a format with `{value}` in it, found a mapping | a text that begins with `{` goes in quotes",
                "8:29 `A B` cannot be the name of a header | a header's name is letters, digits and `-`, such as `Authorization`",
                "9:5 an injection has one of `headerName` and `queryParam` | write `headerName: Authorization` with `headerFormat: \"Bearer {value}\"`",
                "10:5 `headerFormat` has no meaning with `queryParam` | remove it: the parameter's value is the credential",
                "10:29 `?y` cannot be the name of a query parameter | write the name alone, without `?`, `&` or `=`",
                "11:43 expected `true` or `false`, found a number | to write it as a text, put it in quotes",
            ],
        ),
        (
            "a misspelt agent",
            "agents: {researcher: {identity: [{token: {env: T}}]}}\ncredentials: [{name: a, envVarKey: A, agents: [reseacher], injections: [{domain: x, queryParam: k}]}]\n",
            &["2:48 there is no agent `reseacher` | did you mean `researcher`?"],
        ),
    ];
    for (name, text, expected) in cases {
        assert_eq!(complaints(text), *expected, "{name}");
    }
}

#[test]
fn the_report_shows_each_line_and_points_at_the_mistake() {
    let text = "\
version: 1
allowDomains: [api.example.com]
allowedDomains:
  - pattern: api.example.com
    action: alow
    httpRestrictions: GET
credentials:
  - {name: jira, envVarKey: JIRA, injections: [{domain: x, headerName: Host, headerFormat: y}]}
";
    let expected = "\
policy.yaml:2:1: error: unknown key `allowDomains` in a policy
  |
2 | allowDomains: [api.example.com]
  | ^^^^^^^^^^^^
  fix: did you mean `allowedDomains`?
policy.yaml:5:13: error: `alow` is not an action
  |
5 |     action: alow
  |             ^^^^
  fix: did you mean `allow`?
policy.yaml:6:23: error: expected a list of methods and paths, found a text
  |
6 |     httpRestrictions: GET
  |                       ^^^
  fix: write `[` and `]` around it
policy.yaml:8:72: error: the header `Host` is the proxy's own and cannot carry a credential
  |
8 |   - {name: jira, envVarKey: JIRA, injections: [{domain: x, headerName: Host, headerFormat: y}]}
  |                                                                        ^^^^
  fix: name the header that the API documents for its key";
    assert_eq!(problems(parse("policy.yaml", text)).to_string(), expected);
}

#[test]
fn a_secret_written_into_the_policy_is_not_printed() {
    for (name, text) in [
        ("token as text", "agents: {a: {identity: [{token: hunter2}]}}\n"),
        ("token under an unknown key", "agents: {a: {identity: [{token: {value: hunter2}}]}}\n"),
        ("token instead of its hash", "agents: {a: {identity: [{token: {sha256: hunter2}}]}}\n"),
        ("secret instead of a variable", "credentials: [{name: a, envVarKey: hunter-hunter2}]\n"),
        ("secret under an unknown key", "credentials:\n  - {name: a, value: hunter2}\n"),
    ] {
        let report = problems(parse("policy.yaml", text)).to_string();
        assert!(report.contains("error") && !report.contains("hunter2"), "{name}: {report}");
    }
}

#[test]
fn the_documented_examples_are_policies() {
    let policy = accepted(
        r#"
allowedDomains:
- pattern: "api.jira.example.com"
  action: "allow"
  httpRestrictions:
  - method: "GET"
    path: "/rest/api/2/issue/*"
  - method: "POST"
    path: "/rest/api/2/issue"
- pattern: "*.servicenow.com"
  action: "allow"
- pattern: "api.pagerduty.com"
  action: "allow"
credentials:
- name: "jira-token"
  envVarKey: "JIRA_API_TOKEN"
  injections:
  - domain: "api.jira.example.com"
    headerName: "Authorization"
    headerFormat: "Basic {base64:user@example.com:{value}}"
- name: "pagerduty-token"
  envVarKey: "PAGERDUTY_API_KEY"
  injections:
  - domain: "api.pagerduty.com"
    headerName: "Authorization"
    headerFormat: "Token token={value}"
"#,
    );
    assert!(policy.warnings.is_empty());
    let policy = policy.value;
    let patterns: Vec<_> = policy.allowed_domains.iter().map(|entry| entry.pattern.as_str()).collect();
    assert_eq!(patterns, ["api.jira.example.com", "*.servicenow.com", "api.pagerduty.com"]);
    let restrictions = policy.allowed_domains[0].restrictions.as_ref().unwrap();
    let Methods::Listed(methods) = &restrictions[1].methods else { panic!("a listed method") };
    assert_eq!(methods[0].value, "POST");
    assert_eq!(restrictions[1].path.as_ref().unwrap().value, "/rest/api/2/issue");
    assert!(policy.allowed_domains[1].restrictions.is_none());
    assert!(policy.agents.is_none());
    let jira = &policy.credentials[0];
    assert_eq!(jira.source.value, SecretSource::Environment("JIRA_API_TOKEN".to_owned()));
    let Slot::Header { name, format } = &jira.injections[0].slot else { panic!("a header") };
    assert_eq!(name.value, http::header::AUTHORIZATION);
    assert_eq!(format.value, "Basic {base64:user@example.com:{value}}");
}

#[test]
fn everything_this_version_enforces_is_read() {
    let policy = accepted(
        r#"
version: 1
allowedDomains:
  - internal-api.example.com
  - {pattern: stream.example.com, upgrades: [websocket], allowOverrideHeaders: true}
  - {pattern: db.internal.example.com, allowPrivate: [10.20.0.0/16, fd00::1]}
  - {pattern: old.example.com, action: block, httpRestrictions: [{method: any, path: /admin/**}, {method: [get, PUT]}, {path: /x}]}
blockedDomains: [evil.example]
proxyChallenge: true
defaultAgent: coder
agents:
  researcher:
    identity:
      - token: {env: RESEARCHER_PROXY_TOKEN}
      - token: {file: token}
      - token: {sha256: 9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08}
      - header: {name: X-Attache-Agent, value: researcher, trusted: true}
    allowedDomains: [api.arxiv.org]
    blockedDomains: [raw.githubusercontent.com]
  coder: {}
credentials:
  - name: key
    file: /run/secrets/key
    agents: [researcher]
    placeholder: sk-placeholder
    injections:
      - {domain: "http://a.example", path: "/rest/**", queryParam: api_key, plaintext: true}
"#,
    );
    assert_eq!(policy.warnings.to_string(), "");
    let policy = policy.value;
    let [plain, stream, database, old] = policy.allowed_domains.as_slice() else { panic!("four entries") };
    assert_eq!((plain.action, plain.allow_override_headers), (Action::Allow, false));
    assert_eq!((stream.upgrades[0].value, stream.allow_override_headers), (Upgrade::WebSocket, true));
    let ranges: Vec<_> = database.allow_private.iter().map(|range| range.value.to_string()).collect();
    assert_eq!(ranges, ["10.20.0.0/16", "fd00::1/128"]);
    assert_eq!(old.action, Action::Deny);
    let restrictions = old.restrictions.as_ref().unwrap();
    assert_eq!(restrictions[0].methods, Methods::Any);
    let Methods::Listed(methods) = &restrictions[1].methods else { panic!("listed methods") };
    assert_eq!(methods.iter().map(|method| method.as_str()).collect::<Vec<_>>(), ["GET", "PUT"]);
    assert!(restrictions[1].path.is_none());
    assert_eq!(restrictions[2].methods, Methods::Any);
    assert!(policy.proxy_challenge);
    assert_eq!(policy.default_agent.unwrap().as_str(), "coder");
    let agents = policy.agents.unwrap();
    assert_eq!(agents[0].name.as_str(), "researcher");
    let identity: Vec<_> = agents[0].identity.iter().map(|identity| &identity.value).collect();
    assert_eq!(*identity[0], Identity::Token(TokenSource::Environment("RESEARCHER_PROXY_TOKEN".to_owned())));
    assert_eq!(*identity[1], Identity::Token(TokenSource::File(PathBuf::from("token"))));
    let Identity::Token(TokenSource::Sha256(digest)) = identity[2] else { panic!("a hash") };
    assert_eq!((digest[0], digest[31]), (0x9f, 0x08));
    let Identity::Header(header) = identity[3] else { panic!("a header") };
    assert_eq!((header.name.as_str(), header.value.as_str(), header.trusted), ("x-attache-agent", "researcher", true));
    assert_eq!(agents[0].blocked_domains[0].value, "raw.githubusercontent.com");
    let key = &policy.credentials[0];
    assert_eq!(key.source.value, SecretSource::File(PathBuf::from("/run/secrets/key")));
    assert_eq!(key.agents.as_ref().unwrap()[0].as_str(), "researcher");
    assert_eq!(key.placeholder.as_ref().unwrap().value, "sk-placeholder");
    assert!(key.injections[0].plaintext);
    assert_eq!(key.injections[0].path.as_ref().unwrap().value, "/rest/**");
    assert!(matches!(&key.injections[0].slot, Slot::Query(name) if name.value == "api_key"));
}

#[test]
fn json_is_read_like_yaml() {
    let policy = accepted("\u{feff}{\"version\": 1, \"allowedDomains\": [{\"pattern\": \"a.example\"}]}").value;
    assert_eq!(policy.allowed_domains[0].pattern.value, "a.example");
}

#[test]
fn the_command_line_may_fix_the_agent() {
    let text = "agents: {researcher: {}}\n";
    let compile = |agent| parse("p", text).compile(agent, |_, _| Some(()));
    assert!(compile(Some("researcher")).unwrap().warnings.is_empty());
    assert_eq!(
        brief(&compile(Some("reseacher")).unwrap_err()),
        ["the policy has no agent `reseacher`, which `--agent` names | did you mean `researcher`?"]
    );
    let text = "credentials: [{name: a, file: /f, agents: [x], injections: [{domain: d, queryParam: k}]}]\n";
    let compile = |agent| parse("p", text).compile(agent, |_, _| Some(()));
    assert!(compile(Some("x")).unwrap().warnings.is_empty());
    assert_eq!(compile(None).unwrap().warnings.warnings(), 1);
}

#[test]
fn what_the_compiler_finds_is_reported_with_the_rest() {
    let text = "allowedDomains: [bad..host]\nrules: []\n";
    let outcome = parse("p", text).compile(None, |policy, problems| {
        let pattern = &policy.allowed_domains[0].pattern;
        problems.error(pattern.span, "an empty label").fix("remove a dot");
        Some(())
    });
    let problems = outcome.unwrap_err();
    assert_eq!(problems.errors(), 2);
    assert_eq!(brief(&problems)[0], "1:18 an empty label | remove a dot");
}

#[test]
fn a_compiler_that_gives_nothing_is_not_taken_for_success() {
    let outcome = parse("p", "allowedDomains: []").compile(None, |_, _| None::<()>);
    assert_eq!(outcome.unwrap_err().errors(), 1);
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn the_files_of_a_directory_are_one_policy() {
    let folder = folder(&[
        ("b.yml", "allowedDomains: [b.example]\nagents: {two: {identity: [{token: {file: two}}]}}\n"),
        ("a.yaml", "version: 1\nallowedDomains: [a.example]\nagents: {one: {identity: [{token: {env: ONE}}]}}\n"),
        ("notes.txt", "not: [a policy"),
        (".hidden.yaml", "not: [a policy"),
    ]);
    let accepted = compiled(read(folder.path())).unwrap();
    assert_eq!(accepted.warnings.to_string(), "");
    let policy = accepted.value;
    let patterns: Vec<_> = policy.allowed_domains.iter().map(|entry| entry.pattern.as_str()).collect();
    assert_eq!(patterns, ["a.example", "b.example"]);
    let agents = policy.agents.unwrap();
    assert_eq!(agents[0].name.as_str(), "one");
    assert_eq!(agents[1].identity[0].value, Identity::Token(TokenSource::File(folder.path().join("two"))));
}

#[test]
fn what_two_files_both_give_is_reported_with_both_places() {
    let folder = folder(&[
        ("a.yaml", "version: 1\nagents: {x: {}}\nblockedDomains: []\ncredentials: [{name: c, file: f}]\n"),
        ("b.yaml", "version: 1\nagents: {x: {}}\nblockedDomains: {}\ncredentials: [{name: c, file: f}]\n"),
    ]);
    let a = folder.path().join("a.yaml").display().to_string();
    let problems = problems(read(folder.path()));
    let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            format!("`version` is given in two files; first at {a}:1:1"),
            format!("`x` is given in two files; first at {a}:2:10"),
            format!("`blockedDomains` is given in two files; first at {a}:3:1"),
            format!("the credential `c` is given twice; first at {a}:4:22"),
        ]
    );
    assert!(problems.to_string().contains("b.yaml:2:10: error: `x` is given"));
}

#[test]
fn a_broken_file_does_not_hide_what_is_wrong_in_another() {
    let folder = folder(&[
        ("a.yaml", "agents: [\n"),
        (
            "b.yaml",
            "allowDomains: []\ncredentials: [{name: c, file: f, agents: [in-a], injections: [{domain: d, queryParam: k}]}]\n",
        ),
    ]);
    let report = problems(read(folder.path())).to_string();
    assert!(report.contains("a.yaml:"), "{report}");
    assert!(report.contains("unknown key `allowDomains`"), "{report}");
    assert!(!report.contains("in-a"), "{report}");
}

#[test]
fn a_config_map_is_read_as_one_snapshot() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    for (snapshot, host) in [("..1", "old.example"), ("..2", "new.example")] {
        fs::create_dir(folder.path().join(snapshot)).unwrap();
        fs::write(folder.path().join(snapshot).join("p.yaml"), format!("allowedDomains: [{host}]\nx: 1\n")).unwrap();
    }
    symlink("..2", folder.path().join("..data")).unwrap();
    symlink("..data/p.yaml", folder.path().join("p.yaml")).unwrap();
    let draft = read(folder.path());
    assert_eq!(draft.policy.as_ref().unwrap().allowed_domains[0].pattern.value, "new.example");
    let place = format!("{}:2:1: error: unknown key `x`", folder.path().join("p.yaml").display());
    let report = problems(draft).to_string();
    assert!(report.starts_with(&place), "{report}");
}

#[test]
fn files_that_cannot_be_read_say_so() {
    let folder = folder(&[("note.txt", ""), ("large.yaml", "")]);
    let large = folder.path().join("large.yaml");
    fs::File::options().write(true).open(&large).unwrap().set_len(SIZE_LIMIT + 1).unwrap();
    let missing = folder.path().join("missing.yaml");
    let empty = tempfile::tempdir().unwrap();
    for (path, message, fix) in [
        (missing.as_path(), "No such file or directory", "check the path"),
        (Path::new("/dev/null"), "neither a file nor a directory", "give its path"),
        (large.as_path(), "it is larger than 8 MiB", "another file"),
        (folder.path(), "it is larger than 8 MiB", "another file"),
        (empty.path(), "there is no policy in", "`.yaml` or `.yml`"),
    ] {
        let problems = problems(read(path));
        let [problem] = problems.iter().collect::<Vec<_>>()[..] else { panic!("one problem: {problems}") };
        assert!(problem.message.contains(message), "{problem:?}");
        assert!(problem.fix.as_ref().unwrap().contains(fix), "{problem:?}");
    }
}

#[test]
fn a_dangling_link_in_a_directory_is_an_error() {
    let folder = folder(&[("a.yaml", "allowedDomains: []\n")]);
    std::os::unix::fs::symlink("nowhere", folder.path().join("b.yaml")).unwrap();
    let report = problems(read(folder.path())).to_string();
    assert!(report.contains("b.yaml`: No such file"), "{report}");
}

#[test]
fn text_that_is_not_utf8_is_refused_where_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.yaml");
    for (bytes, expected) in [
        (&b"a: 1\nb: \xc3\xa9\xff\n"[..], "2:5 the byte 0xff is not UTF-8 | save the file as UTF-8"),
        (b"\xff\xfea\0", "1:1 the file is UTF-16 | save the file as UTF-8"),
    ] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(brief(&problems(read(&path))), [expected]);
    }
}

#[test]
fn the_revision_is_of_the_content() {
    let folder = folder(&[("a.yaml", "allowedDomains: []\n"), ("b.yaml", "blockedDomains: []\n")]);
    let a = folder.path().join("a.yaml");
    let revision = read(&a).revision().clone();
    assert_eq!(revision.as_str(), parse("other name", "allowedDomains: []\n").revision().as_str());
    assert_eq!(revision.as_str().len(), 12);
    let both = read(folder.path()).revision().clone();
    assert_eq!(read(folder.path()).revision(), &both);
    assert_ne!(both, revision);
    fs::write(&a, "allowedDomains: [x]\n").unwrap();
    assert_ne!(read(&a).revision(), &revision);
    assert_ne!(read(folder.path()).revision(), &both);
}

/// Pieces of policies, so that random texts get past the first line.
fn policy_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "allowedDomains",
            "agents",
            "credentials",
            "identity",
            "token",
            "pattern",
            "method",
            "version",
            "x",
            "a.example",
            ": ",
            ":\n",
            "\n",
            "\n  ",
            "\n    ",
            "- ",
            "\n- ",
            "\n  - ",
            "{",
            "}",
            "[",
            "]",
            ", ",
            "\"",
            "'",
            "&a ",
            "*a",
            "!t ",
            "<<: ",
            "? ",
            "|\n",
            ">-\n",
            "#",
            "---\n",
            "...\n",
            "\t",
            "%YAML 1.2\n",
            "\r",
            "é",
            "\u{feff}",
            "null",
            "1",
            "true",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,4}",
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let file = File { name: "p".to_owned(), content: bytes };
        let _ = problems(draft(vec![file], Problems::default())).to_string();
    }

    #[test]
    fn no_text_makes_the_reader_panic_and_every_refusal_has_a_place(first in policy_like(), second in policy_like()) {
        let file = |name: &str, text: &str| File { name: name.to_owned(), content: text.as_bytes().to_vec() };
        let outcome = compiled(draft(vec![file("p", &first), file("q", &second)], Problems::default()));
        if let Err(problems) = outcome {
            prop_assert!(problems.has_errors());
            for problem in problems.iter() {
                let at = problem.at.unwrap();
                prop_assert!(at.line >= 1 && at.column >= 1, "{problem:?}");
            }
            let report = problems.to_string();
            let drives = report.chars().any(|character| disguises(character) || character == '\u{1b}');
            prop_assert!(!drives, "a terminal would obey this report");
        }
    }
}
