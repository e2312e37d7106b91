//! What a pod may not have beside the sidecars: each of it is a way past them.
//!
//! What is not said here is allowed, so that a field is looked at with the way that Kubernetes reads it in mind: a
//! boolean or a number that YAML's readers differ on is refused, not guessed.

use super::refusal::Refusal;
use super::sidecars::{EXEMPT_UIDS, GROUP, PORTS, PREFIX, TRUST_PATH};
use super::tree::{Map, Node};
use super::{Found, Options};

/// Says everything about a pod that is unsafe, or not in the shape that a pod has. What an earlier injection put into
/// it has been taken out.
pub(super) fn guard(spec: &Map, options: &Options, found: &mut Found) {
    pod(spec, found);
    volumes(spec, options, found);
    let pod = mapping(spec, "securityContext", "", found);
    if let Some(security) = pod {
        pod_security(security, found);
    }
    let mut containers = maps(spec, "containers", found);
    if containers.is_empty() {
        found.refuse(Refusal::NoContainers);
    }
    containers.extend(maps(spec, "initContainers", found));
    for container in containers {
        found.in_container(container.text("name"), |found| {
            self::container(container, options, found);
            let own = mapping(container, "securityContext", "", found);
            user(own, pod, options, found);
            if let Some(own) = own {
                container_security(own, found);
            }
        });
    }
}

/// A name that only attaché's parts have.
pub(super) fn is_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn pod(spec: &Map, found: &mut Found) {
    for (field, why) in [
        ("hostNetwork", "puts the pod into the node's network, which the firewall does not guard"),
        ("hostPID", "shows the node's processes, the sidecars among them"),
        ("hostIPC", "shares the node's memory segments"),
        ("shareProcessNamespace", "opens the sidecars' files and environment to the agent, by /proc"),
    ] {
        if boolean(spec, field, found) == Some(true) {
            found.refuse(Refusal::Shared { field, why });
        }
    }
    boolean(spec, "automountServiceAccountToken", found);
    if let Some(os) = mapping(spec, "os", "", found)
        && os.text("name") != Some("linux")
    {
        found.refuse(Refusal::Windows);
    }
    if spec.get("ephemeralContainers").is_some_and(|list| list.as_list().is_none_or(|list| !list.is_empty())) {
        found.refuse(Refusal::Ephemeral);
    }
}

fn pod_security(security: &Map, found: &mut Found) {
    groups(security, found);
    windows(security, found);
    seccomp(security, found);
    // At the pod too, whoever overrides it: what has no word of its own inherits it.
    match integer(security, "runAsUser", found) {
        Some(0) => found.refuse(Refusal::Root),
        Some(user) if EXEMPT_UIDS.contains(&user) => found.refuse(Refusal::ExemptUser(user)),
        _ => {}
    }
    if boolean(security, "runAsNonRoot", found) == Some(false) {
        found.refuse(Refusal::MayBeRoot);
    }
    if integer(security, "fsGroup", found) == Some(GROUP) {
        found.refuse(Refusal::Group("fsGroup"));
    }
    match security.get("supplementalGroups") {
        None => {}
        Some(Node::List(list)) => {
            for group in list {
                match group {
                    Node::Scalar(scalar) if !scalar.quoted => {
                        if number("supplementalGroups", &scalar.text, found) == Some(GROUP) {
                            found.refuse(Refusal::Group("supplementalGroups"));
                        }
                    }
                    _ => found.shape("supplementalGroups", "a list of numbers"),
                }
            }
        }
        Some(_) => found.shape("supplementalGroups", "a list of numbers"),
    }
    for sysctl in maps(security, "sysctls", found) {
        // The kernel takes `net/ipv4/…` too.
        let name = sysctl.text("name").unwrap_or_default();
        if name.replace('/', ".").starts_with("net.") {
            found.refuse(Refusal::Sysctl(name.to_owned()));
        }
    }
}

