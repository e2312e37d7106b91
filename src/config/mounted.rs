//! Whether what replaces a policy outside of a container will be seen inside.
//!
//! A mounted directory shows what happens in it. A file that is mounted by itself (a `subPath` of Kubernetes, a bind mount
//! of one file) stays the file that it was when the container began: the kubelet and editors put another in its place,
//! and it is not that one that is mounted.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::files::{Origin, policy_files};

/// A part of a policy that stays as it is until the container begins anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frozen {
    /// A file that is mounted by itself.
    File(PathBuf),
    /// A directory that is one snapshot of a volume, and no longer the volume.
    Snapshot(PathBuf),
}

impl std::fmt::Display for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, is) = match self {
            Self::File(path) => (path, "is a file mounted by itself (a `subPath`, or a bind mount of one file)"),
            Self::Snapshot(path) => (path, "is one state of a volume, mounted by itself (a `subPath`)"),
        };
        write!(
            f,
            "`{}` {is}: a policy that takes its place is not seen here, and holds from the next start of the container \
             on. Mount the whole ConfigMap as a directory, without `subPath`, and give the directory as the policy",
            path.display()
        )
    }
}

/// What of a policy will not be seen to change. Nothing where the system does not say what is mounted.
pub fn frozen(origin: &Origin) -> Vec<Frozen> {
    let mounts = fs::read("/proc/self/mountinfo").map(|text| mounts(&text)).unwrap_or_default();
    let all = [Some(&origin.policy), origin.organization.as_ref()];
    let mut found = Vec::new();
    for path in all.into_iter().flatten() {
        if let Some(snapshot) = snapshot(path, &mounts) {
            found.push(Frozen::Snapshot(snapshot));
            continue;
        }
        let files = if path.is_dir() { policy_files(path).unwrap_or_default() } else { vec![path.clone()] };
        // A link is followed: what is mounted is what it leads to.
        let is_mounted = |file: &PathBuf| {
            fs::canonicalize(file).is_ok_and(|file| file.is_file() && mounts.iter().any(|mount| mount.point == file))
        };
        found.extend(files.into_iter().filter(is_mounted).map(Frozen::File));
    }
    found
}

/// The directory of a policy, if it is mounted from inside of a volume that the kubelet replaces as a whole.
fn snapshot(path: &Path, mounts: &[Mount]) -> Option<PathBuf> {
    let folder = if path.is_dir() { path } else { path.parent().filter(|folder| *folder != Path::new(""))? };
    let real = fs::canonicalize(folder).ok()?;
    // A policy may be a link into a volume's current state, which is a part of the mount and not the mount.
    let mount = mounts.iter().rev().find(|mount| mount.point == real)?;
    let inside = mount.root.iter().any(|part| part.as_bytes().starts_with(b"..") && part.len() > 2);
    let volumes = ["kubernetes.io~configmap", "kubernetes.io~secret", "kubernetes.io~projected"];
    let of_kubelet = mount.root.iter().any(|part| volumes.iter().any(|volume| part == *volume));
    let has_link = fs::symlink_metadata(folder.join("..data")).is_ok();
    (inside || of_kubelet && !has_link).then(|| folder.to_owned())
}

struct Mount {
    /// Which part of its file system is mounted.
    root: PathBuf,
    point: PathBuf,
}

/// The lines of `/proc/self/mountinfo` (proc_pid_mountinfo(5)): the fourth field is the root, the fifth the mount point.
fn mounts(text: &[u8]) -> Vec<Mount> {
    let line = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ').skip(3);
        Some(Mount { root: unescaped(fields.next()?), point: unescaped(fields.next()?) })
    };
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// A blank, tab, newline or backslash stands as three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_what_is_escaped_in_them() {
        let text = b"22 27 0:21 / /proc rw,relatime - proc proc rw\n\
            90 27 8:1 /var/lib/x/..2026/p.yaml /etc/a\\040b\\134 ro shared:1 - ext4 /dev/sda1 rw\n\n";
        let read = mounts(text);
        let [first, second] = &*read else { panic!("{}", read.len()) };
        assert_eq!((&*first.root, &*first.point), (Path::new("/"), Path::new("/proc")));
        assert_eq!((&*second.root, &*second.point), (Path::new("/var/lib/x/..2026/p.yaml"), Path::new("/etc/a b\\")));
    }

    #[test]
    fn a_state_of_a_volume_is_told_from_the_volume() {
        let folder = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(folder.path()).unwrap();
        let volume = Path::new("/var/lib/kubelet/pods/1/volumes/kubernetes.io~configmap/attache-policy");
        let of = |root: PathBuf| snapshot(folder.path(), &[Mount { root, point: real.clone() }]).is_some();
        assert!(of(volume.join("..2026_11_21_00_00_00.1")) && of("/..2026_11_21_00_00_00.1".into()));
        assert!(of(volume.to_owned()), "the kubelet keeps a link in each");
        assert!(!of("/home/somebody".into()));
        std::os::unix::fs::symlink("..2026", folder.path().join("..data")).unwrap();
        assert!(!of(volume.to_owned()));
        assert!(frozen(&Origin::of(folder.path())).is_empty());
    }
}
