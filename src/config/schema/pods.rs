//! `identity[].kubernetes`: the pods that an agent runs in.

use std::collections::{BTreeMap, BTreeSet};

use super::super::decode::{Rejection, named, one_or_filled_list, parsed};
use super::super::error::quote;
use super::*;
use crate::pod::{Labels, Pod, is_domain, is_label_key, is_label_value, is_namespace};

/// Which pods: all that is given must hold, each by any one of its values. Something is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Pods {
    /// In one of these namespaces.
    pub namespaces: Option<BTreeSet<String>>,
    /// With one of these service accounts.
    pub service_accounts: Option<BTreeSet<String>>,
    /// With each of these labels, which has one of its values.
    pub labels: BTreeMap<String, BTreeSet<String>>,
}

/// Whether a pod is one of [`Pods`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsOne {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// That hangs on something that is not known.
    Unknown(Untold),
}

/// What is not known of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untold {
    /// Its namespace.
    Namespace,
    /// Its service account.
    ServiceAccount,
    /// Its labels.
    Labels,
}

impl Pods {
    /// Whether this pod is one of them.
    pub fn has(&self, pod: &Pod) -> IsOne {
        let one_of = |wanted: &Option<BTreeSet<String>>, told: &Option<String>, untold| match (wanted, told) {
            (None, _) => IsOne::Yes,
            (Some(wanted), Some(told)) if wanted.contains(told) => IsOne::Yes,
            (Some(_), Some(_)) => IsOne::No,
            (Some(_), None) => IsOne::Unknown(untold),
        };
        let labelled = match &pod.labels {
            _ if self.labels.is_empty() => IsOne::Yes,
            Labels::NotTold | Labels::Unreadable(_) => IsOne::Unknown(Untold::Labels),
            Labels::Known(known) => {
                let holds =
                    |(key, values): (&String, &BTreeSet<String>)| known.get(key).is_some_and(|v| values.contains(v));
                if self.labels.iter().all(holds) { IsOne::Yes } else { IsOne::No }
            }
        };
        let all = [
            one_of(&self.namespaces, &pod.namespace, Untold::Namespace),
            one_of(&self.service_accounts, &pod.service_account, Untold::ServiceAccount),
            labelled,
        ];
        // What is known not to hold settles it, whatever is not known.
        let of_all = |wanted: fn(&IsOne) -> bool| all.iter().copied().find(wanted);
        of_all(|one| *one == IsOne::No).or(of_all(|one| *one != IsOne::Yes)).unwrap_or(IsOne::Yes)
    }

    /// Whether every pod of `other` is one of these too.
    pub fn include(&self, other: &Self) -> bool {
        let wider = |these: &Option<BTreeSet<String>>, those: &Option<BTreeSet<String>>| match (these, those) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(these), Some(those)) => those.is_subset(these),
        };
        let labelled = |(key, values): (&String, &BTreeSet<String>)| {
            other.labels.get(key).is_some_and(|those| those.is_subset(values))
        };
        wider(&self.namespaces, &other.namespaces)
            && wider(&self.service_accounts, &other.service_accounts)
            && self.labels.iter().all(labelled)
    }

    /// Whether some pod could be one of these and of `other`.
    pub fn overlap(&self, other: &Self) -> bool {
        let meet = |these: &Option<BTreeSet<String>>, those: &Option<BTreeSet<String>>| match (these, those) {
            (Some(these), Some(those)) => !these.is_disjoint(those),
            _ => true,
        };
        let labelled = |(key, values): (&String, &BTreeSet<String>)| {
            other.labels.get(key).is_none_or(|those| !those.is_disjoint(values))
        };
        meet(&self.namespaces, &other.namespaces)
            && meet(&self.service_accounts, &other.service_accounts)
            && self.labels.iter().all(labelled)
    }

    /// True if nothing but labels tells these pods apart.
    pub fn are_known_by_labels_alone(&self) -> bool {
        self.namespaces.is_none() && self.service_accounts.is_none()
    }
}

/// `namespace `prod`, service account `coder` or `writer`, label `app=coder``.
impl std::fmt::Display for Pods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or = |what: &str, values: Vec<String>| format!("{what} {}", values.join(" or "));
        let quoted = |values: &BTreeSet<String>| values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>();
        let label = |(key, values): (&String, &BTreeSet<String>)| {
            or("label", values.iter().map(|value| format!("`{key}={value}`")).collect())
        };
        let namespace = self.namespaces.iter().map(|names| or("namespace", quoted(names)));
        let account = self.service_accounts.iter().map(|names| or("service account", quoted(names)));
        let parts: Vec<_> = namespace.chain(account).chain(self.labels.iter().map(label)).collect();
        f.write_str(&parts.join(", "))
    }
}

pub(super) fn pods(node: &Node, problems: &mut Problems) -> Option<Pods> {
    let mut fields = Fields::of(node, "a Kubernetes identity", problems)?;
    let given = ["namespace", "serviceAccount", "labels"].iter().any(|name| fields.has(name));
    if !given {
        fields.reject(
            node.span,
            "a Kubernetes identity needs one of `namespace`, `serviceAccount` and `labels`",
            Some("write which pods are this agent: `kubernetes: {namespace: prod, serviceAccount: coder}`"),
        );
    }
    let namespaces = fields.optional("namespace", values("a namespace, or a list of them", "a namespace", namespace));
    let accounts = values("a service account, or a list of them", "a service account", service_account);
    let service_accounts = fields.optional("serviceAccount", accounts);
    let labels = fields.optional("labels", labels);
    fields.finish()?;
    given.then(|| Pods { namespaces, service_accounts, labels: labels.unwrap_or_default() })
}

