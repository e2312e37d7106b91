//! Policies in ConfigMaps: one decides as the file does that it was made of.
#![no_main]

use std::collections::BTreeMap;

use attache::config::compile::{Setting, compile};
use attache::config::{parse, parse_deployed};
use attache::kubernetes::config_map;
use attache::secrets::Environment;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let environment = Environment::from_iter([("T".to_owned(), b"0123456789abcdef".to_vec())]);
    let setting = || Setting { agent: None, environment: Some(&environment), pod: None };
    let deployed = |text: &str| {
        let draft = parse_deployed("manifest.yaml", text, None, &[]);
        draft.compile(None, |policy, problems| compile(policy, setting(), "rev", problems))
    };
    let _ = deployed(text).map_err(|problems| problems.to_string());

    let own = parse("policy.yaml", text).compile(None, |policy, problems| compile(policy, setting(), "rev", problems));
    let wrapped = config_map(None, "attache-policy", &BTreeMap::from([("policy.yaml", text)]));
    match (own, deployed(&wrapped)) {
        (Ok(own), Ok(deployed)) => {
            let names = |rules: &attache::pipeline::policy::Ruleset| {
                rules.agents.ids().map(|agent| rules.agents.name(agent).clone()).collect::<Vec<_>>()
            };
            assert_eq!(names(&own.value.rules), names(&deployed.value.rules));
        }
        (own, Ok(_)) => drop(own.map_err(|problems| panic!("a manifest makes a wrong policy right: {problems}"))),
        // A file in a ConfigMap is refused for more: its size, what the YAML around it cannot carry.
        (_, Err(problems)) => assert!(problems.has_errors()),
    }
});
