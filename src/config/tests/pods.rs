//! Whose pod a pod is.

use std::time::SystemTime;

use super::*;
use crate::config::compile::{Revocable, Setting, compile_again};
use crate::pipeline::agent::{Agents, How, Origin};
use crate::pipeline::message::Fields;
use crate::pipeline::policy::Reason;
use crate::pod::{Labels, Pod};

const POLICY: &str = "
agents:
  coder: {identity: [{kubernetes: {namespace: prod, serviceAccount: [coder, coder-canary]}}]}
  writer: {identity: [{kubernetes: {namespace: [prod, stage], labels: {app: writer}}}]}
  ann: {identity: [{header: {name: x-agent, value: ann, trusted: true}}, {kubernetes: {namespace: desk}}]}
  bob: {identity: [{header: {name: x-agent, value: bob, trusted: true}}]}
";

fn pod(namespace: &str, account: &str, labels: Labels) -> Pod {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Pod { namespace: given(namespace), service_account: given(account), labels }
}

fn labels(app: &str) -> Labels {
    Labels::Known([("app".to_owned(), app.to_owned())].into())
}

fn load(agent: Option<&str>, pod: Option<&Pod>, has_changed: bool) -> Result<Agents, String> {
    let revocable = Revocable { pod: has_changed, ..Revocable::default() };
    let setting = Setting { agent, environment: None, pod };
    let accepted = parse("policy.yaml", POLICY)
        .compile(agent, |policy, problems| compile_again(policy, setting, &revocable, "rev", problems));
    let first = |problems: Problems| problems.iter().next().map(|problem| problem.message.clone()).unwrap();
    accepted.map(|accepted| accepted.value.rules.agents).map_err(first)
}

/// Who a caller with these fields is, and how.
fn who(agents: &Agents, fields: &[(&str, &str)]) -> Result<Option<(String, How)>, (Reason, String)> {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
    let fields = Fields::new(fields.collect());
    match agents.identify_fields(&fields, false, &Origin::unknown(SystemTime::UNIX_EPOCH)) {
        Ok(caller) => Ok(caller.map(|caller| (agents.name(caller.agent).to_string(), caller.how))),
        Err(denial) => Err((denial.reason, denial.detail.unwrap_or_default().into())),
    }
}

#[test]
fn the_pod_names_every_caller_in_it() {
    let is = |name: &str, how| Ok(Some((name.to_owned(), how)));
    for (asked, expected) in [
        (pod("prod", "coder", labels("x")), "coder"),
        (pod("prod", "coder-canary", labels("x")), "coder"),
        (pod("stage", "coder", labels("writer")), "writer"),
        (pod("prod", "default", labels("writer")), "writer"),
        (pod("desk", "", Labels::NotTold), "ann"),
    ] {
        let agents = load(None, Some(&asked), false).unwrap();
        assert_eq!(who(&agents, &[]), is(expected, How::Kubernetes), "{asked}");
        assert_eq!(agents.fixed(), agents.find(expected));
    }
    // What else is shown has to name the same.
    let agents = load(None, Some(&pod("desk", "x", labels("x"))), false).unwrap();
    assert_eq!(who(&agents, &[("x-agent", "ann")]), is("ann", How::Header));
    assert!(matches!(who(&agents, &[("x-agent", "bob")]), Err((Reason::IdentityConflict, _))));
    assert!(matches!(who(&agents, &[("x-agent", "eve")]), Err((Reason::UnknownIdentity, _))));
    assert_eq!(who(&load(None, None, false).unwrap(), &[]), Ok(None), "on a laptop");
}

#[test]
fn a_pod_of_nobody_is_refused_whatever_it_shows() {
    let agents = load(None, Some(&pod("test", "coder", labels("writer"))), false).unwrap();
    for fields in [&[][..], &[("x-agent", "bob")]] {
        let (reason, detail) = who(&agents, fields).unwrap_err();
        assert_eq!(reason, Reason::UnknownIdentity);
        assert_eq!(detail, "no agent of the policy is this pod (namespace `test`, service account `coder`)");
    }
    assert_eq!(agents.fixed(), None);
}

/// At the start it is an error; where the pod has changed since, nobody is anybody.
#[test]
fn a_pod_that_is_not_clearly_anybodys_is_nobodys() {
    for (name, agent, asked, message, reason) in [
        (
            "two",
            None,
            pod("prod", "coder", labels("writer")),
            "this pod (namespace `prod`, service account `coder`) is both `coder` and `writer`",
            Reason::IdentityConflict,
        ),
        (
            "one, perhaps two",
            None,
            pod("prod", "coder", Labels::Unreadable("the labels are gone".into())),
            "whether this pod is `writer` cannot be told: the labels are gone",
            Reason::UnknownIdentity,
        ),
        (
            "perhaps one",
            None,
            pod("prod", "", labels("x")),
            "whether this pod is `coder` cannot be told: nobody says what its service account is",
            Reason::UnknownIdentity,
        ),
        (
            "another than the command line says",
            Some("writer"),
            pod("prod", "coder", labels("x")),
            "`--agent` says that every caller is `writer`, and this pod (namespace `prod`, service account `coder`) is `coder`",
            Reason::IdentityConflict,
        ),
        (
            "none of those of whom the command line says",
            Some("coder"),
            pod("test", "coder", labels("x")),
            "`--agent` says that every caller is `coder`, and this pod (namespace `test`, service account `coder`) is none of `coder`",
            Reason::IdentityConflict,
        ),
    ] {
        assert_eq!(load(agent, Some(&asked), false).map(|_| ()), Err(message.to_owned()), "{name}");
        let agents = load(agent, Some(&asked), true).unwrap();
        assert_eq!(who(&agents, &[]), Err((reason, message.to_owned())), "{name}");
    }
}

#[test]
fn the_command_line_says_who_calls_where_the_pod_does_not_object() {
    for (agent, asked) in [("coder", pod("prod", "coder", labels("x"))), ("bob", pod("test", "x", labels("x")))] {
        let agents = load(Some(agent), Some(&asked), false).unwrap();
        assert_eq!(who(&agents, &[]), Ok(Some((agent.to_owned(), How::Fixed))));
    }
}
