//! From paths to text: directories, ConfigMaps, files that cannot be read.

use std::fs;

use super::super::files::SIZE_LIMIT;
use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn read_policy(path: &Path) -> Draft {
    read(&Origin::of(path))
}

#[test]
fn the_files_of_a_directory_are_one_policy() {
    let folder = folder(&[
        ("b.yml", "allowedDomains: [b.example]\nagents: {two: {identity: [{token: {file: two}}]}}\n"),
        ("a.yaml", "version: 1\nallowedDomains: [a.example]\nagents: {one: {identity: [{token: {env: ONE}}]}}\n"),
        ("notes.txt", "not: [a policy"),
        (".hidden.yaml", "not: [a policy"),
    ]);
    let accepted = compiled(read_policy(folder.path())).unwrap();
    assert_eq!(accepted.warnings.to_string(), "");
    let policy = accepted.value;
    let patterns: Vec<_> = policy.allowed_domains.iter().map(|entry| entry.pattern.as_str()).collect();
    assert_eq!(patterns, ["a.example", "b.example"]);
    let agents = policy.agents.unwrap();
    assert_eq!(agents[0].name.as_str(), "one");
    assert_eq!(
        agents[1].identity[0].value,
        Identity::Token(TokenIdentity { source: TokenSource::File(folder.path().join("two")), expires: None })
    );
}

#[test]
fn what_two_files_both_give_is_reported_with_both_places() {
    let folder = folder(&[
        ("a.yaml", "version: 1\nagents: {x: {}}\nblockedDomains: []\ncredentials: [{name: c, file: f}]\n"),
        ("b.yaml", "version: 1\nagents: {x: {}}\nblockedDomains: {}\ncredentials: [{name: c, file: f}]\n"),
    ]);
    let a = folder.path().join("a.yaml").display().to_string();
    let problems = problems(read_policy(folder.path()));
    let messages: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            format!("`x` is given in two files; first at {a}:2:10"),
            format!("`blockedDomains` is given in two files; first at {a}:3:1"),
            format!("the credential `c` is given twice; first at {a}:4:22"),
        ]
    );
    assert!(problems.to_string().contains("b.yaml:2:10: error: `x` is given"));
}

#[test]
fn a_broken_file_does_not_hide_what_is_wrong_in_another() {
    let folder = folder(&[
        ("a.yaml", "agents: [\n"),
        (
            "b.yaml",
            "allowDomains: []\ncredentials: [{name: c, file: f, agents: [in-a], injections: [{domain: d, queryParam: k}]}]\n",
        ),
    ]);
    let report = problems(read_policy(folder.path())).to_string();
    assert!(report.contains("a.yaml:"), "{report}");
    assert!(report.contains("unknown key `allowDomains`"), "{report}");
    assert!(!report.contains("in-a"), "{report}");
}

#[test]
fn a_config_map_is_read_as_one_snapshot() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    for (snapshot, host) in [("..1", "old.example"), ("..2", "new.example")] {
        fs::create_dir(folder.path().join(snapshot)).unwrap();
        fs::write(folder.path().join(snapshot).join("p.yaml"), format!("allowedDomains: [{host}]\nx: 1\n")).unwrap();
    }
    symlink("..2", folder.path().join("..data")).unwrap();
    symlink("..data/p.yaml", folder.path().join("p.yaml")).unwrap();
    // A file of the snapshot whose link kubelet has yet to make.
    fs::write(
        folder.path().join("..2/q.yaml"),
        "allowedDomains: [more.example]
",
    )
    .unwrap();
    let draft = read_policy(folder.path());
    assert_eq!(draft.policy.as_ref().unwrap().allowed_domains.len(), 2);
    assert_eq!(draft.policy.as_ref().unwrap().allowed_domains[0].pattern.value, "new.example");
    let place = format!("{}:2:1: error: unknown key `x`", folder.path().join("p.yaml").display());
    let report = problems(draft).to_string();
    assert!(report.starts_with(&place), "{report}");
}

