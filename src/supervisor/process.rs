//! One supervised process.

use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::SupervisorError;
use super::handover::{self, Message};
use crate::harden;

/// First and longest pause before a process that ended is started again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A process that ran this long had come up well: its next pause is the first again.
const STABLE: Duration = Duration::from_secs(10);

/// A process, or the place of one.
pub struct Process {
    child: Option<Child>,
    input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
    started: Instant,
    pause: Duration,
}

impl Process {
    /// The place of a process that has not been started.
    pub fn none(_name: &'static str) -> Self {
        Self { child: None, input: None, output: None, started: Instant::now(), pause: FIRST_PAUSE }
    }

    /// Starts a process in a process group of its own: what a terminal sends to the agent's is not for it.
    pub fn spawn(name: &'static str, mut command: Command) -> Result<Self, SupervisorError> {
        let spawned = harden::unprivileged(|| command.process_group(0).kill_on_drop(true).spawn());
        let mut child = spawned.map_err(|source| SupervisorError::Spawn { name, source })?;
        allow_many_files(&child);
        let (input, output) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        Ok(Self { child: Some(child), input, output, ..Self::none(name) })
    }

    /// Puts a new process in this one's place, and remembers how long to pause.
    pub fn replace(&mut self, next: Self) {
        let pause = self.pause;
        *self = Self { pause, ..next };
    }

    /// Its id; 0 if it has ended.
    pub fn id(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).unwrap_or(0)
    }

    /// Sends it a message.
    pub async fn tell(&mut self, message: &Message) -> io::Result<()> {
        match &mut self.input {
            Some(input) => handover::send(input, message).await,
            None => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
        }
    }

    /// The first line it prints; none if it ends without one.
    pub async fn first_line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.output.as_mut()?.read_line(&mut line).await.ok()?;
        (read > 0).then_some(line)
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        match &mut self.child {
            // What cannot be waited for is as good as gone.
            Some(child) => child.wait().await.unwrap_or_default(),
            None => std::future::pending().await,
        }
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// How long to wait before it is started again: longer each time it did not last.
    pub fn pause(&mut self) -> Duration {
        let pause = if self.started.elapsed() >= STABLE { FIRST_PAUSE } else { self.pause };
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause
    }

    /// Tells it to end, and ends it if it does not.
    pub async fn stop(&mut self, patience: Duration) {
        if let Some(pid) = i32::try_from(self.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself meanwhile.
            let _ = kill_process(pid, Signal::TERM);
        }
        let Some(child) = &mut self.child else { return };
        if tokio::time::timeout(patience, child.wait()).await.is_err()
            && let Err(error) = child.kill().await
        {
            tracing::warn!(%error, "a process does not end");
        }
        self.child = None;
    }
}

/// Leaves a command only these of our variables; a name that ends in `*` stands for all that begin so.
pub fn only_variables(command: &mut Command, names: &[&str]) {
    command.env_clear();
    let wanted =
        |name: &str| names.iter().any(|n| n.strip_suffix('*').map_or(*n == name, |start| name.starts_with(start)));
    command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(wanted)));
}

/// The last lines of a log, for an error message.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Lets it have as many descriptors as this process may have (RLIMIT_NOFILE, getrlimit(2)): what shells begin with, often
/// 1,024, is used up by a few hundred connections. An agent keeps what the shell gave: programs on `select(2)` need it low.
fn allow_many_files(child: &Child) {
    let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) else { return };
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = prlimit(Some(pid), Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "a process that was started has no more descriptors than this one");
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn what_is_started_may_have_all_descriptors_that_there_are() {
        let limit = getrlimit(Resource::Nofile);
        let most = limit.maximum.unwrap();
        prlimit(None, Resource::Nofile, Rlimit { current: Some(most - 1), ..limit }).unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", "read _; ulimit -Sn"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut started = Process::spawn("sh", command).unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, Some(most - 1), "and this process as many as before");
        started.input.as_mut().unwrap().write_all(b"\n").await.unwrap();
        assert_eq!(started.first_line().await.unwrap().trim(), most.to_string());
    }
}
