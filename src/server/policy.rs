//! Loads the policy, and loads it again when it changes. A policy that is wrong never takes the place of one
//! that is right.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::sink::show_channels;
use crate::config::compile::{Compiled, Revocable, Setting, compile_again, token_files};
use crate::config::schema::{CanarySource, Identity};
use crate::config::watch::{Timing, Watch};
use crate::config::{self, Origin, Policy, Problems, Revision, Severity};
use crate::live::{InForce, Live};
use crate::notify::{Channel, Event, Notifier, ReloadFailed};
use crate::pipeline::guard::{Guard, Memory};
use crate::pipeline::guesses::Guesses;
use crate::pod::{Labels, Pod, PodSource};
use crate::secrets::{Bounds, Environment, Files, Secrets, Source};
use crate::telemetry::Telemetry;

/// How often files with secrets are looked at.
const GLANCE: Duration = Duration::from_secs(1);

/// Where the policy comes from, and what it is compiled with.
pub struct PolicySource {
    pub origin: Origin,
    pub agent: Option<String>,
    pub pod: PodSource,
    pub environment: Arc<Environment>,
    /// What is remembered of what agents sent, whatever the policy.
    pub memory: Arc<Memory>,
    /// The tokens that were guessed, whatever the policy.
    pub guesses: Arc<Guesses>,
}

impl PolicySource {
    /// Reads and compiles the first policy and its secrets, and gives what is doubtful about it.
    pub fn load(&self) -> Result<Loaded, Problems> {
        self.load_after(Revocable::default())
    }

    /// The same while a policy is in force, of which `revocable` may be gone.
    fn load_after(&self, revocable: Revocable) -> Result<Loaded, Problems> {
        let draft = config::read(&self.origin);
        let revision = draft.revision().clone();
        let labels = Files::look(self.pod.labels.clone());
        let mut kept =
            Kept { policy: Policy::default(), revision: revision.clone(), token_files: Files::default(), labels };
        let accepted = draft.compile(self.agent.as_deref(), |policy, problems| {
            kept.policy = policy.clone();
            kept.token_files = Files::look(token_files(policy));
            self.compile(&kept, &revocable, problems)
        })?;
        let notifications = accepted.value.notifications.clone();
        let in_force = self.in_force(accepted.value);
        Ok(Loaded { in_force, revision, notifications, warnings: accepted.warnings, kept })
    }

    /// The policy that is in force already, with its token files and the pod's labels as they are now. Nothing of it is
    /// wrong, so none of its tokens stays valid for a fault in another one.
    fn renew(&self, kept: &mut Kept) -> Result<InForce, Problems> {
        let revocable = Revocable { tokens: kept.tokens(), pod: true };
        kept.token_files = Files::look(token_files(&kept.policy));
        kept.labels = Files::look(self.pod.labels.clone());
        let mut problems = Problems::default();
        match self.compile(kept, &revocable, &mut problems) {
            Some(compiled) if !problems.has_errors() => Ok(self.in_force(compiled)),
            _ => Err(problems),
        }
    }

    fn compile(&self, kept: &Kept, revocable: &Revocable, problems: &mut Problems) -> Option<Compiled> {
        let pod = self.pod.read();
        if let Some(Pod { labels: Labels::Unreadable(why), .. }) = &pod {
            tracing::warn!("{why}");
        }
        if pod.is_none() && self.agent.is_none() && knows_pods(&kept.policy) {
            tracing::warn!(
                "the policy knows agents by their pods, and nobody says which pod this is: in a pod, give \
                 ATTACHE_POD_NAMESPACE, ATTACHE_POD_SERVICE_ACCOUNT and ATTACHE_POD_LABELS by the downward API"
            );
        }
        let setting = Setting { agent: self.agent.as_deref(), environment: Some(&self.environment), pod: pod.as_ref() };
        compile_again(&kept.policy, setting, revocable, kept.revision.as_str(), problems)
    }

    fn in_force(&self, compiled: Compiled) -> InForce {
        for revoked in &compiled.revoked {
            tracing::error!("{revoked}; until there is another, it identifies nobody");
        }
        if let Some(why) = compiled.rules.agents.stranger().and_then(|why| why.detail.as_deref()) {
            let pod = self.pod.read().map(|pod| pod.to_string()).unwrap_or_default();
            tracing::error!(pod, "every request is refused: {why}; add the pod to an agent's `identity`");
        }
        let (secrets, missing) = Secrets::load(compiled.secrets, &self.environment);
        for (credential, error) in missing {
            tracing::warn!(
                credential, %error,
                "requests that need this credential will be answered 503; in a pod, it is a key of a mounted Secret, readable with `defaultMode: 0444`"
            );
        }
        let placeholders = compiled.rules.all_placeholders().map(|placeholder| placeholder.text.to_string()).collect();
        for weak in secrets.set_bounds(Bounds { canaries: self.canaries(compiled.canaries), placeholders }) {
            tracing::warn!("{weak}");
        }
        let mut rules = compiled.rules;
        rules.agents.bound_guesses(self.guesses.clone());
        if let Some(dlp) = rules.dlp().cloned() {
            let names = rules.agents.ids().map(|id| rules.agents.name(id).clone()).collect();
            rules.inspector = Some(Arc::new(Guard::new(dlp, names, secrets.held(), self.memory.clone())));
        }
        InForce { rules: Arc::new(rules), secrets }
    }

