//! Whose network these are about to be the rules of.

use std::fs;
use std::path::Path;

/// The network is the machine's own, as far as can be seen: that of its first process, which is not this one.
///
/// A container's first process is this one, and a CNI plugin that enters a pod's namespace leaves the first process's.
pub fn is_the_machines() -> bool {
    is_of(Path::new("/proc"), std::process::id())
}

fn is_of(proc: &Path, pid: u32) -> bool {
    let namespace = |process: &str| fs::read_link(proc.join(process).join("ns/net"));
    match (namespace("self"), namespace("1")) {
        (Ok(own), Ok(first)) => pid != 1 && own == first,
        // The kernel shows no namespace of a process that is another's.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_first_process_and_whoever_entered_it_are_not_on_the_machines() {
        let proc = tempfile::tempdir().unwrap();
        let namespace = |process: &str, name: &str| {
            let folder = proc.path().join(process).join("ns");
            fs::create_dir_all(&folder).unwrap();
            let _ = fs::remove_file(folder.join("net"));
            std::os::unix::fs::symlink(name, folder.join("net")).unwrap();
        };
        namespace("self", "net:[1]");
        assert!(!is_of(proc.path(), 7), "of a first process that cannot be looked at nothing is known");
        namespace("1", "net:[1]");
        assert!(is_of(proc.path(), 7), "as on a laptop");
        assert!(!is_of(proc.path(), 1), "as in a container");
        namespace("1", "net:[2]");
        assert!(!is_of(proc.path(), 7), "as a CNI plugin");
    }
}
