//! The real Envoy on a bootstrap of the test's choice, without attaché as its supervisor.

use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Command;

use super::process::Running;
use super::{envoy_binary, until};

/// A running Envoy; it ends with this value.
pub struct Envoy {
    running: Running,
    _directory: TempDir,
}

impl Envoy {
    /// Starts Envoy with this bootstrap and waits until `listener` takes connections.
    pub async fn start(bootstrap: &str, listener: SocketAddr) -> Envoy {
        Envoy::with_workers(bootstrap, listener, 1).await
    }

    pub async fn with_workers(bootstrap: &str, listener: SocketAddr, workers: u32) -> Envoy {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("envoy.yaml");
        std::fs::write(&file, bootstrap).unwrap();
        let mut command = Command::new(envoy_binary());
        command
            .args(["--disable-hot-restart", "--log-level", "warning"])
            .args(["--concurrency", &workers.to_string()])
            .args(["--file-flush-interval-msec", "1000"])
            .arg("-c")
            .arg(file);
        let mut running = Running::start("envoy", command);
        let accepts = async || {
            if let Some(status) = running.exited() {
                panic!("Envoy ended ({status})");
            }
            TcpStream::connect(listener).await.ok()
        };
        until("Envoy's listener", accepts).await;
        Envoy { running, _directory: directory }
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it has said on stderr so far.
    pub fn stderr(&self) -> String {
        self.running.stderr()
    }
}
