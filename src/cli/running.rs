//! Asking the service that runs here, and saying why it does not answer.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::{Code, Status};

use super::Failure;
use super::output::printable;
use super::state::{StateDir, StateError};

/// How long the service may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The control socket of the service that is meant.
///
/// # Errors
/// When none has run, which is a service that does not answer, and as [`StateDir::find`].
pub fn socket(state_dir: &StateDir) -> Result<PathBuf, Failure> {
    let state_dir = state_dir.find().map_err(|error| match error {
        StateError::None(_) => Failure::unreachable(error),
        error => error.into(),
    })?;
    Ok(crate::server::control_socket(&state_dir))
}

/// Waits for what a call of the service behind a socket gives. What the service itself refuses is the inner error.
///
/// # Errors
/// When there is no answer: the service is not there, or does not speak to this process.
pub async fn ask<T>(
    socket: &Path,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<Result<T, Refused>, Failure> {
    let shown = socket.display();
    // tonic keeps the reason to itself, and it is what the user can act on.
    if let Err(error) = UnixStream::connect(socket) {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => "it is not there: the service has not been started, or has been stopped",
            std::io::ErrorKind::ConnectionRefused => "nobody listens: the service has ended without cleaning up",
            std::io::ErrorKind::PermissionDenied => "it belongs to another user",
            _ => return Err(Failure::unreachable(format!("the control socket `{shown}` cannot be reached: {error}"))),
        };
        return Err(Failure::unreachable(format!("the control socket `{shown}` cannot be reached: {reason}")));
    }
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => Ok(Ok(answer)),
        // It closes the connection without a word.
        Ok(Err(error)) if matches!(error.code(), Code::Unavailable | Code::Unknown) => {
            Err(Failure::unreachable(format!(
                "the service behind `{shown}` refused this process: it speaks to its own user alone, and to no process \
                 of an agent that `attache run` started ({})",
                printable(error.message())
            )))
        }
        Ok(Err(error)) => Ok(Err(Refused { socket: socket.to_owned(), status: error })),
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            Err(Failure::unreachable(format!("the service behind `{shown}` has not answered for {seconds} seconds")))
        }
    }
}

/// What the service says instead of an answer.
#[derive(Debug)]
pub struct Refused {
    socket: PathBuf,
    /// The code and the message.
    pub status: Status,
}

impl From<Refused> for Failure {
    /// For what nothing the user wrote can be the cause of.
    fn from(Refused { socket, status }: Refused) -> Self {
        let (socket, message) = (socket.display(), printable(status.message()));
        Self::unreachable(format!("the service behind `{socket}` cannot answer: {message}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control;

    #[tokio::test]
    async fn what_cannot_be_reached_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let reason = async || match ask(&socket, control::status(&socket)).await {
            Err(Failure { code: 5, message }) => message,
            _ => panic!("it answered, or failed in another way"),
        };
        assert!(reason().await.contains("has not been started"));
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let refusing = tokio::spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        });
        let message = reason().await;
        assert!(message.contains("refused this process"), "{message}");
        refusing.abort();
        assert!(refusing.await.unwrap_err().is_cancelled());
        assert!(reason().await.contains("nobody listens"));
    }
}
