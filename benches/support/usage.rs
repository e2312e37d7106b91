//! What a process has used, from the kernel's own count.

use std::time::Duration;

use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// CPU time of all threads of a process, user and system. The clock counts nanoseconds, where `/proc/PID/stat`
/// counts ticks of 10 ms.
pub fn cpu(pid: u32) -> Duration {
    let pid = Pid::from_raw(pid.try_into().expect("a process id"));
    clock_getcpuclockid(pid).and_then(|clock| clock.now()).expect("the process runs").into()
}

/// Resident memory of a process in bytes (`VmRSS`).
pub fn resident(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// The most that has been resident so far, in bytes (`VmHWM`).
pub fn most_resident(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

fn status(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("proc(5) has it");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") << 10
}
