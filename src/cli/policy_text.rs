//! Which policy a command reads that only looks at it: a file, a directory, a rendered manifest, or standard input.

use std::io::Read;
use std::path::Path;

use super::Failure;
use crate::config::{self, Draft, Origin};

/// Which ConfigMaps of a manifest are the policy.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigMaps {
    /// Of a Kubernetes manifest, take this ConfigMap [default: each whose name begins with attache-policy]; may be given
    /// more than once
    #[arg(long = "configmap", value_name = "[NAMESPACE/]NAME")]
    pub names: Vec<String>,
}

/// Reads a policy, and gives what it is called with it. `-` is standard input.
///
/// # Errors
/// When standard input is no text. What else is wrong comes out of the draft.
pub fn read(path: &Path, organization: Option<&Path>, configmaps: &ConfigMaps) -> Result<(String, Draft), Failure> {
    if path != Path::new("-") {
        let origin = Origin { policy: path.to_owned(), organization: organization.map(Path::to_owned) };
        return Ok((path.display().to_string(), config::read_deployed(&origin, &configmaps.names)));
    }
    let mut text = String::new();
    match std::io::stdin().lock().read_to_string(&mut text) {
        Ok(_) => Ok(("<stdin>".into(), config::parse_deployed("<stdin>", &text, organization, &configmaps.names))),
        Err(error) => Err(Failure::usage(format!("the policy on stdin cannot be read: {error}"))),
    }
}
