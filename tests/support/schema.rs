//! Every policy that a test puts in force is one that editors find nothing wrong with.

use std::sync::LazyLock;

use jsonschema::Validator;

/// Panics where the schema refuses a policy. One that is no YAML is not its concern.
pub fn assert_fits(policy: &str) {
    static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
        let schema = serde_json::from_str(include_str!("../../docs/policy.schema.json")).unwrap();
        jsonschema::draft202012::new(&schema).unwrap()
    });
    let Ok(parsed) = serde_yaml::from_str(policy) else { return };
    let refusals: Vec<_> = SCHEMA.iter_errors(&parsed).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(refusals.is_empty(), "attaché reads this policy, and its schema refuses it: {refusals:#?}\n{policy}");
}
