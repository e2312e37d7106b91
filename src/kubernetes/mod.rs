//! Puts the sidecars that govern a pod into manifests, or says what in them no sidecar could govern.
//!
//! Text in, text out: [`inject`] reads no file and asks no cluster. All of a stream is injected or nothing of it.

mod agent;
mod guard;
mod inbound;
mod read;
mod refusal;
mod sidecars;
#[cfg(test)]
mod tests;
mod tree;
mod workload;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use agent::PROXY;
pub use read::Unreadable;
pub use refusal::Refusal;
pub use sidecars::TRUST_PATH;

use read::{Document, Format, read};
use sidecars::{MODE_LABEL, Names, Source, name};
use tree::{Map, Node, Scalar};
use workload::{Role, descend, role, title};

/// Most text of one input: 32 MiB.
pub const SIZE: usize = 32 << 20;

/// Where a pod's firewall redirects to: Envoy's transparent listener.
pub const TRANSPARENT: [SocketAddr; 2] =
    [SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10443), SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 10443)];

/// What Envoy may take for what agents make it keep, in bytes: its container has 256 MiB.
pub const ENVOY_HEAP: u64 = 192 << 20;

/// The annotation, or label, that says whether a pod gets sidecars.
const INJECT: &str = "attache.dev/inject";

/// The annotation of pods that stay ungoverned with a reason.
const EXEMPT: &str = "attache.dev/exempt";

/// How traffic comes to Envoy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// By a firewall that an init container sets in the pod.
    Redirect,
    /// By a firewall that a CNI plugin of the node sets.
    Cni,
    /// By proxy variables, which an agent may ignore.
    ProxyEnv,
}

impl Mode {
    /// As the pod's label has it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Redirect => "redirect",
            Self::Cni => "cni",
            Self::ProxyEnv => "proxy-env",
        }
    }
}

/// On which ports others may connect to the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// On those that its containers and their probes name.
    Auto,
    /// On every one.
    All,
    /// On these: `8080`, `53/udp`.
    Ports(Vec<String>),
}

/// What an agent's container finds in its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// It goes behind a value that the user has set, and does not conflict with it.
    pub joins: bool,
}

/// How to inject.
#[derive(Debug, Clone)]
pub struct Options {
    /// How traffic comes to Envoy.
    pub mode: Mode,
    /// The ConfigMap with the policy.
    pub policy_configmap: String,
    /// The ConfigMap with Envoy's bootstrap.
    pub envoy_configmap: String,
    /// The Secret with the credentials; it need not exist.
    pub credentials_secret: String,
    /// attaché's image, if not the one of this version.
    pub image: Option<String>,
    /// The firewall's image, if not the one of this version.
    pub net_image: Option<String>,
    /// Envoy's image, if not the one of this version.
    pub envoy_image: Option<String>,
    /// Who may connect to the pod.
    pub inbound: Inbound,
    /// The TCP ports that lead to Envoy; the firewall's own choice where there are none.
    pub ports: Vec<u16>,
    /// The user for containers of which nothing says who they run as.
    pub run_as_user: Option<u32>,
    /// Leave the trust variables that a container sets as they are.
    pub keep_env: bool,
    /// What agents find in their environment, so that they trust attaché's CA.
    pub environment: Vec<Variable>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Redirect,
            policy_configmap: "attache-policy".to_owned(),
            envoy_configmap: "attache-envoy".to_owned(),
            credentials_secret: "attache-credentials".to_owned(),
            image: None,
            net_image: None,
            envoy_image: None,
            inbound: Inbound::Auto,
            ports: Vec::new(),
            run_as_user: None,
            keep_env: false,
            environment: Vec::new(),
        }
    }
}

/// Text with manifests in it.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// YAML or JSON, any number of documents.
    pub text: &'a str,
}

