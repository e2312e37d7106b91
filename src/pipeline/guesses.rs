//! Tokens that nobody has, counted by where they come from: guessing is slowed down, and nobody's guessing keeps a
//! neighbour out.
//!
//! Who calls from an address cannot be told from who guesses there, so no one rule bounds guesses and lets every right
//! token through at once. The length decides: a token of [`LONG`] bytes is found by no guessing, and is always looked
//! up. A shorter one waits while too many were wrong, unless it was right at that place before.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// From so many bytes on, a token is looked up whatever happens.
pub const LONG: usize = 32;

/// So many different wrong tokens may come from one place at once, and then one in each [`PACE`].
const BURST: u32 = 20;
const PACE: Duration = Duration::from_secs(6);
/// The same of all places together.
const BURST_OF_ALL: u32 = 1000;
const PACE_OF_ALL: Duration = Duration::from_millis(200);
/// How many places are told apart; those beyond count as one.
const PLACES: usize = 4096;
/// A wrong token that comes again and again, as from a client that was set up wrongly, is one guess.
const LAST: usize = 8;
/// How many tokens that were right are remembered, eight bytes each: in rows, of which each token has one, so that few
/// displace another.
const ROWS: usize = 1024;
const ROW: usize = 8;
/// A place's refusals are on record once in this time, with how many there were.
const TOLD: Duration = Duration::from_secs(60);
/// How often it is looked whether places can be forgotten, where there are too many.
const SWEEP: Duration = Duration::from_secs(1);

/// What is known of all guesses, whatever the policy.
pub struct Guesses {
    keys: RandomState,
    /// Nobody takes the lock before anything was wrong.
    any: AtomicBool,
    right: Box<[[AtomicU64; ROW]]>,
    wrong: Mutex<Wrong>,
}

/// A token as it was shown.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Its hash.
    pub hash: &'a [u8; 32],
    /// Its length, in bytes.
    pub length: usize,
    /// When.
    pub now: Instant,
}

/// Where tokens come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// Who shows the certificate with these names.
    Certificate(Box<str>),
    /// An address; of IPv6 the network that one host has to itself.
    Address(IpAddr),
    /// It is not known where, or there are too many places.
    Elsewhere,
}

/// Too many were wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    /// When the next may come.
    pub wait: Duration,
    /// How many refusals before this one are not on record. `None`: neither is this one to be, by itself.
    pub untold: Option<u64>,
}

impl Guesses {
    /// Nothing yet. `keys` are random, so that nobody can foresee what displaces what.
    pub fn new(keys: &RandomState) -> Self {
        Self {
            keys: keys.clone(),
            any: AtomicBool::new(false),
            right: (0..ROWS).map(|_| Default::default()).collect(),
            wrong: Mutex::new(Wrong { places: HashMap::new(), all: Bucket::default(), swept: None }),
        }
    }

    /// Whether this token may be looked up.
    ///
    /// # Errors
    /// Not now: too many that came from there were wrong.
    pub fn admit(&self, place: &Place, shown: Shown<'_>) -> Result<(), TooMany> {
        if shown.length >= LONG || !self.any.load(Ordering::Relaxed) || self.was_right_before(place, shown.hash) {
            return Ok(());
        }
        self.wrong().wait(place, shown.now)
    }

    /// It is somebody's: it is not made to wait there again.
    pub fn was_right(&self, place: &Place, shown: Shown<'_>) {
        if shown.length >= LONG {
            return;
        }
        let (row, value) = self.row(place, shown.hash);
        let holds = |what| row.iter().find(|slot| slot.load(Ordering::Relaxed) == what);
        if holds(value).is_none()
            && let Some(slot) = holds(0).or_else(|| row.get((value >> 32) as usize % ROW))
        {
            slot.store(value, Ordering::Relaxed);
        }
    }

    /// It is nobody's.
    ///
    /// # Errors
    /// One too many: it is to be refused as such.
    pub fn was_wrong(&self, place: &Place, shown: Shown<'_>) -> Result<(), TooMany> {
        self.any.store(true, Ordering::Relaxed);
        let (_, value) = self.row(place, shown.hash);
        let mut wrong = self.wrong();
        wrong.wait(place, shown.now)?;
        wrong.count(place, value, shown.now);
        Ok(())
    }

    /// Nobody takes it for a token, and so it is not wrong; whoever shows a row of these may still be guessing.
    ///
    /// # Errors
    /// One too many.
    pub fn was_own(&self, place: &Place, shown: Shown<'_>) -> Result<(), TooMany> {
        if shown.length < LONG && !self.was_right_before(place, shown.hash) {
            self.was_wrong(place, shown)?;
            self.was_right(place, shown);
        }
        Ok(())
    }

    /// Refusals that are on record with nothing yet, by place.
    pub fn take_untold(&self) -> Vec<(Place, u64)> {
        if !self.any.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut wrong = self.wrong();
        let untold = wrong.places.iter_mut().filter(|(_, tries)| tries.untold > 0);
        untold.map(|(place, tries)| (place.clone(), std::mem::take(&mut tries.untold))).collect()
    }

