//! A secret that leaves in pieces, one a request: what an agent sends to one registrable domain is joined again.
//!
//! Kept are the short values of late requests, each with its slot: the parameter, header, path segment or label that
//! carried it. A new request's values are joined to the earlier ones of their slots, and to those of all slots. Nobody
//! says which values are pieces and which are ordinary, so there are several ways to join them: all as they came;
//! without words; without values that come over and over; only those of slots that are used once. A join is scanned
//! like any text, but only for what is unmistakable: chance joins many things.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

/// The pieces that agents sent of late, by agent and registrable domain. Bounded in every direction.
pub struct Across {
    limits: Limits,
    keys: RandomState,
    trails: HashMap<u64, Trail>,
}

/// How much is remembered.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most pairs of an agent and a domain. No agent has more than a quarter of them where others want some.
    pub trails: usize,
    /// The most memory of one of them, in bytes.
    pub bytes: usize,
    /// A pair is forgotten when nothing was sent for so long.
    pub forget: Duration,
}

/// A value that could be part of something.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// What carried it: `query.part`, `path[2]`, `header x-note`, `host`, `body.$.chunk`.
    pub slot: &'a str,
    /// The value, as the other side will read it.
    pub text: &'a [u8],
}

/// What a request's pieces make together with earlier ones.
#[derive(Debug, Default)]
pub struct Joins {
    /// The texts. Only what [crosses](Joined::crosses) the border in one is new.
    pub texts: Vec<Joined>,
    /// To take the request's pieces back with, if it does not leave.
    pub receipt: Option<Receipt>,
}

/// Pieces of several requests in one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The text.
    pub text: Vec<u8>,
    /// Where in it the pieces of this request begin.
    pub border: usize,
}

/// Which pieces a request has left behind.
#[derive(Debug)]
#[must_use = "a request that is refused has sent nothing: take its pieces back"]
pub struct Receipt {
    trail: u64,
    request: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { trails: 4096, bytes: 4096, forget: Duration::from_secs(60 * 60) }
    }
}

impl Joined {
    /// True if this range has bytes of this request and of an earlier one: what lies in one of them was found there.
    pub fn crosses(&self, range: &Range<usize>) -> bool {
        range.start < self.border && self.border < range.end
    }

    /// What came before, and what this request has.
    pub fn sides(&self) -> [&[u8]; 2] {
        let (before, now) = self.text.split_at_checked(self.border).unwrap_or((&self.text, &[]));
        [before, now]
    }
}

/// The domain that somebody registered, of which all hosts may be theirs; an address is its own.
pub fn registrable(host: &str) -> &str {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return host;
    }
    psl::domain_str(host).unwrap_or(host)
}

/// The labels of a host that whoever registered its domain may choose freely.
pub fn labels(host: &str) -> impl Iterator<Item = &str> {
    let below = host.strip_suffix(registrable(host)).unwrap_or_default();
    below.split('.').filter(|label| !label.is_empty())
}

impl Across {
    /// Remembers nothing yet.
    pub fn new(limits: Limits, keys: RandomState) -> Self {
        Self { limits, keys, trails: HashMap::new() }
    }

