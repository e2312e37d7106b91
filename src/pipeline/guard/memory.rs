//! What outlives a request: the secrets that are held, the pieces that were sent, the blocks that were clean.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::pipeline::dlp::across::{Across, Joined, Joins, Limits, Piece, Receipt, labels, registrable};
use crate::pipeline::dlp::finding::{Action, Chain, Step};
use crate::pipeline::dlp::scan::{Lens, Report};
use crate::pipeline::dlp::surface::{Layout, Surface};
use crate::pipeline::dlp::verdicts::Verdicts;

/// In how many parts what agents sent is kept: two of them never wait for each other.
const SHARDS: usize = 16;
/// How many blocks of messages are remembered, eight bytes each.
const BLOCKS: usize = 1 << 16;
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
    /// The requests noted last, so that one that is looked at again is not joined to itself.
    receipts: VecDeque<(u64, Receipt)>,
}

impl Memory {
    /// Remembers nothing yet. `keys` are random, so that nobody can foresee what displaces what.
    pub fn new(keys: &RandomState) -> Self {
        let shard = || {
            let limits = Limits { trails: Limits::default().trails / SHARDS, ..Limits::default() };
            Mutex::new(Shard { across: Across::new(limits, keys.clone()), receipts: VecDeque::new() })
        };
        Self {
            shards: std::array::from_fn(|_| shard()),
            verdicts: Verdicts::new(BLOCKS, keys.clone()),
            keys: keys.clone(),
        }
    }

    fn add(&self, sender: &Sender, pieces: &[Piece<'_>]) -> Joins {
        let domain = registrable(&sender.host);
        let Some(mut shard) = self.shard(sender) else { return Joins::default() };
        let id = self.keys.hash_one(&*sender.request);
        shard.take_back(id);
        let mut joins = shard.across.add(&sender.agent, domain, pieces, sender.now);
        if let Some(receipt) = joins.receipt.take() {
            shard.receipts.push_back((id, receipt));
            if shard.receipts.len() > RECEIPTS {
                shard.receipts.pop_front();
            }
        }
        joins
    }

    fn take_back(&self, sender: &Sender) {
        if let Some(mut shard) = self.shard(sender) {
            shard.take_back(self.keys.hash_one(&*sender.request));
        }
    }

    fn shard(&self, sender: &Sender) -> Option<MutexGuard<'_, Shard>> {
        let key = self.keys.hash_one((&sender.agent, registrable(&sender.host))) as usize % SHARDS;
        Some(self.shards.get(key)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shard {
    /// Forgets the pieces of a request.
    fn take_back(&mut self, id: u64) {
        let at = self.receipts.iter().position(|(of, _)| *of == id);
        if let Some((_, receipt)) = at.and_then(|at| self.receipts.remove(at)) {
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
    pub request: Arc<str>,
    pub now: Instant,
}

/// A request's pieces, on their way to be joined with earlier ones.
#[derive(Debug)]
pub struct Trace {
    memory: Arc<Memory>,
    sender: Sender,
    /// Slot and value.
    pieces: Vec<(String, Vec<u8>)>,
}

impl Trace {
    /// The pieces that stand in a request's head.
    pub fn new(memory: Arc<Memory>, sender: Sender, pieces: Vec<(String, Vec<u8>)>) -> Self {
        Self { memory, sender, pieces }
    }

    /// The memory it is kept in.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Joins them, and those of the body, with what was sent before, and looks at that.
    pub fn look(&mut self, lens: &Lens, body: &[(String, Vec<u8>)], report: &mut Report) {
        let labels = labels(&self.sender.host).map(|label| Piece { slot: "host", text: label.as_bytes() });
        let own = self.pieces.iter().chain(body).map(|(slot, text)| Piece { slot, text });
        let pieces: Vec<_> = labels.chain(own).collect();
        let before = report.findings.len();
        let within = self.own(body);
        let joins = self.memory.add(&self.sender, &pieces).texts;
        for joined in within.into_iter().chain(joins) {
            let chain: Chain = std::iter::once(Step::Split).collect();
            let layout = Layout::Plain("requests".into());
            let mut found = Report::default();
            lens.scan(&Surface { text: &joined.text, layout, chain, offset: 0 }, Vec::new(), &mut found);
            // What lies in one request alone was found there. Whatever else is found cannot be replaced any more.
            let crossing = found.findings.into_iter().filter(|finding| joined.crosses(&finding.range));
            for mut finding in crossing {
                if report.findings.iter().skip(before).all(|other| other.rule != finding.rule) {
                    finding.action = finding.action.unredactable();
                    report.findings.push(finding);
                }
            }
        }
        if report.findings.iter().any(|f| f.action == Action::Block) {
            self.memory.take_back(&self.sender);
        }
    }

    /// What this request's head and its body make together.
    fn own(&self, body: &[(String, Vec<u8>)]) -> Option<Joined> {
        if body.is_empty() {
            return None;
        }
        let mut text: Vec<u8> = self.pieces.iter().flat_map(|(_, value)| value).copied().collect();
        let border = text.len();
        text.extend(body.iter().flat_map(|(_, value)| value));
        Some(Joined { text, border })
    }
}
