//! What outlives a request: the secrets that are held, the pieces that were sent, the blocks that were clean.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use smallvec::SmallVec;

use crate::pipeline::dlp::across::{Across, Joins, Limits, Piece, Receipt, labels, registrable};
use crate::pipeline::dlp::finding::{Action, Chain, Finding, Step};
use crate::pipeline::dlp::scan::{Lens, Report};
use crate::pipeline::dlp::surface::{Layout, Surface, joined};
use crate::pipeline::dlp::verdicts::Verdicts;
use crate::pipeline::dlp::view::View;
use crate::pipeline::message::Fields;

/// In how many parts what agents sent is kept: two of them never wait for each other.
const SHARDS: usize = 16;
/// How many blocks of messages are remembered, eight bytes each.
const BLOCKS: usize = 1 << 16;
/// The most bytes of a value of a request that may be a piece of something.
const MOST_OF_A_PIECE: usize = 256;
/// How many requests of a shard can be looked at again.
const RECEIPTS: usize = 64;

/// What all policies share.
pub struct Memory {
    shards: [Mutex<Shard>; SHARDS],
    /// The blocks of messages that were clean.
    pub verdicts: Verdicts,
    keys: RandomState,
}

struct Shard {
    across: Across,
    /// The requests noted last, so that one that is looked at again is not joined to itself: their ids, and what each
    /// has left behind. Nearly none is looked at again, and each is looked for.
    noted: VecDeque<u64>,
    receipts: VecDeque<Receipt>,
}

impl Memory {
    /// Remembers nothing yet. `keys` are random, so that nobody can foresee what displaces what.
    pub fn new(keys: &RandomState) -> Self {
        let shard = || {
            let limits = Limits { trails: Limits::default().trails / SHARDS, ..Limits::default() };
            let (noted, receipts) = (VecDeque::new(), VecDeque::new());
            Mutex::new(Shard { across: Across::new(limits, keys.clone()), noted, receipts })
        };
        Self {
            shards: std::array::from_fn(|_| shard()),
            verdicts: Verdicts::new(BLOCKS, keys.clone()),
            keys: keys.clone(),
        }
    }

    /// The name of something, by which it is known when it is looked at again.
    pub fn name(&self, of: &impl Hash) -> u64 {
        self.keys.hash_one(of)
    }

    /// Notes a request once more whose head has this name, if the last one had the same and brought nothing new.
    pub fn again(&self, sender: &Sender, head: u64) -> bool {
        let domain = registrable(&sender.host);
        let Some(mut shard) = self.shard(sender, domain) else { return false };
        shard.take_back(sender.request);
        let receipt = shard.across.again(&sender.agent, domain, head, sender.now);
        let is_again = receipt.is_some();
        receipt.into_iter().for_each(|receipt| shard.keep(sender.request, receipt));
        is_again
    }

