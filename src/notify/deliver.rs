//! Makes the calls, and delivers what waits for a channel in memory: one attempt at a time, the new before the failed.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::queue::{Delivery, Queue, Retries, Waiting};
use super::sign::{BadKey, Key};
use super::{Channel, Observe, Outcome, Timing};
use crate::https::{Call, CallError, Client, Trust, TrustError};
use crate::secrets::{Environment, LocalError};

/// The longest pause that the other side may ask for.
const LONGEST_WISH: Duration = Duration::from_secs(300);

/// What every delivery needs.
pub(super) struct Courier {
    trust: Trust,
    client: OnceLock<Client>,
    environment: Arc<Environment>,
    timing: Timing,
    observe: Observe,
}

/// Why an attempt has failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the webhook's secret cannot be had: {0}")]
    NoSecret(#[from] LocalError),
    #[error(transparent)]
    BadSecret(#[from] BadKey),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("`{place}` answered {status}")]
    Status { place: String, status: StatusCode, wish: Option<Duration> },
    #[error("the event cannot be written: {0}")]
    Unwritable(#[from] serde_json::Error),
    #[error("the attempt was interrupted: {0}")]
    Interrupted(tokio::task::JoinError),
}

impl Failure {
    /// True if another attempt would end the same.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                !status.is_server_error()
                    && !matches!(
                        *status,
                        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
                    )
            }
            Self::Unwritable(_) => true,
            _ => false,
        }
    }

    /// How long the other side asks to be left alone.
    pub(super) fn wish(&self) -> Duration {
        match self {
            Self::Status { wish: Some(wish), .. } => (*wish).min(LONGEST_WISH),
            _ => Duration::ZERO,
        }
    }
}

/// Delivers until it is aborted.
pub(super) async fn run(courier: Arc<Courier>, channel: Arc<ArcSwap<Channel>>, queue: Arc<Queue>) {
    let mut retries = Retries::default();
    loop {
        let next = queue.pop().map(begin).or_else(|| retries.pop(Instant::now()));
        let Some(mut delivery) = next else {
            match retries.next_due() {
                // What is pushed in the meantime does not wait for it.
                Some(due) => drop(tokio::time::timeout_at(due.into(), queue.pushed()).await),
                None => queue.pushed().await,
            }
            continue;
        };
        let channel = channel.load_full();
        let attempt = match delivery.event.body(delivery.at) {
            Ok(body) => courier.attempt(&channel, &delivery.id, body).await,
            Err(error) => Err(error.into()),
        };
        let outcome = match attempt {
            Ok(()) => Outcome::Delivered,
            Err(failure) => {
                delivery.attempts += 1;
                match courier.pause(&failure, &delivery) {
                    Some(pause) => {
                        if delivery.attempts == 1 {
                            say(&channel, &delivery, &failure);
                        }
                        delivery.due = Instant::now() + pause;
                        retries.push(delivery);
                        continue;
                    }
                    None => {
                        give_up(&channel, &delivery, &failure);
                        Outcome::Failed
                    }
                }
            }
        };
        courier.observe(&channel.name, outcome);
        queue.done();
    }
}

fn begin(waiting: Waiting) -> Delivery {
    let Waiting { event, at, since, order } = waiting;
    // Unique, which is all an id has to be; the signature needs no chance.
    let half = |salt: u8| RandomState::new().hash_one((at, order, salt));
    let id = format!("msg_{:016x}{:016x}", half(0), half(1));
    Delivery { event, at, since, order, id, attempts: 0, due: since }
}

impl Courier {
    pub(super) fn new(trust: Trust, environment: Arc<Environment>, timing: Timing, observe: Observe) -> Self {
        Self { trust, client: OnceLock::new(), environment, timing, observe }
    }

    pub(super) fn observe(&self, channel: &str, outcome: Outcome) {
        (self.observe)(channel, outcome);
    }

    /// Sends one message.
    pub(super) async fn attempt(&self, channel: &Channel, id: &str, body: Vec<u8>) -> Result<(), Failure> {
        let key = self.key(channel).await?;
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let headers = [
            ("webhook-id", HeaderValue::from_str(id)),
            ("webhook-timestamp", HeaderValue::from_str(&seconds.to_string())),
            ("webhook-signature", HeaderValue::from_str(&key.sign(id, seconds, &body))),
        ];
        let headers =
            headers.into_iter().filter_map(|(name, value)| Some((HeaderName::from_static(name), value.ok()?)));
        let mut headers: HeaderMap = headers.collect();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let call = Call {
            method: Method::POST,
            headers,
            body: body.into(),
            deadline: self.timing.attempt,
            longest_answer: None,
        };
        let reply = self.client().await?.send(&channel.url, call).await?;
        if reply.status.is_success() {
            return Ok(());
        }
        let wish = reply.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Err(Failure::Status { place: channel.url.place(), status: reply.status, wish: wish.map(Duration::from_secs) })
    }

    async fn key(&self, channel: &Channel) -> Result<Key, Failure> {
        let (source, environment) = (channel.secret.clone(), self.environment.clone());
        let read = tokio::task::spawn_blocking(move || Ok(Key::read(&source.read(&environment)?)?));
        read.await.map_err(Failure::Interrupted)?
    }

    /// Made when it is first needed: the system's CAs are many.
    async fn client(&self) -> Result<Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let trust = self.trust.clone();
        let made = tokio::task::spawn_blocking(move || Client::new(&trust)).await.map_err(Failure::Interrupted)??;
        Ok(self.client.get_or_init(|| made).clone())
    }

    /// How long to wait before the next attempt; none if there is to be no other.
    fn pause(&self, failure: &Failure, delivery: &Delivery) -> Option<Duration> {
        if failure.is_final() {
            return None;
        }
        let Timing { first_pause, longest_pause, give_up, .. } = self.timing;
        let doublings = delivery.attempts.saturating_sub(1).min(16);
        let whole = first_pause.saturating_mul(1 << doublings).min(longest_pause);
        // Half of it by chance, so that many who failed together do not come back together.
        let chance = RandomState::new().hash_one(delivery.order) % 1024;
        let pause = whole / 2 + whole / 2 * u32::try_from(chance).unwrap_or_default() / 1024;
        let pause = pause.max(failure.wish());
        (delivery.since.elapsed() + pause < give_up).then_some(pause)
    }
}

fn say(channel: &Channel, delivery: &Delivery, failure: &Failure) {
    let (name, event, id) = (&*channel.name, delivery.event.kind().as_str(), &*delivery.id);
    tracing::warn!(channel = name, event, id, error = %failure, "a notification was not accepted; it is sent again");
}

fn give_up(channel: &Channel, delivery: &Delivery, failure: &Failure) {
    let (name, event, id) = (&*channel.name, delivery.event.kind().as_str(), &*delivery.id);
    let attempts = delivery.attempts;
    tracing::error!(channel = name, event, id, attempts, error = %failure, "a notification was given up");
}
