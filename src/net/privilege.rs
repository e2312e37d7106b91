//! What this process may do, as the kernel says it.

use thiserror::Error;

/// A capability that one of the commands needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// To change rules.
    NetAdmin,
    /// To try them as another user.
    SetUid,
    /// To try them as another group.
    SetGid,
}

/// Something this process may not do.
#[derive(Debug, Error)]
#[error("this process has not the capability {}, without which it cannot {}: in Kubernetes, run as user 0 with \
         `capabilities: {{drop: [ALL], add: [NET_ADMIN, SETGID, SETUID]}}`; nothing has been changed", .0.name(), .0.purpose())]
pub struct Lacking(Capability);

impl Capability {
    /// `Err` unless this process has it in effect.
    pub fn require(self) -> Result<(), Lacking> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if effective(&status) & (1 << self.bit()) == 0 { Err(Lacking(self)) } else { Ok(()) }
    }

    /// Its number in `linux/capability.h`.
    fn bit(self) -> u32 {
        match self {
            Self::SetGid => 6,
            Self::SetUid => 7,
            Self::NetAdmin => 12,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "NET_ADMIN",
            Self::SetUid => "SETUID",
            Self::SetGid => "SETGID",
        }
    }

    fn purpose(self) -> &'static str {
        match self {
            Self::NetAdmin => "change the rules",
            Self::SetUid | Self::SetGid => "try them as another user",
        }
    }
}

/// `CapEff` of /proc/PID/status; none if it is not there.
fn effective(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_mask() {
        assert_eq!(effective("Name:\tx\nCapPrm:\t01\nCapEff:\t00000000000010c0\n"), 1 << 12 | 1 << 7 | 1 << 6);
        assert_eq!(effective("Name:\tx\n"), 0);
    }
}
