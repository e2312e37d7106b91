use super::*;

fn rules(toml: &str) -> (String, Vec<String>) {
    match import_gitleaks(source(".gitleaks.toml", toml)) {
        Ok(imported) => (imported.policy, brief(&imported.warnings)),
        Err(problems) => panic!("refused:\n{problems}"),
    }
}

const EXAMPLE: &str = r#"title = "ours"
[extend]
useDefault = true
[allowlist]
paths = ['''vendor/''']
regexes = ['''EXAMPLE''']
[[rules]]
id = "Acme_Token"
description = "Acme access tokens"
regex = '''(?i)\b(acme_[a-z0-9]{24})(?:['"\s]|$)'''
entropy = 3.5
keywords = ["acme_"]
[[rules]]
id = "no-keyword"
regex = '''zeta-(?:prod|test)-[0-9a-f]{16}'''
[[rules]]
id = "far"
regex = '''[0-9a-f]{32}'''
keywords = ["faraway"]
[[rules]]
id = "unbounded"
regex = '''-----BEGIN ACME-----[\s\S]*?-----END ACME-----'''
keywords = ["begin acme"]
[[rules.allowlists]]
stopwords = ["dum.my"]
"#;

#[test]
fn rules_become_rules() {
    let (policy, warnings) = rules(EXAMPLE);
    same(
        &policy,
        r#"# yaml-language-server: $schema=policy.schema.json
# Imported by `attache dlp import --from gitleaks` from .gitleaks.toml.
# Read it before you use it, and the warnings that came with it.
version: 1

dlp:
  rules:
    # Acme access tokens
    - id: acme-token
      keywords: [acme_]
      pattern: "(?i)\\b(acme_[a-z0-9]{24})(?:['\"\\s]|$)"
      secretGroup: 1
      boundary: false
      entropy: 3.5
      confidence: {base: medium}
      allow: [EXAMPLE]
    - id: no-keyword
      keywords: [zeta-]
      pattern: "zeta-(?:prod|test)-[0-9a-f]{16}"
      boundary: false
      confidence: {base: medium}
      allow: [EXAMPLE]
    - id: far
      keywords: [faraway]
      reach: nearby
      pattern: "[0-9a-f]{32}"
      boundary: false
      confidence: {base: medium}
      allow: [EXAMPLE]
    - id: unbounded
      keywords: [begin acme]
      pattern: "-----BEGIN ACME-----[\\s\\S]*?-----END ACME-----"
      boundary: false
      maxLen: 4096
      confidence: {base: medium}
      allow: [EXAMPLE, "(?i)dum\\.my"]
"#,
    );
    assert_eq!(
        warnings,
        [
            "2:1 warning: `extend` is left out: what it names is not in this file",
            "4:1 warning: `paths` and `commits` of an allowlist are left out: requests have none",
            "7:1 the rule `Acme_Token` is called `acme-token` here",
            "16:1 warning: the keywords of `far` are not part of its pattern: here one has to stand within 96 bytes of a match",
        ]
    );
}

#[test]
fn what_has_no_counterpart_is_named() {
    const GOOD: &str = "[[rules]]\nid = \"good\"\nregex = 'good_[0-9]{4}'\nkeywords = [\"good_\"]\n";
    for (rule, expected) in [
        ("regex = 'foo(?=bar)'\nkeywords = ['foo']", "its pattern cannot be read: look-around"),
        ("path = '''\\.pem$'''", "it is about names of files"),
        ("regex = 'abc_[0-9]{4}'\npath = 'x'\nkeywords = ['abc_']", "it is for files of some names alone"),
        ("regex = '[0-9]{8}'", "it has no keyword of three characters"),
        ("regex = '[0-9]{8}'\nkeywords = ['ab']", "it has no keyword of three characters"),
        ("regex = 'abc_(\\pL{4}|x*)'\nkeywords = ['abc_']", "its pattern cannot be used"),
    ] {
        let (policy, warnings) = rules(&format!("{GOOD}[[rules]]\nid = \"bad\"\n{rule}\n"));
        let told = warnings
            .iter()
            .any(|line| line.contains("warning: the rule `bad` is left out: ") && line.contains(expected));
        assert!(told && !policy.contains("id: bad"), "{rule}: {warnings:?}");
    }
    for list in [
        "condition = \"AND\"\nregexes = ['x']\nstopwords = ['y']",
        "regexTarget = \"line\"\nregexes = ['x']",
        "regexes = ['(']",
    ] {
        let (policy, warnings) = rules(&format!("{GOOD}[[rules.allowlists]]\n{list}\n"));
        assert!(
            warnings.len() == 1 && warnings[0].contains("left out") && !policy.contains("allow:"),
            "{list}: {warnings:?}"
        );
    }
}

#[test]
fn a_rule_keeps_out_of_the_way_of_what_is_built_in() {
    let rule = "[[rules]]\nid = \"generic-secret\"\nregex = 'good_[0-9]{4}'\nkeywords = [\"good_\"]\n";
    let (policy, _) = rules(&rule.repeat(2));
    assert!(
        policy.contains("id: gitleaks-generic-secret\n") && policy.contains("id: gitleaks-generic-secret-2\n"),
        "{policy}"
    );
}

#[test]
fn a_file_that_is_none_is_refused() {
    for (text, expected) in [
        ("[[rules]\n", "this is no configuration of gitleaks"),
        ("rules = 1\n", "this is no configuration of gitleaks"),
        ("title = \"x\"\n", "no rule could be imported"),
    ] {
        let problems = import_gitleaks(source("x.toml", text)).unwrap_err();
        assert!(problems.to_string().contains(expected), "{text}: {problems}");
    }
}
