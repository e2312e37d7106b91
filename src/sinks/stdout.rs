//! Records on standard output, a line for each.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::oneshot;

use super::{Dealt, Deliver, Item, Trouble};

/// Writes to a file from a thread of its own, which may be blocked for as long as nobody reads there.
pub struct Lines(mpsc::Sender<Job>);

struct Job {
    text: Vec<u8>,
    done: oneshot::Sender<io::Result<()>>,
}

impl Lines {
    /// To this process's standard output.
    ///
    /// # Errors
    /// When it is closed, or there is no thread to be had.
    pub fn stdout() -> io::Result<Self> {
        Self::to(File::from(io::stdout().as_fd().try_clone_to_owned()?))
    }

    /// To a file, pipe or socket.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn to(file: File) -> io::Result<Self> {
        let (jobs, todo) = mpsc::channel::<Job>();
        std::thread::Builder::new().name("stdout".into()).spawn(move || {
            let mut out = Out { file, rest: Vec::new() };
            while let Ok(Job { text, done }) = todo.recv() {
                // Nobody may wait for it any more.
                let _ = done.send(out.write(&text));
            }
        })?;
        Ok(Self(jobs))
    }
}

impl Deliver for Lines {
    async fn deliver(&mut self, items: &[Item]) -> Result<Dealt, Trouble> {
        let mut text = Vec::with_capacity(items.iter().map(|item| item.line.len() + 1).sum());
        for item in items {
            text.extend_from_slice(&item.line);
            text.push(b'\n');
        }
        let (done, heard) = oneshot::channel();
        // Where the thread is gone, that is heard.
        let _ = self.0.send(Job { text, done });
        let error = match heard.await {
            Ok(Ok(())) => {
                return Ok(Dealt { records: items.len(), delivered: items.len() as u64, rejected: 0 });
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(Trouble { error, wish: Duration::ZERO })
    }
}

/// Writes whole lines: what is left of one that was begun goes out before anything else.
struct Out {
    file: File,
    rest: Vec<u8>,
}

impl Out {
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let rest = std::mem::take(&mut self.rest);
        if let Err((written, error)) = self.all(&rest) {
            self.rest = rest.get(written..).unwrap_or_default().to_vec();
            return Err(error);
        }
        self.all(text).map_err(|(written, error)| {
            let (before, after) = text.split_at(written.min(text.len()));
            if before.last().is_some_and(|byte| *byte != b'\n') {
                let end = after.iter().position(|byte| *byte == b'\n').map_or(after.len(), |at| at + 1);
                self.rest = after.get(..end).unwrap_or_default().to_vec();
            }
            error
        })
    }

    /// How much was written before it failed, and why.
    fn all(&mut self, text: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while let Some(left) = text.get(written..).filter(|left| !left.is_empty()) {
            match self.file.write(left) {
                Ok(some) => written += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever gave it to us may have made it so.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], None)
                        .map_err(|error| (written, error.into()))?;
                }
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }
}
