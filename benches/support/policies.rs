//! Policies of any size, each hard in its own way, with a request that the last entry admits and one that is refused.

use std::fmt::Write as _;

use attache::config::compile::{Compiled, Setting, compile};
use attache::pipeline::agent::AgentId;
use attache::pipeline::message::{Door, Fields, RequestHead};

/// A policy and what is asked of it.
pub struct Case {
    /// What there is much of.
    pub name: &'static str,
    /// The policy.
    pub text: String,
    /// Whom the requests come from; the one agent of a policy that names none otherwise.
    pub agent: Option<String>,
    /// What the last entry admits: method, host and path.
    pub admitted: [String; 3],
    /// What is refused.
    pub refused: [String; 3],
}

/// Every kind, with `n` entries of what it has much of.
pub fn cases(n: usize) -> Vec<Case> {
    vec![
        rules_and_domains(n),
        hosts(n),
        wildcards(n),
        restricted_hosts(n),
        restrictions_on_one_host(n),
        blocked_hosts(n),
        rules_by_host(n),
        rules_on_one_host(n),
        rules_by_agent(n),
        rules_with_conditions(n),
        agents(n),
        credentials_by_host(n),
        credentials_by_path(n),
        everything(n),
    ]
}

/// As many domains as rules, and nothing else.
fn rules_and_domains(n: usize) -> Case {
    let mut text = "allowedDomains:\n".to_owned();
    (1..=n).for_each(|i| writeln!(text, "  - api.h{i}.example.com").unwrap());
    text.push_str("rules:\n");
    for i in 1..=n {
        let path = path_pattern(i);
        writeln!(
            text,
            "  - {{name: r{i}, host: api.h{i}.example.com, path: \"{path}\", method: [PUT], action: block}}"
        )
        .unwrap();
    }
    let host = format!("api.h{n}.example.com");
    let refused = ["PUT".to_owned(), host.clone(), path(n)];
    Case { name: "rules and domains", text, agent: None, admitted: get(&host, &path(n)), refused }
}

fn hosts(n: usize) -> Case {
    let mut text = "allowedDomains:\n".to_owned();
    (1..=n).for_each(|i| writeln!(text, "  - api.h{i}.example.com").unwrap());
    Case {
        name: "hosts",
        text,
        agent: None,
        admitted: get(&format!("api.h{n}.example.com"), "/v1/items"),
        refused: get("api.elsewhere.example.com", "/v1/items"),
    }
}

fn wildcards(n: usize) -> Case {
    let mut text = "allowedDomains:\n".to_owned();
    (1..=n).for_each(|i| writeln!(text, "  - \"*.h{i}.example.com\"").unwrap());
    Case {
        name: "wildcard hosts",
        text,
        agent: None,
        admitted: get(&format!("api.h{n}.example.com"), "/v1/items"),
        refused: get("api.elsewhere.example.com", "/v1/items"),
    }
}

fn restricted_hosts(n: usize) -> Case {
    let mut text = "allowedDomains:\n".to_owned();
    for i in 1..=n {
        writeln!(text, "  - pattern: api.h{i}.example.com").unwrap();
        writeln!(text, "    httpRestrictions: [{{method: GET, path: /v1/items}}]").unwrap();
    }
    let host = format!("api.h{n}.example.com");
    Case {
        name: "restricted hosts",
        text,
        agent: None,
        admitted: get(&host, "/v1/items"),
        refused: get(&host, "/v1/other"),
    }
}

fn restrictions_on_one_host(n: usize) -> Case {
    let mut text = "allowedDomains:\n  - pattern: api.example.com\n    httpRestrictions:\n".to_owned();
    (1..=n).for_each(|i| writeln!(text, "      - {{method: GET, path: \"{}\"}}", path_pattern(i)).unwrap());
    Case {
        name: "restrictions, one host",
        text,
        agent: None,
        admitted: get("api.example.com", &path(n)),
        refused: get("api.example.com", "/v1/some/other/item"),
    }
}

fn blocked_hosts(n: usize) -> Case {
    let mut text = "allowedDomains: [\"*.example.com\"]\nblockedDomains:\n".to_owned();
    (1..=n).for_each(|i| writeln!(text, "  - h{i}.example.com").unwrap());
    Case {
        name: "blocked hosts",
        text,
        agent: None,
        admitted: get("api.elsewhere.example.com", "/v1/items"),
        refused: get(&format!("api.h{n}.example.com"), "/v1/items"),
    }
}

