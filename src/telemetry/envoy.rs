//! Envoy's own statistics, as far as they say how it and attaché get on: read from its admin socket when a scraper asks.
//!
//! Nobody else reaches that socket, which is why a scraper cannot ask Envoy itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;

/// Envoy's admin interface.
#[derive(Debug, Clone)]
pub struct Admin {
    socket: Arc<PathBuf>,
    /// Envoy writes all it has for each that asks.
    turn: Arc<Semaphore>,
}

/// Why there are no statistics.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody answers there.
    #[error("envoy's admin socket `{path}` cannot be reached: {source}; say where it is with --envoy-admin")]
    Unreachable {
        /// Where.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// It speaks, but not as Envoy does.
    #[error("envoy's admin socket gave no answer: {0}")]
    Answer(String),
    /// It took too long.
    #[error("envoy gave no answer within {0:?}")]
    TooSlow(Duration),
}

/// How long Envoy may take.
const TIME: Duration = Duration::from_secs(3);
/// The most that is read, in bytes.
const MOST: usize = 8 << 20;

/// What the names of the families begin with that are passed on.
const FAMILIES: [&str; 11] = [
    "envoy_http_ext_proc_",
    "envoy_http_rbac_",
    "envoy_http_downstream_rq_",
    "envoy_http_downstream_cx_",
    "envoy_cluster_upstream_rq",
    "envoy_cluster_upstream_cx_",
    "envoy_cluster_membership_",
    "envoy_overload_",
    "envoy_server_live",
    "envoy_server_uptime",
    "envoy_server_memory_allocated",
];

impl Admin {
    /// The admin interface on this Unix socket. Nothing is asked yet.
    pub fn at(socket: PathBuf) -> Self {
        Self { socket: Arc::new(socket), turn: Arc::new(Semaphore::new(1)) }
    }

    /// The statistics that say something, in Prometheus's text format.
    pub async fn statistics(&self) -> Result<String, AdminError> {
        self.statistics_within(TIME).await
    }

    /// Whether Envoy takes requests, as it says itself.
    pub async fn ready(&self) -> Result<(), AdminError> {
        let asked = tokio::time::timeout(TIME, self.ask("/ready"));
        asked.await.map_err(|_| AdminError::TooSlow(TIME))?.map(drop)
    }

    async fn statistics_within(&self, time: Duration) -> Result<String, AdminError> {
        let asked = async {
            // A semaphore that is never closed.
            let _turn = self.turn.acquire().await;
            self.ask("/stats/prometheus").await
        };
        let all = tokio::time::timeout(time, asked).await.map_err(|_| AdminError::TooSlow(time))??;
        Ok(chosen(&all))
    }

    async fn ask(&self, what: &str) -> Result<String, AdminError> {
        let path = || self.socket.display().to_string();
        let stream = UnixStream::connect(&*self.socket)
            .await
            .map_err(|source| AdminError::Unreachable { path: path(), source })?;
        let answer = |error: &dyn std::fmt::Display| AdminError::Answer(error.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| answer(&e))?;
        let request = Request::get(what).header("host", "admin").body(Empty::<Bytes>::new()).map_err(|e| answer(&e))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|e| answer(&e))?;
            if response.status() != StatusCode::OK {
                return Err(AdminError::Answer(format!("it answers {}", response.status())));
            }
            let body = Limited::new(response.into_body(), MOST).collect().await.map_err(|e| answer(&e))?;
            String::from_utf8(body.to_bytes().into()).map_err(|e| answer(&e))
        };
        tokio::pin!(exchange);
        tokio::select! {
            text = &mut exchange => text,
            // With the connection at its end, what came over it is still to be read.
            _ = connection => exchange.await,
        }
    }
}

/// The lines of the families that are passed on.
fn chosen(all: &str) -> String {
    let mut text = String::new();
    for line in all.lines() {
        let name = match line.strip_prefix("# TYPE ").or_else(|| line.strip_prefix("# HELP ")) {
            Some(named) => named,
            None => line,
        };
        if FAMILIES.iter().any(|family| name.starts_with(family)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    use super::*;

    #[test]
    fn the_families_that_say_something_are_chosen_with_their_types() {
        let all = "# TYPE envoy_http_ext_proc_streams_started counter\n\
                   envoy_http_ext_proc_streams_started{envoy_http_conn_manager_prefix=\"proxy\"} 3\n\
                   # TYPE envoy_wasm_remote_load counter\n\
                   envoy_wasm_remote_load 1\n\n\
                   envoy_server_live{} 1\n";
        let lines: Vec<_> = all.lines().collect();
        assert_eq!(chosen(all).lines().collect::<Vec<_>>(), [lines[0], lines[1], lines[5]]);
    }

    /// Asks an Envoy whose admin interface says this and hangs up; one that is silent, if that is nothing.
    async fn says(answer: &[u8], time: Duration) -> Result<String, AdminError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let envoy = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            // Whoever has read enough hangs up.
            let _ = stream.write_all(answer).await;
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
            drop(stream);
            std::future::pending().await
        };
        let admin = Admin::at(path);
        tokio::select! {
            found = admin.statistics_within(time) => found,
            () = envoy => unreachable!(),
        }
    }

    #[tokio::test]
    async fn what_an_envoy_says_is_taken_whole_or_not_at_all() {
        let ok = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nenvoy_server_live{} 1\n".to_vec();
        assert_eq!(says(&ok, TIME).await.unwrap(), "envoy_server_live{} 1\n");
        let none = says(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", TIME).await.unwrap_err();
        assert!(none.to_string().contains("it answers 403"), "{none}");
        let much = [&ok[..], &vec![b'x'; MOST]].concat();
        assert!(matches!(says(&much, TIME).await, Err(AdminError::Answer(_))));
        let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nenvoy_server_live{} 1\n";
        assert!(matches!(says(cut, TIME).await, Err(AdminError::Answer(_))));
    }

    #[tokio::test]
    async fn an_envoy_that_does_not_answer_is_not_waited_for() {
        assert!(matches!(says(b"", Duration::from_millis(50)).await, Err(AdminError::TooSlow(_))));
    }

    #[tokio::test]
    async fn no_envoy_is_said_to_be_none() {
        let none = Admin::at("/nowhere/admin.sock".into()).statistics().await.unwrap_err().to_string();
        assert!(none.contains("`/nowhere/admin.sock` cannot be reached"), "{none}");
    }
}
