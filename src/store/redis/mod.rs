//! Counts and approvals that several attachés share in Redis or Valkey.
//!
//! Every answer is one script that the server runs whole, by the server's clock: a count cannot change between a look
//! and a charge, and an approval cannot be used twice. A call has a budget; a server that does not keep it, or is not
//! there, is left alone until it answers a probe again.

mod link;
mod scripts;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::{Client, ClientTlsConfig, IntoConnectionInfo, RedisError, TlsCertificates};
use tokio::sync::Notify;

use self::link::{Lost, Server};
use self::scripts::{Arguments, Script};
use super::{Coming, Memory, Open, Pending, Soon, Store, Unavailable, new_ticket};
use crate::pipeline::approval::book::MOST_KEPT;
use crate::pipeline::approval::{
    AnswerError, Answered, Asked, Fingerprint, MOST_PENDING, NotAdmitted, Petition, Redeemed, Standing, Ticket, Verdict,
};
use crate::pipeline::limit::{Charges, Excess};

/// How often a request that is held looks for an answer that another attaché took.
const POLL: Duration = Duration::from_millis(250);

/// What is done with limits while the server cannot be had. Approvals are refused in either case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnError {
    /// Requests that have a limit are refused.
    #[default]
    Deny,
    /// This process counts by itself: several of them may admit more than the limit together.
    Local,
}

/// How the server is reached.
pub struct Options {
    /// `redis://`, `rediss://` (TLS) or `unix://`, with user and password where the server wants them.
    pub url: String,
    /// The CA that the server's certificate must come from, as PEM; none: those the system trusts.
    pub ca: Option<Vec<u8>>,
    /// What this end shows a server that asks for a certificate.
    pub identity: Option<Identity>,
    /// Attachés with the same one share counts and approvals.
    pub namespace: String,
    /// How long a call may take.
    pub budget: Duration,
    /// What is done with limits while the server cannot be had.
    pub on_error: OnError,
}

/// A client certificate with its chain, and its key, as PEM.
pub struct Identity {
    /// The certificate, then its chain.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
}

impl Options {
    /// What is at this URL, with nothing else said.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            ca: None,
            identity: None,
            namespace: Self::NAMESPACE.to_owned(),
            budget: Self::BUDGET,
            on_error: OnError::default(),
        }
    }

    /// Whether the URL holds a password.
    pub fn has_password(&self) -> bool {
        self.url.as_str().into_connection_info().is_ok_and(|info| info.redis_settings().password().is_some())
    }

    /// Whether a store can be set up with them.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn check(&self) -> Result<(), OptionsError> {
        self.client().map(|_| ())
    }

    fn client(&self) -> Result<Client, OptionsError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.namespace.is_empty() || !self.namespace.chars().all(is_plain) {
            return Err(OptionsError::Namespace(self.namespace.clone()));
        }
        // The error's kind alone: the rest may hold some of the URL.
        let kind = |error: RedisError| error.category().to_owned();
        let info = self.url.as_str().into_connection_info().map_err(|error| OptionsError::Url(kind(error)))?;
        if self.ca.is_none() && self.identity.is_none() {
            return Client::open(info).map_err(|error| OptionsError::Url(kind(error)));
        }
        let client_tls = self.identity.as_ref().map(|Identity { certificate, key }| ClientTlsConfig {
            client_cert: certificate.clone(),
            client_key: key.clone(),
        });
        Client::build_with_tls(info, TlsCertificates { client_tls, root_cert: self.ca.clone() })
            .map_err(|error| OptionsError::Certificates(kind(error)))
    }

    /// The namespace where nothing else is said.
    pub const NAMESPACE: &str = "default";
    /// How long a call may take where nothing else is said.
    pub const BUDGET: Duration = Duration::from_millis(20);
}

/// Why a store cannot be set up. The URL is not repeated: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// It is none, or of another kind.
    #[error("the store's URL cannot be read: {0}; write `redis://HOST:PORT`, `rediss://HOST:PORT` or `unix:///PATH`")]
    Url(String),
    /// A CA or a client certificate goes with `rediss://` alone, and has to be PEM.
    #[error("the store's certificates cannot be used: {0}; they are PEM, and go with `rediss://`")]
    Certificates(String),
    /// It would break the keys apart.
    #[error("`{0}` cannot be a namespace; letters, digits, `-`, `_` and `.` can")]
    Namespace(String),
}

