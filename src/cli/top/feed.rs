//! Asks the service, and goes on asking when it has gone.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tonic::Streaming;

use super::model::{KEPT, News};
use crate::cli::output::printable;
use crate::cli::{Failure, running};
use crate::control;
use crate::control::api::WatchedRecord;
use crate::journal::chain::Sealed;
use crate::journal::exchange::Exchange;
use crate::journal::filter::Filter;
use crate::journal::recall::Query;
use crate::pipeline::audit::Record;

/// How much of the past is shown at the beginning.
const PAST: Duration = Duration::from_secs(300);
/// How long is waited before a service that has gone is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// How often it is looked whether something is to be asked.
const TICK: Duration = Duration::from_millis(250);
/// Of so many looks, one asks how the service is doing and what waits; a change of what waits is asked for at once.
const TICKS: u32 = 4;
/// How much of the past is read at most, in time: a journal may be on a slow disk.
const PATIENCE: Duration = Duration::from_secs(15);

/// What there is to tell now, once.
///
/// # Errors
/// When the service does not answer.
pub async fn once(socket: &Path) -> Result<Vec<News>, Failure> {
    let mut news = standing(socket).await?;
    news.push(past(socket).await?);
    Ok(news)
}

/// Tells what there is and what comes, until nobody listens.
pub async fn follow(socket: PathBuf, news: mpsc::Sender<News>) {
    loop {
        let Err(end) = connected(&socket, &news).await;
        match end {
            End::NobodyListens => return,
            End::Lost(failure) => {
                if news.send(News::Lost(failure.message)).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

enum End {
    NobodyListens,
    Lost(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Lost(failure)
    }
}

async fn connected(socket: &Path, news: &mpsc::Sender<News>) -> Result<Infallible, End> {
    let tell = async |told: News| news.send(told).await.map_err(|_| End::NobodyListens);
    // Before the past is read, so that nothing is missed in between; what is told twice is counted once.
    let mut watched = running::ask(socket, control::watch(socket)).await?.map_err(Failure::from)?;
    for told in standing(socket).await? {
        tell(told).await?;
    }
    tell(past(socket).await?).await?;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut looks, mut has_changed) = (0_u32, false);
    loop {
        tokio::select! {
            record = next(&mut watched) => match record? {
                None => {}
                Some((record, seq)) => {
                    has_changed |= matches!(record, Record::Approval(_));
                    tell(News::Record(Box::new(record), seq)).await?;
                }
            },
            _ = ticks.tick() => {
                looks += 1;
                if std::mem::take(&mut has_changed) || looks % TICKS == 0 {
                    for told in standing(socket).await? {
                        tell(told).await?;
                    }
                }
            }
        }
    }
}

/// How the service is doing, and what waits.
async fn standing(socket: &Path) -> Result<Vec<News>, Failure> {
    let status = running::ask(socket, control::status(socket)).await??;
    // A store that cannot be reached stops nothing else.
    let approvals = running::ask(socket, control::list_approvals(socket)).await?;
    let approvals = approvals.map_err(|refused| refused.status.message().to_owned());
    Ok(vec![News::Status(status), News::Approvals(approvals)])
}

/// The last minutes on record.
async fn past(socket: &Path) -> Result<News, Failure> {
    let since = SystemTime::now().checked_sub(PAST).unwrap_or(SystemTime::UNIX_EPOCH);
    let filter = Filter { since: Some(since), ..Filter::default() };
    let query = Query { filter, limit: Some(KEPT), follow: false };
    let mut answers = running::ask(socket, control::logs(socket, &query)).await??;
    let read = async {
        let mut exchanges = Vec::new();
        while let Some(logged) = answers.message().await.map_err(|error| gone(socket, &error))? {
            exchanges.extend(control::record::exchange(&logged).ok());
        }
        Ok::<Vec<Exchange>, Failure>(exchanges)
    };
    let exchanges = match tokio::time::timeout(PATIENCE, read).await {
        Ok(exchanges) => exchanges?,
        // Better without than late.
        Err(_) => Vec::new(),
    };
    // Of a past that is longer than what is kept, the beginning is missing.
    let first = exchanges.first().filter(|_| exchanges.len() >= KEPT).map(|exchange| exchange.decision.time);
    Ok(News::Past(exchanges, first.unwrap_or(since)))
}

/// The next record; none of a kind that says nothing of an exchange.
async fn next(watched: &mut Streaming<WatchedRecord>) -> Result<Option<(Record, Option<u64>)>, Failure> {
    let ended = || Failure::unreachable("the service has ended");
    match watched.message().await {
        Ok(Some(WatchedRecord { line })) => {
            let seq = Sealed::parse(line.as_bytes()).map(|sealed| sealed.seq);
            Ok(serde_json::from_str(&line).ok().map(|record| (record, seq)))
        }
        Ok(None) => Err(ended()),
        Err(error) if error.code() == tonic::Code::Unknown || error.code() == tonic::Code::Unavailable => Err(ended()),
        Err(error) => Err(Failure::unreachable(printable(error.message()))),
    }
}

fn gone(socket: &Path, error: &tonic::Status) -> Failure {
    let (socket, message) = (socket.display(), printable(error.message()));
    Failure::unreachable(format!("the service behind `{socket}` has gone: {message}"))
}
