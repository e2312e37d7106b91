//! What changes in the containers that are the user's: they trust attaché's CA, and have no way to become its user.

use super::refusal::Refusal;
use super::sidecars::{TRUST, TRUST_PATH};
use super::tree::{Map, Node};
use super::{Found, Options, Variable};

/// Where agents find the proxy, in `proxy-env` mode.
pub const PROXY: &str = "http://127.0.0.1:10080";

/// Beginnings of what is put behind a user's JAVA_TOOL_OPTIONS.
const JOINED: [&str; 2] = ["-Dhttp.proxyHost=127.0.0.1 ", "-Djavax.net.ssl.trustStoreType=PKCS12"];

/// Takes out what an earlier injection put into the user's containers; `proxied` if that was in `proxy-env` mode.
pub(super) fn strip(spec: &mut Map, proxied: bool) {
    for container in containers(spec) {
        container.retain("volumeMounts", |mount| !is_trust_mount(mount));
        container.retain("env", |variable| !variable.as_map().is_some_and(|variable| is_ours(variable, proxied)));
        let variables = container.get_mut("env").and_then(Node::as_list_mut);
        for variable in variables.into_iter().flatten().filter_map(Node::as_map_mut) {
            if let Some(kept) = variable.text("value").and_then(before_joined).map(str::to_owned) {
                variable.set("value", Node::text(kept));
            }
        }
    }
}

/// Gives each of the user's containers what it needs to be governed.
pub(super) fn prepare(spec: &mut Map, options: &Options, found: &mut Found) {
    let pod = spec.map_at(&["securityContext"]);
    let said = |field| pod.is_some_and(|pod| pod.get(field).is_some());
    let pod = Said { user: said("runAsUser"), non_root: said("runAsNonRoot"), seccomp: said("seccompProfile") };
    for container in containers(spec) {
        let name = container.text("name").map(str::to_owned);
        found.in_container(name.as_deref(), |found| {
            environment(container, options, found);
            if let Some(mounts) = container.list_or_new("volumeMounts") {
                mounts.push(Node::map([
                    ("name", Node::text(TRUST)),
                    ("mountPath", Node::text(TRUST_PATH)),
                    ("readOnly", Node::plain(true)),
                ]));
            }
            if let Some(security) = container.map_or_new("securityContext") {
                secure(security, &pod, options);
            }
        });
    }
}

/// What the pod says for all of its containers.
struct Said {
    user: bool,
    non_root: bool,
    seccomp: bool,
}

/// Completes what the user left open. What was said otherwise has been refused.
fn secure(security: &mut Map, pod: &Said, options: &Options) {
    let mut complete = |field, value: Node| {
        if security.get(field).is_none() {
            security.set(field, value);
        }
    };
    if let Some(user) = options.run_as_user.filter(|_| !pod.user) {
        complete("runAsUser", Node::plain(user));
    }
    if !pod.non_root {
        complete("runAsNonRoot", Node::plain(true));
    }
    complete("allowPrivilegeEscalation", Node::plain(false));
    if !pod.seccomp {
        complete("seccompProfile", Node::map([("type", Node::text("RuntimeDefault"))]));
    }
    let drop = security.map_or_new("capabilities").and_then(|capabilities| capabilities.list_or_new("drop"));
    if let Some(drop) = drop
        && !drop.iter().any(|name| name.as_text() == Some("ALL"))
    {
        drop.push(Node::text("ALL"));
    }
}

fn environment(container: &mut Map, options: &Options, found: &mut Found) {
    let Some(variables) = container.list_or_new("env") else { return };
    let set = |variables: &[Node], name: &str| {
        variables.iter().position(|set| set.as_map().is_some_and(|set| set.text("name") == Some(name)))
    };
    // Empty, it is as good as not set, and goes to the place where ours are.
    let joined = |name: Option<&str>| options.environment.iter().any(|ours| ours.joins && Some(&*ours.name) == name);
    variables.retain(|set| {
        let Some(set) = set.as_map() else { return true };
        !(joined(set.text("name")) && set.text("value").is_some_and(|value| value.trim().is_empty()))
    });
    for ours in &options.environment {
        let Variable { name, value, joins } = ours;
        let Some(at) = set(variables, name) else {
            variables.push(Node::map([("name", Node::text(name)), ("value", Node::text(value))]));
            continue;
        };
        let Some(theirs) = variables.get_mut(at).and_then(Node::as_map_mut) else { continue };
        let written = theirs.text("value").map(str::to_owned);
        match written {
            Some(written) if written == *value => {}
            Some(written) if *joins && !written.contains("javax.net.ssl.trustStore") => {
                theirs.set("value", Node::text(format!("{} {value}", written.trim())));
            }
            _ if name.to_ascii_lowercase().contains("proxy") => found.refuse(Refusal::Proxy(name.clone())),
            _ if options.keep_env => {
                found.note(format!("`{name}` stays as it is set: what it names has to hold attaché's CA"));
            }
            _ => found.refuse(Refusal::Environment(name.clone())),
        }
    }
}

fn is_ours(variable: &Map, proxied: bool) -> bool {
    let name = variable.text("name").unwrap_or_default().to_ascii_lowercase();
    let Some(value) = variable.text("value") else { return false };
    let trust = value.strip_prefix(TRUST_PATH).is_some_and(|rest| rest.starts_with('/'));
    let joined = before_joined(value) == Some("");
    trust
        || joined
        || (name.ends_with("_proxy") && value == PROXY)
        || (proxied && ["no_proxy", "node_use_env_proxy", "all_proxy"].contains(&&*name))
}

/// What the user wrote before what was joined to it; `None` where nothing was.
fn before_joined(value: &str) -> Option<&str> {
    if !value.contains(TRUST_PATH) {
        return None;
    }
    let at = JOINED.iter().filter_map(|joined| value.find(joined)).min()?;
    value.get(..at).map(str::trim_end)
}

/// Our mount and nothing more; a cluster gives the fields back in another order.
fn is_trust_mount(mount: &Node) -> bool {
    let Some(mount) = mount.as_map() else { return false };
    let fields = [("name", TRUST), ("mountPath", TRUST_PATH), ("readOnly", "true")];
    mount.iter().count() == fields.len() && fields.iter().all(|(name, value)| mount.text(name) == Some(value))
}

/// The user's containers, init containers too: ours are not among them, before they are put in.
fn containers(spec: &mut Map) -> impl Iterator<Item = &mut Map> {
    let lists = spec.named_mut(["initContainers", "containers"]);
    lists.filter_map(Node::as_list_mut).flatten().filter_map(Node::as_map_mut)
}
