//! The real redis-server, for what several attachés share.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A `redis-server` (or `valkey-server`: name it in `REDIS_SERVER_BIN`) on a socket in a folder of its own. It writes
/// down what it answers before it answers.
pub struct Redis {
    folder: TempDir,
    process: Child,
}

impl Redis {
    pub fn start() -> Redis {
        let folder = tempfile::tempdir().unwrap();
        let process = launch(&folder);
        Redis { folder, process }
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// SIGKILL: it has no time to say goodbye.
    pub fn kill9(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub fn start_again(&mut self) {
        self.process = launch(&self.folder);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn launch(folder: &TempDir) -> Child {
    let binary = std::env::var_os("REDIS_SERVER_BIN").unwrap_or_else(|| "redis-server".into());
    Command::new(&binary)
        .args(["--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--unixsocket"])
        .arg(folder.path().join("redis.sock"))
        .arg("--dir")
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{}: {error}: install it (Debian: redis-server) or name it in REDIS_SERVER_BIN", binary.display())
        })
}
