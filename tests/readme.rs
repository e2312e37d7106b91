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

/// A threat model that names tests which are gone proves nothing.
#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (guide, cases) = (read("deploy/README.md"), read("deploy/kubernetes/admission/tests/guard.yaml"));
    let table = guide.split("## Who can get round it").nth(1).unwrap();
    let (mut tests, mut guarded) = (0, 0);
    for row in table.lines().filter(|line| line.starts_with('|')) {
        let mut parts = row.split('`');
        let mut before = parts.next().unwrap();
        for part in parts {
            if before.ends_with("guard: ") {
                guarded += 1;
                assert!(cases.contains(&format!("- name: {part}\n")), "the guard has no case `{part}`");
            } else if let Some((module, test)) = part.rsplit_once("::") {
                tests += 1;
                let files = match module {
                    "inject" => vec!["tests/inject.rs".to_owned()],
                    module => vec![format!("tests/e2e/{}.rs", module.replace("::", "/"))],
                };
                assert!(read(&files[0]).contains(&format!("fn {test}(")), "`{part}` is no test");
            } else if part.starts_with(".ci/") {
                read(part);
            }
            before = part;
        }
    }
    assert!(tests > 20 && guarded > 8, "the table was not read: {tests}, {guarded}");
}

/// The same of what is said about too much.
#[test]
fn every_test_that_the_page_about_overload_names_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let page = read("docs/overload.md");
    let mut tests = 0;
    for part in page.lines().filter(|line| line.starts_with('|')).flat_map(|row| row.split('`')) {
        let Some((module, test)) = part.rsplit_once("::") else { continue };
        tests += 1;
        let file = match module.ends_with(".rs") {
            true => module.to_owned(),
            false => format!("tests/e2e/{}.rs", module.replace("::", "/")),
        };
        assert!(read(&file).contains(&format!("fn {test}(")), "`{part}` is no test");
    }
    assert!(tests > 10, "the table was not read: {tests}");
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

/// The attacks that have to be tried, as their rows begin. A list that lacks one looks complete.
const ATTACKS: [&str; 23] = [
    "Domain fronting",
    "Smuggling**: lengths and chunks",
    "Smuggling**: duplicate headers",
    "Smuggling**: obs-fold, bare LF, bare CR, NUL",
    "Smuggling**: h2 pseudo-headers",
    "Smuggling**: h2c",
    "Path tricks",
    "DNS rebinding",
    "Multi-answer",
    "Private and metadata addresses",
    "Redirects to denied hosts",
    "Header injection through credentials' values",
    "Spoofed identity and internal headers",
    "Token brute force",
    "Approval replay and body swap",
    "Cache poisoning of verdicts",
    "Certificate exhaustion",
    "Log injection",
    "Regex and decode bombs",
    "HTTP/2 rapid reset",
    "CONTINUATION floods",
    "Reading attaché's environment and sockets",
    "Attack | ",
];

#[test]
fn every_attack_has_its_row_and_every_test_that_it_names_is_there() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let page = read("docs/attacks.md");
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---")).collect();
    for attack in ATTACKS {
        let found = rows.iter().filter(|row| row.trim_start_matches(['|', ' ', '*']).starts_with(attack)).count();
        assert_eq!(found, 1, "`{attack}`");
    }
    assert_eq!(rows.len(), ATTACKS.len(), "an attack is not in this list");
    let mut tests = 0;
    for row in &rows[1..] {
        let cell = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
        let named: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "nothing shows it: {row}");
        for name in named {
            let (module, test) = name.rsplit_once("::").unwrap_or_else(|| panic!("`{name}` is no test"));
            let file = format!("tests/e2e/{}.rs", module.replace("::", "/"));
            let text = read(&file);
            let (before, _) =
                text.split_once(&format!("async fn {test}(")).unwrap_or_else(|| panic!("`{name}` is none"));
            assert!(before.lines().last().unwrap().starts_with("#[tokio::test"), "`{name}` is no test");
            tests += 1;
        }
    }
    assert!(tests > 50, "the table was not read: {tests}");
}
