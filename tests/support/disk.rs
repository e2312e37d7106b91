//! A small disk of a test's own, which can be full or read-only.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_remount, unmount};

/// A file system in memory, mounted on a folder. Only the test's thread and the programs it starts see it.
pub struct Disk {
    folder: PathBuf,
}

/// Fills the disk up. It is all that the test itself puts there.
const BALLAST: &str = "ballast";

impl Disk {
    /// Mounts `kib` KiB on a folder, which is made if it is not there. Without the right to mount, there is nothing to
    /// test with.
    pub fn on(folder: &Path, kib: usize) -> Disk {
        std::fs::create_dir_all(folder).unwrap();
        unshare(CloneFlags::CLONE_NEWNS).unwrap_or_else(|error| {
            panic!("these tests mount disks of their own, and may not ({error}): run them as root")
        });
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        let size = std::ffi::CString::new(format!("size={kib}k,mode=0700")).unwrap();
        mount("tmpfs", folder, "tmpfs", MountFlags::empty(), &*size).unwrap();
        Disk { folder: folder.to_owned() }
    }

    /// Leaves no page free. What has part of one may still grow to its end.
    pub fn fill(&self) {
        let path = self.folder.join(BALLAST);
        let mut ballast = OpenOptions::new().append(true).create(true).open(path).unwrap();
        loop {
            match ballast.write(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Gives all back that [`Disk::fill`] took.
    pub fn make_room(&self) {
        std::fs::remove_file(self.folder.join(BALLAST)).unwrap();
    }

    /// Nothing can be changed any more. Nobody may have a file open for writing.
    pub fn make_read_only(&self) {
        mount_remount(&self.folder, MountFlags::RDONLY, "").unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Who still uses it keeps it; to all others the folder is empty again, and can be removed.
        let _ = unmount(&self.folder, UnmountFlags::DETACH);
    }
}

/// Files and folders that nobody can change, whatever descriptors they hold, until this is dropped.
pub struct Frozen(Vec<PathBuf>);

impl Frozen {
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Frozen {
        let frozen = Frozen(paths.into_iter().collect());
        frozen.0.iter().for_each(|path| {
            let outcome = set_immutable(path, true);
            outcome.unwrap_or_else(|error| {
                let path = path.display();
                panic!("`{path}` cannot be made immutable ({error}): run as root, with TMPDIR on ext4, xfs or btrfs")
            });
        });
        frozen
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.0.iter().for_each(|path| drop(set_immutable(path, false)));
    }
}

fn set_immutable(path: &Path, immutable: bool) -> std::io::Result<()> {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let file = File::open(path)?;
    let mut flags = ioctl_getflags(&file)?;
    flags.set(IFlags::IMMUTABLE, immutable);
    Ok(ioctl_setflags(&file, flags)?)
}

/// A disk that takes what is written and does not answer when asked to keep it, or says that it cannot.
pub struct SlowDisk {
    folder: tempfile::TempDir,
}

impl SlowDisk {
    /// One that works.
    pub fn new() -> SlowDisk {
        let folder = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/slow_disk.c");
        // What Rust links with.
        let mut cc = std::process::Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o"]).arg(folder.path().join("slow_disk.so")).arg(source);
        assert!(cc.status().unwrap().success(), "{cc:?}");
        SlowDisk { folder }
    }

    /// Variables for the program that has it.
    pub fn variables(&self) -> [(&'static str, String); 2] {
        let path = |name: &str| self.folder.path().join(name).into_os_string().into_string().unwrap();
        [("LD_PRELOAD", path("slow_disk.so")), ("SLOW_DISK", path("mode"))]
    }

    pub fn hang(&self) {
        self.be("hang");
    }

    pub fn fail(&self) {
        self.be("fail");
    }

    pub fn work(&self) {
        self.be("");
    }

    fn be(&self, mode: &str) {
        let draft = self.folder.path().join("draft");
        std::fs::write(&draft, mode).unwrap();
        std::fs::rename(draft, self.folder.path().join("mode")).unwrap();
    }
}
