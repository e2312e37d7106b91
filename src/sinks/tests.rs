use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::journal::{Options, segment};

const FAST: Pace = Pace {
    glance: Duration::from_millis(5),
    first_pause: Duration::from_millis(5),
    longest_pause: Duration::from_millis(20),
};

/// Answers as it is told, and then takes everything; says what it was given and took.
struct Receiver {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    taken: mpsc::UnboundedSender<Vec<i64>>,
}

#[derive(Clone, Copy)]
enum Answer {
    Fail,
    /// Takes so many.
    Take(usize),
    /// Takes all, and is never heard of again.
    TakeAndHang,
    Hang,
}

impl Deliver for Receiver {
    async fn deliver(&mut self, items: &[Item]) -> Result<Dealt, Trouble> {
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Answer::Take(usize::MAX));
        let records = match answer {
            Answer::Fail => return Err(Trouble { error: "no".into(), wish: Duration::ZERO }),
            Answer::Hang => return std::future::pending().await,
            Answer::Take(most) => most.min(items.len()),
            Answer::TakeAndHang => items.len(),
        };
        self.taken.send(items[..records].iter().filter_map(number).collect()).unwrap();
        if let Answer::TakeAndHang = answer {
            return std::future::pending().await;
        }
        Ok(Dealt { records, delivered: records as u64, rejected: 0 })
    }
}

fn number(item: &Item) -> Option<i64> {
    serde_json::from_slice::<Value>(&item.line).unwrap()["n"].as_i64()
}

struct Place {
    folder: tempfile::TempDir,
    journal: Arc<Journal>,
    room: Room,
}

struct Running {
    sink: Sink,
    taken: mpsc::UnboundedReceiver<Vec<i64>>,
}

impl Place {
    fn new(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (journal, room) = service(folder.path(), options);
        Self { folder, journal, room }
    }

    /// As if the process had died and another one had come.
    fn restart(self, options: Options) -> Self {
        let Self { folder, journal, room } = self;
        drop(room);
        drop(journal);
        let (journal, room) = service(folder.path(), options);
        Self { folder, journal, room }
    }

    fn open(&self, first: From, answers: &[Answer]) -> Running {
        let (sender, taken) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(answers.iter().copied().collect()));
        Running { sink: self.room.open("test", first, Receiver { answers, taken: sender }), taken }
    }

    fn append(&self, numbers: std::ops::Range<i64>) {
        for n in numbers {
            self.journal.append(&json!({"n": n})).unwrap();
        }
    }

    fn cursor(&self) -> std::path::PathBuf {
        self.folder.path().join("cursors/test.json")
    }
}

fn service(folder: &Path, options: Options) -> (Arc<Journal>, Room) {
    // A room that is gone lets its journal go on its own thread.
    let since = std::time::Instant::now();
    let journal = loop {
        match Journal::open(folder, options) {
            Ok(journal) => break Arc::new(journal),
            Err(error) => assert!(since.elapsed() < Duration::from_secs(20), "{error}"),
        }
        std::thread::yield_now();
    };
    let room = Room::new(journal.clone(), FAST).unwrap();
    (journal, room)
}

impl Running {
    /// What it has taken, once this is the last of it.
    async fn until(&mut self, last: i64) -> Vec<i64> {
        let mut all = Vec::new();
        while all.last() != Some(&last) {
            let next = tokio::time::timeout(Duration::from_secs(20), self.taken.recv()).await;
            all.extend(next.unwrap_or_else(|_| panic!("{last} does not come: {all:?}")).unwrap());
        }
        all
    }

