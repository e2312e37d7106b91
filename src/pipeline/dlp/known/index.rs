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

/// Windows with the same bytes are not taken more often if it can be helped: in a text that has them, each is compared.
const MOST_ALIKE: usize = 16;

impl Index {
    /// Takes the windows; `pieces` are, for each needle, the fewest bytes of it that are to be found.
    pub fn new(haystack: &Haystack, pieces: &[usize]) -> Self {
        let (mut long, mut short) = (Entries::default(), Entries::default());
        for (place, (needle, piece)) in haystack.needles.iter().zip(pieces).enumerate() {
            let (width, entries) = if *piece < LONG { (NARROWEST, &mut short) } else { (8, &mut long) };
            entries.take(place, haystack.of(needle), width, *piece);
        }
        for entries in [&mut long, &mut short] {
            entries.thin_out(haystack.needles.len());
        }
        Self { long: Windows::new(&long), short: Windows::new(&short) }
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
        let mut look = |place: usize, word: u64| {
            if self.long.may_hold(word) {
                self.long.find(word, |window| candidate(place, window));
            }
            if SHORT && self.short.may_hold(word & FIVE) {
                self.short.find(word & FIVE, |window| candidate(place, window));
            }
        };
        let (blocks, rest) = text.as_chunks::<16>();
        let mut next = blocks.iter().skip(1);
        for (place, block) in blocks.iter().enumerate() {
            let block = u128::from_le_bytes(*block);
            // Of the last block the places without a whole window are left to what follows.
            let Some(after) = next.next() else { break };
            let [a, b, c, d, ..] = *after;
            let beyond = u64::from(u32::from_le_bytes([a, b, c, d]));
            let words = [block as u64, (block >> 32) as u64, (block >> 64) as u64, (block >> 96) as u64 | beyond << 32];
            // One branch for four places: almost all blocks end here.
            let hit = words.iter().fold(false, |hit, word| {
                hit | self.long.may_hold(*word) | (SHORT && self.short.may_hold(*word & FIVE))
            });
            if hit {
                (0..).step_by(STRIDE).zip(words).for_each(|(of, word)| look(place * 16 + of, word));
            }
        }
        let begin = blocks.len().saturating_sub(1) * 16;
        let tail = text.get(begin..).unwrap_or(rest);
        for (of, window) in tail.windows(8).enumerate().step_by(STRIDE) {
            look(begin + of, window.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
        // A short window may begin where no long one does.
        let last = tail.len() & !(STRIDE - 1);
        for of in [last.wrapping_sub(8), last.wrapping_sub(STRIDE)] {
            let Some(window) = tail.get(of..).and_then(|end| end.get(..NARROWEST)).filter(|_| SHORT) else { continue };
            let word = window.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.short.find(word, |window| candidate(begin + of, window));
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
    /// One bit for each value of a longer hash: almost all places end here.
    bits: Box<[u64]>,
    bits_shift: u32,
    /// Where the entries begin for each value of a shorter one; one more than there are values.
    starts: Box<[u32]>,
    starts_shift: u32,
    entries: Zeroizing<Vec<u64>>,
}

/// An entry: the needle in 24 bits, the place in it in 20, some of the hash in 20.
const TAG: u64 = 0xf_ffff;

fn tag(hash: u64) -> u64 {
    hash >> 16 & TAG
}

impl Windows {
    fn new(windows: &Entries) -> Self {
        let count = windows.0.len();
        if count == 0 {
            return Self::default();
        }
        let bits_log = (count * 32).next_power_of_two().ilog2().max(12);
        let starts_log = count.next_power_of_two().ilog2().max(6);
        let (bits_shift, starts_shift) = (64 - bits_log, 64 - starts_log);
        let mut bits = vec![0_u64; 1 << (bits_log - 6)].into_boxed_slice();
        for [hash, _] in windows.0.iter() {
            let bit = hash >> bits_shift;
            if let Some(word) = bits.get_mut((bit >> 6) as usize) {
                *word |= 1 << (bit & 63);
            }
        }
        let mut starts = vec![0_u32; (1 << starts_log) + 1].into_boxed_slice();
        let mut entries = Zeroizing::new(Vec::with_capacity(count));
        for [hash, entry] in windows.0.iter() {
            entries.push(entry | tag(*hash));
            if let Some(end) = starts.get_mut((hash >> starts_shift) as usize + 1) {
                *end = entries.len() as u32;
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
    fn may_hold(&self, word: u64) -> bool {
        let bit = hash(word) >> (self.bits_shift & 63);
        self.bits.get((bit >> 6) as usize).is_some_and(|word| word >> (bit & 63) & 1 == 1)
    }

    fn find(&self, word: u64, mut found: impl FnMut(Window)) {
        let hash = hash(word);
        let tag = tag(hash);
        let slot = (hash >> (self.starts_shift & 63)) as usize;
        let (Some(start), Some(end)) = (self.starts.get(slot), self.starts.get(slot + 1)) else { return };
        for entry in self.entries.get(*start as usize..*end as usize).unwrap_or_default() {
            if entry & TAG == tag {
                found(Window { needle: (entry >> 40) as usize, at: (entry >> 20 & 0xf_ffff) as usize });
            }
        }
    }

    fn memory(&self) -> usize {
        self.bits.len() * 8 + self.starts.len() * 4 + self.entries.len() * 8
    }
}

/// Windows as they are collected: the hash of each, and its entry. In order once they are thinned out.
#[derive(Default)]
struct Entries(Zeroizing<Vec<[u64; 2]>>);

impl Entries {
    /// Takes windows of a needle so that every row of so many bytes of it has one in the right place.
    fn take(&mut self, place: usize, needle: &[u8], width: usize, piece: usize) {
        let apart = (piece.saturating_sub(width - 1) / STRIDE).max(1);
        let apart = apart - usize::from(apart.is_multiple_of(2));
        self.reserve(needle.len().div_ceil(apart));
        let windows = needle.windows(width).enumerate().step_by(apart);
        self.0.extend(windows.map(|(at, window)| {
            let word = window.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            [hash(word), (place as u64) << 40 | (at as u64) << 20]
        }));
    }

    /// Leaves out windows that stand in too many places, but for as many as it takes to find a needle as a whole.
    fn thin_out(&mut self, needles: usize) {
        self.0.sort_unstable();
        // Wherever a needle stands in a text, one of its windows must begin in a fourth place.
        let mut rarest = vec![[(usize::MAX, [0; 2]); STRIDE]; needles];
        for group in self.0.chunk_by(alike) {
            for [hash, entry] in group {
                let (needle, residue) = ((entry >> 40) as usize, (entry >> 20) as usize % STRIDE);
                let rarest = rarest.get_mut(needle).and_then(|rarest| rarest.get_mut(residue));
                if let Some(rarest) = rarest.filter(|(size, _)| group.len() < *size) {
                    *rarest = (group.len(), [*hash, *entry]);
                }
            }
        }
        let mut kept = Zeroizing::new(Vec::with_capacity(self.0.len()));
        let rare = self.0.chunk_by(alike).filter(|group| group.len() <= MOST_ALIKE);
        kept.extend(rare.flatten().copied());
        let common = rarest.iter().flatten().filter(|(size, _)| (MOST_ALIKE + 1..usize::MAX).contains(size));
        kept.extend(common.map(|(_, window)| *window));
        kept.sort_unstable();
        self.0 = kept;
    }

    /// A list that grew by itself would leave what it knows of the secrets behind.
    fn reserve(&mut self, more: usize) {
        if self.0.len() + more > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity((self.0.len() + more) * 2));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
    }
}

fn alike(one: &[u64; 2], other: &[u64; 2]) -> bool {
    one.first() == other.first()
}

#[inline]
fn hash(word: u64) -> u64 {
    (word | FOLD).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
