//! Accepts connections for the workers, and refuses processes that have no business here.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::Pid;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use super::ServeError;
use crate::peer::Peer;

/// Longest path of a Unix socket, in bytes (unix(7): `sun_path` with its NUL).
pub const MAX_SOCKET_PATH: usize = 107;

/// Takes accepted connections, which do not block, on their way to a worker's own runtime.
pub type Accepted = Box<dyn FnMut(OwnedFd) + Send>;

/// Who may connect.
pub enum Guard {
    /// Whoever the file system lets.
    Anyone,
    /// Envoy alone: the replies hold credentials.
    Only(watch::Receiver<Option<Pid>>),
}

/// Listens on a Unix socket of this file mode; what a killed process left in its place is removed.
pub fn unix(path: &Path, mode: u32) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Listen { address: path.display().to_string(), source };
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        let message = format!("a socket's path has at most {MAX_SOCKET_PATH} bytes: choose a shorter --state-dir");
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, message)));
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(failed(io::Error::new(io::ErrorKind::AddrInUse, "another service answers there")));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

/// Hands the connections of a Unix socket over until told to stop.
pub async fn accept_unix(
    listener: UnixListener,
    guard: Guard,
    mut accepted: Accepted,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accept = tokio::select! {
            () = stopped(&mut stop) => return,
            accept = listener.accept() => accept,
        };
        let stream = match accept {
            Ok((stream, _)) => stream,
            Err(error) => {
                pause(error).await;
                continue;
            }
        };
        let admitted = match (&guard, Peer::of(&stream)) {
            (_, Err(_)) => false,
            (Guard::Anyone, Ok(_)) => true,
            (Guard::Only(envoy), Ok(peer)) => peer.pid.is_some() && peer.pid == *envoy.borrow(),
        };
        if !admitted {
            tracing::warn!(peer = ?Peer::of(&stream).ok(), "a process that is not Envoy tried the service's socket");
            continue;
        }
        match stream.into_std() {
            Ok(stream) => accepted(stream.into()),
            Err(error) => tracing::warn!(%error, "a connection was lost"),
        }
    }
}

/// Hands the connections of a TCP port over until told to stop.
pub async fn accept_tcp(listener: TcpListener, mut accepted: Accepted, mut stop: watch::Receiver<bool>) {
    loop {
        let accept = tokio::select! {
            () = stopped(&mut stop) => return,
            accept = listener.accept() => accept,
        };
        match accept.and_then(|(stream, _)| {
            stream.set_nodelay(true)?;
            stream.into_std()
        }) {
            Ok(stream) => accepted(stream.into()),
            Err(error) => pause(error).await,
        }
    }
}

/// Completes when the service is told to stop, or whoever could tell it is gone.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Out of file descriptors, say: accepting again at once would spin.
pub async fn pause(error: io::Error) {
    tracing::warn!(%error, "the service cannot accept");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_has_its_mode_and_takes_the_place_of_a_dead_one_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.sock");
        let first = unix(&path, 0o600).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(unix(&path, 0o600).unwrap_err().to_string().contains("another service answers there"));
        drop(first);
        let _second = unix(&path, 0o666).unwrap();
        assert_eq!(mode(&path), 0o666);
        let long = folder.path().join("x".repeat(MAX_SOCKET_PATH));
        assert!(unix(&long, 0o600).unwrap_err().to_string().contains("choose a shorter --state-dir"));
    }
}