    async fn until_facts(&self, what: &str, wanted: impl Fn(Facts) -> bool) -> Facts {
        let facts = self.sink.facts();
        for _ in 0..4_000 {
            if wanted(facts()) {
                return facts();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{what}: {:?}", facts());
    }
}

fn all(range: std::ops::Range<i64>) -> Vec<i64> {
    range.collect()
}

#[tokio::test]
async fn records_arrive_in_order_through_failures() {
    let place = Place::new(Options { segment_size: 700, ..Options::default() });
    place.append(0..10);
    let mut running = place.open(From::Oldest, &[Answer::Fail, Answer::Fail, Answer::Take(3), Answer::Fail]);
    assert_eq!(running.until(9).await, all(0..10));
    place.append(10..40);
    assert_eq!(running.until(39).await, all(10..40));
    let facts = running.until_facts("nothing is left", |facts| facts.lag == 0).await;
    // Beside them stand the segments' own lines.
    assert!(facts.delivered >= 40 && facts.behind.is_zero() && facts.rejected == 0, "{facts:?}");
}

#[tokio::test]
async fn what_was_not_known_to_have_arrived_when_the_process_died_comes_again() {
    let place = Place::new(Options::default());
    place.append(0..5);
    let mut running = place.open(From::Oldest, &[Answer::Take(3), Answer::TakeAndHang]);
    assert_eq!(running.until(4).await, all(0..5));
    let taken = running.taken;
    drop(running.sink);
    drop(taken);
    let place = place.restart(Options::default());
    place.append(5..8);
    let mut running = place.open(From::Now, &[]);
    // The first of the three was the journal's own line.
    assert_eq!(running.until(7).await, all(2..8), "from the last record that it is known to have taken");
}

#[tokio::test]
async fn a_new_sink_begins_where_it_is_told_to_and_keeps_that() {
    for (first, expected) in [(From::Oldest, all(0..9)), (From::ThisRun, all(3..9)), (From::Now, all(6..9))] {
        let place = Place::new(Options::default());
        place.append(0..3);
        let place = place.restart(Options::default());
        place.append(3..6);
        drop(place.open(first, &[Answer::Hang]));
        let place = place.restart(Options::default());
        place.append(6..9);
        let mut running = place.open(From::Now, &[]);
        assert_eq!(running.until(8).await, expected, "{first:?}");
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_read_costs_no_record() {
    for broken in ["", "{\"segment\":", "[]", "{\"segment\":-1,\"offset\":0}", "{\"segment\":77,\"offset\":99999}"] {
        let place = Place::new(Options::default());
        place.append(0..3);
        let mut running = place.open(From::Oldest, &[]);
        running.until(2).await;
        drop(running);
        std::fs::write(place.cursor(), broken).unwrap();
        let place = place.restart(Options::default());
        place.append(3..6);
        let mut running = place.open(From::Now, &[]);
        if broken.contains("77") {
            // A place behind the end waits for what is to come there; a segment later there is none.
            continue;
        }
        assert_eq!(running.until(5).await, all(0..6), "`{broken}`");
    }
}

#[tokio::test]
async fn what_a_sink_has_not_taken_is_not_removed_and_afterwards_it_is() {
    let options = Options { segment_size: 700, max_size: Some(1_000), ..Options::default() };
    let place = Place::new(options);
    let mut running = place.open(From::Oldest, &[Answer::Fail; 4]);
    place.append(0..60);
    place.journal.upkeep().unwrap();
    let before = segment::list(place.folder.path()).unwrap().len();
    assert!(before > 5, "{before}");
    assert_eq!(running.until(59).await, all(0..60));
    running.until_facts("nothing is left", |facts| facts.lag == 0).await;
    place.append(60..80);
    running.until(79).await;
    running.until_facts("nothing is left", |facts| facts.lag == 0).await;
    place.journal.upkeep().unwrap();
    assert!(segment::list(place.folder.path()).unwrap().len() < before);
}

#[tokio::test]
async fn the_lag_counts_records_of_earlier_runs_too() {
    let place = Place::new(Options { segment_size: 700, ..Options::default() });
    drop(place.open(From::Oldest, &[Answer::Hang]));
    place.append(0..20);
    let place = place.restart(Options::default());
    place.append(20..25);
    let running = place.open(From::Now, &[Answer::Hang]);
    let segments = || segment::list(place.folder.path()).unwrap().len() as u64;
    running.until_facts("25 records and a line for each segment", |facts| facts.lag == 25 + segments()).await;
    place.append(25..30);
    assert_eq!(running.sink.facts()().lag, 30 + segments());
}

#[tokio::test]
async fn the_end_waits_for_what_can_be_delivered_and_not_for_what_fails() {
    let place = Place::new(Options::default());
    let mut running = place.open(From::Oldest, &[]);
    place.append(0..2_500);
    place.journal.close().unwrap();
    place.room.close();
    tokio::time::timeout(Duration::from_secs(20), running.sink.ended()).await.unwrap();
    assert_eq!(running.until(2_499).await, all(0..2_500));

    let place = Place::new(Options::default());
    let running = place.open(From::Oldest, &[Answer::Fail; 10_000]);
    place.append(0..1);
    place.room.close();
    tokio::time::timeout(Duration::from_secs(20), running.sink.ended()).await.unwrap();
}

#[tokio::test]
async fn a_batch_is_bounded_whatever_the_backlog() {
    let place = Place::new(Options::default());
    for n in 0..40 {
        place.journal.append(&json!({"n": n, "text": "x".repeat(100_000)})).unwrap();
    }
    let mut running = place.open(From::Oldest, &[]);
    let mut seen = 0;
    while seen < 40 {
        let batch = running.taken.recv().await.unwrap();
        assert!(batch.len() <= 12, "{}", batch.len());
        seen += batch.len();
    }
}

#[tokio::test]
async fn lines_go_out_whole_and_a_reader_that_is_gone_loses_none() {
    let place = Place::new(Options::default());
    place.append(0..3_000);
    let (reader, writer) = std::io::pipe().unwrap();
    let sink = place.room.open(
        "stdout",
        From::Oldest,
        stdout::Lines::to(std::fs::File::from(std::os::fd::OwnedFd::from(writer))).unwrap(),
    );
    // Nobody reads for now: the pipe is full, and nothing else stands still.
    let facts = sink.facts();
    assert!(facts().lag > 0);
    place.append(3_000..3_010);
    let lines = tokio::task::spawn_blocking(move || {
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(reader));
        let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["n"].as_i64();
        let mut seen = Vec::new();
        while seen.last() != Some(&3_009) {
            seen.extend(next());
        }
        seen
    });
    assert_eq!(lines.await.unwrap(), all(0..3_010));
    // The reader is gone now.
    place.append(3_010..3_011);
    let behind = async {
        while facts().lag == 0 || facts().behind.is_zero() && facts().delivered < 3_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), behind).await.unwrap();
    drop(sink);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"").unwrap();
    let sink = place.room.open("stdout", From::Oldest, stdout::Lines::to(file.try_clone().unwrap()).unwrap());
    place.room.close();
    sink.ended().await;
    std::io::Seek::rewind(&mut file).unwrap();
    let rest = std::io::read_to_string(file).unwrap();
    assert!(rest.contains("\"n\":3010"), "{rest}");
}
