//! A policy in a rendered manifest is the one that would be mounted, and its mistakes have their places in the manifest.

use super::*;

const RENDERED: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: agent}
spec: {template: {metadata: {annotations: {x: &a y, z: *a}}}}
---
# what kustomize prints
apiVersion: v1
data:
  10-hosts.yaml: |
    allowedDomains: [api.example.com]
    # nothing more

    blockedDomains: [evil.example]
  20-rules.yml: |-
    rules:
      - {name: r, host: api.example.com, action: block}
  README: not a policy
kind: ConfigMap
metadata:
  name: attache-policy-8g2k4t
  namespace: prod
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
data: {a.yaml: 'nonsense: true'}
";

fn problems_of(text: &str, configmaps: &[&str]) -> Vec<String> {
    let configmaps: Vec<_> = configmaps.iter().map(|name| (*name).to_owned()).collect();
    let accepted = parse_deployed("m.yaml", text, None, &configmaps).compile(None, |_, _| Some(()));
    let problems = accepted.map_or_else(|problems| problems, |accepted| accepted.warnings);
    let one = |problem: &Problem| {
        let place = problem.at.map(|at| format!("{} ", problems.place(at))).unwrap_or_default();
        format!("{place}{} {}", problem.code.as_str(), problem.message)
    };
    problems.iter().map(one).collect()
}

#[test]
fn it_is_the_policy_that_would_be_mounted() {
    let manifest = parse_deployed("m.yaml", RENDERED, None, &[]);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("10-hosts.yaml", "allowedDomains: [api.example.com]\n# nothing more\n\nblockedDomains: [evil.example]\n");
    write("20-rules.yml", "rules:\n  - {name: r, host: api.example.com, action: block}");
    let mounted = read(&Origin::of(folder.path()));
    assert_eq!(manifest.revision(), mounted.revision());
    let count = |draft: Draft| {
        draft.compile(None, |policy, _| Some((policy.allowed_domains.len(), policy.rules.len()))).unwrap().value
    };
    assert_eq!((count(manifest), count(mounted)), ((1, 1), (1, 1)));
}

#[test]
fn mistakes_have_their_places_in_the_manifest() {
    let wrong = RENDERED.replace("blockedDomains", "blockDomains").replace("action: block}", "action: blok}");
    assert_eq!(
        problems_of(&wrong, &[]),
        [
            "m.yaml:14:5 invalid unknown key `blockDomains` in a policy",
            "m.yaml:17:50 invalid `blok` is not an action of a rule",
        ]
    );
    let accepted = parse_deployed("m.yaml", &wrong, None, &[]).compile(None, |_, _| Some(()));
    let shown = accepted.unwrap_err().to_string();
    assert!(shown.contains("14 | blockDomains: [evil.example]\n   | ^^^^^^^^^^^^"), "{shown}");
    // A text that does not stand there line by line has a name of its own.
    for quoted in ["\"allowDomains: []\\n\"", "'allowDomains: []'", ">\n    allowDomains:\n    []", "{a: b}"] {
        let text =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: attache-policy}}\ndata:\n  p.yaml: {quoted}\n");
        let expected = match quoted {
            "{a: b}" => "m.yaml:1:1 invalid the ConfigMap `attache-policy` has no policy in it".to_owned(),
            _ => "m.yaml#attache-policy/p.yaml:1:1 invalid unknown key `allowDomains` in a policy".to_owned(),
        };
        assert_eq!(problems_of(&text, &[]), [expected], "{quoted}");
    }
}