/// What came of an injection.
#[derive(Debug)]
pub struct Injected {
    /// All documents of all inputs in their order: those with pods injected, the others as they were.
    pub text: String,
    /// What the user should know.
    pub notes: Vec<Note>,
    /// How many workloads have sidecars now.
    pub workloads: usize,
}

/// Something that is not wrong and may surprise.
#[derive(Debug)]
pub struct Note {
    /// About what.
    pub place: Place,
    /// What.
    pub text: String,
}

/// One reason why nothing was injected.
#[derive(Debug)]
pub struct Problem {
    /// In what.
    pub place: Place,
    /// What is wrong, and what to do.
    pub refusal: Refusal,
}

/// Where in the input something stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The input's name.
    pub input: String,
    /// The line on which the document begins, from 1.
    pub line: usize,
    /// Kind and name of the object: `Deployment web/agent`.
    pub object: Option<String>,
    /// The container.
    pub container: Option<String>,
}

/// Puts the sidecars into every pod of the inputs, once: what an earlier injection put there is replaced.
///
/// # Errors
/// Everything that is wrong with any document.
pub fn inject(options: &Options, inputs: &[Input]) -> Result<Injected, Vec<Problem>> {
    let mut found = Found::default();
    let mut documents = Vec::new();
    let source = match Source::read() {
        Ok(source) => source,
        Err(Broken) => {
            found.refuse(Refusal::Broken);
            return Err(found.problems);
        }
    };
    for input in inputs {
        found.place = Place { input: input.name.to_owned(), line: 1, object: None, container: None };
        documents.extend(read_input(input, &mut found).into_iter().map(|document| (input.name, document)));
    }
    let names = source.names();
    let mut injection = Injection { options, source, names, found, workloads: 0 };
    for (input, document) in &mut documents {
        injection.found.place =
            Place { input: (*input).to_owned(), line: document.line, object: None, container: None };
        injection.document(document);
    }
    if !injection.found.problems.is_empty() {
        return Err(injection.found.problems);
    }
    let text = together(documents.into_iter().map(|(_, document)| document));
    Ok(Injected { text, notes: injection.found.notes, workloads: injection.workloads })
}

fn read_input(input: &Input, found: &mut Found) -> Vec<Document> {
    if input.text.len() > SIZE {
        found.refuse(Refusal::Size(SIZE >> 20));
        return Vec::new();
    }
    match read(input.text) {
        Ok(documents) => {
            if documents.iter().all(|document| document.root.as_ref().is_none_or(Node::is_null)) {
                found.refuse(Refusal::Empty);
            }
            documents
        }
        Err(unreadable) => {
            for (line, error) in unreadable {
                found.place.line = line;
                found.refuse(error.into());
            }
            Vec::new()
        }
    }
}

/// One stream of documents. Only where there is YAML do they need marks between them.
fn together(documents: impl Iterator<Item = Document>) -> String {
    let documents: Vec<_> = documents.collect();
    let marked = documents.iter().any(|document| document.format == Format::Yaml);
    let mut text = String::new();
    for document in &documents {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        if !text.is_empty() && marked && !document.text.starts_with("---") {
            text.push_str("---\n");
        }
        text.push_str(&document.text);
    }
    text
}

struct Injection<'a> {
    options: &'a Options,
    source: Source,
    names: Names,
    found: Found,
    workloads: usize,
}