    /// Notes the pieces of a request from an agent to a [registrable] domain, in the order in which they stand there,
    /// and gives the texts that they make together with earlier ones. Noted before it is judged, so that two requests
    /// at the same time do not miss each other; to be taken [back](Self::take_back) if the request is refused.
    pub fn add(&mut self, agent: &str, domain: &str, pieces: &[Piece<'_>], now: Instant) -> Joins {
        let same = self.same(pieces);
        self.again(agent, domain, same, now).map_or_else(
            || self.add_as(agent, domain, same, pieces, now),
            |receipt| Joins { texts: Vec::new(), receipt: Some(receipt) },
        )
    }

    /// Notes a request once more, if the last one of this agent to this domain had the same name and brought nothing new.
    /// Its pieces need not be known for that.
    pub fn again(&mut self, agent: &str, domain: &str, same: u64, now: Instant) -> Option<Receipt> {
        let key = self.keys.hash_one((agent, domain));
        let trail = self.trails.get_mut(&key)?;
        if now.saturating_duration_since(trail.last) > self.limits.forget {
            return None;
        }
        trail.again(same, now).map(|request| Receipt { trail: key, request })
    }

    /// The same as [`add`](Self::add) for a request that has a name: whatever has the same one has the same pieces.
    pub fn add_as(&mut self, agent: &str, domain: &str, same: u64, pieces: &[Piece<'_>], now: Instant) -> Joins {
        let key = self.keys.hash_one((agent, domain));
        let request = pieces.iter().filter(|piece| is_piece(piece.text)).take(MOST_PIECES).map(|piece| {
            let (slot, text) = (self.keys.hash_one(piece.slot), piece.text);
            let value = self.keys.hash_one((slot, text));
            Noted { slot, request: 0, before: None, value, times: 1, is_word: is_word(text), text: text.into() }
        });
        let request: Vec<Noted> = request.collect();
        if request.is_empty() {
            return Joins::default();
        }
        let owner = self.keys.hash_one(agent);
        if !self.trails.contains_key(&key) {
            self.make_room(owner);
        }
        let trail = self.trails.entry(key).or_insert_with(|| Trail::new(owner, now));
        if now.saturating_duration_since(trail.last) > self.limits.forget {
            *trail = Trail::new(owner, now);
        }
        trail.last = now;
        trail.requests = trail.requests.wrapping_add(1);
        let receipt = Receipt { trail: key, request: trail.requests };
        let texts = trail.note(request, same, self.limits.bytes);
        Joins { texts, receipt: Some(receipt) }
    }

    /// A name for the pieces of a request, by which a second one with the same pieces is known.
    fn same(&self, pieces: &[Piece<'_>]) -> u64 {
        let mut all: SmallVec<[u8; 512]> = SmallVec::new();
        for part in pieces.iter().flat_map(|piece| [piece.slot.as_bytes(), piece.text]) {
            all.extend_from_slice(&part.len().to_le_bytes());
            all.extend_from_slice(part);
        }
        self.keys.hash_one(&*all)
    }

    /// Forgets the pieces of a request that did not leave. Else an agent would make them ordinary by trying again.
    pub fn take_back(&mut self, receipt: Receipt) {
        if let Some(trail) = self.trails.get_mut(&receipt.trail) {
            trail.settled = None;
            trail.pieces.retain_mut(|piece| match piece.before {
                _ if piece.request != receipt.request => true,
                Some(before) => {
                    (piece.request, piece.before) = (before, None);
                    piece.times = piece.times.saturating_sub(1);
                    true
                }
                None => false,
            });
        }
    }

    /// The memory that the pieces take, in bytes.
    pub fn memory(&self) -> usize {
        self.trails.values().map(|trail| size_of::<Trail>() + trail.cost()).sum()
    }

    /// The pair that was quiet longest makes room, one of the same agent if it has more than its share.
    fn make_room(&mut self, owner: u64) {
        if self.trails.len() < self.limits.trails.max(1) {
            return;
        }
        let own = self.trails.values().filter(|trail| trail.owner == owner).count();
        let only_own = own > self.limits.trails / 4;
        let candidates = self.trails.iter().filter(|(_, trail)| !only_own || trail.owner == owner);
        if let Some(key) = candidates.min_by_key(|(_, trail)| trail.last).map(|(key, _)| *key) {
            self.trails.remove(&key);
        }
    }
}

/// More values of one request are not looked at: they are no short message in pieces.
const MOST_PIECES: usize = 256;

/// So many bytes at the end of a value are remembered, and so many at the beginning of one are joined to earlier ones.
const MOST_OF_ONE: usize = 512;

/// So many bytes of earlier requests and of this one are in a join.
const MOST_OF_A_SIDE: usize = 1024;

/// A value that came so often is no piece.
const COMMON: u32 = 3;

/// Text that is written in words is found where it stands; its pieces make no secret.
fn is_piece(text: &[u8]) -> bool {
    const MOST_BLANKS: usize = 2;
    !text.is_empty()
        && text.iter().filter(|byte| byte.is_ascii_whitespace()).take(MOST_BLANKS + 1).count() <= MOST_BLANKS
}

/// `weather`, `New York`: no part of a secret that is longer than a word.
fn is_word(text: &[u8]) -> bool {
    let [first, rest @ ..] = text else { return false };
    let letters = rest.iter().all(|byte| byte.is_ascii_lowercase());
    (text.len() >= 3 && first.is_ascii_alphabetic() && letters) || text.iter().any(u8::is_ascii_whitespace)
}

/// What one agent sent to one domain.
struct Trail {
    owner: u64,
    last: Instant,
    requests: u32,
    /// Oldest first.
    pieces: VecDeque<Noted>,
    /// The last request, if it brought nothing new: the same one again changes nothing but how often its pieces came.
    settled: Option<Settled>,
}

/// A request whose pieces, each the only one of its slot, are the last ones of their trail, in their order.
struct Settled {
    /// The name of its pieces.
    same: u64,
    /// How many there are.
    pieces: usize,
}

struct Noted {
    slot: u64,
    /// The last request that sent it, and the one before, if that is known.
    request: u32,
    before: Option<u32>,
    /// Slot and text, to compare by.
    value: u64,
    is_word: bool,
    /// How often it came, one time after the other.
    times: u32,
    text: Box<[u8]>,
}

impl Noted {
    /// With what the allocator adds.
    fn cost(&self) -> usize {
        size_of::<Self>() + self.text.len() + 16
    }

    /// Without a number that says which piece it is: `2-`, `03:`.
    fn unnumbered(&self) -> &[u8] {
        let digits = self.text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        match self.text.get(digits..) {
            Some([b'-' | b'_' | b'.' | b':' | b'|' | b'/', rest @ ..]) if (1..=2).contains(&digits) => rest,
            _ => &self.text,
        }
    }
}

impl Trail {
    fn new(owner: u64, now: Instant) -> Self {
        Self { owner, last: now, requests: 0, pieces: VecDeque::new(), settled: None }
    }

    fn cost(&self) -> usize {
        self.pieces.iter().map(Noted::cost).sum()
    }

    /// Notes the last request once more, if it is this one and brought nothing new. Gives its number.
    fn again(&mut self, same: u64, now: Instant) -> Option<u32> {
        let pieces = self.settled.as_ref().filter(|settled| settled.same == same)?.pieces;
        self.last = now;
        self.requests = self.requests.wrapping_add(1);
        for piece in self.pieces.iter_mut().rev().take(pieces) {
            (piece.before, piece.request) = (Some(piece.request), self.requests);
            piece.times = piece.times.saturating_add(1);
        }
        Some(self.requests)
    }

    /// Takes in a request's pieces, of this name, and joins them to those before.
    fn note(&mut self, pieces: Vec<Noted>, same: u64, most: usize) -> Vec<Joined> {
        let request = self.requests;
        let count = pieces.len();
        let is_alone = |at: usize, piece: &Noted| pieces.iter().take(at).all(|other| other.slot != piece.slot);
        let is_row = pieces.iter().enumerate().all(|(at, piece)| is_alone(at, piece));
        let mut slots: SmallVec<[u64; 16]> = SmallVec::new();
        for piece in pieces {
            let slot = piece.slot;
            if self.take(Noted { request, ..piece }) && !slots.contains(&slot) {
                slots.push(slot);
            }
        }
        let mut joins = Vec::new();
        // What came before in just the same way was joined then.
        if !slots.is_empty() && self.pieces.front().is_some_and(|first| first.request != request) {
            self.join_all(&slots, &mut joins);
        }
        for piece in self.pieces.iter_mut().rev().take_while(|piece| piece.request == request) {
            let long = piece.text.len().saturating_sub(MOST_OF_ONE);
            if long > 0 {
                piece.text = piece.text.get(long..).unwrap_or_default().into();
            }
        }
        self.forget(most);
        let is_settled = is_row && slots.is_empty();
        self.settled = is_settled.then_some(Settled { same, pieces: count });
        joins
    }

    /// Appends a piece. One that its slot had last is moved to the end instead: a request that is tried again sends it
    /// again. Of a few bytes it may well be the next one. Gives whether it is new.
    fn take(&mut self, piece: Noted) -> bool {
        let mut of_slot = self.pieces.iter().enumerate().rev().filter(|(_, other)| other.slot == piece.slot);
        let last = of_slot.next().filter(|(_, last)| last.value == piece.value);
        let again = last.filter(|(_, last)| {
            last.text.len() >= 4 || of_slot.next().is_some_and(|(_, other)| other.value == last.value)
        });
        let Some(mut moved) = again.map(|(at, _)| at).and_then(|at| self.pieces.remove(at)) else {
            self.pieces.push_back(piece);
            return true;
        };
        if moved.request != piece.request {
            (moved.before, moved.request) = (Some(moved.request), piece.request);
        }
        moved.times = moved.times.saturating_add(1);
        // All of it stands at the beginning of this request's part, of which only the end was kept.
        moved.text = piece.text;
        self.pieces.push_back(moved);
        false
    }

    fn join_all(&self, slots: &[u64], joins: &mut Vec<Joined>) {
        for slot in slots {
            let of_slot = || self.pieces.iter().filter(|piece| piece.slot == *slot);
            self.join(of_slot(), |piece| &piece.text, joins);
            self.join(of_slot().filter(|piece| !piece.is_word), Noted::unnumbered, joins);
        }
        self.join(self.pieces.iter(), |piece| &piece.text, joins);
        let mut values: SmallVec<[(u64, u32); 64]> =
            self.pieces.iter().map(|piece| (piece.value, piece.times)).collect();
        values.sort_unstable();
        let is_common = |piece: &Noted| {
            let first = values.partition_point(|(value, _)| *value < piece.value);
            let same = values.iter().skip(first).take_while(|(value, _)| *value == piece.value);
            same.map(|(_, times)| times).sum::<u32>() >= COMMON
        };
        let rare = |piece: &&Noted| !piece.is_word && !is_common(piece);
        self.join(self.pieces.iter().filter(rare), Noted::unnumbered, joins);
        let mut users: SmallVec<[(u64, u32); 32]> = SmallVec::new();
        let mut reused: SmallVec<[u64; 32]> = SmallVec::new();
        for piece in &self.pieces {
            match users.iter().find(|(slot, _)| *slot == piece.slot) {
                None => users.push((piece.slot, piece.request)),
                Some((slot, request)) if *request != piece.request && !reused.contains(slot) => reused.push(*slot),
                Some(_) => {}
            }
        }
        let single = |piece: &&Noted| piece.times == 1 && !piece.is_word && !reused.contains(&piece.slot);
        self.join(self.pieces.iter().filter(single), Noted::unnumbered, joins);
    }

    /// Joins these pieces, unless they are all of one request or were joined the same way already.
    fn join<'a>(
        &'a self,
        pieces: impl Iterator<Item = &'a Noted>,
        text: impl Fn(&Noted) -> &[u8],
        joins: &mut Vec<Joined>,
    ) {
        let row: SmallVec<[&[u8]; 64]>;
        let border;
        {
            let pieces: SmallVec<[&Noted; 64]> = pieces.collect();
            border = pieces.partition_point(|piece| piece.request != self.requests);
            row = pieces.into_iter().map(&text).collect();
        }
        let (before, now) = row.split_at(border);
        if before.is_empty() || now.is_empty() {
            return;
        }
        let mut room = MOST_OF_A_SIDE;
        let fits = before.iter().rev().take_while(|text| {
            let fits = text.len() <= room;
            room -= text.len().min(room);
            fits
        });
        let fits = fits.count();
        let mut joined = Vec::with_capacity(2 * MOST_OF_A_SIDE);
        before.iter().skip(before.len() - fits).for_each(|text| joined.extend_from_slice(text));
        let border = joined.len();
        for text in now {
            let room = MOST_OF_ONE.min(MOST_OF_A_SIDE - (joined.len() - border));
            joined.extend_from_slice(text.get(..room).unwrap_or(text));
        }
        let joined = Joined { text: joined, border };
        if border > 0 && border < joined.text.len() && !joins.contains(&joined) {
            joins.push(joined);
        }
    }

    /// Forgets the oldest piece of the slot that has most until the rest is small enough: what comes all the time
    /// does not drive out what comes rarely.
    fn forget(&mut self, most: usize) {
        let mut cost = self.cost();
        if cost <= most {
            return;
        }
        let mut slots: SmallVec<[(u64, usize); 32]> = SmallVec::new();
        for piece in &self.pieces {
            match slots.iter_mut().find(|(slot, _)| *slot == piece.slot) {
                Some((_, of_slot)) => *of_slot += piece.cost(),
                None => slots.push((piece.slot, piece.cost())),
            }
        }
        while cost > most {
            let Some((slot, of_slot)) = slots.iter_mut().max_by_key(|(_, of_slot)| *of_slot) else { break };
            let oldest = self.pieces.iter().position(|piece| piece.slot == *slot);
            let Some(gone) = oldest.and_then(|at| self.pieces.remove(at)) else { break };
            cost -= gone.cost();
            *of_slot -= gone.cost();
        }
    }
}

#[cfg(test)]
mod tests;
