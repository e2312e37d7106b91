//! The image's build sees what the ignore file lets through, and that is all that the program is made of.
#![cfg(test)]

use std::fs;
use std::path::{Component, Path, PathBuf};

const IGNORE: &str = include_str!("../deploy/images/Dockerfile.dockerignore");
const MANIFEST: &str = include_str!("../Cargo.toml");

#[test]
fn the_ignore_file_lets_through_all_that_is_compiled_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = vec![PathBuf::from("build.rs")];
    gather(root, Path::new("src"), &mut sources);
    assert!(sources.len() > 100, "only {} files were found", sources.len());
    let included = sources.iter().flat_map(|file| included(root, file));
    let named =
        MANIFEST.lines().filter_map(|line| line.strip_prefix("path = \"")?.strip_suffix('"').map(PathBuf::from));
    let needed: Vec<PathBuf> = included.chain(named).collect();
    assert!(needed.contains(&"envoy/envoy.yaml".into()), "the sources were not read");
    let missing: Vec<_> = needed.iter().filter(|path| !is_let_through(path)).collect();
    assert!(missing.is_empty(), "add to deploy/images/Dockerfile.dockerignore: {missing:?}");
}

fn is_let_through(path: &Path) -> bool {
    assert!(IGNORE.starts_with("*\n"), "it begins with nothing");
    IGNORE.lines().filter_map(|line| line.strip_prefix('!')).any(|allowed| path.starts_with(allowed))
}

/// What a file takes in with `include_str!` and its like, outside of tests.
fn included(root: &Path, file: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(root.join(file)).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    let arguments = text.split("include_").skip(1).filter_map(|rest| {
        let (name, argument) = rest.split_once("!(\"")?;
        ["str", "bytes"].contains(&name).then(|| argument.split('"').next().unwrap())
    });
    arguments.map(|path| plain(&file.parent().unwrap().join(path))).collect()
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{path:?} leaves the repository"),
            part => plain.push(part),
        }
        plain
    })
}

fn gather(root: &Path, folder: &Path, sources: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let path = folder.join(entry.unwrap().file_name());
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name == "tests" || name.ends_with("_tests") {
            continue;
        } else if root.join(&path).is_dir() {
            gather(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
}
