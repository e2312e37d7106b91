//! What the README says of the package is true of it.
#![cfg(test)]

use std::collections::BTreeSet;

const README: &str = include_str!("../README.md");
const MANIFEST: &str = include_str!("../Cargo.toml");

/// The names under the manifest's tables of dependencies, as they are written there.
fn dependencies() -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut inside = false;
    for line in MANIFEST.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && let Some((name, _)) = line.split_once(" = ") {
            // The YAML reader is known by its package's name.
            found.insert(if name == "serde_yaml" { "yaml_serde" } else { name });
        }
    }
    found
}

/// The names in the README's table of building blocks.
fn building_blocks() -> BTreeSet<&'static str> {
    let table = README.split("## Building blocks").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter(|l| l.starts_with('|')).skip(2);
    rows.flat_map(|row| row.split('|').nth(1).unwrap().split(',')).map(str::trim).collect()
}

#[test]
fn every_direct_dependency_is_explained_and_no_other() {
    let (used, explained) = (dependencies(), building_blocks());
    assert!(used.len() > 20, "the manifest was not read: {used:?}");
    let unexplained: Vec<_> = used.difference(&explained).collect();
    let gone: Vec<_> = explained.difference(&used).collect();
    assert!(
        unexplained.is_empty() && gone.is_empty(),
        "not in the README: {unexplained:?}; not in the manifest: {gone:?}"
    );
}

#[test]
fn the_two_commands_are_there_and_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    for command in ["deploy/demo/run", "tests/run"] {
        assert!(README.contains(command));
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(command);
        assert!(path.metadata().unwrap().permissions().mode() & 0o111 != 0, "{command} is not executable");
    }
}
