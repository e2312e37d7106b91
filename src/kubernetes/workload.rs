//! Which objects bring pods into the cluster, and where in them the pod stands.

use super::tree::{Map, Node};

/// A kind with a pod in it, in the one version that is still served.
struct Kind {
    name: &'static str,
    api_version: &'static str,
    /// The way to what has `metadata` and `spec` of the pod.
    way: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    Kind { name: "Pod", api_version: "v1", way: &[] },
    Kind { name: "ReplicationController", api_version: "v1", way: TEMPLATE },
    Kind { name: "Deployment", api_version: "apps/v1", way: TEMPLATE },
    Kind { name: "StatefulSet", api_version: "apps/v1", way: TEMPLATE },
    Kind { name: "DaemonSet", api_version: "apps/v1", way: TEMPLATE },
    Kind { name: "ReplicaSet", api_version: "apps/v1", way: TEMPLATE },
    Kind { name: "Job", api_version: "batch/v1", way: TEMPLATE },
    Kind { name: "CronJob", api_version: "batch/v1", way: &["spec", "jobTemplate", "spec", "template"] },
];

const TEMPLATE: &[&str] = &["spec", "template"];

/// What an object is to injection.
pub(super) enum Role {
    /// It has a pod, at the end of this way.
    Workload(&'static [&'static str]),
    /// `kind: List`, or another with objects in `items`, which kubectl takes apart as well: what counts is in it.
    List,
    /// A list by another name, whose items need not say what they are.
    TypedList,
    /// It is named as a workload, in a version that is not known; the one that is.
    OtherVersion(&'static str),
    /// Another kind, and yet something with containers in it.
    LooksLikeOne,
    /// Any other.
    Other,
}

/// What an object is, by its kind.
pub(super) fn role(object: &Map, kind: &str, api_version: &str) -> Role {
    if kind == "List" && api_version == "v1" {
        return Role::List;
    }
    if let Some(known) = KINDS.iter().find(|known| known.name == kind) {
        // kubectl would take it for a list, and apply what is in it.
        if object.get("items").is_some() {
            return Role::TypedList;
        }
        return match known.api_version == api_version {
            true => Role::Workload(known.way),
            false => Role::OtherVersion(known.api_version),
        };
    }
    if kind.strip_suffix("List").is_some_and(|item| KINDS.iter().any(|known| known.name == item)) {
        return Role::TypedList;
    }
    if object.maps("items").any(|item| item.get("kind").is_some()) {
        return Role::List;
    }
    let containers = |way: &[&str]| object.map_at(way).is_some_and(|spec| spec.get("containers").is_some());
    match containers(&["spec", "template", "spec"]) || containers(&["template", "spec"]) {
        true => Role::LooksLikeOne,
        false => Role::Other,
    }
}

/// What an object is called: `Deployment web/agent`.
pub(super) fn title(object: &Map, kind: &str) -> String {
    let metadata = object.get("metadata").and_then(Node::as_map);
    let text = |name| metadata.and_then(|metadata| metadata.text(name));
    let name = text("name").or_else(|| text("generateName")).unwrap_or("without a name");
    match text("namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// The mapping at the end of a way, to be changed; the name of the step that is none.
pub(super) fn descend<'a>(object: &'a mut Map, way: &[&'static str]) -> Result<&'a mut Map, &'static str> {
    way.iter().try_fold(object, |map, name| map.get_mut(name).and_then(Node::as_map_mut).ok_or(*name))
}
