//! Manifests that sidecars are put into: what they say outlives it, or they are refused. And files put into a ConfigMap.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use attache::kubernetes::{Input, Options, config_map, inject};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde_yaml::Value;

static OPTIONS: LazyLock<Options> = LazyLock::new(|| Options { run_as_user: Some(10001), ..Options::default() });

fuzz_target!(|text: &str| {
    let map = config_map(None, "attache-policy", &BTreeMap::from([("policy.yaml", text)]));
    let map: Value = serde_yaml::from_str(&map).expect("a ConfigMap is YAML");
    assert_eq!(map["data"]["policy.yaml"].as_str(), Some(text), "a file in a ConfigMap is another");

    let injected = match inject(&OPTIONS, &[Input { name: "manifest.yaml", text }]) {
        Ok(injected) => injected,
        Err(problems) => {
            assert!(!problems.is_empty());
            problems.iter().for_each(|problem| drop(problem.to_string()));
            return;
        }
    };
    let again = inject(&OPTIONS, &[Input { name: "manifest.yaml", text: &injected.text }]);
    let again = again.unwrap_or_else(|problems| panic!("what was injected is refused: {}", problems[0]));
    assert_eq!(again.text, injected.text, "sidecars are put in once");
    // Another reader sees in the documents what it saw before.
    let (Some(before), Some(after)) = (documents(text), documents(&injected.text)) else { return };
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        keeps(before, after);
    }
    if injected.workloads == 0 {
        assert_eq!(before, after, "what has no pods is left as it is");
    }
});

/// As another reader has them; none where it cannot read them, which may be for the better.
fn documents(text: &str) -> Option<Vec<Value>> {
    let read = serde_yaml::Deserializer::from_str(text).map(Value::deserialize);
    let mut documents = read.collect::<Result<Vec<_>, _>>().ok()?;
    for document in &mut documents {
        document.apply_merge().ok()?;
    }
    documents.retain(|document| !document.is_null());
    Some(documents)
}

/// That every scalar of a document is in what became of it, under the same keys.
fn keeps(before: &Value, after: &Value) {
    match (before, after) {
        (Value::Mapping(before), Value::Mapping(after)) => {
            for (key, value) in before {
                let Some(other) = after.get(key) else { panic!("{key:?} is gone") };
                // Lists have sidecars before and behind what was there; what is ours was replaced.
                let ours = key.as_str().is_some_and(|key| key.starts_with("attache.dev/"));
                if !value.is_sequence() && !ours {
                    keeps(value, other);
                }
            }
        }
        // What was left empty may be filled.
        (Value::Null, Value::Mapping(_)) => {}
        (before, after) => assert_eq!(before, after),
    }
}
