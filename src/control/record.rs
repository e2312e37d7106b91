//! The record, for who asks the service rather than reading its files.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};

use futures_util::Stream;
use tokio::sync::mpsc;
use tonic::Status;

use super::api::{LoggedExchange, LogsRequest, WatchedRecord};
use crate::journal::exchange::Exchange;
use crate::journal::filter::Filter;
use crate::journal::follow::Follower;
use crate::journal::recall::{Query, recall};

/// How many answers wait for a slow reader. It holds up nobody but itself.
const WAITING: usize = 256;
/// How often a journal that is followed is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// Answers, one by one.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Shows what is asked for, and goes on with what is to come where that is asked for.
pub fn logs(folder: PathBuf, request: LogsRequest) -> Result<Answers<LoggedExchange>, Status> {
    let query = query(request)?;
    Ok(on_a_thread(move |out| {
        let give = |exchange: Exchange| out.give(logged(&exchange).map_err(std::io::Error::other)?);
        let mut reader = recall(&folder, &query, None, &mut { give })?;
        if !query.follow {
            return Ok(());
        }
        loop {
            std::thread::sleep(INTERVAL);
            out.still_wanted()?;
            for exchange in reader.poll(false, Instant::now())? {
                if query.filter.admits(&exchange) {
                    give(exchange)?;
                }
            }
        }
    }))
}

/// Gives every line from now on.
pub fn watch(folder: &Path) -> Result<Answers<WatchedRecord>, Status> {
    let end = Follower::end(folder).map_err(|error| unreadable(&error))?;
    let mut follower = Follower::new(folder, end);
    Ok(on_a_thread(move |out| {
        loop {
            while let Some(entry) = follower.next_entry()? {
                out.give(WatchedRecord { line: String::from_utf8_lossy(&entry.line).into_owned() })?;
            }
            std::thread::sleep(INTERVAL);
            out.still_wanted()?;
        }
    }))
}

/// An exchange as it is sent.
pub fn logged(exchange: &Exchange) -> serde_json::Result<LoggedExchange> {
    let Exchange { decision, inspections, outcome, seq } = exchange;
    Ok(LoggedExchange {
        decision: serde_json::to_string(decision)?,
        inspections: inspections.iter().map(serde_json::to_string).collect::<Result<_, _>>()?,
        outcome: outcome.as_ref().map(serde_json::to_string).transpose()?,
        seq: *seq,
    })
}

/// An exchange as it was sent.
pub fn exchange(logged: &LoggedExchange) -> serde_json::Result<Exchange> {
    Ok(Exchange {
        decision: serde_json::from_str(&logged.decision)?,
        inspections: logged.inspections.iter().map(|text| serde_json::from_str(text)).collect::<Result<_, _>>()?,
        outcome: logged.outcome.as_deref().map(serde_json::from_str).transpose()?,
        seq: logged.seq,
    })
}

/// What is asked, as it is sent.
pub fn request(query: &Query) -> LogsRequest {
    let Filter { agent, status, host, rule, reason, since, until, text } = query.filter.clone();
    let millis = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    };
    LogsRequest {
        agent,
        status: status.map(|status| status.to_string()),
        host: host.map(|host| host.to_string()),
        rule,
        reason,
        since_ms: since.map(millis),
        until_ms: until.map(millis),
        text,
        limit: query.limit.map(|limit| limit as u64),
        follow: query.follow,
    }
}

/// What was asked, as it came.
///
/// # Errors
/// When it is nothing that can be asked.
pub fn query(request: LogsRequest) -> Result<Query, Status> {
    let LogsRequest { agent, status, host, rule, reason, since_ms, until_ms, text, limit, follow } = request;
    let time = |name: &str, millis: Option<i64>| match millis {
        None => Ok(None),
        Some(millis) => match u64::try_from(millis) {
            Ok(millis) => Ok(SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))),
            Err(_) => Err(Status::invalid_argument(format!("`{name}` is before 1970"))),
        },
    };
    let wrong = |name: &'static str| move |error: String| Status::invalid_argument(format!("`{name}` is {error}"));
    let filter = Filter {
        agent,
        status: status.map(|status| status.parse()).transpose().map_err(wrong("status"))?,
        host: host.map(|host| host.parse()).transpose().map_err(wrong("host"))?,
        rule,
        reason,
        since: time("since_ms", since_ms)?,
        until: time("until_ms", until_ms)?,
        text: text.map(|text| text.to_lowercase()),
    };
    Ok(Query { filter, limit: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)), follow })
}

/// Where a thread puts its answers.
struct Out<T>(mpsc::Sender<Result<T, Status>>);

impl<T> Out<T> {
    /// Waits until there is room; an error where nobody reads any more.
    fn give(&self, answer: T) -> std::io::Result<()> {
        self.0.blocking_send(Ok(answer)).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }

    fn still_wanted(&self) -> std::io::Result<()> {
        if self.0.is_closed() { Err(std::io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

/// Reading files blocks, and whoever asks for a whole journal keeps a thread busy for a while.
fn on_a_thread<T: Send + 'static>(work: impl FnOnce(&Out<T>) -> std::io::Result<()> + Send + 'static) -> Answers<T> {
    let (sender, mut receiver) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let out = Out(sender);
        match work(&out) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                // Nobody has to be there to hear it.
                let _ = out.0.blocking_send(Err(unreadable(&error)));
            }
            _ => {}
        }
    });
    Box::pin(futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx)))
}

fn unreadable(error: &std::io::Error) -> Status {
    Status::aborted(format!("the journal cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::audit::{DecisionRecord, Verdict};

    #[test]
    fn what_is_asked_arrives_as_it_was_meant() {
        let filter = Filter {
            agent: Some("ann".into()),
            status: "blocked".parse().ok(),
            host: "*.example.com".parse().ok(),
            rule: Some("rules[x]".into()),
            reason: Some("route_not_allowed".into()),
            since: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123)),
            until: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_000)),
            text: Some("text".into()),
        };
        for status in ["limited", "pending", "503", "unknown", "unreconciled", "failed", "allowed"] {
            let filter = Filter { status: Some(status.parse().unwrap()), ..filter.clone() };
            let sent = Query { filter: filter.clone(), limit: Some(7), follow: true };
            let arrived = query(request(&sent)).unwrap();
            assert_eq!((arrived.filter, arrived.limit, arrived.follow), (filter, Some(7), true));
        }
        let wrong = query(LogsRequest { status: Some("denied".into()), ..LogsRequest::default() }).unwrap_err();
        assert!(wrong.code() == tonic::Code::InvalidArgument && wrong.message().contains("`status`"), "{wrong}");
        assert!(query(LogsRequest { since_ms: Some(-1), ..LogsRequest::default() }).is_err());
    }

    #[test]
    fn an_exchange_arrives_as_it_was_sent() {
        let decision = DecisionRecord::new("r".into(), SystemTime::UNIX_EPOCH, Verdict::Deny, "rev".into());
        let sent = Exchange { seq: Some(3), ..Exchange::new(decision) };
        assert_eq!(exchange(&logged(&sent).unwrap()).unwrap(), sent);
    }
}