#[test]
fn files_that_cannot_be_read_say_so() {
    let folder = folder(&[("note.txt", ""), ("large.yaml", "")]);
    let large = folder.path().join("large.yaml");
    fs::File::options().write(true).open(&large).unwrap().set_len(SIZE_LIMIT + 1).unwrap();
    let missing = folder.path().join("missing.yaml");
    let empty = tempfile::tempdir().unwrap();
    for (path, message, fix) in [
        (missing.as_path(), "No such file or directory", "check the path"),
        (Path::new("/dev/null"), "neither a file nor a directory", "give its path"),
        (large.as_path(), "it is larger than 8 MiB", "another file"),
        (folder.path(), "it is larger than 8 MiB", "another file"),
        (empty.path(), "there is no policy in", "`.yaml` or `.yml`"),
    ] {
        let problems = problems(read_policy(path));
        let [problem] = problems.iter().collect::<Vec<_>>()[..] else { panic!("one problem: {problems}") };
        assert!(problem.message.contains(message), "{problem:?}");
        assert!(problem.fix.as_ref().unwrap().contains(fix), "{problem:?}");
    }
}

#[test]
fn a_dangling_link_in_a_directory_is_an_error() {
    let folder = folder(&[("a.yaml", "allowedDomains: []\n")]);
    std::os::unix::fs::symlink("nowhere", folder.path().join("b.yaml")).unwrap();
    let report = problems(read_policy(folder.path())).to_string();
    assert!(report.contains("b.yaml`: No such file"), "{report}");
}

#[test]
fn text_that_is_not_utf8_is_refused_where_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.yaml");
    for (bytes, expected) in [
        (&b"a: 1\nb: \xc3\xa9\xff\n"[..], "2:5 the byte 0xff is not UTF-8 | save the file as UTF-8"),
        (b"\xff\xfea\0", "1:1 the file is UTF-16 | save the file as UTF-8"),
    ] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(brief(&problems(read_policy(&path))), [expected]);
    }
}

#[test]
fn the_revision_is_of_the_content() {
    let folder = folder(&[("a.yaml", "allowedDomains: []\n"), ("b.yaml", "blockedDomains: []\n")]);
    let a = folder.path().join("a.yaml");
    let revision = read_policy(&a).revision().clone();
    assert_eq!(revision.as_str(), parse("other name", "allowedDomains: []\n").revision().as_str());
    assert_eq!(revision.as_str().len(), 12);
    let both = read_policy(folder.path()).revision().clone();
    assert_eq!(read_policy(folder.path()).revision(), &both);
    assert_ne!(both, revision);
    fs::write(&a, "allowedDomains: [x]\n").unwrap();
    assert_ne!(read_policy(&a).revision(), &revision);
    assert_ne!(read_policy(folder.path()).revision(), &both);
}

#[test]
fn the_organization_has_a_file_of_its_own_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let [policy, organization] = ["policy.yaml", "organization.yaml"].map(|name| folder.path().join(name));
    let bounds = "version: 1\norganization: {blockedDomains: [evil.example]}\n";
    let origin = Origin { policy: policy.clone(), organization: Some(organization.clone()) };
    let cases = [
        ("version: 1\nallowedDomains: [a.example]\n", bounds, None),
        ("organization: {}\n", bounds, Some("has a file of its own")),
        ("allowedDomains: []\n", "allowedDomains: []\n", Some("has no place in the organization's file")),
        ("allowedDomains: []\n", "version: 1\n", Some("says nothing")),
        ("allowedDomains: []\n", "organization: [\n", Some("organization.yaml")),
    ];
    for (text, bounds, expected) in cases {
        std::fs::write(&policy, text).unwrap();
        std::fs::write(&organization, bounds).unwrap();
        match expected {
            None => assert_eq!(compiled(read(&origin)).unwrap().value.organization.unwrap().blocked_domains.len(), 1),
            Some(expected) => {
                let report = problems(read(&origin)).to_string();
                assert!(report.contains(expected), "{text}: {report}");
            }
        }
    }
    std::fs::write(&policy, "allowedDomains: []\n").unwrap();
    std::fs::remove_file(&organization).unwrap();
    assert!(problems(read(&origin)).to_string().contains("organization.yaml"));
}
