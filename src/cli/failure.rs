//! How a command fails: the message a person reads, and the exit code a script branches on.

use std::io;
use std::process::ExitCode;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Exit code 1: something it needs went wrong.
    #[error("{0}")]
    Runtime(String),
    /// Exit code 2: it was asked for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// Exit code 5: the service does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// Exit code 0: whoever read the output has seen enough (`| head`).
    #[error("the reader of the output is gone")]
    ReaderGone,
}

impl Failure {
    /// Says what is wrong on stderr, and gives the process its exit code.
    pub fn report(&self) -> ExitCode {
        let code = match self {
            Self::Runtime(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 5,
            Self::ReaderGone => return ExitCode::SUCCESS,
        };
        eprintln!("error: {self}");
        ExitCode::from(code)
    }
}

impl From<io::Error> for Failure {
    /// For writing to stdout; an error about a file has to name it.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Runtime(format!("the output cannot be written: {error}")),
        }
    }
}
