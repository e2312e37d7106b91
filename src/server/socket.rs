//! A connection whose worker is woken when there is something to read, and not each time the other side has read.
//!
//! Tokio's own streams wait for both, always: epoll(7) reports a socket as writable again whenever its peer takes something
//! out of it, and so each answer woke the worker a second time, for nothing, while Envoy was about to go on with it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;

/// A stream socket that does not block.
///
/// Tokio's ends of a pipe are what waits for one direction alone, and they take any file (`from_file_unchecked`).
pub struct Socket {
    read: pipe::Receiver,
    /// There while it can take no more: tells when it can.
    full: Option<pipe::Sender>,
}

impl Socket {
    /// One that has been accepted and set not to block.
    ///
    /// # Errors
    /// When the runtime cannot wait for it.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self { read: pipe::Receiver::from_file_unchecked(socket.into())?, full: None })
    }

    /// Writes at once what there is room for, else when there is some again.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        now: impl Fn(BorrowedFd<'_>) -> Result<usize, Errno>,
        later: impl FnOnce(Pin<&mut pipe::Sender>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let full = match &mut self.full {
            Some(full) => full,
            none => {
                let sent = loop {
                    match now(self.read.as_fd()) {
                        Err(Errno::INTR) => {}
                        sent => break sent,
                    }
                };
                let Err(Errno::AGAIN) = sent else { return Poll::Ready(Ok(sent?)) };
                let copy = self.read.as_fd().try_clone_to_owned()?;
                none.insert(pipe::Sender::from_file_unchecked(copy.into())?)
            }
        };
        let sent = ready!(later(Pin::new(full), cx));
        self.full = None;
        Poll::Ready(sent)
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |socket| rustix::io::write(socket, bytes), |full, cx| full.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, |socket| rustix::io::writev(socket, parts), |full, cx| full.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match rustix::net::shutdown(self.read.as_fd(), Shutdown::Write) {
            Err(Errno::NOTCONN) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    fn pair() -> (Socket, UnixStream) {
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        other.set_nonblocking(true).unwrap();
        (Socket::new(one.into()).unwrap(), UnixStream::from_std(other).unwrap())
    }

    #[tokio::test]
    async fn what_does_not_fit_is_sent_when_the_other_side_reads() {
        let (mut socket, mut other) = pair();
        let sent: Vec<u8> = (0..4_000_000_u32).map(|number| (number % 251) as u8).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            socket.write_all(&sent).await.unwrap();
            assert!(socket.full.is_none(), "it waits for room where there is some");
            // In parts, as answers are.
            let parts = [IoSlice::new(b"a"), IoSlice::new(b"bc")];
            assert_eq!(socket.write_vectored(&parts).await.unwrap(), 3);
            socket.shutdown().await.unwrap();
            socket
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut received = Vec::new();
        other.read_to_end(&mut received).await.unwrap();
        assert!(received == [&*expected, b"abc"].concat());
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn everything_that_comes_is_read_and_the_end_seen() {
        for pause in [false, true] {
            let (mut socket, mut other) = pair();
            let writer = tokio::spawn(async move {
                for _ in 0..200 {
                    other.write_all(&[7; 1000]).await.unwrap();
                    if pause {
                        tokio::task::yield_now().await;
                    }
                }
            });
            let (mut received, mut buffer) = (0, [0; 333]);
            loop {
                let length = socket.read(&mut buffer).await.unwrap();
                if length == 0 {
                    break;
                }
                assert!(buffer.iter().take(length).all(|byte| *byte == 7));
                received += length;
            }
            assert_eq!(received, 200_000);
            writer.await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_end_that_came_with_the_last_bytes_is_seen() {
        let (mut socket, mut other) = pair();
        other.write_all(b"last").await.unwrap();
        drop(other);
        let mut received = Vec::new();
        socket.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"last");
        assert!(socket.write_all(b"nobody is there").await.is_err());
    }

    #[test]
    fn a_worker_is_not_woken_because_the_other_side_reads() {
        let woken = |is_read: bool| {
            let count = Arc::new(AtomicUsize::new(0));
            let counted = count.clone();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .on_thread_unpark(move || _ = counted.fetch_add(1, Ordering::Relaxed))
                .build()
                .unwrap();
            runtime.block_on(async {
                let (mut socket, other) = pair();
                let mut other = other.into_std().unwrap();
                socket.write_all(b"answer").await.unwrap();
                let (done, waits) = tokio::sync::oneshot::channel();
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(30));
                    if is_read {
                        std::io::Read::read_exact(&mut other, &mut [0; 6]).unwrap();
                    }
                    std::thread::sleep(Duration::from_millis(30));
                    done.send(other).unwrap();
                });
                drop(waits.await);
                drop(socket);
            });
            count.load(Ordering::Relaxed)
        };
        assert_eq!(woken(true), woken(false));
    }
}