    fn was_right_before(&self, place: &Place, hash: &[u8; 32]) -> bool {
        let (row, value) = self.row(place, hash);
        row.iter().any(|slot| slot.load(Ordering::Relaxed) == value)
    }

    fn row(&self, place: &Place, hash: &[u8; 32]) -> (&[AtomicU64], u64) {
        // An empty slot is nobody's.
        let value = self.keys.hash_one((place, hash)) | 1;
        let row = self.right.get((value >> 1) as usize % ROWS);
        (row.map_or(&[], |row| row.as_slice()), value)
    }

    fn wrong(&self) -> MutexGuard<'_, Wrong> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Guesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guesses")
    }
}

impl Place {
    /// The names of a certificate, where one was shown, else an address and port.
    pub fn of(certificate: Option<&str>, source: Option<&str>) -> Self {
        if let Some(names) = certificate.filter(|names| !names.is_empty()) {
            return Self::Certificate(names.into());
        }
        match source.and_then(|source| source.parse::<SocketAddr>().ok()).map(|source| source.ip().to_canonical()) {
            Some(IpAddr::V6(address)) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Self::Address(Ipv6Addr::from_bits(network).into())
            }
            Some(address) => Self::Address(address),
            None => Self::Elsewhere,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(names) => f.write_str(names),
            Self::Address(IpAddr::V6(network)) => write!(f, "{network}/64"),
            Self::Address(address) => address.fmt(f),
            Self::Elsewhere => f.write_str("elsewhere"),
        }
    }
}

#[derive(Debug)]
struct Wrong {
    places: HashMap<Place, Tries>,
    all: Bucket,
    swept: Option<Instant>,
}

/// What came from one place.
#[derive(Debug, Default)]
struct Tries {
    bucket: Bucket,
    last: [u64; LAST],
    next: usize,
    told: Option<Instant>,
    untold: u64,
}

impl Wrong {
    fn wait(&mut self, place: &Place, now: Instant) -> Result<(), TooMany> {
        let of_all = self.all.wait(now, BURST_OF_ALL, PACE_OF_ALL);
        let own = self.places.get(place).map_or(Duration::ZERO, |tries| tries.bucket.wait(now, BURST, PACE));
        let wait = of_all.max(own);
        if wait.is_zero() {
            return Ok(());
        }
        let tries = self.tries(place, now);
        let is_told = tries.told.is_some_and(|told| now.saturating_duration_since(told) < TOLD);
        if is_told {
            tries.untold += 1;
            return Err(TooMany { wait, untold: None });
        }
        tries.told = Some(now);
        Err(TooMany { wait, untold: Some(std::mem::take(&mut tries.untold)) })
    }

    fn count(&mut self, place: &Place, token: u64, now: Instant) {
        let tries = self.tries(place, now);
        if tries.last.contains(&token) {
            return;
        }
        if let Some(slot) = tries.last.get_mut(tries.next % LAST) {
            *slot = token;
        }
        tries.next = tries.next.wrapping_add(1);
        tries.bucket.take(now, PACE);
        self.all.take(now, PACE_OF_ALL);
    }

    fn tries(&mut self, place: &Place, now: Instant) -> &mut Tries {
        let is_full = self.places.len() >= PLACES && !self.places.contains_key(place);
        if is_full && self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP) {
            self.swept = Some(now);
            self.places.retain(|_, tries| !tries.bucket.is_full(now) || tries.untold > 0);
        }
        let is_full = is_full && self.places.len() >= PLACES;
        self.places.entry(if is_full { Place::Elsewhere } else { place.clone() }).or_default()
    }
}

/// The moment from which on nothing is missing in it.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket(Option<Instant>);

impl Bucket {
    fn take(&mut self, now: Instant, pace: Duration) {
        self.0 = Some(self.0.map_or(now, |full| full.max(now)) + pace);
    }

    /// How long until something is in it.
    fn wait(&self, now: Instant, burst: u32, pace: Duration) -> Duration {
        let missing = self.0.map_or(Duration::ZERO, |full| full.saturating_duration_since(now));
        missing.saturating_sub(pace * burst.saturating_sub(1))
    }

