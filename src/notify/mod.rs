//! Webhooks: what people want to be told of, sent so that no verdict ever waits for it.
//!
//! What is on record is read from the journal, each channel from the place it has come to (`told`): however long a
//! channel is down, it gets all of it once it is back. What is urgent or not on record (a question to a person, a policy
//! that is wrong) goes through a bounded queue in memory (`deliver`), for as long as it is worth something. All is
//! signed as the Standard Webhooks specification says.

mod deliver;
mod event;
mod queue;
mod sign;
mod told;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::https::{Trust, Url};
use crate::secrets::{Environment, Source};
use crate::sinks::{Ask, From, Room, Sink};
use deliver::Courier;
pub use event::{ApprovalDecided, ApprovalRequested, Event, JournalFailed, Kind, ReloadFailed};
use queue::Queue;
use told::{Part, Told};

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name in the policy.
    pub name: Arc<str>,
    /// Where it is called.
    pub url: Url,
    /// What signs; read again for every delivery.
    pub secret: Source,
    /// What it is told of.
    pub events: Vec<Kind>,
}

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long one attempt may take.
    pub attempt: Duration,
    /// The pause after the first attempt; it doubles with each, and half of it is left to chance.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How old an event is when it is given up that is not on record.
    pub give_up: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            attempt: Duration::from_secs(5),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            give_up: Duration::from_secs(15 * 60),
        }
    }
}

/// What became of an event at a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Accepted by the other side.
    Delivered,
    /// Refused for good, or given up after its time.
    Failed,
    /// Not sent, since too many others wait or the channel is gone.
    Dropped,
}

impl Outcome {
    /// As metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// Told of every outcome, with the channel's name: a metric. Must not block.
pub type Observe = Arc<dyn Fn(&str, Outcome) + Send + Sync>;

/// Sends events to channels. Cheap to clone; the deliveries end with the last of the clones.
#[derive(Clone)]
pub struct Notifier(Arc<Inner>);

struct Inner {
    lines: ArcSwap<Vec<Arc<Line>>>,
    /// One replacement at a time.
    replacing: Mutex<()>,
    courier: Arc<Courier>,
    runtime: Handle,
    room: Room,
}

/// A channel, what waits for it, and who delivers that.
struct Line {
    channel: Arc<ArcSwap<Channel>>,
    queue: Arc<Queue>,
    task: AbortHandle,
    /// What reads the journal for it.
    told: [Sink; 2],
}

/// What the names of its sinks begin with.
const RECORDS: &str = "webhook-";
const APPROVALS: &str = "approvals-";

impl Notifier {
    /// One without channels, which delivers what is urgent on the tokio runtime that it is made in. `environment` has the
    /// secrets that stand in variables, the room's journal what is told.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(trust: Trust, environment: Arc<Environment>, timing: Timing, observe: Observe, room: Room) -> Self {
        let courier = Arc::new(Courier::new(trust, environment, timing, observe));
        let (lines, runtime) = (ArcSwap::default(), Handle::current());
        Self(Arc::new(Inner { lines, replacing: Mutex::default(), courier, runtime, room }))
    }

    /// Puts other channels in the place of those there are. What waits for one of the same name waits on, and goes
    /// where the new one says; what waits for one that is gone is dropped, and counted, and so is its place in the
    /// journal. One that is new begins with the next record.
    pub fn replace(&self, channels: Vec<Channel>) {
        let inner = &self.0;
        let _one = inner.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = inner.lines.load_full();
        let is_kept = |line: &Line| channels.iter().any(|channel| channel.name == line.channel.load().name);
        let gone: Vec<_> = before.iter().filter(|line| !is_kept(line)).cloned().collect();
        let lines = channels.into_iter().map(|channel| {
            match before.iter().find(|line| line.channel.load().name == channel.name) {
                Some(line) => {
                    line.channel.store(Arc::new(channel));
                    line.clone()
                }
                None => Arc::new(inner.line(channel)),
            }
        });
        inner.lines.store(Arc::new(lines.collect()));
        for line in gone {
            line.task.abort();
            line.told.iter().for_each(Sink::stop);
            let name = line.channel.load().name.clone();
            let waiting = line.queue.close();
            (0..waiting).for_each(|_| inner.courier.observe(&name, Outcome::Dropped));
            if waiting > 0 {
                tracing::warn!(channel = &*name, waiting, "the channel is gone, and with it what waited for it");
            }
        }
        let is_there = |name: &str| inner.lines.load().iter().any(|line| *line.channel.load().name == *name);
        [RECORDS, APPROVALS].into_iter().for_each(|prefix| inner.room.forget(prefix, is_there));
    }

    /// How the channels' reading of the journal goes, by the names of the sinks that do it.
    pub fn sinks(&self) -> Vec<(Arc<str>, Ask)> {
        let lines = self.0.lines.load();
        let facts = |sink: &Sink| (sink.name().clone(), sink.facts());
        lines.iter().flat_map(|line| line.told.iter().map(facts)).collect()
    }

    /// Sends an event to the channels that are told of its kind: those named in `to`, or all where that is empty.
    /// Never waits.
    pub fn send(&self, event: Event, to: &[impl AsRef<str>]) {
        let (kind, event, at) = (event.kind(), Arc::new(event), SystemTime::now());
        for line in self.0.lines.load().iter() {
            let channel = line.channel.load();
            let named = to.is_empty() || to.iter().any(|name| name.as_ref() == &*channel.name);
            if !named || !channel.events.contains(&kind) {
                continue;
            }
            if line.queue.push(event.clone(), at) {
                continue;
            }
            self.0.courier.observe(&channel.name, Outcome::Dropped);
        }
    }

    /// Waits until nothing waits any more, or `patience` is over: for a clean end, once the room is closed.
    pub async fn drain(&self, patience: Duration) {
        let lines = self.0.lines.load_full();
        let empty = async {
            for line in lines.iter() {
                line.queue.emptied().await;
                for sink in &line.told {
                    sink.ended().await;
                }
            }
        };
        if tokio::time::timeout(patience, empty).await.is_err() {
            let waiting: usize = lines.iter().map(|line| line.queue.waiting()).sum();
            tracing::warn!(
                waiting,
                "not all notifications could be delivered before the end; what is on record will be"
            );
        }
    }
}

impl Inner {
    fn line(&self, channel: Channel) -> Line {
        let (channel, queue) = (Arc::new(ArcSwap::from_pointee(channel)), Arc::new(Queue::default()));
        let name = channel.load().name.clone();
        let told = [(RECORDS, Part::Rest), (APPROVALS, Part::Approvals)].map(|(prefix, part)| {
            let told = Told::new(self.courier.clone(), channel.clone(), part);
            self.room.open(&format!("{prefix}{name}"), From::Now, told)
        });
        let task = deliver::run(self.courier.clone(), channel.clone(), queue.clone());
        Line { task: self.runtime.spawn(task).abort_handle(), channel, queue, told }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.lines.load().iter().for_each(|line| line.task.abort());
    }
}
