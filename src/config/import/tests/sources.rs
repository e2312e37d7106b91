//! How sources are found and read, and that reading gives nothing of them away.

use super::*;

#[test]
fn a_text_that_cannot_be_read_is_not_shown() {
    for text in [
        "{\"credentials_v2\": {\"openai\": {\"key\": \"hunter2}}}",
        "{\"credentials\": {\"openai\": @hunter2}}",
        "{\"credentials\": {\"openai\": *hunter2}}",
        "{\"credentials\": {\"openai\": &hunter2 x}}",
        "{\"credentials\": {\"openai\": !hunter2 x}}",
        "{\"hunter2\": 1, \"hunter2\": 2}",
        "credentials: hunter2: hunter2",
        "credentials: [hunter2",
        "\tcredentials: hunter2",
        "credentials: \"hunter2\u{7}\"",
        "",
    ] {
        for format in [Format::Abac, Format::Oktsec, Format::CredentialsV2, Format::Onecli] {
            let problems = refused(format, &[("a.json", text)], &options());
            let shown = problems.to_string();
            assert!(!shown.contains("hunter2"), "{text}\n{shown}");
            assert!(shown.contains("a.json:"), "{text}\n{shown}");
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let source = Source { name: "a.json".to_owned(), content: b"{\"hunter2\": \"\xff\"}".to_vec() };
    let problems = draft(Format::Onecli, vec![source], &options()).unwrap_err();
    let shown = problems.to_string();
    assert!(shown.contains("a.json:1:14: error: the byte 0xff is not UTF-8") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn two_sources_do_not_add_up_where_the_format_has_one() {
    for format in [Format::Oktsec, Format::CredentialsV2] {
        let problems = refused(format, &[("a", "{}"), ("b", "{}")], &options());
        assert!(problems.to_string().contains("2 sources of this format do not add up"), "{problems}");
    }
}

#[test]
fn a_directory_gives_its_policy_groups() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.policygroup.json", "a.policygroup.json", "c.json", ".hidden.policygroup.json"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    let gathered = |format, path: &std::path::Path| {
        let mut problems = Problems::default();
        let sources = gather(format, path, &mut problems);
        let names: Vec<_> = sources.iter().map(|s| s.name.rsplit('/').next().unwrap().to_owned()).collect();
        (names, brief(&problems).join("\n"))
    };
    let (names, problems) = gathered(Format::Abac, folder.path());
    assert_eq!((names.join(" ").as_str(), &*problems), ("a.policygroup.json b.policygroup.json", ""));
    let (_, problems) = gathered(Format::Onecli, folder.path());
    assert!(problems.ends_with("it is a directory"), "{problems}");
    let (_, problems) = gathered(Format::Abac, &folder.path().join("none"));
    assert!(problems.starts_with("cannot read `") && problems.contains("No such file"), "{problems}");
    let empty = tempfile::tempdir().unwrap();
    let (_, problems) = gathered(Format::Abac, empty.path());
    assert!(problems.ends_with("there is no `*.policygroup.json` in it"), "{problems}");
    let (names, problems) = gathered(Format::Onecli, &folder.path().join("c.json"));
    assert_eq!((names.join(" ").as_str(), &*problems), ("c.json", ""));
}
