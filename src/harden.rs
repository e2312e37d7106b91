//! What a process that holds secrets gives up before it reads the first, and what it keeps from those it starts.

use std::io;

use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::set_no_new_privs;

/// For a process that serves: nobody of its user reads its memory or environment, no core dump has them, and no program
/// that it could be made to start is worth more than itself. To be called while it has one thread: others inherit it.
pub fn service() -> io::Result<()> {
    forbid_inspection()?;
    without_core_dumps(Some(0))?;
    Ok(set_no_new_privs(true)?)
}

/// Takes memory in small pages from now on (PR_SET_THP_DISABLE, prctl(2)): of huge ones a service that touches a little of
/// each would keep several times what it uses. Programs that are started inherit it, so this is for those that start none.
pub fn small_pages() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "memory is taken in huge pages where the system gives them");
    }
}

/// For a process that starts Envoy and perhaps an agent. They inherit that there are no core dumps; an agent may have
/// them again (setrlimit(2)), and may gain privileges where [`unprivileged`] did not start it.
pub fn supervisor() -> io::Result<()> {
    forbid_inspection()?;
    // Programs that take core dumps get them whatever the limit is (core(5)). Envoy, which holds secrets on their way, is
    // dumpable again once it runs; what then is in its dumps is none of its memory.
    if let Err(error) = std::fs::write("/proc/self/coredump_filter", "0") {
        tracing::debug!(%error, "core dumps of Envoy, where the system takes any, have its memory");
    }
    without_core_dumps(getrlimit(Resource::Core).maximum)
}

/// Starts a process that gains no privileges, by file or by `setuid` program (PR_SET_NO_NEW_PRIVS, prctl(2)); nor do
/// those it starts. This process keeps what it can do.
pub fn unprivileged<T: Send>(start: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    // It is a thread's own, and handed down to what that thread starts.
    let runtime = tokio::runtime::Handle::current();
    let work = || {
        let _within = runtime.enter();
        set_no_new_privs(true)?;
        start()
    };
    std::thread::scope(|scope| {
        let ended = std::thread::Builder::new().spawn_scoped(scope, work)?.join();
        ended.unwrap_or_else(|_| Err(io::Error::other("the thread that starts it has failed")))
    })
}

/// Keeps other processes of this user from reading this one's memory and environment (PR_SET_DUMPABLE, prctl(2)).
fn forbid_inspection() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

fn without_core_dumps(maximum: Option<u64>) -> io::Result<()> {
    Ok(setrlimit(Resource::Core, rustix::process::Rlimit { current: Some(0), maximum })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_takes_memory_in_small_pages() {
        small_pages();
        assert!(nix::sys::prctl::get_thp_disable().unwrap());
    }

    #[tokio::test]
    async fn what_is_started_gains_nothing_and_its_starter_loses_nothing() {
        let says = || tokio::process::Command::new("grep").args(["NoNewPrivs", "/proc/self/status"]).output();
        let text = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();
        let before = text(says().await.unwrap());
        let mut command = tokio::process::Command::new("grep");
        command.args(["NoNewPrivs", "/proc/self/status"]).stdout(std::process::Stdio::piped());
        let child = unprivileged(|| command.spawn()).unwrap();
        assert_eq!(text(child.wait_with_output().await.unwrap()), "NoNewPrivs:\t1\n");
        assert_eq!(text(says().await.unwrap()), before);
    }
}
