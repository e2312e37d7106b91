//! The way to the server: one connection for all calls, and a breaker that spares requests the wait for a server that
//! does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError};
use tokio::sync::watch;
use tokio::time::timeout;

use super::scripts::{Arguments, Script, Scripts};

/// Calls that fail one after another before the server is left alone.
const FAILURES: u32 = 3;
/// How long connecting may take, names and TLS included.
const CONNECT: Duration = Duration::from_secs(1);
/// Between two attempts to connect, at first and at most.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The server did not answer, or not in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost;

/// The server as it is called.
pub(super) struct Server {
    /// What all keys begin with.
    base: String,
    budget: Duration,
    scripts: Scripts,
    /// None while the breaker is open.
    link: watch::Sender<Option<Arc<Link>>>,
}

/// A connection that answered a probe.
struct Link {
    connection: MultiplexedConnection,
    /// One after another.
    failures: AtomicU32,
}

impl Server {
    pub(super) fn new(base: String, budget: Duration) -> Self {
        Self { base, budget, scripts: Scripts::default(), link: watch::Sender::new(None) }
    }

    /// Runs a script within the budget; at once lost while the breaker is open.
    pub(super) async fn call<T: FromRedisValue>(&self, script: Script, arguments: Arguments) -> Result<T, Lost> {
        let Some(link) = self.link.borrow().clone() else { return Err(Lost) };
        let mut connection = link.connection.clone();
        let call = self.scripts.run(script, &self.base, arguments, &mut connection);
        let error = match timeout(self.budget, call).await {
            Ok(Ok(reply)) => {
                link.failures.store(0, Ordering::Relaxed);
                return Ok(reply);
            }
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let failures = link.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let is_gone = error.as_ref().is_some_and(|error| error.is_unrecoverable_error() || error.is_io_error());
        if is_gone || failures >= FAILURES {
            self.leave_alone(&link, error.as_ref());
        } else {
            tracing::debug!(error = says(error.as_ref()), "a call to the store failed");
        }
        Err(Lost)
    }

    /// Connects, and connects again whenever the server is lost: then, `regained` is called before any other call.
    pub(super) async fn keep_connected(&self, client: Client, regained: impl Fn()) {
        let mut state = self.link.subscribe();
        let (mut pause, mut had_one, mut is_told) = (PAUSE, false, false);
        loop {
            match self.connect(&client).await {
                Ok(connection) => {
                    if had_one {
                        regained();
                    }
                    (pause, had_one, is_told) = (PAUSE, true, false);
                    tracing::info!("the store answers");
                    self.link.send_replace(Some(Arc::new(Link { connection, failures: AtomicU32::new(0) })));
                    if state.wait_for(Option::is_none).await.is_err() {
                        return;
                    }
                    // Whatever made it fail may still be there.
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(error = says(error.as_ref()), "the store cannot be reached; trying again");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    pub(super) async fn connected(&self, within: Duration) -> bool {
        let mut state = self.link.subscribe();
        let connected = timeout(within, state.wait_for(Option::is_some)).await;
        matches!(connected, Ok(Ok(_)))
    }

    pub(super) fn is_connected(&self) -> bool {
        self.link.borrow().is_some()
    }

    /// A connection whose server takes writes and answers within the budget; the error is none if it took too long.
    async fn connect(&self, client: &Client) -> Result<MultiplexedConnection, Option<RedisError>> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(None);
        let connect = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            self.scripts.load(&mut connection).await?;
            Ok(connection)
        };
        let mut connection = timeout(CONNECT * 2, connect).await.map_err(|_| None)?.map_err(Some)?;
        let probe = self.scripts.run::<(String, String)>(Script::Probe, &self.base, Arguments::new(), &mut connection);
        let (_, eviction) = timeout(self.budget, probe).await.map_err(|_| None)?.map_err(Some)?;
        if eviction != "noeviction" {
            tracing::warn!(
                "the store's server throws keys away when its memory is full (`{eviction}`), counts too: set \
                 `maxmemory-policy noeviction`"
            );
        }
        Ok(connection)
    }

    /// Opens the breaker, unless there is a newer connection already.
    fn leave_alone(&self, lost: &Arc<Link>, error: Option<&RedisError>) {
        let was_closed = self.link.send_if_modified(|link| {
            let is_this = link.as_ref().is_some_and(|link| Arc::ptr_eq(link, lost));
            if is_this {
                *link = None;
            }
            is_this
        });
        if was_closed {
            tracing::warn!(error = says(error), "the store is left alone until it answers again");
        }
    }
}

/// The error without what the server may have quoted of a request.
fn says(error: Option<&RedisError>) -> String {
    match error {
        Some(error) => match error.code() {
            Some(code) => format!("{}: {code}", error.category()),
            None => error.category().to_owned(),
        },
        None => "no answer in time".to_owned(),
    }
}