impl Injection<'_> {
    fn document(&mut self, document: &mut Document) {
        let Some(root) = document.root.as_mut().filter(|root| !root.is_null()) else { return };
        let before = root.clone();
        self.object(root, false);
        if *root != before {
            document.text = match document.format {
                Format::Json => write::json(root),
                Format::Yaml if document.text.starts_with("---") => format!("---\n{}", write::yaml(root)),
                Format::Yaml => write::yaml(root),
            };
        }
    }

    fn object(&mut self, root: &mut Node, listed: bool) {
        let Some(object) = root.as_map_mut() else {
            return self.found.refuse(Refusal::NoObject("kind"));
        };
        let (kind, api_version) = (object.text("kind"), object.text("apiVersion"));
        let Some(kind) = kind.map(str::to_owned) else { return self.found.refuse(Refusal::NoObject("kind")) };
        let Some(api_version) = api_version.map(str::to_owned) else {
            return self.found.refuse(Refusal::NoObject("apiVersion"));
        };
        self.found.place.object = Some(title(object, &kind));
        match role(object, &kind, &api_version) {
            Role::Workload(way) => self.workload(object, way),
            Role::List if listed => self.found.refuse(Refusal::ListInList),
            Role::List => self.items(object),
            Role::TypedList => self.found.refuse(Refusal::TypedList),
            Role::OtherVersion(_) if self.asked(object) == Some(false) => {
                self.found.note("left ungoverned, as it says")
            }
            Role::OtherVersion(known) => self.found.refuse(Refusal::OtherVersion { api_version, known }),
            Role::LooksLikeOne => {
                let note = format!("has containers, but {api_version} {kind} is not known: left as it is, ungoverned");
                self.found.note(note);
            }
            Role::Other => {}
        }
    }

    fn items(&mut self, list: &mut Map) {
        match list.get_mut("items").map(Node::as_list_mut) {
            Some(Some(items)) => items.iter_mut().for_each(|item| self.object(item, true)),
            Some(None) => self.found.shape("items", "a list"),
            None => {}
        }
    }

    fn workload(&mut self, object: &mut Map, way: &'static [&'static str]) {
        let pod = match descend(object, way) {
            Ok(pod) => pod,
            Err(missing) => return self.found.refuse(Refusal::NoPod(missing)),
        };
        match self.asked(pod) {
            Some(false) => return self.found.note("left ungoverned, as `attache.dev/inject` says"),
            Some(true) => {}
            None => return,
        }
        if let Some(reason) = pod.map_at(&["metadata", "annotations"]).and_then(|all| all.text(EXEMPT)) {
            return self.found.note(format!("left ungoverned, as `{EXEMPT}` says: {reason}"));
        }
        let problems = self.found.problems.len();
        let labels = pod.map_at(&["metadata", "labels"]);
        let earlier = labels.and_then(|labels| labels.text(MODE_LABEL)).map(str::to_owned);
        let Some(spec) = pod.get_mut("spec").and_then(Node::as_map_mut) else {
            return self.found.refuse(Refusal::NoPod("spec"));
        };
        if let Some(earlier) = &earlier {
            self.strip(spec);
            agent::strip(spec, earlier == Mode::ProxyEnv.label());
        }
        guard::guard(spec, self.options, &mut self.found);
        claims(object, &mut self.found);
        // What it needs of the manifest's shape has been looked at.
        if self.found.problems.len() > problems {
            return;
        }
        if let Ok(pod) = descend(object, way) {
            self.govern(pod);
        }
    }

    /// Whether a pod is to be governed; `None` where it says so in a way that is refused.
    fn asked(&mut self, pod: &Map) -> Option<bool> {
        let metadata = |way| pod.map_at(&["metadata", way]);
        let mut asked = true;
        for place in [metadata("annotations"), metadata("labels")].into_iter().flatten() {
            match place.get(INJECT) {
                Some(Node::Scalar(scalar)) if scalar.quoted && scalar.text == "false" => asked = false,
                Some(Node::Scalar(scalar)) if scalar.quoted && scalar.text == "true" => {}
                Some(node) => {
                    self.found.refuse(Refusal::Inject(node.as_text().unwrap_or("a mapping").to_owned()));
                    return None;
                }
                None => {}
            }
        }
        Some(asked)
    }

    /// Takes out what an earlier injection put in.
    fn strip(&self, spec: &mut Map) {
        let ours = |names: &[String], node: &Node| name(node).is_some_and(|name| names.iter().any(|ours| ours == name));
        spec.retain("initContainers", |container| !ours(&self.names.containers, container));
        spec.retain("volumes", |volume| !ours(&self.names.volumes, volume));
    }

    fn govern(&mut self, pod: &mut Map) {
        let Some(spec) = pod.get_mut("spec").and_then(Node::as_map_mut) else { return };
        agent::prepare(spec, self.options, &mut self.found);
        let inbound = match self.options.mode {
            Mode::Redirect => inbound::arguments(spec, &self.options.inbound, &mut self.found),
            Mode::Cni | Mode::ProxyEnv => Vec::new(),
        };
        let Ok(sidecars) = self.source.sidecars(self.options, &inbound) else {
            return self.found.refuse(Refusal::Broken);
        };
        if spec.get("automountServiceAccountToken").is_none() {
            spec.set_before("automountServiceAccountToken", "containers", Node::plain(false));
        } else if spec.text("automountServiceAccountToken") == Some("true") {
            self.found.note("the agent gets a token for the API server, as it says (`automountServiceAccountToken`)");
        }
        let users = spec.items("initContainers").to_vec();
        spec.set_before("initContainers", "containers", Node::List([sidecars.containers, users].concat()));
        let users = spec.items("volumes").to_vec();
        spec.set("volumes", Node::List([users, sidecars.volumes].concat()));
        if pod.get("metadata").is_none() {
            pod.set_before("metadata", "spec", Node::Map(Map::default()));
        }
        let labels = pod.map_or_new("metadata").and_then(|metadata| metadata.map_or_new("labels"));
        match labels {
            Some(labels) => labels.set(MODE_LABEL, Node::text(self.options.mode.label())),
            None => self.found.shape("metadata.labels", "a mapping"),
        }
        self.workloads += 1;
    }
}

