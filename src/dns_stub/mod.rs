//! The name server of agents whose traffic is redirected. It asks nobody.
//!
//! A name that policy could allow gets an address that leads nowhere: the connection to it is redirected to Envoy,
//! where TLS name and authority say which host is meant, and attaché looks that host up itself. Any other name does not
//! exist. So nothing that an agent puts into a name ever reaches a resolver, unless policy allows the host.

mod answer;
mod synthetic;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};

pub use self::answer::{Question, Reach, answer};

/// Who knows which names there are.
///
/// Called on the stub's own task for each question: it must not block for long.
pub trait Names: Send + Sync + 'static {
    /// What is to be said of a name.
    fn admit(&self, question: &Question<'_>) -> Admission;

    /// Told how each question was answered.
    fn answered(&self, _how: How) {}
}

/// What is said of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It exists.
    Exists,
    /// It does not.
    Unknown,
    /// Nothing: the attempt cannot be put on record now.
    Silence,
}

/// How a question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// With an address.
    Address,
    /// The name exists, and has nothing of the type.
    Empty,
    /// The name does not exist.
    Unknown,
    /// Not at all.
    Silence,
    /// It was no question, or none of names on the internet.
    Malformed,
}

impl How {
    /// As the metric writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Empty => "empty",
            Self::Unknown => "unknown",
            Self::Silence => "silence",
            Self::Malformed => "malformed",
        }
    }
}

/// The longest question that is read, in bytes: a name has 255, and EDNS little more.
const LONGEST: usize = 4096;
/// How many connections are served at once.
const CONNECTIONS: usize = 32;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(5);

/// The sockets of a stub.
pub struct Stub {
    sockets: Vec<(UdpSocket, TcpListener)>,
}

impl Stub {
    /// Listens on these addresses, over UDP and TCP. Where IPv6 is off, its loopback address is passed over: nobody can
    /// call it.
    ///
    /// # Errors
    /// When one of them cannot be listened on, with the address.
    pub async fn bind(addresses: &[SocketAddr]) -> Result<Self, (SocketAddr, io::Error)> {
        let mut sockets = Vec::new();
        for address in addresses {
            match bind(*address).await {
                Ok(pair) => sockets.push(pair),
                Err(error) if address.ip().is_loopback() && address.is_ipv6() && is_off(&error) => {
                    tracing::info!(%address, "IPv6 is off here: the DNS stub does without");
                }
                Err(error) => return Err((*address, error)),
            }
        }
        Ok(Self { sockets })
    }

    /// Answers until told to stop.
    pub fn serve(self, names: &Arc<dyn Names>, stop: &watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        for (udp, tcp) in self.sockets {
            tokio::spawn(until_stopped(stop.clone(), over_udp(udp, names.clone())));
            tokio::spawn(until_stopped(stop.clone(), over_tcp(tcp, names.clone(), places.clone())));
        }
    }
}

async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    /// How often a port is tried, where it was left open which.
    const TRIES: usize = 16;
    let mut left = TRIES;
    loop {
        let udp = UdpSocket::bind(address).await?;
        // The same for both: what is free for one may be somebody's of the other.
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if address.port() != 0 || left == 0 => return Err(error),
            Err(_) => left -= 1,
        }
    }
}

fn is_off(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

async fn until_stopped(mut stop: watch::Receiver<bool>, serving: impl Future<Output = ()>) {
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = serving => {}
    }
}

async fn over_udp(socket: UdpSocket, names: Arc<dyn Names>) {
    let mut question = vec![0; LONGEST];
    loop {
        let (length, source) = match socket.recv_from(&mut question).await {
            Ok(received) => received,
            Err(error) => {
                pause(&error).await;
                continue;
            }
        };
        if let Some(reply) = answer(question.get(..length).unwrap_or_default(), source, &*names, Reach::now) {
            // A client that has gone is not an error of ours.
            let _ = socket.send_to(&reply, source).await;
        }
    }
}

async fn over_tcp(listener: TcpListener, names: Arc<dyn Names>, places: Arc<Semaphore>) {
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, source)) => {
                let names = names.clone();
                tokio::spawn(async move {
                    // Whoever hangs up has heard enough.
                    let _ = converse(stream, source, &*names).await;
                    drop(place);
                });
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Messages with their length before them (RFC 1035, 4.2.2), until the client leaves or falls silent.
async fn converse(mut stream: TcpStream, source: SocketAddr, names: &dyn Names) -> io::Result<()> {
    loop {
        let mut length = [0; 2];
        tokio::time::timeout(IDLE, stream.read_exact(&mut length)).await??;
        let length = usize::from(u16::from_be_bytes(length));
        if length > LONGEST {
            return Ok(());
        }
        let mut question = vec![0; length];
        tokio::time::timeout(IDLE, stream.read_exact(&mut question)).await??;
        let Some(reply) = answer(&question, source, names, Reach::now) else { return Ok(()) };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let message = [&length.to_be_bytes()[..], &reply].concat();
        tokio::time::timeout(IDLE, stream.write_all(&message)).await??;
    }
}

/// A UDP socket also reports what became of earlier answers; out of file descriptors, it would spin.
async fn pause(error: &io::Error) {
    tracing::debug!(%error, "the DNS stub cannot receive");
    tokio::time::sleep(Duration::from_millis(10)).await;
}