/// The store on a server.
pub struct Redis {
    shared: Arc<Shared>,
    keeper: tokio::task::AbortHandle,
}

struct Shared {
    server: Server,
    on_error: OnError,
    /// What this process admitted, whoever counted it.
    own: Memory,
    /// The server may not know all that was admitted: what this process admitted is looked at as well.
    is_wary: AtomicBool,
    /// An answer was taken here: whoever waits here need not wait for the next poll.
    answered: Notify,
}

impl Redis {
    /// Sets the store up and begins to connect; [`Self::connected`] tells when it has. The runtime that this is called
    /// on carries the connection, and has to live as long as the store.
    ///
    /// # Errors
    /// If the options cannot be read.
    pub fn start(options: Options) -> Result<Self, OptionsError> {
        let client = options.client()?;
        // The braces make it one slot of a cluster.
        let base = format!("attache:{{{}}}:1", options.namespace);
        let shared = Arc::new(Shared {
            server: Server::new(base, options.budget),
            on_error: options.on_error,
            own: Memory::default(),
            is_wary: AtomicBool::new(false),
            answered: Notify::new(),
        });
        let keeper = tokio::spawn({
            let shared = shared.clone();
            async move { shared.server.keep_connected(client, || shared.is_wary.store(true, Ordering::Relaxed)).await }
        });
        Ok(Self { shared, keeper: keeper.abort_handle() })
    }

    /// Waits until the server answers; false if it does not in that time.
    pub async fn connected(&self, within: Duration) -> bool {
        self.shared.server.connected(within).await
    }

    /// Whether the server answers as far as is known.
    pub fn is_connected(&self) -> bool {
        self.shared.server.is_connected()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("is_connected", &self.is_connected()).finish_non_exhaustive()
    }
}

impl Store for Redis {
    fn look(&self, charges: &Charges) -> Soon<Result<(), Excess>> {
        if charges.is_empty() {
            return Soon::Now(Ok(()));
        }
        let (shared, charges) = (self.shared.clone(), charges.clone());
        Soon::Later(Box::pin(async move {
            shared.look_at_own(&charges)?;
            let arguments = scripts::admit("look", None, &charges);
            match shared.server.call(Script::Admit, arguments).await {
                Ok(reply) => wire::looked(&reply, &charges),
                Err(Lost) => match shared.on_error {
                    OnError::Deny => Err(Excess::Unavailable),
                    OnError::Local => shared.own.look_now(&charges),
                },
            }
        }))
    }

    fn ask(&self, petition: &Petition) -> Soon<Asked> {
        let (Ok(name), shared) = (new_ticket(), self.shared.clone()) else { return Soon::Now(Asked::Unavailable) };
        let arguments = Arguments::new()
            .and(petition.fingerprint)
            .and(name)
            .and(&petition.about.agent)
            .and(scripts::micros(petition.expires))
            .and(wire::about_to_json(&petition.about))
            .and(MOST_PENDING)
            .and(MOST_KEPT);
        Soon::Later(Box::pin(async move {
            match shared.server.call(Script::Ask, arguments).await {
                Ok(reply) => wire::asked(reply),
                Err(Lost) => Asked::Unavailable,
            }
        }))
    }

    /// While the server cannot be had the question stands as nobody had answered it: nothing goes out.
    fn wait(&self, ticket: &Ticket, until: Instant) -> Coming<Standing> {
        let Ok(waiter) = new_ticket() else { return Box::pin(std::future::ready(Standing::Pending)) };
        let place = Place { shared: self.shared.clone(), ticket: ticket.clone(), waiter, is_taken: false };
        Box::pin(place.wait(until))
    }

    fn admit(&self, charges: &Charges, redeem: Option<Fingerprint>) -> Soon<Result<Option<Redeemed>, NotAdmitted>> {
        if charges.is_empty() && redeem.is_none() {
            return Soon::Now(Ok(None));
        }
        let (shared, charges) = (self.shared.clone(), charges.clone());
        Soon::Later(Box::pin(async move { shared.admit(&charges, redeem).await }))
    }

