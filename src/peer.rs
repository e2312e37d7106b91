//! Who is at the other end of a Unix socket, and who must not be.
//!
//! A socket's file mode keeps other users out. The agent that `attache run` starts is the same user, so what it
//! must not reach is kept from its processes by what the kernel says of them (`SO_PEERCRED`).

use std::io;

use rustix::process::{Pid, getuid};
use tokio::net::UnixStream;

/// Who connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The process that connected, where it is one this process can see.
    pub pid: Option<Pid>,
    /// Its user.
    pub uid: u32,
}

impl Peer {
    /// Asks the kernel.
    pub fn of(socket: &UnixStream) -> io::Result<Self> {
        let credentials = socket.peer_cred()?;
        // A process of a PID namespace that ours does not enclose shows as 0, which no process is.
        Ok(Self { pid: credentials.pid().and_then(Pid::from_raw), uid: credentials.uid() })
    }

    /// True for this user and for root.
    pub fn is_own_user(&self) -> bool {
        self.uid == getuid().as_raw() || self.uid == 0
    }

    /// True if the process is another's child, at any depth. What cannot be followed counts as one.
    pub fn descends_from(&self, ancestor: Pid) -> bool {
        let Some(mut pid) = self.pid else { return true };
        // The tree of processes is never this deep; a loop can only come from one that changes while it is read.
        for _ in 0..512 {
            if pid == ancestor {
                return true;
            }
            match parent(pid) {
                Ok(Some(parent)) => pid = parent,
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
        true
    }
}

/// The parent of a process; none for the first one (proc_pid_stat(5): the fields after the parenthesis that closes
/// the name, which may itself hold parentheses and blanks).
fn parent(pid: Pid) -> io::Result<Option<Pid>> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let (_, after) = stat.rsplit_once(')').ok_or_else(invalid)?;
    let parent = after.split_whitespace().nth(1).and_then(|p| p.parse().ok()).ok_or_else(invalid)?;
    Ok(Pid::from_raw(parent))
}

/// The name of a user of this system, where it has one (passwd(5)). Users that only a directory knows have none here.
pub fn user_name(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    named_in(&users, uid).map(str::to_owned)
}

fn named_in(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, number) = (fields.next()?, fields.next()?, fields.next()?);
        let plain = !name.is_empty() && !name.contains(|c: char| c.is_control() || matches!(c, '(' | ')' | ','));
        (number.parse() == Ok(uid) && plain).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_descends_from_its_parent_and_not_the_other_way() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let own = rustix::process::getpid();
        let child_pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let peer = |pid| Peer { pid: Some(pid), uid: 0 };
        assert!(peer(child_pid).descends_from(own));
        assert!(!peer(own).descends_from(child_pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(peer(child_pid).descends_from(own), "a process that is gone cannot be followed");
        assert!(Peer { pid: None, uid: 0 }.descends_from(own));
    }

    #[test]
    fn a_user_is_known_by_the_name_of_its_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\n# a comment\nann:x:1000:1000::/home/ann:/bin/sh\nodd(:x:7:7:::\n";
        assert_eq!(named_in(users, 0), Some("root"));
        assert_eq!(named_in(users, 1000), Some("ann"));
        assert_eq!(named_in(users, 100), None);
        assert_eq!(named_in(users, 7), None, "a name that would make another of whoever signs");
    }

    #[test]
    fn another_user_is_not_ones_own() {
        let own = getuid().as_raw();
        for (uid, expected) in [(own, true), (0, true), (own + 1, false), (65_534, own == 65_534)] {
            assert_eq!(Peer { pid: None, uid }.is_own_user(), expected, "{uid}");
        }
    }

    #[tokio::test]
    async fn a_socket_tells_who_connected() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.pid, Some(rustix::process::getpid()));
        assert!(peer.is_own_user());
    }
}
