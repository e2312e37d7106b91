//! Policies as they are written; one that is accepted also decides.
#![no_main]

use std::sync::LazyLock;
use std::time::SystemTime;

use attache::config::compile::{Setting, compile};
use attache::pipeline::message::{Door, Fields, RequestHead};
use attache::secrets::Environment;
use libfuzzer_sys::fuzz_target;

static HEADS: LazyLock<Vec<RequestHead>> = LazyLock::new(|| {
    let head = |door, host: &str, target: &str| {
        let fields = [(":method", "GET"), (":authority", host), (":path", target), ("x-a", "b")];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        RequestHead::parse(door, Fields::new(fields.into())).ok()
    };
    let heads = [
        head(Door::Tls, "api.example.com", "/v1/users/1?a=b"),
        head(Door::Proxy, "a.example", "/"),
        head(Door::Plain, "192.0.2.1:8080", "/a;x/%20"),
    ];
    heads.into_iter().flatten().collect()
});

fuzz_target!(|text: &str| {
    let environment = Environment::from_iter([("T".to_owned(), b"0123456789abcdef".to_vec())]);
    let setting = Setting { agent: None, environment: Some(&environment), pod: None };
    // A manifest holds whatever Kubernetes reads; what is none is the policy itself.
    let manifest = attache::config::parse_deployed("manifest.yaml", text, None, &[]);
    let _ =
        manifest.compile(None, |policy, problems| compile(policy, setting, "rev", problems)).map_err(|e| e.to_string());
    let draft = attache::config::parse("policy.yaml", text);
    match draft.compile(None, |policy, problems| compile(policy, setting, "rev", problems)) {
        Err(problems) => {
            assert!(problems.has_errors());
            let _ = problems.to_string();
        }
        Ok(accepted) => {
            let rules = &accepted.value.rules;
            for head in HEADS.iter() {
                let host = &head.authority.host;
                let _ = rules.may_intercept(host);
                for agent in rules.agents.ids() {
                    let admitted = rules.decide(agent, head, SystemTime::UNIX_EPOCH).is_ok();
                    let port = head.authority.port.unwrap_or(if head.door == Door::Tls { 443 } else { 80 });
                    let reached = rules.decide_tunnel(std::iter::once(agent), host, port).is_ok();
                    assert!(!admitted || reached, "a tunnel is refused whose requests are not");
                }
            }
        }
    }
});