    fn add(&self, sender: &Sender, head: Option<u64>, pieces: &[Piece<'_>]) -> Joins {
        let domain = registrable(&sender.host);
        let Some(mut shard) = self.shard(sender, domain) else { return Joins::default() };
        shard.take_back(sender.request);
        let mut joins = match head {
            Some(head) => shard.across.add_as(&sender.agent, domain, head, pieces, sender.now),
            None => shard.across.add(&sender.agent, domain, pieces, sender.now),
        };
        joins.receipt.take().into_iter().for_each(|receipt| shard.keep(sender.request, receipt));
        joins
    }

    fn take_back(&self, sender: &Sender) {
        if let Some(mut shard) = self.shard(sender, registrable(&sender.host)) {
            shard.take_back(sender.request);
        }
    }

    fn shard(&self, sender: &Sender, domain: &str) -> Option<MutexGuard<'_, Shard>> {
        let key = self.keys.hash_one((&sender.agent, domain)) as usize % SHARDS;
        Some(self.shards.get(key)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shard {
    fn keep(&mut self, request: u64, receipt: Receipt) {
        self.noted.push_back(request);
        self.receipts.push_back(receipt);
        if self.receipts.len() > RECEIPTS {
            self.noted.pop_front();
            self.receipts.pop_front();
        }
    }

    /// Forgets the pieces of a request.
    fn take_back(&mut self, id: u64) {
        let (first, second) = self.noted.as_slices();
        if !first.contains(&id) && !second.contains(&id) {
            return;
        }
        let at = self.noted.iter().position(|noted| *noted == id);
        at.and_then(|at| self.noted.remove(at));
        if let Some(receipt) = at.and_then(|at| self.receipts.remove(at)) {
            self.across.take_back(receipt);
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

/// Who sends a request, and where.
#[derive(Debug, Clone)]
pub struct Sender {
    pub agent: Arc<str>,
    pub host: String,
    /// Its [name](Memory::name).
    pub request: u64,
    pub now: Instant,
}

/// A request's pieces, on their way to be joined with earlier ones.
#[derive(Debug)]
pub struct Trace {
    memory: Arc<Memory>,
    sender: Sender,
    pieces: Pieces,
    /// The name of the head, which another one has only if its pieces are the same.
    head: u64,
}

/// The values that may be pieces of something, each under its slot: what carries it.
pub type Pieces = Fields;

impl Trace {
    /// The pieces that stand in a request's head of this name.
    pub fn new(memory: Arc<Memory>, sender: Sender, pieces: Pieces, head: u64) -> Self {
        Self { memory, sender, pieces, head }
    }

    /// The memory it is kept in.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Joins them, and those of the body, with what was sent before, and looks at that.
    pub fn look(&mut self, lens: &Lens, body: &Pieces, report: &mut Report) {
        let labels = labels(&self.sender.host).map(|label| Piece { slot: "host", text: label.as_bytes() });
        let own = self.pieces.iter().chain(body.iter()).filter(|(_, text)| !lens.lets_pass(text));
        let pieces: SmallVec<[Piece<'_>; 16]> = labels.chain(own.map(|(slot, text)| Piece { slot, text })).collect();
        let before = report.findings.len();
        let head = body.is_empty().then_some(self.head);
        for joined in self.memory.add(&self.sender, head, &pieces).texts {
            let look = |text: &[u8]| {
                let chain: Chain = std::iter::once(Step::Split).collect();
                let layout = Layout::Plain("requests".into());
                let mut found = Report::default();
                lens.scan(&Surface { text, layout, chain, offset: 0, ends: true }, Vec::new(), &mut found);
                found.findings
            };
            let crossing: Vec<_> =
                look(&joined.text).into_iter().filter(|found| joined.crosses(&found.range)).collect();
            if crossing.is_empty() {
                continue;
            }
            // What lies in one request alone was found there, though a run around it may cross.
            let alone: Vec<_> = joined.sides().into_iter().flat_map(look).collect();
            let is_new = |found: &Finding| {
                !alone.iter().any(|other| (&other.rule, other.fingerprint) == (&found.rule, found.fingerprint))
            };
            for mut finding in crossing.into_iter().filter(is_new) {
                if report.findings.iter().skip(before).all(|other| other.rule != finding.rule) {
                    // Whatever is found cannot be replaced any more.
                    finding.action = finding.action.unredactable();
                    report.findings.push(finding);
                }
            }
        }
        self.look_over_the_border(lens, body, report);
        if report.findings.iter().any(|f| f.action == Action::Block) {
            self.memory.take_back(&self.sender);
        }
    }

    /// Looks at what the values of the head and those of the body make together. Each side was looked at by itself.
    fn look_over_the_border(&self, lens: &Lens, body: &Pieces, report: &mut Report) {
        if body.is_empty() {
            return;
        }
        type Held<'p> = Vec<(&'p str, &'p [u8])>;
        let is_field = |piece: &(&str, &[u8])| piece.0.starts_with("header ");
        let (fields, target): (Held<'_>, Held<'_>) = self.pieces.iter().partition(is_field);
        for head in [target, fields] {
            let mut text = Vec::new();
            let mut places = Vec::new();
            let mut put = |pieces: &mut dyn Iterator<Item = (&str, &[u8])>| {
                for (_, piece) in
                    pieces.filter(|(_, piece)| (1..=MOST_OF_A_PIECE).contains(&piece.len()) && !lens.lets_pass(piece))
                {
                    let start = text.len();
                    text.extend_from_slice(piece);
                    places.push(start..text.len());
                    text.push(b'\n');
                }
                text.len()
            };
            let (border, end) = (put(&mut head.into_iter()), put(&mut body.iter()));
            if border == 0 || border == end {
                continue;
            }
            let mut found = Report::default();
            let surface = Surface::new(&text, Layout::Plain("request".into()));
            lens.scan_from(View::raw(b""), &surface, joined(&text, &places), &mut found);
            report.exhausted |= found.exhausted;
            for mut finding in found.findings {
                if finding.range.start < border && border < finding.range.end {
                    finding.action = finding.action.unredactable();
                    report.findings.push(finding);
                }
            }
        }
    }
}
