//! Whether what a policy names is there to be read.

use super::super::code::Code;
use super::super::error::Problems;
use super::super::schema::{CanarySource, Identity, Policy, SecretSource, TokenSource};
use crate::secrets::{Environment, Source};

/// Reports variables and files that are not there. What is read is dropped at once.
pub(super) fn lint(policy: &Policy, environment: &Environment, problems: &mut Problems) {
    let of_credentials = policy.credentials.iter().filter_map(|credential| {
        let source = match &credential.source.value {
            SecretSource::Environment(name) => Source::Variable(name.clone()),
            SecretSource::File(path) => Source::File(path.clone()),
            // Only Vault itself could say.
            SecretSource::Vault(_) => return None,
        };
        Some(("requests that need this credential are refused", credential.source.span, source))
    });
    let identities = policy.agents.iter().flatten().flat_map(|agent| &agent.identity);
    let of_tokens = identities.filter_map(|identity| match &identity.value {
        Identity::Token(token) => {
            let source = match &token.source {
                TokenSource::Environment(name) => Source::Variable(name.clone()),
                TokenSource::File(path) => Source::File(path.clone()),
                TokenSource::Sha256(_) => return None,
            };
            Some(("attaché does not start without this token", identity.span, source))
        }
        _ => None,
    });
    let of_canaries = policy.dlp.canaries.iter().filter_map(|canary| {
        let source = match &canary.source.value {
            CanarySource::Written(_) => return None,
            CanarySource::Environment(name) => Source::Variable(name.clone()),
            CanarySource::File(path) => Source::File(path.clone()),
        };
        Some(("nobody notices when this canary leaves", canary.source.span, source))
    });
    for (effect, at, source) in of_credentials.chain(of_tokens).chain(of_canaries) {
        if let Err(error) = source.read(environment) {
            problems
                .warning(at, format!("{error}: {effect}"))
                .code(Code::MissingSecret)
                .fix("provide it where attaché runs; to check a policy elsewhere use `--no-secrets`");
        }
    }
}
