//! What goes into a pod: `deploy/kubernetes/sidecars.yaml`, with the names and images of this injection.

use super::read::read;
use super::tree::{Map, Node, settle};
use super::{Broken, Mode, Options};

/// The one place where it is written down what governs a pod.
const SOURCE: &str = include_str!("../../deploy/kubernetes/sidecars.yaml");

/// The label that marks a governed pod; its value is the mode.
pub(super) const MODE_LABEL: &str = "attache.dev/mode";

/// What every name of ours begins with.
pub(super) const PREFIX: &str = "attache";

/// The init container that sets the firewall.
pub(super) const NET: &str = "attache-net";

/// attaché's own.
pub(super) const ATTACHE: &str = "attache";

/// Envoy's.
pub(super) const ENVOY: &str = "attache-envoy";

/// What agents trust: the only volume of ours that they mount.
pub(super) const TRUST: &str = "attache-trust";

/// Where agents mount the files that they trust.
pub const TRUST_PATH: &str = "/run/attache-trust";

/// The users that the firewall lets pass: Envoy and attaché.
pub(super) const EXEMPT_UIDS: [i64; 2] = [101, 1338];

/// Envoy's and attaché's group: their sockets are open to it.
pub(super) const GROUP: i64 = 1338;

/// Ports that attaché and Envoy listen on, or that the firewall redirects to.
pub(super) const PORTS: [u16; 4] = [9464, 10080, 10443, 15053];

/// What is put into a pod.
#[derive(Debug)]
pub(super) struct Sidecars {
    /// Init containers, in this order, before all others.
    pub(super) containers: Vec<Node>,
    /// Their volumes, and the one that agents share.
    pub(super) volumes: Vec<Node>,
}

/// Every name that containers and volumes of ours have, whatever the mode.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) containers: Vec<String>,
    pub(super) volumes: Vec<String>,
}

/// The spec of the pod in the file.
#[derive(Debug)]
pub(super) struct Source(Map);

impl Source {
    /// Reads what this program comes with.
    pub(super) fn read() -> Result<Self, Broken> {
        let document = read(SOURCE).ok().and_then(|documents| documents.into_iter().next()).ok_or(Broken)?;
        let mut root = document.root.ok_or(Broken)?;
        settle(&mut root);
        root.as_map().and_then(|root| root.map_at(&["spec"])).cloned().map(Self).ok_or(Broken)
    }

    /// Our names, by which an earlier injection is recognised.
    pub(super) fn names(&self) -> Names {
        let all = |list| self.0.maps(list).filter_map(|map| map.text("name")).map(str::to_owned).collect();
        Names { containers: all("initContainers"), volumes: all("volumes") }
    }

    /// The sidecars for these options; `inbound` are the arguments for the ports that stay open.
    pub(super) fn sidecars(&self, options: &Options, inbound: &[String]) -> Result<Sidecars, Broken> {
        let mut containers = self.0.items("initContainers").to_vec();
        if options.mode != Mode::Redirect {
            containers.retain(|container| name(container) != Some(NET));
        }
        for container in containers.iter_mut().filter_map(Node::as_map_mut) {
            let image = match container.text("name") {
                Some(NET) => {
                    let arguments = container.list_or_new("args").ok_or(Broken)?;
                    if !options.ports.is_empty() {
                        let ports: Vec<_> = options.ports.iter().map(u16::to_string).collect();
                        arguments.extend(["--port".to_owned(), ports.join(",")].map(Node::text));
                    }
                    for port in inbound {
                        arguments.extend([Node::text("--inbound"), Node::text(port)]);
                    }
                    &options.net_image
                }
                Some(ATTACHE) => &options.image,
                Some(ENVOY) => &options.envoy_image,
                _ => return Err(Broken),
            };
            if let Some(image) = image {
                container.set("image", Node::text(image));
            }
        }
        let mut volumes = self.0.items("volumes").to_vec();
        for (volume, source, field, name) in [
            ("attache-policy", "configMap", "name", &options.policy_configmap),
            ("attache-envoy", "configMap", "name", &options.envoy_configmap),
            ("attache-credentials", "secret", "secretName", &options.credentials_secret),
        ] {
            let volume = volumes.iter_mut().filter_map(Node::as_map_mut).find(|map| map.text("name") == Some(volume));
            let source = volume.and_then(|volume| volume.get_mut(source)).and_then(Node::as_map_mut).ok_or(Broken)?;
            source.set(field, Node::text(name));
        }
        Ok(Sidecars { containers, volumes })
    }
}

/// The name of a container or a volume.
pub(super) fn name(node: &Node) -> Option<&str> {
    node.as_map()?.text("name")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second place that says who is exempt, so that refusing needs no reading.
    #[test]
    fn the_constants_are_those_of_the_file() {
        let source = Source::read().unwrap();
        let spec = &source.0;
        let number = |container: &Map, field: &str| -> i64 {
            container.map_at(&["securityContext"]).unwrap().text(field).unwrap().parse().unwrap()
        };
        let users: Vec<_> =
            spec.maps("initContainers").map(|c| (c.text("name").unwrap(), number(c, "runAsUser"))).collect();
        assert_eq!(users, [(NET, 0), (ATTACHE, EXEMPT_UIDS[1]), (ENVOY, EXEMPT_UIDS[0])]);
        assert!(spec.maps("initContainers").skip(1).all(|container| number(container, "runAsGroup") == GROUP));
        let trust: Vec<_> = spec
            .maps("initContainers")
            .flat_map(|container| container.maps("volumeMounts"))
            .filter(|mount| mount.text("name") == Some(TRUST))
            .map(|mount| mount.text("mountPath").unwrap())
            .collect();
        assert_eq!(trust, [TRUST_PATH]);
        let names = source.names();
        assert!(names.containers.iter().chain(&names.volumes).all(|name| name.starts_with(PREFIX)));
        for port in PORTS {
            assert!(port == 10080 || port == 10443 || SOURCE.contains(&port.to_string()), "{port}");
        }
    }
}
