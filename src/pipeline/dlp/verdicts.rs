//! Blocks of messages that were clean: agents send their whole conversation again with every turn, and what was looked
//! at once under the same rules is not looked at again.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// A table of clean blocks, of constant size and without a lock: late ones displace early ones. It may forget a block,
/// but never takes one for clean that was not noted as such: two of the same keyed hash are not to be had.
pub struct Verdicts {
    keys: RandomState,
    sums: Box<[[u64; 2]; PAIRS]>,
    /// Pairs of places, the later block first; zero where there is none.
    slots: Box<[[AtomicU64; 2]]>,
}

/// A block under the rules that it was scanned with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block(u64);

/// How many pairs of words are summed up before they are hashed.
const PAIRS: usize = 64;

impl Block {
    /// The name as a number: two blocks of the same are not to be had.
    pub fn name(self) -> u64 {
        self.0
    }
}

impl Verdicts {
    /// Room for so many blocks, rounded up to a power of two; eight bytes each.
    pub fn new(slots: usize, keys: RandomState) -> Self {
        let pairs = slots.div_ceil(2).next_power_of_two();
        let sums = Box::new(std::array::from_fn(|pair| [keys.hash_one((0, pair)), keys.hash_one((1, pair))]));
        Self { keys, sums, slots: (0..pairs).map(|_| Default::default()).collect() }
    }

    /// A block's name here. `rules` is whatever else decides what is found in it: the version of the rules, of the
    /// known secrets, and of the profile.
    pub fn block(&self, rules: u64, text: &[u8]) -> Block {
        let mut hasher = self.keys.build_hasher();
        (rules, text.len()).hash(&mut hasher);
        for chunk in text.chunks(PAIRS * 16) {
            self.sum(chunk).hash(&mut hasher);
        }
        // Zero is for empty places.
        Block(hasher.finish().max(1))
    }

    /// The NH of RFC 4418 §5.2.2 in words of 64 bits: two chunks of one length have the same sum by a chance of 2⁻⁶⁴
    /// for whoever does not know the key. Ten times as fast as to put all of them into the hash.
    fn sum(&self, chunk: &[u8]) -> u128 {
        let word = |bytes: [u8; 16]| {
            let both = u128::from_le_bytes(bytes);
            [both as u64, (both >> 64) as u64]
        };
        let product =
            |[a, b]: [u64; 2], [k, l]: &[u64; 2]| u128::from(a.wrapping_add(*k)) * u128::from(b.wrapping_add(*l));
        let (pairs, rest) = chunk.as_chunks::<16>();
        let sum = pairs
            .iter()
            .zip(self.sums.iter())
            .fold(0_u128, |sum, (pair, key)| sum.wrapping_add(product(word(*pair), key)));
        let mut last = [0; 16];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        match self.sums.get(pairs.len()).filter(|_| !rest.is_empty()) {
            Some(key) => sum.wrapping_add(product(word(last), key)),
            None => sum,
        }
    }

    /// True if the block was clean.
    pub fn seen(&self, block: Block) -> bool {
        let Some([first, second]) = self.pair(block) else { return false };
        if first.load(Ordering::Relaxed) == block.0 {
            return true;
        }
        if second.load(Ordering::Relaxed) != block.0 {
            return false;
        }
        // What is asked for stays longer than what is not.
        second.store(first.swap(block.0, Ordering::Relaxed), Ordering::Relaxed);
        true
    }

    /// Notes that nothing at all was found in the block.
    pub fn note(&self, block: Block) {
        let Some([first, second]) = self.pair(block) else { return };
        let before = first.swap(block.0, Ordering::Relaxed);
        if before != block.0 {
            second.store(before, Ordering::Relaxed);
        }
    }

    fn pair(&self, block: Block) -> Option<&[AtomicU64; 2]> {
        self.slots.get(block.0 as usize & (self.slots.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_clean_only_under_the_rules_it_was_scanned_with() {
        let verdicts = Verdicts::new(16, RandomState::new());
        let block = verdicts.block(1, b"hello");
        assert!(!verdicts.seen(block));
        verdicts.note(block);
        assert!(verdicts.seen(block) && verdicts.seen(verdicts.block(1, b"hello")));
        assert!(!verdicts.seen(verdicts.block(2, b"hello")) && !verdicts.seen(verdicts.block(1, b"hello ")));
        let other = Verdicts::new(16, RandomState::new());
        assert_ne!(other.block(1, b"hello"), block, "no one else knows the key");
    }

    #[test]
    fn a_block_is_another_if_one_bit_of_it_is() {
        let verdicts = Verdicts::new(16, RandomState::new());
        for length in [1, 15, 16, 17, 1023, 1024, 1025, 3000] {
            let text = vec![0; length];
            let block = verdicts.block(1, &text);
            assert_ne!(verdicts.block(1, &vec![0; length + 1]), block, "{length}");
            for at in 0..length {
                let mut other = text.clone();
                other[at] = 1 << (at % 8);
                assert_ne!(verdicts.block(1, &other), block, "{at} of {length}");
            }
        }
    }

    #[test]
    fn what_is_asked_for_stays_and_the_table_does_not_grow() {
        let verdicts = Verdicts::new(2, RandomState::new());
        let blocks: Vec<Block> = (0..100).map(|n| verdicts.block(n, b"")).collect();
        for block in &blocks {
            verdicts.note(*block);
            assert!(verdicts.seen(*block));
            verdicts.note(blocks[0]);
        }
        assert!(verdicts.seen(blocks[0]));
        assert_eq!(blocks.iter().filter(|block| verdicts.seen(**block)).count(), 2);
    }

    #[test]
    fn many_at_once_never_make_a_block_clean_that_is_not() {
        let verdicts = Verdicts::new(8, RandomState::new());
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let verdicts = &verdicts;
                scope.spawn(move || {
                    for turn in 0..20_000_u64 {
                        verdicts.note(verdicts.block(thread, &(turn % 7).to_le_bytes()));
                        assert!(!verdicts.seen(verdicts.block(99, &turn.to_le_bytes())));
                    }
                });
            }
        });
    }
}