/// Who a container runs as, by its own word, the pod's, or ours.
fn user(own: Option<&Map>, pod: Option<&Map>, options: &Options, found: &mut Found) {
    match own.and_then(|own| integer(own, "runAsUser", found)) {
        Some(0) => found.refuse(Refusal::Root),
        Some(user) if EXEMPT_UIDS.contains(&user) => found.refuse(Refusal::ExemptUser(user)),
        Some(_) => {}
        None => {
            let said = pod.is_some_and(|pod| pod.get("runAsUser").is_some());
            if !said && options.run_as_user.is_none() && own.is_none_or(|own| own.get("runAsUser").is_none()) {
                found.refuse(Refusal::NoUser);
            }
        }
    }
}

fn container_security(security: &Map, found: &mut Found) {
    groups(security, found);
    windows(security, found);
    seccomp(security, found);
    if boolean(security, "runAsNonRoot", found) == Some(false) {
        found.refuse(Refusal::MayBeRoot);
    }
    if boolean(security, "privileged", found) == Some(true) {
        found.refuse(Refusal::Privileged);
    }
    if boolean(security, "allowPrivilegeEscalation", found) == Some(true) {
        found.refuse(Refusal::Escalation);
    }
    if let Some(mount) = security.get("procMount")
        && mount.as_text() != Some("Default")
    {
        found.refuse(Refusal::ProcMount(shown(mount)));
    }
    let Some(capabilities) = mapping(security, "capabilities", "securityContext.", found) else { return };
    for list in ["add", "drop"] {
        match capabilities.get(list) {
            None => {}
            Some(Node::List(names)) => {
                for name in names.iter().filter(|name| list == "add" && name.as_text() != Some("NET_BIND_SERVICE")) {
                    found.refuse(Refusal::Capability(shown(name)));
                }
            }
            Some(_) => found.shape(format!("capabilities.{list}"), "a list"),
        }
    }
}

fn groups(security: &Map, found: &mut Found) {
    if integer(security, "runAsGroup", found) == Some(GROUP) {
        found.refuse(Refusal::Group("runAsGroup"));
    }
}

fn windows(security: &Map, found: &mut Found) {
    if security.get("windowsOptions").is_some() {
        found.refuse(Refusal::Windows);
    }
}

fn seccomp(security: &Map, found: &mut Found) {
    let Some(profile) = mapping(security, "seccompProfile", "securityContext.", found) else { return };
    match profile.text("type") {
        Some("RuntimeDefault" | "Localhost") => {}
        other => found.refuse(Refusal::Seccomp(other.unwrap_or_default().to_owned())),
    }
}

fn volumes(spec: &Map, options: &Options, found: &mut Found) {
    for volume in maps(spec, "volumes", found) {
        let name = volume.text("name").unwrap_or_default();
        if is_ours(name) {
            found.refuse(Refusal::Name(name.to_owned()));
        }
        if let Some(source) = volume.get("hostPath") {
            let path = source.as_map().and_then(|source| source.text("path")).unwrap_or_default().to_owned();
            found.refuse(Refusal::HostPath { volume: name.to_owned(), path });
        }
        let place = format!("the volume `{name}`");
        sources(volume, options, &place, found);
        if let Some(projected) = mapping(volume, "projected", "volumes.", found) {
            for source in maps(projected, "sources", found) {
                sources(source, options, &place, found);
            }
        }
    }
}

/// ConfigMaps and Secrets that a volume, or a part of one, is made of.
fn sources(volume: &Map, options: &Options, place: &str, found: &mut Found) {
    for (kind, fields) in [("secret", &["secretName", "name"]), ("configMap", &["name", "name"])] {
        let Some(source) = mapping(volume, kind, "volumes.", found) else { continue };
        for field in fields.iter().filter_map(|field| source.text(field)).take(1) {
            reads(kind == "secret", field, options, place, found);
        }
    }
}

fn reads(secret: bool, name: &str, options: &Options, place: &str, found: &mut Found) {
    let ours = match secret {
        true => name == options.credentials_secret,
        false => [&options.policy_configmap, &options.envoy_configmap].into_iter().any(|ours| ours == name),
    };
    if ours {
        found.refuse(Refusal::Reads { name: name.to_owned(), place: place.to_owned() });
    }
}

