//! A real server, started for one test.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::*;

/// A `redis-server` (or `valkey-server`: name it in `REDIS_SERVER_BIN`) on a socket in a folder of its own.
pub(in crate::store) struct Server {
    folder: TempDir,
    process: Child,
}

impl Server {
    pub(in crate::store) fn start() -> Self {
        Self::with(&[])
    }

    /// With more on its command line.
    pub(in crate::store) fn with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = launch(&folder, arguments);
        Self { folder, process }
    }

    pub(in crate::store) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub(in crate::store) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// A store that gives the server all the time it needs: here it is what is right that is tested, not how fast.
    pub(in crate::store) async fn patient(&self) -> Redis {
        self.store(SECOND * 10, OnError::Deny).await
    }

    pub(super) async fn store(&self, budget: Duration, on_error: OnError) -> Redis {
        let store = Redis::start(RedisOptions { budget, on_error, ..RedisOptions::new(self.url()) }).unwrap();
        assert!(store.connected(FAR).await, "the server does not answer");
        store
    }

    pub(in crate::store) async fn connection(&self) -> ::redis::aio::MultiplexedConnection {
        ::redis::Client::open(self.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    /// SIGKILL: it has no time to write anything down.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(super) fn start_again(&mut self) {
        self.process = launch(&self.folder, &[]);
    }

    /// Takes from it all it wrote down, while it is dead.
    pub(super) fn forget(&self) {
        // Before Redis 7 it is a file.
        let (folder, file) = (self.folder.path().join("appendonlydir"), self.folder.path().join("appendonly.aof"));
        std::fs::remove_dir_all(folder).or_else(|_| std::fs::remove_file(file)).unwrap();
    }

    /// Stops it where it stands, and lets it go on.
    pub(super) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.process.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// It writes down whatever it answered before it answers: what is lost when it is killed is lost on purpose.
fn launch(folder: &TempDir, arguments: &[&str]) -> Child {
    const PREPARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-env/redis-server");
    let binary = std::env::var_os("REDIS_SERVER_BIN").unwrap_or_else(|| PREPARED.into());
    let socket = folder.path().join("redis.sock");
    Command::new(&binary)
        .args(["--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--unixsocket"])
        .arg(&socket)
        .arg("--dir")
        .arg(folder.path())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{}: {error}: run `tests/setup` first, or name a server in REDIS_SERVER_BIN", binary.display())
        })
}
