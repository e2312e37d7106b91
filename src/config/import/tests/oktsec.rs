use super::*;

const FILE: &str = "oktsec.yaml";

/// The documented example: a global block list, three agents, scanning.
const EXAMPLE: &str = "\
forward_proxy:
  enabled: true
  scan_requests: true
  scan_responses: false
  max_body_size: 1048576
  blocked_domains:
    - pastebin.com
    - paste.ee
    - hastebin.com
    - transfer.sh
    - file.io

agents:
  researcher:
    can_message: [coordinator]
    egress:
      allowed_domains:
        - api.arxiv.org
        - api.semanticscholar.org
        - scholar.google.com
      blocked_categories:
        - credentials
        - pii
      scan_requests: true
      rate_limit: 200
      rate_window: 60
  coder:
    can_message: [coordinator]
    egress:
      allowed_domains:
        - api.github.com
        - npm.packages.example
        - python.packages.example
      blocked_domains:
        - raw.githubusercontent.com
      blocked_categories:
        - credentials
      rate_limit: 100
  coordinator:
    can_message: [\"*\"]
";

/// A configuration with these lines under `forward_proxy` and `agents.one`.
fn config(proxy: &str, agent: &str) -> String {
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!("forward_proxy:\n    enabled: true\n{}agents:\n  one:\n    tags: []\n{}", indented(proxy), indented(agent))
}

#[test]
fn the_documented_example() {
    let (policy, warnings) = imported(Format::Oktsec, &[(FILE, EXAMPLE)], &options());
    same(
        &policy,
        r#"# yaml-language-server: $schema=policy.schema.json
# Imported by `attache import --from oktsec` from oktsec.yaml.
# Read it before you use it, and the warnings that came with it.
version: 1

# oktsec.yaml, forward_proxy.blocked_domains: nothing below overrides it
organization:
  blockedDomains:
    - pastebin.com
    - paste.ee
    - hastebin.com
    - transfer.sh
    - file.io

agents:
  # oktsec.yaml, agents.researcher
  researcher:
    identity:
      - {header: {name: X-Oktsec-Agent, value: researcher, trusted: true}}
    allowedDomains:
      - api.arxiv.org
      - api.semanticscholar.org
      - scholar.google.com
    rateLimit: {requests: 200, per: 60s}
    dlp: credentials-pii
  # oktsec.yaml, agents.coder
  coder:
    identity:
      - {header: {name: X-Oktsec-Agent, value: coder, trusted: true}}
    allowedDomains:
      - api.github.com
      - npm.packages.example
      - python.packages.example
    blockedDomains:
      - raw.githubusercontent.com
    rateLimit: {requests: 100, per: 60s}
    dlp: credentials
  # oktsec.yaml, agents.coordinator
  coordinator:
    identity:
      - {header: {name: X-Oktsec-Agent, value: coordinator, trusted: true}}
    # no allowed_domains, neither here nor in forward_proxy: everything that is not blocked
    allowedDomains: ["*"]
    # no blocked_categories: what holds here by default, which blocks credentials and personal data

# oktsec.yaml, blocked_categories of the agents: one profile for those that list the same
dlp:
  # URL, headers and body are looked at, of every size: there, bodies of plain HTTP are
  profiles:
    credentials:
      requests: {credentials: block, crypto: block, pii: monitor}
    credentials-pii:
      requests: {credentials: block, crypto: block, pii: block}
"#,
    );
    assert_eq!(
        warnings,
        [
            "14:3 warning: agents are known by `X-Oktsec-Agent`, which anyone can set",
            "15:18 warning: `can_message` is left out: it is about messages between agents and their tools",
            "28:18 warning: `can_message` is left out: it is about messages between agents and their tools",
            "39:3 warning: `coordinator` has no allow list, so it may reach every host",
            "40:18 warning: `can_message` is left out: it is about messages between agents and their tools",
        ]
    );
}

#[test]
fn categories_become_profiles() {
    for (proxy, agent, expected) in [
        ("", "egress: {scan_requests: true}", &[][..]),
        ("", "egress: {blocked_categories: []}", &[]),
        (
            "",
            "egress: {blocked_categories: [pii]}",
            &["    dlp: pii", "    pii:", "      requests: {credentials: monitor, crypto: monitor, pii: block}"],
        ),
        (
            "scan_responses: true",
            "egress: {blocked_categories: [credential-leak]}",
            &[
                "    dlp: credentials-both-ways",
                "    credentials-both-ways:",
                "      requests: {credentials: block, crypto: block, pii: monitor}",
                "      responses: {credentials: block}",
            ],
        ),
        (
            "scan_responses: true",
            "egress: {scan_responses: false, blocked_categories: [prompt-injection]}",
            &[
                "    dlp: promptinjection",
                "    promptinjection:",
                "      requests: {credentials: monitor, crypto: monitor, pii: monitor}",
                "      responses: {promptInjection: block}",
            ],
        ),
    ] {
        let (policy, _) = imported(Format::Oktsec, &[(FILE, &config(proxy, agent))], &options());
        let about = |line: &&str| {
            let line = line.trim_start();
            ["dlp: ", "requests:", "responses:", "pii:", "credentials", "promptinjection:"]
                .iter()
                .any(|s| line.starts_with(s))
        };
        let found: Vec<_> = policy.lines().filter(about).collect();
        assert_eq!(found, expected, "{policy}");
    }
}

#[test]
fn a_category_without_counterpart_is_not_lost_unasked() {
    let source = config("", "egress: {blocked_categories: [malware]}");
    let problems = refused(Format::Oktsec, &[(FILE, &source)], &options());
    assert!(problems.to_string().contains("the category `malware` has no counterpart"), "{problems}");
    let (_, warnings) = imported(Format::Oktsec, &[(FILE, &source)], &Options { without_dlp: true, ..options() });
    assert!(warnings.iter().any(|line| line.contains("passes here")), "{warnings:?}");
}

/// The lists of the whole and of the agent, where they are.
#[test]
fn global_and_own_lists_add_up() {
    for (name, proxy, agent, expected) in [
        ("nothing listed", "", "", vec!["    allowedDomains: [\"*\"]"]),
        ("an empty list is none", "", "egress: {allowed_domains: []}", vec!["    allowedDomains: [\"*\"]"]),
        (
            "only blocked",
            "blocked_domains: [paste.ee]",
            "",
            vec!["organization:", "  blockedDomains:", "    - paste.ee", "    allowedDomains: [\"*\"]"],
        ),
        ("the global list closes", "allowed_domains: [a.example]", "", vec!["allowedDomains:", "  - a.example"]),
        (
            "both",
            "allowed_domains: [a.example]",
            "egress: {allowed_domains: [\"*.b.example\"], blocked_domains: [c.b.example]}",
            vec![
                "allowedDomains:",
                "  - a.example",
                "    allowedDomains:",
                "      - \"*.b.example\"",
                "    blockedDomains:",
                "      - c.b.example",
            ],
        ),
    ] {
        let (policy, _) = imported(Format::Oktsec, &[(FILE, &config(proxy, agent))], &options());
        let lists = |line: &&str| !line.starts_with(['#', 'v']) && !line.contains(['#', '{']) && !line.is_empty();
        let found: Vec<_> = policy.lines().filter(lists).collect();
        let found: Vec<_> = found.into_iter().filter(|l| !["agents:", "  one:", "    identity:"].contains(l)).collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn limits_are_counted_in_seconds() {
    for (more, agent, expected) in [
        ("", "egress: {rate_limit: 5}", Some("{requests: 5, per: 60s}")),
        ("", "egress: {rate_limit: 5, rate_window: 3600}", Some("{requests: 5, per: 3600s}")),
        ("", "egress: {rate_limit: 5, rate_window: 0}", Some("{requests: 5, per: 60s}")),
        ("", "egress: {rate_limit: 0, rate_window: 5}", None),
        ("rate_limit: {per_agent: 7}", "", Some("{requests: 7, per: 60s}")),
        ("rate_limit: {per_agent: 7, window: 9}", "egress: {rate_limit: 5}", Some("{requests: 5, per: 60s}")),
        ("rate_limit: {per_agent: 0}", "", None),
    ] {
        let text = format!("{more}\n{}", config("", agent));
        let (policy, _) = imported(Format::Oktsec, &[(FILE, &text)], &options());
        let found = policy.lines().find_map(|line| line.strip_prefix("    rateLimit: "));
        assert_eq!(found, expected, "{more} {agent}");
    }
}

#[test]
fn a_suspended_agent_is_left_out() {
    let text = format!("{}  two: {{suspended: true}}\n", config("", ""));
    let (policy, _) = imported(Format::Oktsec, &[(FILE, &text)], &options());
    assert!(policy.contains("# agents.two is left out: it is suspended") && !policy.contains("two:"), "{policy}");
}

#[test]
fn an_agent_keeps_its_name_in_the_header() {
    let text = config("", "").replace("  one:", "  team/one:");
    let (policy, _) = imported(Format::Oktsec, &[(FILE, &text)], &options());
    let expected =
        "  team-one:\n    identity:\n      - {header: {name: X-Oktsec-Agent, value: team/one, trusted: true}}";
    assert!(policy.contains(expected), "{policy}");
}

#[test]
fn keys_that_say_nothing_of_what_goes_out_are_named() {
    let text =
        format!("identity: {{require_signature: true}}\nwebhooks: [{{url: 'https://h.example/s3cret'}}]\n{EXAMPLE}");
    let (policy, warnings) = imported(Format::Oktsec, &[(FILE, &text)], &options());
    assert_eq!(
        warnings[..2],
        [
            "1:11 warning: `identity` is left out: it is about messages between agents and their tools",
            "2:11 warning: `webhooks` is left out: notifications are not imported",
        ]
    );
    assert!(!policy.contains("s3cret"), "{policy}");
}

#[test]
fn what_could_restrict_and_is_not_read_is_refused() {
    for (proxy, agent, expected) in [
        ("require_auth: true", "", "`require_auth` cannot be imported: how callers prove who they are"),
        ("block_everything: true", "", "unknown key `block_everything` in `forward_proxy`"),
        ("", "egress: {integrations: [github]}", "`integrations` cannot be imported"),
        ("", "egress: {scope: internal}", "`scope` cannot be imported"),
        ("", "egress: {tool_restrictions: {}}", "`tool_restrictions` cannot be imported"),
        ("", "egress: {allowed_domain: [a.example]}", "unknown key `allowed_domain` in `egress`"),
        ("", "max_spend: 5", "unknown key `max_spend` in an agent"),
        ("allowed_domains: [\"*\"]", "", "`*` matches no host there, but would here"),
        ("allowed_domains: [\"a.example:443\"]", "", "`a.example:443` matches no host there, but would here"),
        ("allowed_domains: [\"http://a.example\"]", "", "`http://a.example` matches no host there, but would here"),
        ("blocked_domains: [\"a.*\"]", "", "`a.*` is no pattern of hosts"),
        ("", "egress: {rate_limit: 2.5}", "expected a number, found `"),
        ("", "egress: {rate_limit: -1}", "expected a number, found `"),
    ] {
        let problems = refused(Format::Oktsec, &[(FILE, &config(proxy, agent))], &options());
        assert!(problems.to_string().contains(expected), "{proxy} {agent}: {problems}");
    }
    for (text, expected) in [
        ("forward_proxy: {enabled: true}\nagents: {}\n", "there is no agent to import"),
        ("agents: {one: {}}\n", "needs `forward_proxy`"),
        ("forward_proxy: {}\nagents: {one: {}}\ndeployment: {}\n", "unknown key `deployment`"),
    ] {
        let problems = refused(Format::Oktsec, &[(FILE, text)], &options());
        assert!(problems.to_string().contains(expected), "{text}: {problems}");
    }
}
