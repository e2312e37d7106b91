//! What SECURITY.md says of the code: one place is unsafe, and each test that it names is there.

#![cfg(test)]

use std::fs;
use std::path::Path;

/// Where sixteen bytes are compared at once.
const PLACE: &str = "src/pipeline/dlp/lanes.rs";

#[test]
fn unsafe_code_stands_in_one_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz/fuzz_targets", "deploy", "build.rs"] {
        gather(&root.join(folder), &mut files);
    }
    assert!(files.len() > 300, "{} files: are the folders still right?", files.len());
    let (mut elsewhere, mut allowed) = (Vec::new(), 0);
    for file in files {
        let name = file.strip_prefix(root).unwrap().display().to_string();
        for (at, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            let allows = (line.contains("allow(") || line.contains("expect(")) && line.contains(LINT);
            if name == PLACE {
                allowed += usize::from(allows);
            } else if allows || has_keyword(line) {
                elsewhere.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
    assert_eq!(allowed, 1, "`{PLACE}` allows it in one place");
}

/// The keyword, in two pieces: this file has it in none.
const KEYWORD: &str = concat!("un", "safe");
/// What has to be allowed for it.
const LINT: &str = concat!("un", "safe_code");

fn has_keyword(line: &str) -> bool {
    let in_a_name = |c: char| c.is_alphanumeric() || c == '_';
    line.split(|c: char| !in_a_name(c)).any(|word| word == KEYWORD)
}

#[test]
fn the_compiler_refuses_what_this_file_does_not_see() {
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest)).unwrap();
        let lints: toml::Table = text.parse().unwrap();
        assert_eq!(lints["lints"]["rust"][LINT].as_str(), Some("deny"), "{manifest}");
    }
}

/// A promise whose test is gone is none.
#[test]
fn every_test_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let hardening = text.split("## Hardening").nth(1).unwrap();
    let mut named = 0;
    for part in hardening.split('`').skip(1).step_by(2) {
        let Some((module, test)) = part.rsplit_once("::") else { continue };
        named += 1;
        let file = if module == "security" { "tests/security.rs".into() } else { format!("tests/e2e/{module}.rs") };
        let code = fs::read_to_string(root.join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(code.contains(&format!("fn {test}(")), "`{part}` is no test");
    }
    assert!(named > 10, "the table was not read: {named}");
}

fn gather(path: &Path, files: &mut Vec<std::path::PathBuf>) {
    if path.extension().is_some_and(|extension| extension == "rs") {
        return files.push(path.to_owned());
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            gather(&entry.unwrap().path(), files);
        }
    }
}