/// A claim of a StatefulSet becomes a volume of the pod, and could take the place of one of ours.
fn claims(object: &Map, found: &mut Found) {
    let Some(spec) = object.map_at(&["spec"]) else { return };
    for claim in spec.maps("volumeClaimTemplates") {
        if let Some(name) = claim.map_at(&["metadata"]).and_then(|metadata| metadata.text("name"))
            && guard::is_ours(name)
        {
            found.refuse(Refusal::Name(name.to_owned()));
        }
    }
}

/// A ConfigMap with these files in it, as YAML.
pub fn config_map(namespace: Option<&str>, name: &str, files: &BTreeMap<&str, &str>) -> String {
    let mut metadata = vec![("name", Node::text(name))];
    metadata.extend(namespace.map(|namespace| ("namespace", Node::text(namespace))));
    let data = files.iter().map(|(name, text)| (Scalar::from(*name), Node::text(*text))).collect();
    write::yaml(&Node::map([
        ("apiVersion", Node::text("v1")),
        ("kind", Node::text("ConfigMap")),
        ("metadata", Node::map(metadata)),
        ("data", Node::Map(data)),
    ]))
}

/// The sidecars that this program comes with cannot be read.
#[derive(Debug)]
struct Broken;

/// What was found so far, and where one is.
#[derive(Debug, Default)]
struct Found {
    place: Place,
    problems: Vec<Problem>,
    notes: Vec<Note>,
}

impl Found {
    fn refuse(&mut self, refusal: Refusal) {
        self.problems.push(Problem { place: self.place.clone(), refusal });
    }

    fn shape(&mut self, field: impl Into<String>, expected: &'static str) {
        self.refuse(Refusal::Shape { field: field.into(), expected });
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(Note { place: self.place.clone(), text: text.into() });
    }

    /// Looks at a container, in whose name everything is said meanwhile.
    fn in_container(&mut self, name: Option<&str>, look: impl FnOnce(&mut Self)) {
        self.place.container = Some(name.unwrap_or("without a name").to_owned());
        look(self);
        self.place.container = None;
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.refusal)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}", self.input, self.line)?;
        if let Some(object) = &self.object {
            write!(f, ": {object}")?;
        }
        if let Some(container) = &self.container {
            write!(f, ", container {container}")?;
        }
        Ok(())
    }
}
