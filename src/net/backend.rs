//! Which tool puts the rules into the kernel.

use std::fs;

use thiserror::Error;

use super::iptables::{self, Families};
use super::nft;
use super::rules::Ruleset;
pub use super::tool::ToolError;

/// A tool that is there and would take the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// `nft`: one transaction for both families.
    Nft,
    /// `iptables-restore` and `ip6tables-restore`: a transaction for each family and table.
    Iptables(Families),
}

/// Which tool is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// nft if it works, else iptables.
    Auto,
    /// nft or none.
    Nft,
    /// iptables or none.
    Iptables,
}

/// Why there are no rules.
#[derive(Debug, Error)]
pub enum BackendError {
    #[error(
        "{0}; install nftables, or a kernel with nf_tables (nat, reject, conntrack), or try `--backend iptables`; \
             nothing has been changed"
    )]
    #[doc = "nft is asked for and cannot."]
    Nft(ToolError),
    #[error(
        "{0}; install iptables with ip6tables (the legacy kind needs the capability NET_RAW, too), or try \
             `--backend nft`; nothing has been changed"
    )]
    #[doc = "iptables is asked for and cannot."]
    Iptables(ToolError),
    #[error(
        "{0}, and this namespace has IPv6: rules for IPv4 alone would leave it open; install ip6tables, or turn \
             IPv6 off (sysctl net.ipv6.conf.all.disable_ipv6=1); nothing has been changed"
    )]
    #[doc = "Half of the traffic would stay open."]
    HalfOpen(ToolError),
    #[error(
        "{nft}, and {iptables}; install nftables, or iptables (the legacy kind needs the capability NET_RAW, too), \
             on a kernel with nf_tables or ip_tables; nothing has been changed"
    )]
    #[doc = "Neither can."]
    Neither {
        /// What is wrong with nft.
        nft: ToolError,
        /// What is wrong with iptables.
        iptables: ToolError,
    },
    #[error("{0}; what was in place before is still there, or closed")]
    #[doc = "The tool refused what it had taken on trial."]
    Apply(ToolError),
    #[error("{0}; rules may still be in place")]
    #[doc = "The rules could not be taken away."]
    Remove(ToolError),
}

impl Backend {
    /// Finds the tool that would take the rules, and what to know about it. Changes nothing.
    pub fn find(choice: Choice, ruleset: &Ruleset) -> Result<(Self, Vec<String>), BackendError> {
        if choice == Choice::Iptables {
            return find_iptables(ruleset).map_err(BackendError::from_iptables);
        }
        match (nft::check(ruleset), choice) {
            (Ok(()), _) => Ok((Self::Nft, Vec::new())),
            (Err(error), Choice::Nft | Choice::Iptables) => Err(BackendError::Nft(error)),
            (Err(nft), Choice::Auto) => match find_iptables(ruleset) {
                Ok((backend, mut notes)) => {
                    notes.insert(0, format!("iptables is used, because {nft}"));
                    Ok((backend, notes))
                }
                Err(NoIptables::Six(error)) => Err(BackendError::HalfOpen(error)),
                Err(NoIptables::Four(iptables)) => Err(BackendError::Neither { nft, iptables }),
            },
        }
    }

    /// Puts the rules in place.
    pub fn apply(&self, ruleset: &Ruleset) -> Result<(), BackendError> {
        match self {
            Self::Nft => nft::apply(ruleset),
            Self::Iptables(families) => iptables::apply(ruleset, *families),
        }
        .map_err(BackendError::Apply)
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Iptables(_) => "iptables",
        }
    }
}

/// Takes the rules away, whichever tool put them in place; the names of the tools that were there to ask.
pub fn remove() -> Result<Vec<&'static str>, BackendError> {
    let nft = nft::usable();
    let four = iptables::usable(false);
    if let (Err(_), Err(_)) = (&nft, &four) {
        // Without either there may be rules still, and nobody to tell.
        return Err(BackendError::Neither {
            nft: nft.err().unwrap_or(ToolError::Missing("nft")),
            iptables: four.err().unwrap_or(ToolError::Missing("iptables")),
        });
    }
    let mut asked = Vec::new();
    if four.is_ok() {
        let families = Families { six: iptables::usable(true).is_ok() };
        iptables::remove(families).map_err(BackendError::Remove)?;
        asked.push("iptables");
    }
    if nft.is_ok() {
        nft::remove().map_err(BackendError::Remove)?;
        asked.push("nft");
    }
    Ok(asked)
}

enum NoIptables {
    Four(ToolError),
    Six(ToolError),
}

impl BackendError {
    fn from_iptables(error: NoIptables) -> Self {
        match error {
            NoIptables::Four(error) => Self::Iptables(error),
            NoIptables::Six(error) => Self::HalfOpen(error),
        }
    }
}

fn find_iptables(ruleset: &Ruleset) -> Result<(Backend, Vec<String>), NoIptables> {
    iptables::check(ruleset, false).map_err(NoIptables::Four)?;
    match iptables::check(ruleset, true) {
        Ok(()) => Ok((Backend::Iptables(Families { six: true }), Vec::new())),
        Err(_) if ipv6_is_off() => {
            let note = "IPv6 is off in this namespace, so the rules are for IPv4 alone".to_owned();
            Ok((Backend::Iptables(Families { six: false }), vec![note]))
        }
        Err(error) => Err(NoIptables::Six(error)),
    }
}

/// Whether no interface has IPv6, nor would a new one.
pub fn ipv6_is_off() -> bool {
    let Ok(interfaces) = fs::read_dir("/proc/sys/net/ipv6/conf") else {
        return !fs::exists("/proc/sys/net/ipv6").unwrap_or(true);
    };
    interfaces.into_iter().all(|interface| {
        let disabled = interface.and_then(|interface| fs::read_to_string(interface.path().join("disable_ipv6")));
        disabled.is_ok_and(|disabled| disabled.trim() == "1")
    })
}