    fn is_full(&self, now: Instant) -> bool {
        self.0.is_none_or(|full| full <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place = Place::Address(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn guesses() -> Guesses {
        Guesses::new(&RandomState::new())
    }

    fn hash(number: u32) -> [u8; 32] {
        let mut hash = [7; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        hash
    }

    /// Shows a wrong token as a caller does.
    fn guess(guesses: &Guesses, place: &Place, number: u32, length: usize, now: Instant) -> Result<(), TooMany> {
        let hash = hash(number);
        let shown = Shown { hash: &hash, length, now };
        guesses.admit(place, shown).and_then(|()| guesses.was_wrong(place, shown))
    }

    #[test]
    fn guesses_are_bounded_and_the_bound_ends_by_itself() {
        let (guesses, start) = (guesses(), Instant::now());
        for number in 0..BURST {
            assert_eq!(guess(&guesses, &HERE, number, 8, start), Ok(()), "{number}");
        }
        let refused = guess(&guesses, &HERE, 100, 8, start).unwrap_err();
        assert_eq!(refused, TooMany { wait: PACE, untold: Some(0) });
        for number in 0..500 {
            let refused = guess(&guesses, &HERE, 200 + number, 8, start + PACE / 2).unwrap_err();
            assert_eq!(refused, TooMany { wait: PACE / 2, untold: None }, "what is refused prolongs nothing");
        }
        assert_eq!(guess(&guesses, &HERE, 900, 8, start + PACE), Ok(()));
        let later: Vec<_> = (0..50).map(|n| guess(&guesses, &HERE, 1000 + n, 8, start + TOLD)).collect();
        let told: Vec<_> = later.iter().filter_map(|found| found.err()?.untold).collect();
        assert_eq!(told, [500], "the next record says how many there were");
        let untold = later.iter().filter(|found| found.is_err()).count() as u64 - 1;
        assert_eq!(guesses.take_untold(), [(HERE, untold)]);
        assert_eq!(guesses.take_untold(), []);
        let elsewhere = Place::of(None, Some("192.0.2.7:9"));
        assert_eq!(guess(&guesses, &elsewhere, 1, 8, start), Ok(()), "another place's are its own");
    }

    #[test]
    fn a_neighbour_is_not_kept_out() {
        let (guesses, start) = (guesses(), Instant::now());
        let (used, new) = (hash(1_000_000), hash(1_000_001));
        let short = |hash| Shown { hash, length: 20, now: start };
        guesses.was_right(&HERE, short(&used));
        for number in 0..=BURST {
            let _ = guess(&guesses, &HERE, number, 8, start);
        }
        assert_eq!(guesses.admit(&HERE, short(&used)), Ok(()), "it was right here before");
        assert!(guesses.admit(&HERE, short(&new)).is_err());
        assert_eq!(guesses.admit(&HERE, Shown { length: LONG, ..short(&new) }), Ok(()), "nobody finds it by guessing");
        assert_eq!(guesses.admit(&Place::Elsewhere, short(&new)), Ok(()));
        assert_eq!(
            guesses.admit(&HERE, Shown { now: start + PACE, ..short(&new) }),
            Ok(()),
            "and after a while anyway"
        );
        assert!(guess(&guesses, &HERE, 77, LONG, start).is_err(), "a long one that is wrong is refused as the others");
    }

    #[test]
    fn those_that_were_right_hardly_displace_each_other() {
        let (guesses, start) = (guesses(), Instant::now());
        let hashes: Vec<_> = (0..200).map(|number| hash(1_000_000 + number)).collect();
        let shown = |hash| Shown { hash, length: 8, now: start };
        hashes.iter().for_each(|hash| guesses.was_right(&HERE, shown(hash)));
        for number in 0..=BURST {
            let _ = guess(&guesses, &HERE, number, 8, start);
        }
        assert!(hashes.iter().all(|hash| guesses.admit(&HERE, shown(hash)).is_ok()));
    }

    #[test]
    fn a_client_that_was_set_up_wrongly_is_no_attack() {
        let (guesses, start) = (guesses(), Instant::now());
        for number in 0..1000 {
            assert_eq!(guess(&guesses, &HERE, number % 3, 8, start), Ok(()));
        }
    }

    #[test]
    fn many_places_share_a_bound_and_take_bounded_memory() {
        let (guesses, start) = (guesses(), Instant::now());
        let mut admitted = 0;
        for number in 0..3 * PLACES as u32 {
            let place = Place::Address(std::net::Ipv4Addr::from_bits(number << 8).into());
            admitted += u32::from(guess(&guesses, &place, number, 8, start).is_ok());
        }
        assert_eq!(admitted, BURST_OF_ALL);
        assert!(guesses.wrong().places.len() <= PLACES + 1);
        // All have recovered, and are forgotten when there is need.
        let later = start + PACE * 3 * PLACES as u32;
        guesses.take_untold();
        assert_eq!(guess(&guesses, &HERE, 1, 8, later), Ok(()));
        assert!(guesses.wrong().places.len() < 3);
    }

    #[test]
    fn a_place_is_what_nobody_has_many_of() {
        let place = |certificate, source| Place::of(certificate, source).to_string();
        assert_eq!(place(None, Some("192.0.2.7:4711")), "192.0.2.7");
        assert_eq!(place(None, Some("[::ffff:192.0.2.7]:4711")), "192.0.2.7");
        assert_eq!(place(None, Some("[2001:db8:1:2:3:4:5:6]:4711")), "2001:db8:1:2::/64");
        assert_eq!(place(Some("spiffe://a.example/ann"), Some("192.0.2.7:4711")), "spiffe://a.example/ann");
        assert_eq!(place(Some(""), None), "elsewhere");
    }
}