fn container(container: &Map, options: &Options, found: &mut Found) {
    match container.text("name") {
        Some(name) if is_ours(name) => found.refuse(Refusal::Name(name.to_owned())),
        Some(_) => {}
        None => found.shape("name", "given"),
    }
    for mount in maps(container, "volumeMounts", found).into_iter().chain(maps(container, "volumeDevices", found)) {
        let name = mount.text("name").unwrap_or_default();
        let path = mount.text("mountPath").unwrap_or_default();
        if is_ours(name) {
            found.refuse(Refusal::Mount(name.to_owned()));
        } else if within_trust(path) {
            found.refuse(Refusal::MountPath(path.to_owned()));
        }
    }
    for variable in maps(container, "env", found) {
        if variable.text("name").is_none() {
            found.shape("env", "a list of mappings with names");
        }
        let place = format!("the variable `{}`", variable.text("name").unwrap_or_default());
        for (kind, field) in [(true, "secretKeyRef"), (false, "configMapKeyRef")] {
            let name = variable.map_at(&["valueFrom", field]).and_then(|source| source.text("name"));
            if let Some(name) = name {
                reads(kind, name, options, &place, found);
            }
        }
    }
    for source in maps(container, "envFrom", found) {
        for (kind, field) in [(true, "secretRef"), (false, "configMapRef")] {
            if let Some(name) = source.map_at(&[field]).and_then(|source| source.text("name")) {
                reads(kind, name, options, "envFrom", found);
            }
        }
    }
    for port in maps(container, "ports", found) {
        let number = integer(port, "containerPort", found).and_then(|port| u16::try_from(port).ok());
        match number {
            Some(port) if PORTS.contains(&port) => found.refuse(Refusal::Port(port)),
            Some(port) if port > 0 => {}
            _ => found.shape("containerPort", "a port"),
        }
    }
}

/// The place of our mount, or one in it; `//` and `.` are nothing to the kernel.
fn within_trust(path: &str) -> bool {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let path = format!("/{}/", parts.join("/"));
    path.starts_with(&format!("{TRUST_PATH}/"))
}

/// The mapping under this name; what else stands there is refused. `of` is the way to it, for messages.
fn mapping<'a>(map: &'a Map, field: &str, of: &str, found: &mut Found) -> Option<&'a Map> {
    let node = map.get(field)?;
    if node.as_map().is_none() {
        found.shape(format!("{of}{field}"), "a mapping");
    }
    node.as_map()
}

/// The mappings in the list under this name; what else stands there is refused.
fn maps<'a>(map: &'a Map, field: &str, found: &mut Found) -> Vec<&'a Map> {
    let Some(node) = map.get(field) else { return Vec::new() };
    let items: Option<Vec<_>> = node.as_list().and_then(|items| items.iter().map(Node::as_map).collect());
    if items.is_none() {
        found.shape(field, "a list of mappings");
    }
    items.unwrap_or_default()
}

fn boolean(map: &Map, field: &str, found: &mut Found) -> Option<bool> {
    match map.get(field)? {
        Node::Scalar(scalar) if !scalar.quoted && scalar.text == "true" => Some(true),
        Node::Scalar(scalar) if !scalar.quoted && scalar.text == "false" => Some(false),
        other => {
            let (field, written) = (field.to_owned(), shown(other));
            found.refuse(Refusal::Spelling { field, written, expected: "true or false, without quotes" });
            None
        }
    }
}

fn integer(map: &Map, field: &str, found: &mut Found) -> Option<i64> {
    match map.get(field)? {
        Node::Scalar(scalar) if !scalar.quoted => number(field, &scalar.text, found),
        other => number(field, &shown(other), found),
    }
}

/// A number in decimal digits and nothing else: `0x53a`, `02472`, `1_338` and `1.338e3` are 1338 to some.
fn number(field: &str, text: &str, found: &mut Found) -> Option<i64> {
    let decimal = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = text.parse().ok().filter(|_| decimal);
    if number.is_none() {
        let expected = "a number in decimal digits, without quotes";
        found.refuse(Refusal::Spelling { field: field.to_owned(), written: text.to_owned(), expected });
    }
    number
}

fn shown(node: &Node) -> String {
    match node {
        Node::Scalar(scalar) if scalar.quoted => format!("\"{}\"", scalar.text),
        Node::Scalar(scalar) => scalar.text.clone(),
        Node::List(_) => "[…]".to_owned(),
        Node::Map(_) => "{…}".to_owned(),
    }
}
