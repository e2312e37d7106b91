//! Where a needle might stand: the text is looked at in every fourth place only, and costs one multiplication there.
//!
//! A window of eight bytes (five, for short needles) is taken of a needle at every `m`-th place, `m` odd. A piece of the
//! needle that has `w + 4m - 1` bytes then has a window that begins in a fourth place of the text, wherever it stands.

use zeroize::Zeroizing;

use super::needle::Haystack;

/// The windows of the needles.
#[derive(Default)]
pub struct Index {
    long: Windows,
    short: Windows,
}

/// A window: which needle's, and where in it.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// The place of the needle.
    pub needle: usize,
    /// The place in the needle.
    pub at: usize,
}

/// How far apart the places are in which the text is looked at.
const STRIDE: usize = 4;

/// So many bytes of a needle have a window of eight in such a place.
const LONG: usize = 8 + STRIDE - 1;

/// The fewest bytes of a window.
pub const NARROWEST: usize = 5;

/// The letters of both cases are looked for at once.
const FOLD: u64 = 0x2020_2020_2020_2020;

/// Windows with the same bytes are not taken more often: a value has others.
const MOST_ALIKE: usize = 32;

impl Index {
    /// Takes the windows; `pieces` are, for each needle, the fewest bytes of it that are to be found.
    pub fn new(haystack: &Haystack, pieces: &[usize]) -> Self {
        let windows = |short: bool| {
            let taken = haystack.needles.iter().zip(pieces).enumerate();
            let taken = taken.filter(move |(_, (_, piece))| (**piece < LONG) == short);
            taken.flat_map(move |(place, (needle, piece))| {
                let width = if short { NARROWEST } else { 8 };
                let apart = (piece.saturating_sub(width - 1) / STRIDE).max(1);
                let apart = if apart % 2 == 0 { apart - 1 } else { apart };
                let windows = haystack.of(needle).windows(width).enumerate().step_by(apart);
                windows.map(move |(at, window)| {
                    let word = window.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
                    [hash(word), (place as u64) << 32 | at as u64]
                })
            })
        };
        Self { long: Windows::new(|| windows(false)), short: Windows::new(|| windows(true)) }
    }

    /// Tells of each place of the text in which a window of a needle may stand.
    #[inline]
    pub fn probe(&self, text: &[u8], candidate: &mut impl FnMut(usize, Window)) {
        if self.short.entries.is_empty() {
            self.probe_with::<false>(text, candidate);
        } else {
            self.probe_with::<true>(text, candidate);
        }
    }

    #[inline]
    fn probe_with<const SHORT: bool>(&self, text: &[u8], candidate: &mut impl FnMut(usize, Window)) {
        const FIVE: u64 = 0xff_ffff_ffff;
        let (chunks, rest) = text.as_chunks::<4>();
        let mut before = None;
        for (place, chunk) in chunks.iter().enumerate() {
            let high = u64::from(u32::from_le_bytes(*chunk));
            if let Some(low) = before {
                let word = low | high << 32;
                self.long.find(word, |window| candidate(place * 4 - 4, window));
                if SHORT {
                    self.short.find(word & FIVE, |window| candidate(place * 4 - 4, window));
                }
            }
            before = Some(high);
        }
        if let (true, Some(low), Some(next)) = (SHORT, before, rest.first()) {
            let word = low | u64::from(*next) << 32;
            self.short.find(word, |window| candidate(chunks.len() * 4 - 4, window));
        }
    }

    /// The memory it takes, in bytes.
    pub fn memory(&self) -> usize {
        self.long.memory() + self.short.memory()
    }
}

/// Windows of one width by their bytes. Those themselves are not kept.
#[derive(Default)]
struct Windows {
    /// One bit for each value of a longer hash: most places end here.
    bits: Box<[u64]>,
    bits_shift: u32,
    /// Where the entries begin for each value of a shorter one; one more than there are values.
    starts: Box<[u32]>,
    starts_shift: u32,
    /// The place of the needle above, the place in it below.
    entries: Zeroizing<Vec<u64>>,
}

impl Windows {
    fn new<I: Iterator<Item = [u64; 2]>>(windows: impl Fn() -> I) -> Self {
        let count = windows().count();
        if count == 0 {
            return Self::default();
        }
        // Sixteen bits for a window: one place in sixteen, of those that hold none, is looked at again at worst.
        let bits_log = (count * 16).next_power_of_two().ilog2().max(12);
        let starts_log = count.next_power_of_two().ilog2().max(6);
        let (bits_shift, starts_shift) = (64 - bits_log, 64 - starts_log);
        let mut bits = vec![0_u64; 1 << (bits_log - 6)].into_boxed_slice();
        // Room for all of them at once: a list that grew would leave what it knows of the secrets behind.
        let mut hashed = Zeroizing::new(Vec::with_capacity(count));
        hashed.extend(windows());
        for [hash, _] in hashed.iter() {
            if let Some(word) = bits.get_mut((hash >> bits_shift >> 6) as usize) {
                *word |= 1 << (hash >> bits_shift & 63);
            }
        }
        hashed.sort_unstable();
        let mut starts = vec![0_u32; (1 << starts_log) + 1].into_boxed_slice();
        let mut entries = Zeroizing::new(Vec::with_capacity(hashed.len()));
        let (mut last, mut alike) = (None, 0);
        for [hash, entry] in hashed.iter() {
            alike = if last == Some(*hash) { alike + 1 } else { 0 };
            last = Some(*hash);
            if alike < MOST_ALIKE {
                entries.push(*entry);
                if let Some(end) = starts.get_mut((hash >> starts_shift) as usize + 1) {
                    *end = entries.len() as u32;
                }
            }
        }
        // What has no entry begins where the one before it ends.
        let mut end = 0;
        for start in &mut starts {
            end = end.max(*start);
            *start = end;
        }
        Self { bits, bits_shift, starts, starts_shift, entries }
    }

    #[inline]
    fn find(&self, word: u64, mut found: impl FnMut(Window)) {
        let hash = hash(word);
        let bit = hash >> (self.bits_shift & 63);
        match self.bits.get((bit >> 6) as usize) {
            Some(word) if word >> (bit & 63) & 1 == 1 => {}
            _ => return,
        }
        let slot = (hash >> (self.starts_shift & 63)) as usize;
        let (Some(start), Some(end)) = (self.starts.get(slot), self.starts.get(slot + 1)) else { return };
        for entry in self.entries.get(*start as usize..*end as usize).unwrap_or_default() {
            found(Window { needle: (entry >> 32) as usize, at: (entry & 0xffff_ffff) as usize });
        }
    }

    fn memory(&self) -> usize {
        self.bits.len() * 8 + self.starts.len() * 4 + self.entries.len() * 8
    }
}

#[inline]
fn hash(word: u64) -> u64 {
    (word | FOLD).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
