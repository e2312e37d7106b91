//! The servers that are called: one with a certificate of the stand-in, one with a stranger's.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::certificates::{Authority, AuthorityError, MintError, Minter, Subject};

/// How long a client may take from connecting to the end of its request.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest request head that is read, in bytes.
const LONGEST: usize = 16 * 1024;
/// What every request gets.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

/// Both servers, until dropped.
pub struct Servers {
    stand_in: u16,
    stranger: u16,
    arrived: Arrived,
    _tasks: JoinSet<()>,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Signed by the stand-in for attaché's CA.
    StandIn,
    /// Signed by a CA that is in no file.
    Stranger,
}

/// Why nothing can be tried.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// There is no port.
    #[error("nothing can listen on 127.0.0.1: {0}")]
    Listen(#[source] io::Error),
    /// The stranger cannot be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// No certificate.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The TLS library refuses what was minted.
    #[error("tls cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// What was minted does not read back.
    #[error("tls cannot be set up: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
}

type Arrived = Arc<Mutex<BTreeSet<(Target, String)>>>;

impl Servers {
    /// Starts both.
    ///
    /// # Errors
    /// When a port or a certificate cannot be had.
    pub async fn start(authority: &Authority) -> Result<Self, ServerError> {
        let now = SystemTime::now();
        let copy = Authority::from_pem(authority.cert_pem(), authority.key_pem(), now)?;
        let mut tasks = JoinSet::new();
        let arrived = Arrived::default();
        let stand_in = serve(Target::StandIn, copy, &arrived, &mut tasks).await?;
        let stranger = serve(Target::Stranger, Authority::generate(now)?, &arrived, &mut tasks).await?;
        Ok(Self { stand_in, stranger, arrived, _tasks: tasks })
    }

    /// The address of one, with a path that tells who called.
    pub fn url(&self, target: Target, caller: &str) -> String {
        let port = match target {
            Target::StandIn => self.stand_in,
            Target::Stranger => self.stranger,
        };
        format!("https://127.0.0.1:{port}/{caller}")
    }

    /// Whether a request with this path, or one below it, has come over TLS.
    pub fn has_seen(&self, target: Target, caller: &str) -> bool {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.iter().any(|(at, path)| {
            let rest = path.strip_prefix('/').and_then(|path| path.strip_prefix(caller));
            *at == target && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
        })
    }
}

async fn serve(
    target: Target,
    authority: Authority,
    arrived: &Arrived,
    tasks: &mut JoinSet<()>,
) -> Result<u16, ServerError> {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let leaf = Minter::new(authority, Minter::LIFETIME).mint(Subject::Addresses(&[address]), SystemTime::now())?;
    let chain = CertificateDer::pem_slice_iter(leaf.chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem.as_bytes())?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((address, 0)).await.map_err(ServerError::Listen)?;
    let port = listener.local_addr().map_err(ServerError::Listen)?.port();
    let arrived = arrived.clone();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, arrived) = (acceptor.clone(), arrived.clone());
            connections.spawn(async move {
                // A client that gives up, or does not trust: then nothing arrives, which is the answer.
                let _ = tokio::time::timeout(PATIENCE, answer(target, &acceptor, stream, &arrived)).await;
            });
            while connections.try_join_next().is_some() {}
        }
    });
    Ok(port)
}

async fn answer(target: Target, acceptor: &TlsAcceptor, stream: TcpStream, arrived: &Arrived) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut head = Vec::new();
    while memchr::memmem::find(&head, b"\r\n\r\n").is_none() {
        if head.len() > LONGEST || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head);
    if let Some(path) = head.split_ascii_whitespace().nth(1) {
        arrived.lock().unwrap_or_else(PoisonError::into_inner).insert((target, path.to_owned()));
    }
    stream.write_all(ANSWER).await?;
    stream.shutdown().await
}