#[test]
fn which_configmap_is_said_or_found_by_its_name() {
    let of = |name: &str, data: &str| {
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: '{namespace}'}}\ndata: {{{data}}}\n---\n"
        )
    };
    let (good, bad) = ("p.yaml: 'allowedDomains: []'", "p.yaml: 'x: 1'");
    let list = |items: &str| format!("apiVersion: v1\nkind: List\nitems: [{items}]\n");
    let item = "{apiVersion: v1, kind: ConfigMap, metadata: {name: attache-policy}, data: {p.yaml: 'x: 1'}}";
    let in_list = "m.yaml#attache-policy/p.yaml:1:1 invalid unknown key `x` in a policy";
    for (name, text, wanted, expected) in [
        ("the default name", of("other", bad) + &of("attache-policy-7x", good), &[][..], &[][..]),
        ("another name", of("other", good) + &of("attache-policy", bad), &["other"], &[]),
        ("in a list", list(item), &[], &[in_list]),
        (
            "none of them",
            of("a/one", good) + &of("two", good),
            &[],
            &["invalid `m.yaml` is a Kubernetes manifest without a ConfigMap `attache-policy…`; it has `a/one`, `two`"],
        ),
        (
            "none at all",
            "apiVersion: v1\nkind: Secret\n".to_owned(),
            &[],
            &["invalid `m.yaml` is a Kubernetes manifest without a ConfigMap `attache-policy…`; it has no ConfigMap"],
        ),
        (
            "one that is not there",
            of("attache-policy", good),
            &["x"],
            &["invalid there is no ConfigMap `x` in `m.yaml`; it has `attache-policy`"],
        ),
        ("one of two namespaces", of("a/p", bad) + &of("b/p", good), &["b/p"], &[]),
        (
            "either of two namespaces",
            of("a/p", bad) + &of("b/p", good),
            &["p"],
            &["m.yaml:6:1 invalid `a/p` and `b/p` are two policies, of which one is meant"],
        ),
        (
            "two that are mounted together",
            of("attache-policy-a", good) + &of("attache-policy-b", "q.yaml: 'blockedDomains: []'"),
            &[],
            &[],
        ),
        (
            "two with the same key",
            of("attache-policy-a", good) + &of("attache-policy-b", good),
            &[],
            &["m.yaml:9:8 invalid the key `p.yaml` is also in the ConfigMap `attache-policy-a`"],
        ),
        ("no manifest", "allowedDomains: []".to_owned(), &["x"], &["invalid `m.yaml` is no Kubernetes manifest"]),
        ("a policy", "allowedDomains: [] # apiVersion kind\n".to_owned(), &[], &[]),
        (
            "a manifest that breaks off",
            of("attache-policy", good) + "a: [",
            &[],
            &["m.yaml:7:1 invalid this is not YAML: while parsing a node, did not find expected node content"],
        ),
        (
            "a key twice",
            "apiVersion: v1\nkind: Secret\n---\n".to_owned() + &of("attache-policy", &format!("{good}, {bad}")),
            &[],
            &["m.yaml:7:38 invalid this is not YAML: `p.yaml` is given twice"],
        ),
        (
            "an alias for a policy",
            of("attache-policy", "a: &x 'allowedDomains: []', p.yaml: *x"),
            &[],
            &["m.yaml:1:1 invalid the ConfigMap `attache-policy` has no policy in it"],
        ),
    ] {
        assert_eq!(problems_of(&text, wanted), expected, "{name}");
    }
}

#[test]
fn what_the_api_server_would_refuse_and_what_is_worth_knowing() {
    let of = |more: &str, size: usize| {
        let filler = "#".repeat(size);
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: attache-policy}}\n{more}data:\n  p.yaml: |\n    allowedDomains: []\n  f: |-\n    {filler}\n"
        )
    };
    let rest = "p.yaml".len() + "allowedDomains: []\n".len() + "f".len();
    for (name, text, expected) in [
        ("as large as it may be for nobody to mind", of("", 800 * 1024 - rest), &[][..]),
        (
            "large",
            of("", 800 * 1024 - rest + 1),
            &[
                "m.yaml:1:1 large-configmap the ConfigMap `attache-policy` has 819201 bytes, of 1048576 that there may be",
            ],
        ),
        (
            "too large",
            of("", 1024 * 1024 - rest + 1),
            &["m.yaml:1:1 invalid the ConfigMap `attache-policy` has 1048577 bytes, of 1048576 that there may be"],
        ),
        (
            "binary",
            of("binaryData: {q.yaml: AAAA}\n", 0),
            &["m.yaml:4:13 invalid the ConfigMap `attache-policy` has `binaryData`, in which no policy can be read"],
        ),
        (
            "immutable",
            of("immutable: true\n", 0),
            &[
                "m.yaml:4:12 immutable-configmap the ConfigMap `attache-policy` is immutable: running pods keep this policy for as long as they live",
            ],
        ),
    ] {
        assert_eq!(problems_of(&text, &[]), expected, "{name}");
    }
}