fn labels(node: &Node, problems: &mut Problems) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let written = named("a mapping from labels to values", label)(node, problems)?;
    if written.is_empty() && matches!(&node.value, Value::Mapping(entries) if entries.is_empty()) {
        problems.error(node.span, "`labels` names none").fix("name a label with its value, or remove the key");
        return None;
    }
    Some(written.into_iter().collect())
}

fn label(key: &Key, node: &Node, problems: &mut Problems) -> Option<(String, BTreeSet<String>)> {
    if !is_label_key(&key.text) {
        problems
            .error(key.span, format!("{} cannot be the key of a label", quote(&key.text)))
            .fix("write it as the pod has it, such as `app.kubernetes.io/name`");
        return None;
    }
    let values =
        values("the value of a label, or a list of them", "the value of a label", label_value)(node, problems)?;
    Some((key.text.clone(), values))
}

/// One value or several; none would be nobody.
fn values(
    what: &'static str,
    one: &'static str,
    parse: fn(&str) -> Result<String, Rejection>,
) -> impl Fn(&Node, &mut Problems) -> Option<BTreeSet<String>> {
    move |node, problems| {
        let item = |node: &Node, problems: &mut Problems| parsed(one, parse)(node, problems);
        let read = one_or_filled_list(what, "name a value, or remove the key: without it all are meant", item);
        Some(read(node, problems)?.into_iter().map(|spanned| spanned.value).collect())
    }
}

const EXACT: &str = "values are exact, without wildcards: where several are meant, list them";

fn namespace(text: &str) -> Result<String, Rejection> {
    let refused = || Rejection::new(format!("{} cannot be a namespace", quote(text)), EXACT);
    is_namespace(text).then(|| text.to_owned()).ok_or_else(refused)
}

fn service_account(text: &str) -> Result<String, Rejection> {
    let fix = "write its name alone, such as `coder`; values are exact, without wildcards";
    let refused = || Rejection::new(format!("{} cannot be a service account", quote(text)), fix);
    is_domain(text).then(|| text.to_owned()).ok_or_else(refused)
}

fn label_value(text: &str) -> Result<String, Rejection> {
    let refused = || Rejection::new(format!("{} cannot be the value of a label", quote(text)), EXACT);
    is_label_value(text).then(|| text.to_owned()).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(values: &[&str]) -> BTreeSet<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    /// `-` for what is not given.
    fn pods(namespaces: &[&str], accounts: &[&str], labels: &[(&str, &[&str])]) -> Pods {
        let given = |values: &[&str]| (!values.is_empty()).then(|| set(values));
        Pods {
            namespaces: given(namespaces),
            service_accounts: given(accounts),
            labels: labels.iter().map(|(key, values)| ((*key).to_owned(), set(values))).collect(),
        }
    }

    #[test]
    fn a_pod_is_one_where_all_holds_and_unknown_where_nothing_settles_it() {
        let labels = |labels: &[(&str, &str)]| {
            Labels::Known(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
        };
        let pod = |namespace: Option<&str>, account: Option<&str>, labels| Pod {
            namespace: namespace.map(str::to_owned),
            service_account: account.map(str::to_owned),
            labels,
        };
        let prod = pods(&["prod", "stage"], &["coder"], &[("app", &["a", "b"])]);
        for (name, asked, expected) in [
            ("all", pod(Some("stage"), Some("coder"), labels(&[("app", "b"), ("more", "x")])), IsOne::Yes),
            ("another namespace", pod(Some("test"), Some("coder"), labels(&[("app", "b")])), IsOne::No),
            ("part of a namespace", pod(Some("pro"), Some("coder"), labels(&[("app", "b")])), IsOne::No),
            ("another label", pod(Some("prod"), Some("coder"), labels(&[("app", "c")])), IsOne::No),
            ("no label", pod(Some("prod"), Some("coder"), labels(&[])), IsOne::No),
            ("unread labels", pod(Some("prod"), Some("coder"), Labels::NotTold), IsOne::Unknown(Untold::Labels)),
            ("unread labels of another", pod(Some("prod"), Some("x"), Labels::Unreadable(String::new())), IsOne::No),
            ("no account", pod(Some("prod"), None, labels(&[("app", "a")])), IsOne::Unknown(Untold::ServiceAccount)),
            ("no namespace", pod(None, Some("coder"), labels(&[("app", "a")])), IsOne::Unknown(Untold::Namespace)),
        ] {
            assert_eq!(prod.has(&asked), expected, "{name}");
        }
    }

    #[test]
    fn what_includes_and_what_meets() {
        let (nobody, wide) = (&[][..], pods(&["prod"], &[], &[]));
        let narrow = pods(&["prod"], &["coder"], &[]);
        let labelled = pods(&["prod"], nobody, &[("app", &["a"])]);
        assert!(wide.include(&narrow) && wide.include(&labelled) && wide.include(&wide));
        assert!(!narrow.include(&wide) && !labelled.include(&wide) && !narrow.include(&labelled));
        assert!(wide.overlap(&narrow) && narrow.overlap(&labelled));
        assert!(!narrow.overlap(&pods(&["prod"], &["writer"], &[])));
        assert!(!labelled.overlap(&pods(nobody, nobody, &[("app", &["b"])])));
        assert!(labelled.overlap(&pods(nobody, nobody, &[("tier", &["b"])])));
    }

    #[test]
    fn pods_in_words() {
        let all = pods(&["a", "b"], &["c"], &[("app", &["d", "e"])]);
        assert_eq!(all.to_string(), "namespace `a` or `b`, service account `c`, label `app=d` or `app=e`");
    }
}
