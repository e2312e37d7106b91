//! Which ports the firewall leaves open to others: those the pod says it serves on.

use super::refusal::Refusal;
use super::tree::{Map, Node};
use super::{Found, Inbound};

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
const HOOKS: [&str; 2] = ["postStart", "preStop"];

/// The values of `--inbound` for a pod, each once.
pub(super) fn arguments(spec: &Map, inbound: &Inbound, found: &mut Found) -> Vec<String> {
    let mut open: Vec<String> = match inbound {
        Inbound::All => vec!["all".to_owned()],
        Inbound::Ports(ports) => ports.clone(),
        Inbound::Auto => {
            let mut open = Vec::new();
            for container in spec.maps("initContainers").chain(spec.maps("containers")) {
                found.in_container(container.text("name"), |found| {
                    declared(container, &mut open, found);
                    for handler in handlers(container) {
                        asked(handler, container, &mut open, found);
                    }
                });
            }
            open
        }
    };
    let mut seen = std::collections::HashSet::new();
    open.retain(|port| seen.insert(port.clone()));
    open
}

fn declared(container: &Map, open: &mut Vec<String>, found: &mut Found) {
    for port in container.maps("ports") {
        let Some(number) = port.text("containerPort").and_then(|port| port.parse::<u16>().ok()) else { continue };
        match port.text("protocol").unwrap_or("TCP") {
            "TCP" => open.push(number.to_string()),
            "UDP" => open.push(format!("{number}/udp")),
            "SCTP" => found.refuse(Refusal::Sctp(number)),
            _ => found.shape("protocol", "TCP or UDP"),
        }
    }
}

/// What the node's kubelet does to a container.
fn handlers(container: &Map) -> impl Iterator<Item = &Map> {
    let probes = PROBES.into_iter().filter_map(|probe| container.get(probe));
    let hooks = HOOKS.into_iter().filter_map(|hook| container.map_at(&["lifecycle"])?.get(hook));
    probes.chain(hooks).filter_map(Node::as_map)
}

fn asked(handler: &Map, container: &Map, open: &mut Vec<String>, found: &mut Found) {
    for action in ["httpGet", "tcpSocket", "grpc"].into_iter().filter_map(|action| handler.map_at(&[action])) {
        // Another host's port is none of this pod's.
        if action.get("host").is_some() {
            continue;
        }
        let Some(written) = action.text("port") else { continue };
        let named = || container.maps("ports").find(|port| port.text("name") == Some(written))?.text("containerPort");
        let number = written.parse().ok().or_else(|| named()?.parse::<u16>().ok());
        match number {
            Some(port) if port > 0 => open.push(port.to_string()),
            _ => found.refuse(Refusal::NoPort(written.to_owned())),
        }
    }
}
