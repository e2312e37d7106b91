//! `dlp`: what is wrong with it is reported where it is, and what is said in it holds.

use std::sync::Arc;

use super::*;
use crate::config::compile::{self, Compiled, Setting};
use crate::pipeline::agent::AgentId;
use crate::pipeline::dlp::detector::Match;
use crate::pipeline::dlp::finding::{Action, Category, Confidence};
use crate::pipeline::dlp::profile::{OverBuffer, Profile};
use crate::pipeline::message::Host;

fn compiled(text: &str) -> Result<Compiled, Vec<String>> {
    let setting = Setting { agent: None, environment: None, pod: None };
    let accepted =
        parse("policy.yaml", text).compile(None, |policy, problems| compile::compile(policy, setting, "rev", problems));
    accepted.map(|accepted| accepted.value).map_err(|problems| brief(&problems))
}

#[test]
fn what_is_wrong_is_said_where_it_is() {
    let mistakes: &[(&str, &str, &[&str])] = &[
        (
            "categories, rules, actions and sides",
            "dlp:\n  profiles:\n    strict:\n      requests: {credential: block, pii: blok, promptInjection: block, knownSecret: off, github-personal-access-tokn: off}\n      responses: {canary: monitor, custom.acme: block}\n",
            &[
                "4:18 there is no category or rule `credential` | did you mean `credentials`?",
                "4:42 `blok` is not what is done about a finding | did you mean `block`?",
                "4:48 `promptInjection` is looked for in what comes back | move it to `responses`",
                "4:72 `knownSecret` cannot be switched off: what attaché holds never passes | write `block` or `redact`, or remove it",
                "4:90 there is no category or rule `github-personal-access-tokn` | did you mean `github-personal-access-token`?",
                "5:19 `canary` cannot be switched off: what attaché holds never passes | write `block` or `redact`, or remove it",
                "5:36 there is no category or rule `custom.acme` | `attache dlp rules` lists them",
            ],
        ),
        (
            "profiles",
            "agents: {a: {dlp: strikt, identity: [{sourceAddress: 192.0.2.1}]}}\ndlp: {profiles: {off: {}, strict: {overBuffer: drop, ownCredentials: yes, mode: watch}}}\n",
            &[
                "1:19 there is no profile `strikt` in `dlp` | did you mean `strict`?",
                "2:18 `off` is built in: known secrets alone are looked for | choose another name, or write `dlp: off` at the agent",
                "2:48 `drop` is not what is done about large bodies | write one of `stream` and `block`",
                "2:70 `yes` is not what is done about an agent's own credentials | write one of `block` and `allow`",
                "2:81 `watch` is not a mode | write one of `enforce` and `monitor`",
            ],
        ),
        (
            "rules that cannot be",
            "dlp:\n  rules:\n    - {id: Acme, keywords: [acme_], pattern: 'acme_[0-9]{4}'}\n    - {id: b, keywords: [ab], pattern: 'ab[0-9]{4}'}\n    - {id: c, keywords: [acme_], pattern: 'acme_(?=x)'}\n    - {id: d, keywords: [acme_], pattern: 'acme_[0-9]+'}\n    - {id: e, category: knownSecret, keywords: [acme_], pattern: 'acme_[0-9]{4}'}\n    - {id: f, category: secret, keywords: [acme_], pattern: 'acme_[0-9]{4}'}\n    - {id: github-personal-access-token, keywords: [acme_], pattern: 'acme_[0-9]{4}'}\n    - {id: g, keywords: [], pattern: 'x[0-9]{4}', validators: [luhm], entropy: 9}\n    - {id: h, keywords: [acme_], pattern: 'acme_[0-9]{4}', secretGroup: 1}\n    - {id: i, keywords: [acme_], pattern: 'acme_[0-9]{4}', allow: ['(']}\n",
            &[
                "3:12 `Acme` is no rule id: use lower-case letters, digits and single `-`, beginning with a letter | -",
                "4:26 `keywords` needs at least one, and each at least three bytes: they decide where the pattern is tried | -",
                "5:43 `acme_(?=x)` is no pattern: look-around, including look-ahead and look-behind, is not supported | -",
                "6:43 a match has no longest length: bound the repetitions, or set `maxLen` (at most 4096) | -",
                "7:25 `knownSecret` is not for rules: it is what attaché holds | for a value of your own write `dlp.canaries`, for a format `credentials` or `custom.<name>`",
                "8:25 `secret` is no category: use `credentials`, `pii.financial`, `pii.govId`, `pii.contact`, `pii.health`, `crypto`, `promptInjection` or `custom.<name>` | -",
                "9:12 `github-personal-access-token` is a rule that is built in | choose another id; to use yours in its place, switch that one `off` in a profile",
                "10:25 expected a list of keywords, found an empty one | name a text of at least three characters that stands in every match, such as its prefix",
                "10:64 `luhm` is not a validator | did you mean `luhn`?",
                "10:80 expected bits for each byte, found `9` | write a number from 0 to 8",
                "11:73 `secretGroup: 1` names no group of the pattern | -",
                "12:68 `(` is no pattern: unclosed group | -",
            ],
        ),
        (
            "examples that do not hold, and ids given twice",
            "dlp:\n  rules:\n    - {id: acme, keywords: [acme_], pattern: 'acme_[0-9]{4}', examples: {match: [acme_1294, acme_12], noMatch: [acme_x, 'a acme_4711.']}}\n    - {id: acme, keywords: [acme_], pattern: 'acme_[0-9]{4}'}\n",
            &[
                "3:93 the example does not hold: the rule finds nothing in it | correct the pattern, its keywords, `reach` or `boundary`, or the example",
                "3:121 the example does not hold: the rule finds something in it | correct the pattern, its keywords, `reach` or `boundary`, or the example",
                "4:12 the rule `acme` is given twice; first at policy.yaml:3:12 | give each rule an id of its own",
            ],
        ),
        (
            "exemptions",
            "dlp:\n  allow:\n    - {host: a.example, reason: x}\n    - {rule: credentials, reason: x}\n    - {rule: github-personal-access-tokn, reason: x}\n    - {rule: github-pat}\n    - {rule: github-pat, host: 'a..b', path: 'x', valueSha256: abc, reason: x}\n    - {rule: github-pat, agent: a, agents: [b], reason: x}\n",
            &[
                "3:7 an exemption needs `rule`, `valueSha256` or both: it is for what one rule finds, or for one value | write `{rule: generic-secret, host: api.example.com, reason: …}`",
                "4:14 there is no rule `credentials` | an exemption is for one rule, not for a category: name the rule that the denial names",
                "5:14 there is no rule `github-personal-access-tokn` | did you mean `github-personal-access-token`?",
                "6:7 an exemption needs `reason` | -",
                "7:64 this is not a SHA-256 | write 64 hexadecimal digits, as `printf %s \"$VALUE\" | sha256sum` prints them",
                "8:7 an exemption has one of `agent` and `agents` | list all in `agents`",
            ],
        ),
        (
            "hosts, paths and agents of exemptions",
            "agents: {ann: {identity: [{sourceAddress: 192.0.2.1}]}}\ndlp: {allow: [{host: 'a..b', path: x, agent: amn, reason: x, rule: github-personal-access-token}]}\n",
            &[
                "2:22 `a..b` is no pattern of hosts: the host has an empty or invalid label | write `host`, `host:port`, `*.host` or, for plaintext, `http://host`",
                "2:36 `x` is no pattern of paths: the path does not start with `/`, so no request can ever match it | write a path like `/v1/items`, `/v1/items/*`, `/v1/*/items` or `/v1/items/{id}`",
                "2:46 there is no agent `amn` | did you mean `ann`?",
            ],
        ),
        (
            "canaries",
            "dlp:\n  canaries:\n    - {name: a}\n    - {name: b, value: some-value-of-it, env: B}\n    - {name: c, env: C}\n    - {name: c, file: /c}\n",
            &[
                "3:7 a canary has one of `value`, `env` and `file` | write `{name: bait, value: …}`, `{name: bait, env: NAME}` or `{name: bait, file: /run/secrets/bait}`",
                "4:7 a canary has one of `value`, `env` and `file` | write `{name: bait, value: …}`, `{name: bait, env: NAME}` or `{name: bait, file: /run/secrets/bait}`",
                "6:14 the canary `c` is given twice; first at policy.yaml:5:14 | give each canary a name of its own",
            ],
        ),
    ];
    let mut wrong = Vec::new();
    for (name, text, expected) in mistakes {
        let found = compiled(text).map(|_| ()).unwrap_err();
        let differs = found.iter().ne(expected.iter());
        wrong.extend(differs.then(|| format!("{name}: {found:#?}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_canary_written_into_the_policy_is_not_printed() {
    for text in [
        "dlp: {canaries: [{name: a, value: hunter2hunter2, env: X}]}\n",
        "dlp: {canaries: [{name: a, valeu: hunter2hunter2}]}\n",
        "dlp: {canaries: [{name: a b, value: hunter2hunter2}]}\n",
    ] {
        let report = problems(parse("policy.yaml", text)).to_string();
        assert!(report.contains("error") && !report.contains("hunter2"), "{report}");
    }
    let good = compiled("dlp: {canaries: [{name: a, value: hunter2hunter2}]}\n").unwrap();
    assert!(!format!("{good:?}").contains("hunter2"));
    assert_eq!(good.canaries.len(), 1);
}

fn found(rule: &str, category: Category) -> Match {
    Match::new(rule.into(), category, 0..1, Confidence::Confirmed)
}

#[test]
fn a_profile_is_the_default_with_what_it_says_in_its_place() {
    let compiled = compiled(
        "agents:\n  a: {dlp: strict, identity: [{sourceAddress: 192.0.2.1}]}\n  b: {dlp: off, identity: [{sourceAddress: 192.0.2.2}]}\n  c: {identity: [{sourceAddress: 192.0.2.3}]}\n\
         dlp:\n  profiles:\n    strict: {requests: {pii: redact, github-personal-access-token: monitor}, responses: {credentials: redact, knownSecret: block}, overBuffer: block, ownCredentials: allow, webSockets: allow, mode: monitor}\n    default: {requests: {pii.contact: block}}\n",
    )
    .unwrap();
    let dlp = compiled.rules.dlp().unwrap();
    let profile = |name: &str| dlp.profile(compiled.rules.agents.find(name).unwrap()).clone();
    let (a, b, c) = (profile("a"), profile("b"), profile("c"));
    for (rule, category, of_a, of_b, of_c) in [
        ("x", Category::Credentials, Action::Block, Action::Off, Action::Block),
        ("github-personal-access-token", Category::Credentials, Action::Monitor, Action::Off, Action::Block),
        ("x", Category::PiiFinancial, Action::Redact, Action::Off, Action::Block),
        ("x", Category::PiiContact, Action::Off, Action::Off, Action::Block),
    ] {
        let of = |profile: &Profile| profile.requests.of(&found(rule, category.clone()));
        assert_eq!((of(&a), of(&b), of(&c)), (of_a, of_b, of_c), "{rule} {category}");
    }
    assert_eq!(a.responses.of(&found("x", Category::Credentials)), Action::Redact);
    assert_eq!(a.responses.of(&found("x", Category::PiiFinancial)), Action::Off);
    assert_eq!(a.responses.of_held(&Category::KnownSecret, Action::Redact), Action::Block);
    assert_eq!(b.responses.of_held(&Category::KnownSecret, Action::Redact), Action::Redact);
    assert_eq!((a.over_buffer, a.own_credentials, a.enforced), (OverBuffer::Block, true, false));
    assert_eq!((&*c.name, c.over_buffer, c.own_credentials, c.enforced), ("default", OverBuffer::Stream, false, true));
    assert!(b.own_credentials && b.enforced && b.web_sockets && a.web_sockets && !c.web_sockets);
}

#[test]
fn without_dlp_the_default_holds_for_everybody() {
    let compiled = compiled("allowedDomains: [a.example]\n").unwrap();
    let dlp = compiled.rules.dlp().unwrap();
    assert_eq!(**dlp.profile(AgentId(0)), Profile::default_profile());
    assert!(std::sync::Arc::ptr_eq(&dlp.detector, crate::pipeline::dlp::built_in().unwrap()));
}

#[test]
fn own_rules_and_exemptions_are_in_force() {
    let compiled = compiled(
        "dlp:\n  rules: [{id: acme, category: custom.acme, keywords: [acme_], pattern: 'acme_[0-9]{4}'}]\n  allow: [{rule: acme, host: a.example, path: /keys, reason: x}]\n",
    )
    .unwrap();
    let dlp = compiled.rules.dlp().unwrap();
    let matches = dlp.detector.find(b"my acme_4711 here");
    assert_eq!(matches.len(), 1);
    assert_eq!(dlp.default.requests.of(&matches[0]), Action::Block);
    for (host, path, expected) in [("a.example", "/keys", 1), ("a.example", "/other", 0), ("b.example", "/keys", 0)] {
        let lens = dlp.requests(AgentId(0), &Host::parse(host).unwrap(), 443, path, Arc::default());
        assert_eq!(lens.exemptions.len(), expected, "{host}{path}");
    }
}

#[test]
fn documented_values_pass_to_language_models_and_documentation() {
    let compiled =
        compiled("services: {ours: {hosts: [llm.example], kind: llm}, other: {hosts: [api.example]}}\n").unwrap();
    let dlp = compiled.rules.dlp().unwrap();
    for (host, passes) in [
        ("api.openai.com", true),
        ("mine.openai.azure.com", true),
        ("docs.aws.amazon.com", true),
        ("llm.example", true),
        ("api.example", false),
        ("api.stripe.com", false),
    ] {
        assert_eq!(
            dlp.requests(AgentId(0), &Host::parse(host).unwrap(), 443, "/", Arc::default()).examples_pass,
            passes,
            "{host}"
        );
    }
}

/// Each finding with a policy that has it and one that is near and does not.
#[test]
fn what_lets_pass_too_much_is_found() {
    let agent = |dlp: &str| format!("agents: {{a: {{dlp: {dlp}, identity: [{{sourceAddress: 192.0.2.1}}]}}}}\n");
    let rule = |keyword: &str, more: &str| {
        format!("dlp: {{rules: [{{id: acme, keywords: ['{keyword}'], pattern: 'http[0-9]{{4}}'{more}}}]}}\n")
    };
    let allow = |what: &str| format!("dlp: {{allow: [{{rule: generic-secret, reason: x{what}}}]}}\n");
    let canary = |value: &str| format!("dlp: {{canaries: [{{name: c, value: {value}}}]}}\n");
    let none: &[&str] = &[];
    for (text, expected) in [
        (agent("off"), &["dlp-off 1"][..]),
        (agent("default"), none),
        (agent("p") + "dlp: {profiles: {p: {requests: {credentials: monitor}}}}", &["credentials-pass 2"]),
        (agent("p") + "dlp: {profiles: {p: {requests: {credentials: redact}}}}", none),
        (agent("p") + "dlp: {profiles: {p: {mode: monitor}}}", &["monitor-mode 2"]),
        ("dlp: {profiles: {p: {}}}".to_owned(), &["unused-profile 1"]),
        ("dlp: {profiles: {default: {}}}".to_owned(), none),
        (rule("http", ""), &["generic-rule 1"]),
        (rule("http", ", entropy: 2.5"), none),
        (rule("http4", ""), none),
        (allow(""), &["broad-exemption 1"]),
        (allow(", host: '*.a.example'"), &["broad-exemption 1"]),
        (allow(", host: a.example"), none),
        (allow(", path: /x"), none),
        ("allowedDomains: [{pattern: a.example, upgrades: [websocket]}]".to_owned(), &["blocked-upgrade 1"]),
        (
            "allowedDomains: [{pattern: a.example, upgrades: [websocket]}]\ndlp: {profiles: {default: {webSockets: allow}}}".to_owned(),
            none,
        ),
        (canary("short"), &["unsearchable-secret 1"]),
        (canary("x7Kp2mQw9Rt4Yv6Zb8Nc"), none),
    ] {
        assert_eq!(lint::findings(&text), expected, "{text}");
    }
}

#[test]
fn what_a_change_lets_pass_is_told() {
    use crate::config::diff::{Side, diff};
    let side = |text: &str| {
        let draft = parse("policy.yaml", &format!("version: 1\n{text}"));
        Side::of(draft, None).unwrap_or_else(|problems| panic!("{problems}"))
    };
    let profile = |what: &str| format!("dlp: {{profiles: {{default: {{{what}}}}}}}");
    let rules = "dlp: {rules: [{id: acme, category: custom.acme, keywords: [acme_], pattern: 'acme_[0-9]{4}'}]}";
    let allow = "dlp: {allow: [{rule: generic-secret, host: a.example, path: /x, reason: y}]}";
    let canary = "dlp: {canaries: [{name: bait, value: x7Kp2mQw9Rt4Yv6Z}]}";
    let agents = |dlp: &str| {
        format!(
            "agents:\n  a: {{identity: [{{sourceAddress: 192.0.2.1}}]{dlp}}}\n  b: {{identity: [{{sourceAddress: 192.0.2.2}}]}}"
        )
    };
    let none: &[&str] = &[];
    for (old, new, expected, widens) in [
        (String::new(), profile(""), none, false),
        (
            String::new(),
            profile("requests: {credentials: monitor}"),
            &["`credentials` in requests: `block` before, `monitor` now"],
            true,
        ),
        (
            profile("requests: {credentials: monitor}"),
            String::new(),
            &["`credentials` in requests: `monitor` before, `block` now"],
            false,
        ),
        (
            String::new(),
            profile("requests: {generic-secret: off}"),
            &["`generic-secret` in requests: `block` before, `off` now"],
            true,
        ),
        (
            String::new(),
            profile("requests: {knownSecret: redact}, ownCredentials: allow, overBuffer: block"),
            &[
                "`overBuffer` was `stream` and is `block`",
                "`ownCredentials` was `block` and is `allow`",
                "known secrets in requests: `block` before, `redact` now",
            ],
            true,
        ),
        (rules.to_owned(), String::new(), &["`acme` in requests: `block` before, `off` now"], true),
        (
            String::new(),
            allow.to_owned(),
            &["what `generic-secret` finds passes to `a.example` at `/x` now (`dlp.allow`)"],
            true,
        ),
        (canary.to_owned(), String::new(), &["the canary `bait` is no longer looked for"], true),
        (String::new(), canary.to_owned(), &["the canary `bait` is looked for"], false),
        (
            agents("") + "\ndlp: {profiles: {p: {requests: {crypto: redact}}, q: {}}}",
            agents(", dlp: p") + "\ndlp: {profiles: {p: {requests: {crypto: redact}}, q: {}}}",
            &["`crypto` in requests: `block` before, `redact` now, for `a`"],
            true,
        ),
    ] {
        let found = diff(&side(&old), &side(&new), std::time::SystemTime::UNIX_EPOCH);
        let mut notes: Vec<_> = found.notes.iter().map(|note| note.text.as_str()).collect();
        notes.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!((notes, found.widens()), (expected, widens), "{old}\n{new}");
    }
}
