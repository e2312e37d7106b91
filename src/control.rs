//! Our own API for operators, on a Unix socket that agents are refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Response, Status};

use crate::live::Live;

/// The messages of `proto/attache/control/v1/control.proto`.
#[allow(missing_docs, reason = "generated: the documentation is in the proto file")]
pub mod api {
    tonic::include_proto!("attache.control.v1");
}

use api::control_client::ControlClient;
pub use api::control_server::ControlServer;
use api::{StatusReply, StatusRequest};

/// The service.
pub struct Control {
    /// The policy in force.
    pub live: Arc<Live>,
    /// Where it is read from.
    pub policy: PathBuf,
    /// Whether requests can be decided.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
}

#[tonic::async_trait]
impl api::control_server::Control for Control {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let live = self.live.load();
        let reload = self.live.last_reload();
        let agents = &live.rules.agents;
        let since = reload.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(Response::new(StatusReply {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            ready: (self.ready)(),
            policy_path: self.policy.display().to_string(),
            policy_revision: live.rules.revision.to_string(),
            reloaded_at_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            reload_error: reload.error.as_deref().unwrap_or_default().into(),
            agent: agents.fixed().map(|id| agents.name(id).to_string()).unwrap_or_default(),
        }))
    }
}

/// Asks a running service how it is doing.
pub async fn status(socket: &Path) -> Result<StatusReply, Status> {
    let channel = connect(socket).await.map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(ControlClient::new(channel).status(StatusRequest {}).await?.into_inner())
}

async fn connect(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let socket = socket.to_owned();
    // The address is never looked at: every connection goes to the socket.
    let endpoint = Endpoint::from_static("http://control");
    let connector = move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    };
    endpoint.connect_with_connector(tower::service_fn(connector)).await
}
