//! Programs under test: in a process group of their own, so that all they start ends with them.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, kill_process_group, setrlimit};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::within;

/// A running program. Dropping it kills its process group; after a failed test its stderr is shown.
pub struct Running {
    name: String,
    child: Child,
    group: Pid,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Arc<Mutex<String>>,
}

impl Running {
    /// Starts `command`, whose stdout is for [`Running::line`]; nothing comes on its stdin.
    pub fn start(name: &str, mut command: Command) -> Running {
        descriptors();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        let group = Pid::from_raw(child.id().unwrap() as i32).unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let stderr = Arc::new(Mutex::new(String::new()));
        tokio::spawn(collect(child.stderr.take().unwrap(), stderr.clone()));
        Running { name: name.to_owned(), child, group, stdout, stderr }
    }

    pub fn pid(&self) -> u32 {
        self.group.as_raw_nonzero().get() as u32
    }

    /// The next line of stdout; a failed test if it ends first.
    pub async fn line(&mut self) -> String {
        let name = self.name.clone();
        let line = within(&format!("a line from {name}"), self.stdout.next_line()).await.unwrap();
        match line {
            Some(line) => line,
            None => {
                let status = self.exit().await;
                panic!("{name} ended ({status}) without a line on stdout");
            }
        }
    }

    /// What it has said on stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits for it to end by itself.
    pub async fn exit(&mut self) -> ExitStatus {
        within(&format!("{} to end", self.name), self.child.wait()).await.unwrap()
    }

    /// `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends it (not its group) a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.group, signal).unwrap();
    }

    /// SIGTERM, and what it ends with; a failed test if it does not end.
    pub async fn stop(&mut self) -> ExitStatus {
        if self.exited().is_none() {
            self.signal(Signal::TERM);
        }
        self.exit().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Asked before the kill: afterwards the orphans have another parent. A supervisor may have put
        // what it starts into groups of their own.
        let descendants = descendants(self.pid());
        if self.exited().is_none() || group_lives(self.group) {
            let _ = kill_process_group(self.group, Signal::KILL);
        }
        for pid in descendants {
            signal(pid, Signal::KILL);
        }
        if std::thread::panicking() {
            eprintln!("---- stderr of {} ----\n{}----", self.name, self.stderr());
        }
    }
}

/// The processes whose parent is `parent`, as (pid, name of the program).
pub fn children(parent: u32) -> Vec<(u32, String)> {
    processes().filter(|p| p.parent == parent).map(|p| (p.pid, p.name)).collect()
}

/// The parent of a process.
pub fn parent(pid: u32) -> u32 {
    processes().find(|p| p.pid == pid).unwrap_or_else(|| panic!("there is no process {pid}")).parent
}

/// Whether a process of this id runs (a zombie does not).
pub fn lives(pid: u32) -> bool {
    processes().any(|p| p.pid == pid && p.state != 'Z')
}

/// Whether every thread of a process stands still (proc_pid_stat(5): state `T`).
pub fn is_stopped(pid: u32) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok()).all(|stat| {
        let after = stat.rsplit_once(") ").map(|(_, after)| after);
        after.is_some_and(|after| after.starts_with('T'))
    })
}

/// What a process holds in memory, in bytes.
pub fn resident(pid: u32) -> u64 {
    memory(pid, "VmRSS:")
}

/// The most that it has ever held, in bytes.
pub fn most_resident(pid: u32) -> u64 {
    memory(pid, "VmHWM:")
}

fn memory(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let found = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    found.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Sends one process a signal; `false` if there is no such process.
pub fn signal(pid: u32, signal: Signal) -> bool {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).is_ok()
}

fn descendants(ancestor: u32) -> Vec<u32> {
    let mut found: Vec<u32> = children(ancestor).into_iter().map(|(pid, _)| pid).collect();
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(children(parent).into_iter().map(|(pid, _)| pid));
        next += 1;
    }
    found
}

fn group_lives(group: Pid) -> bool {
    processes().any(|p| p.group == group.as_raw_nonzero().get() && p.state != 'Z')
}

struct Process {
    pid: u32,
    name: String,
    state: char,
    parent: u32,
    group: i32,
}

/// From `/proc/PID/stat` and `cmdline`, which every user may read (proc(5)).
fn processes() -> impl Iterator<Item = Process> {
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        // What it calls itself, which is the file's name to those that are not started by a name; empty for a zombie.
        let own = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let own = own.split('\0').next().and_then(|path| path.rsplit('/').next()).filter(|own| !own.is_empty());
        Some(Process {
            pid,
            name: own.unwrap_or(name).to_owned(),
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    })
}

async fn collect(stream: impl AsyncRead + Unpin, into: Arc<Mutex<String>>) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut text = into.lock().unwrap();
        text.push_str(&line);
        text.push('\n');
    }
}

/// How many descriptors this process may have, as many as there are from now on: tests that run beside each other share
/// them, and a shell's usual 1,024 are the connections of three.
pub fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    limit.maximum.map_or(usize::MAX, |most| most as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_program_starts_ends_with_it() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $!; echo noted >&2; wait"]);
        let mut running = Running::start("sh", command);
        let grandchild: u32 = running.line().await.parse().unwrap();
        assert!(lives(grandchild));
        let expected = [(grandchild, "sleep".to_owned())];
        super::super::until("the exec", async || (children(running.pid()) == expected).then_some(())).await;
        super::super::until("stderr", async || running.stderr().contains("noted").then_some(())).await;
        drop(running);
        super::super::until("its end", async || (!lives(grandchild)).then_some(())).await;
    }

    #[tokio::test]
    async fn stop_reports_how_it_ended() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done"]);
        let mut running = Running::start("sh", command);
        assert_eq!(running.line().await, "ready");
        assert_eq!(running.stop().await.code(), Some(7));
    }
}
