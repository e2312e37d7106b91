//! The control socket, on which operators ask.

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Pid;
use tokio::net::UnixListener;
use tokio::sync::watch;

use super::listen;
use crate::control::{Control, ControlServer};
use crate::peer::Peer;

/// Serves operators on the control socket. Agents are refused: those of `attache run` are the supervisor's children.
pub async fn serve(listener: UnixListener, control: Control, supervisor: Option<Pid>, mut stop: watch::Receiver<bool>) {
    let service = ControlServer::new(control);
    loop {
        let accepted = tokio::select! {
            () = listen::stopped(&mut stop) => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                listen::pause(error).await;
                continue;
            }
        };
        let agent = |peer: &Peer| supervisor.is_some_and(|s| peer.pid != Some(s) && peer.descends_from(s));
        let peer = match Peer::of(&stream) {
            Ok(peer) if peer.is_own_user() && !agent(&peer) => peer,
            peer => {
                tracing::warn!(?peer, "the control socket refused a process");
                continue;
            }
        };
        let service = service.clone();
        tokio::spawn(async move {
            let call = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
                request.extensions_mut().insert(peer);
                tonic::codegen::Service::call(&mut service.clone(), request)
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            if let Err(error) = connection.serve_connection(TokioIo::new(stream), call).await {
                tracing::debug!(%error, "a control connection has ended");
            }
        });
    }
}
