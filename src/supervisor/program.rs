//! The programs that are started again, as they were when they were first started.
//!
//! Whoever can write their files, such as an agent of the same user, could otherwise put another program in a file's
//! place, end the process, and have the supervisor start it: with the CA's key, or outside the agent's network.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use tokio::process::Command;

/// A program's file, held open.
pub struct Program {
    path: PathBuf,
    file: File,
    version: Version,
    /// A script's interpreter opens it by its name.
    by_name: bool,
}

/// Which file it is and when it, or anything about it, was last changed: that time cannot be set by its owner.
type Version = (u64, u64, i64, i64);

impl Program {
    /// Takes the program that is in a file now.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        // It need not be readable.
        let file = File::from(rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?);
        let mut start = [0; 2];
        let by_name = File::open(&path).and_then(|mut f| f.read_exact(&mut start)).is_ok() && start == *b"#!";
        let version = version(&file.metadata()?);
        Ok(Self { path, file, version, by_name })
    }

    /// A command that runs it, unless it is another by now.
    pub fn command(&self) -> io::Result<Command> {
        let now = if self.by_name { self.path.metadata()? } else { self.file.metadata()? };
        if version(&now) != self.version {
            let why = format!("`{}` is not what it was at the start: start attache again", self.path.display());
            return Err(io::Error::other(why));
        }
        if self.by_name {
            return Ok(Command::new(&self.path));
        }
        let mut command = Command::new(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        command.arg0(&self.path);
        Ok(command)
    }
}

fn version(of: &Metadata) -> Version {
    (of.dev(), of.ino(), of.ctime(), of.ctime_nsec())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn says(program: &Program) -> io::Result<String> {
        let output = program.command()?.arg("one").output().await?;
        Ok(String::from_utf8(output.stdout).unwrap())
    }

    #[tokio::test]
    async fn another_program_in_its_place_is_not_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::copy("/bin/echo", &path).unwrap();
        let program = Program::open(&path).unwrap();
        assert_eq!(says(&program).await.unwrap(), "one\n");

        let other = folder.path().join("other");
        std::fs::copy("/bin/false", &other).unwrap();
        std::fs::rename(&other, &path).unwrap();
        // Replaced, it has one name less, and is refused; what it must not be is the other.
        assert!(says(&program).await.is_err());

        let written = Program::open(&path).unwrap();
        std::fs::copy("/bin/echo", &path).unwrap();
        assert!(says(&written).await.is_err());
    }

    #[tokio::test]
    async fn a_script_is_started_by_its_name_while_it_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, "#!/bin/sh\necho script $1\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        let program = Program::open(&path).unwrap();
        assert_eq!(says(&program).await.unwrap(), "script one\n");
        std::fs::write(&path, "#!/bin/sh\necho other\n").unwrap();
        assert!(says(&program).await.is_err());
    }
}
