//! Loads the policy, and loads it again when it changes. A policy that is wrong never takes the place of one
//! that is right.

use std::sync::Arc;
use std::time::Duration;

use crate::config::compile::{Setting, compile};
use crate::config::watch::{Timing, Watch};
use crate::config::{self, Origin, Problems, Revision};
use crate::live::{InForce, Live};
use crate::secrets::{Environment, Secrets};
use crate::telemetry::Telemetry;

/// Where the policy comes from, and what it is compiled with.
pub struct PolicySource {
    pub origin: Origin,
    pub agent: Option<String>,
    pub environment: Arc<Environment>,
}

impl PolicySource {
    /// Reads and compiles the policy and its secrets, and gives what is doubtful about it.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let draft = config::read(&self.origin);
        let revision = draft.revision().clone();
        let setting = Setting { agent: self.agent.as_deref(), environment: Some(&self.environment) };
        let accepted = draft
            .compile(self.agent.as_deref(), |policy, problems| compile(policy, setting, revision.as_str(), problems))?;
        let (secrets, missing) = Secrets::load(accepted.value.secrets, &self.environment);
        for (credential, error) in missing {
            tracing::warn!(credential, %error, "requests that need this credential will be answered 503");
        }
        let in_force = InForce { rules: Arc::new(accepted.value.rules), secrets };
        Ok(Loaded { in_force, revision, warnings: accepted.warnings })
    }
}

/// A policy that could be put in force.
pub struct Loaded {
    pub in_force: InForce,
    pub revision: Revision,
    warnings: Problems,
}

impl Loaded {
    /// Logs what is doubtful.
    pub fn warn(&self) {
        if !self.warnings.is_empty() {
            tracing::warn!("the policy may not mean what it says\n{}", self.warnings);
        }
    }
}

/// Puts each policy that is right in force, and says loudly when one is not.
pub async fn watch(source: PolicySource, first: Revision, live: Arc<Live>, telemetry: Telemetry) {
    let mut watch = Watch::new(&source.origin, &first, Timing::default());
    loop {
        watch.changed().await;
        match source.load() {
            Ok(loaded) => {
                loaded.warn();
                telemetry.reloaded(true, loaded.revision.as_str());
                tracing::info!(revision = loaded.revision.as_str(), "the policy has been loaded again");
                live.replace(loaded.in_force);
            }
            Err(problems) => {
                let in_force = live.load().rules.revision.clone();
                telemetry.reloaded(false, &in_force);
                live.refused(&problems.to_string());
                tracing::error!(
                    in_force = &*in_force,
                    "the policy is wrong, and the one before it stays in force:\n{problems}"
                );
            }
        }
    }
}

/// Reads secret files again that have changed.
pub async fn refresh_secrets(live: Arc<Live>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let current = live.load_full();
        let Ok(changed) = tokio::task::spawn_blocking(move || current.secrets.refresh()).await else { return };
        for (credential, outcome) in changed {
            match outcome {
                Ok(()) => tracing::info!(credential, "the credential has been read again"),
                Err(error) => {
                    tracing::error!(credential, %error, "requests that need this credential are answered 503")
                }
            }
        }
    }
}