fn rules_by_host(n: usize) -> Case {
    let mut text = "allowedDomains: [\"*.example.com\"]\nrules:\n".to_owned();
    for i in 1..=n {
        writeln!(text, "  - {{name: w{i}, host: api.h{i}.example.com, method: GET, action: monitor}}").unwrap();
        writeln!(text, "  - {{name: b{i}, host: api.h{i}.example.com, method: DELETE, action: block}}").unwrap();
    }
    let host = format!("api.h{n}.example.com");
    Case {
        name: "rules by host",
        text,
        agent: None,
        admitted: get(&host, "/v1/items"),
        refused: ["DELETE".into(), host, "/v1/items".into()],
    }
}

fn rules_on_one_host(n: usize) -> Case {
    let mut text = "allowedDomains: [api.example.com]\nrules:\n".to_owned();
    for i in 1..=n {
        let action = if i % 2 == 0 { "monitor" } else { "{rateLimit: {requests: 10, per: hour}}" };
        let path = path_pattern(i);
        writeln!(text, "  - {{name: r{i}, host: api.example.com, path: \"{path}\", method: GET, action: {action}}}")
            .unwrap();
    }
    let last = path_pattern(n);
    writeln!(text, "  - {{name: b, host: api.example.com, path: \"{last}\", method: DELETE, action: block}}").unwrap();
    Case {
        name: "rules, one host",
        text,
        agent: None,
        admitted: get("api.example.com", &path(n)),
        refused: ["DELETE".into(), "api.example.com".into(), path(n)],
    }
}

fn rules_by_agent(n: usize) -> Case {
    let mut text = "allowedDomains: [api.example.com]\nagents:\n".to_owned();
    (1..=n).for_each(|i| writeln!(text, "  a{i}: {}", identity(i)).unwrap());
    text.push_str("rules:\n");
    for i in 1..=n {
        writeln!(text, "  - {{name: w{i}, host: api.example.com, agents: [a{i}], method: GET, action: monitor}}")
            .unwrap();
        writeln!(text, "  - {{name: b{i}, host: api.example.com, agents: [a{i}], method: PUT, action: block}}")
            .unwrap();
    }
    Case {
        name: "rules by agent",
        text,
        agent: Some(format!("a{n}")),
        admitted: get("api.example.com", "/v1/items"),
        refused: ["PUT".into(), "api.example.com".into(), "/v1/items".into()],
    }
}

fn rules_with_conditions(n: usize) -> Case {
    let mut text = "allowedDomains: [\"*.example.com\"]\nrules:\n".to_owned();
    for i in 1..=n {
        writeln!(text, "  - name: r{i}\n    host: api.h{i}.example.com\n    action: monitor").unwrap();
        writeln!(text, "    query: {{state: \"open*\"}}\n    headers: {{accept: \"*/json\"}}").unwrap();
        writeln!(text, "    except: {{days: [mon], from: \"08:00\", to: \"08:01\", timezone: Europe/Berlin}}").unwrap();
    }
    let host = format!("api.h{n}.example.com");
    let refused = get("elsewhere.example", "/v1/items");
    Case { name: "rules with conditions", text, agent: None, admitted: get(&host, "/v1/items?n=7&state=Open"), refused }
}

fn agents(n: usize) -> Case {
    let mut text = "agents:\n".to_owned();
    for i in 1..=n {
        writeln!(
            text,
            "  a{i}:\n    {}\n    allowedDomains: [api.h{i}.example.com]",
            &identity(i)[1..identity(i).len() - 1]
        )
        .unwrap();
    }
    Case {
        name: "agents",
        text,
        agent: Some(format!("a{n}")),
        admitted: get(&format!("api.h{n}.example.com"), "/v1/items"),
        refused: get("api.h1.example.com.elsewhere.example", "/v1/items"),
    }
}

fn credentials_by_host(n: usize) -> Case {
    let mut text = "allowedDomains: [\"*.example.com\"]\ncredentials:\n".to_owned();
    for i in 1..=n {
        writeln!(
            text,
            "  - name: c{i}\n    envVarKey: KEY_{i}\n    endpoints: [{{methods: [GET], paths: [/v1/items]}}]"
        )
        .unwrap();
        writeln!(text, "    injections: [{{domain: api.h{i}.example.com, {HEADER}}}]").unwrap();
    }
    let host = format!("api.h{n}.example.com");
    Case {
        name: "credentials by host",
        text,
        agent: None,
        admitted: get(&host, "/v1/items"),
        refused: get(&host, "/v1/other"),
    }
}