    fn list(&self) -> Coming<Result<Vec<Open>, Unavailable>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let reply = shared.server.call(Script::List, Arguments::new()).await.map_err(|Lost| Unavailable)?;
            let mut open = wire::listed(reply);
            open.sort_by(|a, b| a.asked.cmp(&b.asked).then_with(|| a.ticket.cmp(&b.ticket)));
            Ok(open)
        })
    }

    fn answer(&self, ticket: &Ticket, verdict: Verdict, answered: Answered) -> Coming<Result<Open, AnswerError>> {
        let (shared, ticket) = (self.shared.clone(), ticket.clone());
        Box::pin(async move { shared.answer(ticket, verdict, answered).await })
    }

    fn pending(&self) -> Coming<Result<Pending, Unavailable>> {
        let shared = self.shared.clone();
        Box::pin(async move {
            let reply = shared.server.call(Script::Pending, Arguments::new()).await.map_err(|Lost| Unavailable)?;
            wire::pending(reply).ok_or(Unavailable)
        })
    }
}

impl Shared {
    /// A server that was lost may have forgotten, and knows nothing of what was admitted without it.
    fn look_at_own(&self, charges: &Charges) -> Result<(), Excess> {
        if self.is_wary.load(Ordering::Relaxed) { self.own.look_now(charges) } else { Ok(()) }
    }

    async fn admit(&self, charges: &Charges, redeem: Option<Fingerprint>) -> Result<Option<Redeemed>, NotAdmitted> {
        self.look_at_own(charges).map_err(NotAdmitted::Excess)?;
        // Before the server counts it: it must not count here for longer than there.
        let now = Instant::now();
        match self.server.call(Script::Admit, scripts::admit("admit", redeem, charges)).await {
            Ok(reply) => {
                let redeemed = wire::admitted(reply, charges, redeem.is_some())?;
                self.own.charge(charges, now);
                Ok(redeemed)
            }
            Err(Lost) if redeem.is_none() && self.on_error == OnError::Local => {
                self.is_wary.store(true, Ordering::Relaxed);
                self.own.admit_now(charges, None)
            }
            Err(Lost) => Err(NotAdmitted::Excess(Excess::Unavailable)),
        }
    }

    async fn answer(&self, ticket: Ticket, verdict: Verdict, answered: Answered) -> Result<Open, AnswerError> {
        let verdict = match verdict {
            Verdict::Approve => "approved",
            Verdict::Refuse => "refused",
        };
        let arguments = Arguments::new().and(&ticket).and(verdict).and(answered.by).and_if(answered.why);
        let reply = self.server.call(Script::Answer, arguments).await.map_err(|Lost| AnswerError::Unavailable)?;
        let result = wire::answered(reply, &ticket)?;
        self.answered.notify_waiters();
        Ok(result)
    }
}

/// A place among those who wait for one question; dropped, it is free.
struct Place {
    shared: Arc<Shared>,
    ticket: Ticket,
    waiter: Arc<str>,
    /// The server knows of it.
    is_taken: bool,
}

impl Place {
    async fn wait(mut self, until: Instant) -> Standing {
        let shared = self.shared.clone();
        loop {
            let mut answered = std::pin::pin!(shared.answered.notified());
            // Listens before it looks, or it would miss what happens in between.
            answered.as_mut().enable();
            let now = Instant::now();
            let is_last = until <= now;
            self.is_taken = true;
            let last = if is_last { "last" } else { "" };
            let arguments = Arguments::new().and(&self.ticket).and(&self.waiter).and(last);
            let standing = match shared.server.call(Script::Wait, arguments).await {
                Ok(reply) => wire::standing(reply),
                Err(Lost) => Standing::Pending,
            };
            if is_last || standing != Standing::Pending {
                self.is_taken = false;
                return standing;
            }
            tokio::select! {
                () = answered => {}
                () = tokio::time::sleep_until(until.min(now + POLL).into()) => {}
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Without a runtime to say so on, the server finds out when nobody asks for a while.
        if self.is_taken
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (shared, arguments) = (self.shared.clone(), Arguments::new().and(&self.ticket).and(&self.waiter));
            runtime.spawn(async move {
                let _ = shared.server.call::<i64>(Script::Leave, arguments).await;
            });
        }
    }
}

#[cfg(test)]
mod tests;
