//! Our own API for operators, on a Unix socket that agents are refused.

mod approvals;
pub mod record;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Response, Status, Streaming};

use crate::config::mounted::Frozen;
use crate::journal::recall::Query;
use crate::live::Live;
use crate::pipeline::agent::Agents;
use crate::store::{Open, Store};

/// The messages of `proto/attache/control/v1/control.proto`.
#[allow(missing_docs, reason = "generated: the documentation is in the proto file")]
pub mod api {
    tonic::include_proto!("attache.control.v1");
}

use api::control_client::ControlClient;
pub use api::control_server::ControlServer;
use api::{
    AnswerApprovalRequest, Approval, ListApprovalsReply, ListApprovalsRequest, LoggedExchange, LogsRequest,
    StatusReply, StatusRequest, WatchRequest, WatchedRecord,
};
pub use approvals::signature;
use record::Answers;

/// The service.
pub struct Control {
    /// The policy in force.
    pub live: Arc<Live>,
    /// Where it is read from.
    pub policy: PathBuf,
    /// Whether requests can be decided.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Where approvals are kept.
    pub store: Arc<dyn Store>,
    /// The folder of the journal.
    pub journal: PathBuf,
    /// Since when it serves.
    pub started: SystemTime,
    /// What of the policy will not be seen to change.
    pub frozen: Vec<Frozen>,
    /// Told of each answer that counts, before whoever gave it is.
    pub answered: Answered,
}

/// Takes a question as it was answered.
pub type Answered = Arc<dyn Fn(&Open) + Send + Sync>;

#[tonic::async_trait]
impl api::control_server::Control for Control {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let live = self.live.load();
        let reload = self.live.last_reload();
        let agents = &live.rules.agents;
        Ok(Response::new(StatusReply {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            ready: (self.ready)(),
            policy_path: self.policy.display().to_string(),
            policy_revision: live.rules.revision.to_string(),
            reloaded_at_ms: milliseconds(reload.at),
            reload_error: reload.error.as_deref().unwrap_or_default().into(),
            agent: agents.fixed().map(|id| agents.name(id).to_string()).unwrap_or_default(),
            started_at_ms: milliseconds(self.started),
            warnings: self.warnings(agents),
        }))
    }

    async fn list_approvals(&self, _: Request<ListApprovalsRequest>) -> Result<Response<ListApprovalsReply>, Status> {
        approvals::list(&*self.store).await.map(Response::new)
    }

    async fn answer_approval(&self, request: Request<AnswerApprovalRequest>) -> Result<Response<Approval>, Status> {
        approvals::answer(&*self.store, &self.answered, request).await.map(Response::new)
    }

    type LogsStream = Answers<LoggedExchange>;

    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        record::logs(self.journal.clone(), request.into_inner()).map(Response::new)
    }

    type WatchStream = Answers<WatchedRecord>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        record::watch(&self.journal).map(Response::new)
    }
}

impl Control {
    fn warnings(&self, agents: &Agents) -> Vec<String> {
        let stranger = agents.stranger().and_then(|why| why.detail.as_deref());
        let stranger = stranger.map(|why| format!("every request is refused: {why}"));
        stranger.into_iter().chain(self.frozen.iter().map(Frozen::to_string)).collect()
    }
}

fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Asks a running service how it is doing.
pub async fn status(socket: &Path) -> Result<StatusReply, Status> {
    Ok(client(socket).await?.status(StatusRequest {}).await?.into_inner())
}

/// Asks a running service which requests wait for a person, and which were answered and still count.
pub async fn list_approvals(socket: &Path) -> Result<Vec<Approval>, Status> {
    Ok(client(socket).await?.list_approvals(ListApprovalsRequest {}).await?.into_inner().approvals)
}

/// Approves or refuses a request, and gives it as it stands then.
///
/// # Errors
/// As the service's definition says of `AnswerApproval`.
pub async fn answer_approval(socket: &Path, answer: AnswerApprovalRequest) -> Result<Approval, Status> {
    Ok(client(socket).await?.answer_approval(answer).await?.into_inner())
}

/// Asks a running service for what is on record.
///
/// # Errors
/// As the service's definition says of `Logs`.
pub async fn logs(socket: &Path, query: &Query) -> Result<Streaming<LoggedExchange>, Status> {
    Ok(client(socket).await?.logs(record::request(query)).await?.into_inner())
}

/// Asks a running service for every record from now on.
pub async fn watch(socket: &Path) -> Result<Streaming<WatchedRecord>, Status> {
    Ok(client(socket).await?.watch(WatchRequest {}).await?.into_inner())
}

async fn client(socket: &Path) -> Result<ControlClient<Channel>, Status> {
    let channel = connect(socket).await.map_err(|error| Status::unavailable(error.to_string()))?;
    // A list of many questions, each with the beginning of a body.
    Ok(ControlClient::new(channel).max_decoding_message_size(MOST_BYTES))
}

/// The longest answer that is taken, in bytes.
const MOST_BYTES: usize = 256 << 20;

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
