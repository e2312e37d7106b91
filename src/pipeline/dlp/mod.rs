//! Finds what must not leave, and what must not come back: secrets and personal data, in any encoding.
//!
//! `surface → views (as sent, decoded*, normalised*) → keywords → pattern → validators → allowances → confidence →
//! profile: block | redact | monitor | off`.

pub mod across;
mod allow;
pub mod allowance;
pub mod assignment;
pub mod decode;
pub mod detector;
mod edits;
mod escapes;
pub mod finding;
mod head;
pub mod hold;
pub mod inflate;
pub mod known;
mod lanes;
pub mod mnemonic;
pub mod normalise;
pub mod numbers;
mod prefilter;
pub mod profile;
pub mod redact;
pub mod rule;
pub mod rules;
mod runs;
pub mod scan;
mod shape;
pub mod squeeze;
pub mod stream;
pub mod surface;
pub mod validate;
pub mod verdicts;
pub mod view;

use std::sync::{Arc, OnceLock};

use crate::pipeline::agent::AgentId;
use crate::pipeline::message::Host;
use crate::pipeline::policy::matcher::HostTable;
use detector::Detector;
use finding::{Action, Category};
use known::Known;
use profile::{Exemption, Profile};
use scan::Lens;

/// The rules that come with attaché, read once in the life of a process.
///
/// # Errors
/// Names the rule that cannot be used. A test sees to it that there is none.
pub fn built_in() -> Result<&'static Arc<Detector>, &'static str> {
    static BUILT_IN: OnceLock<Result<Arc<Detector>, String>> = OnceLock::new();
    let read = || {
        let rules = rules::built_in().map_err(|(id, error)| format!("`{id}`: {error}"))?;
        let detector = Detector::new(rules.into_iter().map(Arc::new).collect());
        detector.map(Arc::new).map_err(|error| error.to_string())
    };
    BUILT_IN.get_or_init(read).as_ref().map_err(String::as_str)
}

/// What a policy says about data, compiled.
#[derive(Debug, Clone)]
pub struct Dlp {
    /// The rules, the policy's own among them.
    pub detector: Arc<Detector>,
    /// What holds for agents that have no profile of their own.
    pub default: Arc<Profile>,
    /// The profiles of the agents, by [`AgentId`]; none where the default holds.
    pub profiles: Vec<Option<Arc<Profile>>>,
    /// What is let pass.
    pub exemptions: Vec<Arc<Exemption>>,
    /// Where values from vendors' documentation pass.
    pub examples_pass: HostTable<()>,
    /// Makes fingerprints those of this installation.
    pub key: Arc<[u8; 32]>,
}

impl Dlp {
    /// What holds for an agent.
    pub fn profile(&self, agent: AgentId) -> &Arc<Profile> {
        self.profiles.get(agent.0).and_then(Option::as_ref).unwrap_or(&self.default)
    }

    /// What an agent's request is looked at with.
    pub fn requests(&self, agent: AgentId, host: &Host, port: u16, path: &str, known: Arc<Known>) -> Lens {
        let profile = self.profile(agent);
        let about = self.exemptions.iter().filter(|exemption| exemption.is_about(agent, host, port, path));
        Lens {
            detector: self.detector.clone(),
            actions: profile.requests.clone(),
            exemptions: about.cloned().collect(),
            examples_pass: self.examples_pass.matches(host).next().is_some(),
            enforced: profile.enforced,
            key: self.key.clone(),
            known,
            on_known: profile.requests.of_held(&Category::KnownSecret, Action::Block),
            on_canary: profile.requests.of_held(&Category::Canary, Action::Block),
        }
    }

    /// What texts are looked at with that may come to stand in a record: nothing is exempt, wherever they were to go.
    pub fn records(&self, agent: Option<AgentId>, known: Arc<Known>) -> Lens {
        let profile = agent.map_or(&self.default, |agent| self.profile(agent));
        Lens {
            detector: self.detector.clone(),
            actions: profile.requests.clone(),
            exemptions: Vec::new(),
            examples_pass: false,
            enforced: true,
            key: self.key.clone(),
            known,
            on_known: Action::Block,
            on_canary: Action::Block,
        }
    }

    /// What the response to it is looked at with.
    pub fn responses(&self, agent: AgentId, host: &Host, port: u16, path: &str, known: Arc<Known>) -> Lens {
        let actions = self.profile(agent).responses.clone();
        let of_held = |category| actions.of_held(&category, Action::Redact);
        let (on_known, on_canary) = (of_held(Category::KnownSecret), of_held(Category::Canary));
        Lens { actions, on_known, on_canary, ..self.requests(agent, host, port, path, known) }
    }
}
