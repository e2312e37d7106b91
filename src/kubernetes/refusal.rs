//! Why a pod gets no sidecars: beside what it has, they would govern nothing.

use thiserror::Error;

use super::read::Unreadable;

/// One thing in the way of injection, and what to do about it.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The text.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Too much text.
    #[error("larger than {0} MiB: give it in parts")]
    Size(usize),
    /// Nothing to inject into.
    #[error("there is no object in it: give the manifests to inject into")]
    Empty,
    /// Not an object of Kubernetes.
    #[error("an object has a text under `{0}`, and this has none")]
    NoObject(&'static str),
    /// A workload of another version or group.
    #[error(
        "`{api_version}` is no version whose pods are known: write `{known}`, or annotate it \
         `attache.dev/inject: \"false\"` where it is to stay ungoverned"
    )]
    OtherVersion {
        /// As it was given.
        api_version: String,
        /// What is known.
        known: &'static str,
    },
    /// A list in a list.
    #[error("a List in a List is not read: put its items into the outer one")]
    ListInList,
    /// `PodList` and the like, and a workload with `items`.
    #[error("its items need not say what they are: write `kind: List`, and a kind in every item")]
    TypedList,
    /// An annotation with another value.
    #[error("`attache.dev/inject` is \"true\" or \"false\", in quotes, not `{0}`")]
    Inject(String),
    /// A field of another shape.
    #[error("`{field}` is not {expected}: correct it")]
    Shape {
        /// Which.
        field: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A boolean or a number in a spelling that readers differ on.
    #[error("`{field}: {written}` is read in more than one way: write {expected}")]
    Spelling {
        /// Which.
        field: String,
        /// As it was given.
        written: String,
        /// What is read in one way.
        expected: &'static str,
    },
    /// `hostNetwork` and its like.
    #[error("`{field}: true` {why}: remove it")]
    Shared {
        /// Which.
        field: &'static str,
        /// What it opens.
        why: &'static str,
    },
    /// Another operating system.
    #[error("the firewall is Linux's, and this pod is for Windows: it cannot be governed")]
    Windows,
    /// A debug container in a manifest.
    #[error("ephemeral containers run beside the sidecars with rights of their own: remove `ephemeralContainers`")]
    Ephemeral,
    /// A kernel parameter of the network.
    #[error("the sysctl `{0}` changes the network that the firewall stands in: remove it")]
    Sysctl(String),
    /// A path of the node.
    #[error(
        "the hostPath volume `{volume}` (`{path}`) opens the node, where every pod's secrets and the container \
         runtime's sockets are: use another kind of volume"
    )]
    HostPath {
        /// Its name.
        volume: String,
        /// What it leads to.
        path: String,
    },
    /// Nobody said who the agent runs as.
    #[error(
        "no `runAsUser`, so its image decides who it runs as, and what runs as uid 101 or 1338 passes the firewall: \
         set a `runAsUser` other than 0, 101 and 1338 here or for the pod, or inject with --run-as-user"
    )]
    NoUser,
    /// Root.
    #[error("`runAsUser: 0` is root, who becomes any user and so passes the firewall: run it as another")]
    Root,
    /// May be root.
    #[error("`runAsNonRoot: false` lets it be root, who passes the firewall: remove it")]
    MayBeRoot,
    /// Ours.
    #[error("`runAsUser: {0}` is a user the firewall lets pass (101 Envoy, 1338 attaché): run it as another")]
    ExemptUser(i64),
    /// The group of our sockets.
    #[error("`{0}` has group 1338, to which attaché's sockets are open: use another")]
    Group(&'static str),
    /// Privileged.
    #[error("`privileged: true` is root on the node: remove it")]
    Privileged,
    /// May gain rights.
    #[error("`allowPrivilegeEscalation: true` lets it become root by a setuid program: remove it")]
    Escalation,
    /// A capability.
    #[error("the capability `{0}` can lead past the firewall: remove it (NET_BIND_SERVICE may stay)")]
    Capability(String),
    /// /proc without its masks.
    #[error("`procMount: {0}` opens what the runtime hides in /proc: remove it")]
    ProcMount(String),
    /// No filter of system calls.
    #[error("seccomp profile `{0}`: use RuntimeDefault or a profile of your own (Localhost)")]
    Seccomp(String),
    /// A name of ours.
    #[error("the name `{0}` is attaché's: rename it")]
    Name(String),
    /// A mount of our volume.
    #[error("mounts `{0}`, a volume of attaché's: remove the mount")]
    Mount(String),
    /// A mount where ours goes.
    #[error("mounts a volume at `{0}`, where the CA's certificate goes: mount it elsewhere")]
    MountPath(String),
    /// What only attaché may read.
    #[error("reads `{name}` ({place}), which is attaché's alone: remove it")]
    Reads {
        /// The ConfigMap or Secret.
        name: String,
        /// By what.
        place: String,
    },
    /// A port of ours.
    #[error("the port {0} is attaché's or Envoy's in every governed pod (9464, 10080, 10443, 15053): use another")]
    Port(u16),
    /// A port that is none.
    #[error("`{0}` is no port, nor the name of one of this container's: name it, or inject with --inbound PORT,…")]
    NoPort(String),
    /// A protocol that cannot be let in.
    #[error("port {0}: SCTP does not go through the firewall: remove it, or inject with --inbound PORT,…")]
    Sctp(u16),
    /// A variable of the user's.
    #[error(
        "`{0}` is set, and decides what the agent trusts: remove it (attaché's bundle holds the system's certificates \
         and its own CA), or inject with --keep-env where what it names holds attaché's CA"
    )]
    Environment(String),
    /// A variable that leads past the proxy.
    #[error("`{0}` is set, and decides which proxy the agent uses: remove it")]
    Proxy(String),
    /// No containers.
    #[error("the pod has no containers")]
    NoContainers,
    /// No pod.
    #[error("the pod's `{0}` is missing")]
    NoPod(&'static str),
    /// This program's own file.
    #[error("the sidecars this program comes with are broken: this is a defect of it")]
    Broken,
}