fn credentials_by_path(n: usize) -> Case {
    let mut text = "allowedDomains: [api.example.com]\ncredentials:\n".to_owned();
    for i in 1..=n {
        writeln!(text, "  - name: c{i}\n    envVarKey: KEY_{i}\n    endpoints: [{{methods: [GET]}}]").unwrap();
        writeln!(text, "    injections: [{{domain: api.example.com, path: \"/v1/x{i}/**\", {HEADER}}}]").unwrap();
    }
    let path = format!("/v1/x{n}/items");
    Case {
        name: "credentials, one host",
        text,
        agent: None,
        admitted: get("api.example.com", &path),
        refused: ["POST".into(), "api.example.com".into(), path],
    }
}

fn everything(n: usize) -> Case {
    let mut text = "blockedDomains:\n".to_owned();
    (1..=n).for_each(|i| writeln!(text, "  - b{i}.example.com").unwrap());
    text.push_str("allowedDomains:\n");
    (1..=n).for_each(|i| writeln!(text, "  - api.h{i}.example.com").unwrap());
    text.push_str("  - pattern: api.example.com\n    httpRestrictions:\n");
    (1..=n).for_each(|i| writeln!(text, "      - {{path: \"{}\"}}", path_pattern(i)).unwrap());
    text.push_str("agents:\n");
    (1..=n).for_each(|i| writeln!(text, "  a{i}: {}", identity(i)).unwrap());
    text.push_str("rules:\n");
    for i in 1..=n {
        let path = path_pattern(i);
        writeln!(text, "  - {{name: w{i}, host: api.example.com, path: \"{path}\", method: GET, action: monitor}}")
            .unwrap();
        writeln!(text, "  - {{name: b{i}, host: \"*.example.com\", agents: [a{i}], method: PUT, action: block}}")
            .unwrap();
    }
    text.push_str("credentials:\n");
    for i in 1..=n {
        writeln!(text, "  - name: c{i}\n    envVarKey: KEY_{i}\n    agents: [a{i}]").unwrap();
        writeln!(text, "    injections: [{{domain: api.example.com, {HEADER}}}]").unwrap();
    }
    Case {
        name: "everything at once",
        text,
        agent: Some(format!("a{n}")),
        admitted: get("api.example.com", &path(n)),
        refused: ["PUT".into(), "api.example.com".into(), path(n)],
    }
}

const HEADER: &str = "headerName: Authorization, headerFormat: \"Bearer {value}\"";

/// The shapes that paths come in, in turn; every tenth number has the same one.
fn path_pattern(i: usize) -> String {
    match i % 5 {
        0 => format!("/v1/{{id}}/x{i}"),
        1 => format!("/v1/x{i}"),
        2 => format!("/v1/*/x{i}/*"),
        3 => format!("/v1/x{i}/**"),
        _ => format!("/v1/{{id}}/x{i}/part*"),
    }
}

/// A path that fits the pattern of a multiple of ten.
fn path(i: usize) -> String {
    format!("/v1/some/x{i}")
}

fn identity(i: usize) -> String {
    format!("{{identity: [{{token: {{sha256: \"{i:064x}\"}}}}]}}")
}

fn get(host: &str, path: &str) -> [String; 3] {
    ["GET".to_owned(), host.to_owned(), path.to_owned()]
}

/// Compiles a policy that has nothing wrong with it.
pub fn load(text: &str) -> Compiled {
    let setting = Setting { agent: None, environment: None, pod: None };
    let draft = attache::config::parse("policy.yaml", text);
    match draft.compile(None, |policy, problems| compile(policy, setting, "bench", problems)) {
        Ok(accepted) => accepted.value,
        Err(problems) => panic!("{problems}"),
    }
}

/// Whom a case's requests come from.
pub fn agent_of(case: &Case, compiled: &Compiled) -> AgentId {
    case.agent.as_ref().map_or(AgentId(0), |name| compiled.rules.agents.find(name).expect("the agent is there"))
}

/// The head of a request as it comes out of a tunnel.
pub fn head([method, host, path]: &[String; 3]) -> RequestHead {
    let fields = [
        (":method", &**method),
        (":authority", host),
        (":path", path),
        (":scheme", "https"),
        ("user-agent", "bench"),
        ("accept", "application/json"),
    ];
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    RequestHead::parse(Door::Tls, Fields::new(fields)).expect("a request that can be read")
}
