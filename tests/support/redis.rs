//! The real redis-server, for what several attachés share.

use std::path::PathBuf;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::Command;

use super::process::{Running, is_stopped};
use super::{redis_binary, until};

/// A `redis-server` on a socket in a folder of its own. It writes down whatever it answered before it answers.
pub struct Redis {
    folder: TempDir,
    running: Running,
}

impl Redis {
    pub async fn start() -> Redis {
        let folder = tempfile::tempdir().unwrap();
        let running = launch(&folder);
        let server = Redis { folder, running };
        server.wait().await;
        server
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// SIGKILL: it has no time to say goodbye.
    pub async fn kill9(&mut self) {
        self.running.signal(Signal::KILL);
        self.running.exit().await;
        // What it leaves behind is no server.
        std::fs::remove_file(self.socket()).unwrap();
    }

    /// Stops it where it stands, until [`Redis::resume`].
    pub async fn hang(&self) {
        self.running.signal(Signal::STOP);
        until("every thread to stop", async || is_stopped(self.running.pid()).then_some(())).await;
    }

    pub fn resume(&self) {
        self.running.signal(Signal::CONT);
    }

    pub async fn start_again(&mut self) {
        self.running = launch(&self.folder);
        self.wait().await;
    }

    async fn wait(&self) {
        until("the Redis server", async || UnixStream::connect(self.socket()).await.ok()).await;
    }
}

fn launch(folder: &TempDir) -> Running {
    let mut command = Command::new(redis_binary());
    command.args(["--port", "0", "--loglevel", "warning", "--save", "", "--appendonly", "yes"]);
    command.args(["--appendfsync", "always", "--unixsocket"]);
    command.arg(folder.path().join("redis.sock")).arg("--dir").arg(folder.path());
    Running::start("redis-server", command)
}