    /// The values of canaries. One that cannot be read is not looked for, and that is said: it protects nothing.
    fn canaries(&self, canaries: Vec<(String, CanarySource)>) -> Vec<(Arc<str>, Zeroizing<Vec<u8>>)> {
        let read = |(name, source): (String, CanarySource)| {
            let value = match source {
                CanarySource::Written(value) => Ok(Zeroizing::new(value.bytes().to_vec())),
                CanarySource::Environment(variable) => Source::Variable(variable).read(&self.environment),
                CanarySource::File(path) => Source::File(path).read(&self.environment),
            };
            match value {
                Ok(value) => Some((name.into(), value)),
                Err(error) => {
                    tracing::error!(canary = name, %error, "nobody would notice this canary");
                    None
                }
            }
        };
        canaries.into_iter().filter_map(read).collect()
    }
}

fn knows_pods(policy: &Policy) -> bool {
    let mut identities = policy.agents.iter().flatten().flat_map(|agent| &agent.identity);
    identities.any(|identity| matches!(identity.value, Identity::Kubernetes(_)))
}

/// A policy that could be put in force.
pub struct Loaded {
    pub in_force: InForce,
    pub revision: Revision,
    /// Who is told of what.
    pub notifications: Vec<Channel>,
    warnings: Problems,
    /// What it is compiled from again when a token file changes.
    pub kept: Kept,
}

impl Loaded {
    /// Logs what is doubtful.
    pub fn warn(&self) {
        if !self.warnings.is_empty() {
            tracing::warn!("the policy may not mean what it says\n{}", self.warnings);
        }
    }
}

/// The policy in force as it was written: the one on disk may be a wrong one by now.
pub struct Kept {
    policy: Policy,
    pub revision: Revision,
    /// As they were before their tokens were read.
    token_files: Files,
    /// Those of the pod, as they were before they were read.
    labels: Files,
}

impl Kept {
    /// The token files whose loss revokes a token.
    fn tokens(&self) -> HashSet<PathBuf> {
        self.token_files.paths().cloned().collect()
    }

    /// Completes when a token file or the pod's labels have changed. May be dropped and called again.
    async fn identities_changed(&self) {
        loop {
            tokio::time::sleep(GLANCE).await;
            let (tokens, labels) = (self.token_files.clone(), self.labels.clone());
            let changed = move || tokens.have_changed() || labels.have_changed();
            if tokio::task::spawn_blocking(changed).await.unwrap_or(true) {
                return;
            }
        }
    }
}

/// Puts each policy that is right in force, and says loudly when one is not. Puts the one in force in force again,
/// with other identities, when its token files or the pod's labels change; a policy that was refused is tried again then.
pub async fn watch(source: PolicySource, mut kept: Kept, live: Arc<Live>, notifier: Notifier, telemetry: Telemetry) {
    let mut watch = Watch::new(&source.origin, &kept.revision, Timing::default());
    let mut is_refused = false;
    loop {
        let is_policy = tokio::select! {
            _ = watch.changed() => true,
            () = kept.identities_changed() => false,
        };
        if !is_policy {
            match source.renew(&mut kept) {
                Ok(mut in_force) => {
                    tracing::info!("who agents are has been read again");
                    in_force.secrets.keep(&live.load().secrets);
                    live.renew(in_force);
                }
                Err(problems) => tracing::error!("who agents are cannot be read again:\n{problems}"),
            }
            if !is_refused {
                continue;
            }
        }
        let loaded = source.load_after(Revocable { tokens: kept.tokens(), pod: false });
        is_refused = loaded.is_err();
        match loaded {
            Ok(mut loaded) => {
                loaded.warn();
                loaded.in_force.secrets.keep(&live.load().secrets);
                telemetry.reloaded(true, loaded.revision.as_str());
                tracing::info!(revision = loaded.revision.as_str(), "the policy has been loaded again");
                kept = loaded.kept;
                notifier.replace(loaded.notifications);
                show_channels(&telemetry, &notifier);
                live.replace(loaded.in_force);
            }
            Err(problems) => {
                let problems = problems.without_text();
                let in_force = live.load().rules.revision.clone();
                telemetry.reloaded(false, &in_force);
                live.refused(&problems.to_string());
                notifier.send(Event::ReloadFailed(refused(&problems, &in_force)), &[] as &[&str]);
                tracing::error!(
                    in_force = &*in_force,
                    "the policy is wrong, and the one before it stays in force:\n{problems}"
                );
            }
        }
    }
}

/// What is told of a policy that is wrong: its first problem, in one line and without the text around it.
fn refused(problems: &Problems, in_force: &Arc<str>) -> ReloadFailed {
    let first = problems.iter().find(|problem| problem.severity == Severity::Error);
    let problem = first.map(|problem| match problem.at {
        Some(at) => format!("{}: {}", problems.place(at), problem.message),
        None => problem.message.clone(),
    });
    ReloadFailed {
        policy_revision: in_force.clone(),
        problem: problem.unwrap_or_default(),
        problems: problems.errors(),
    }
}

/// Reads secret files again that have changed.
pub async fn refresh_secrets(live: Arc<Live>) {
    loop {
        tokio::time::sleep(GLANCE).await;
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
