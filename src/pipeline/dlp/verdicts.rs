//! Blocks of messages that were clean: agents send their whole conversation again with every turn, and what was looked
//! at once under the same rules is not looked at again.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// A table of clean blocks, of constant size and without a lock: late ones displace early ones. It may forget a block,
/// but never takes one for clean that was not noted as such: two of the same keyed hash are not to be had.
pub struct Verdicts {
    keys: RandomState,
    /// Pairs of places, the later block first; zero where there is none.
    slots: Box<[[AtomicU64; 2]]>,
}

/// A block under the rules that it was scanned with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block(u64);

impl Verdicts {
    /// Room for so many blocks, rounded up to a power of two; eight bytes each.
    pub fn new(slots: usize, keys: RandomState) -> Self {
        let pairs = slots.div_ceil(2).next_power_of_two();
        Self { keys, slots: (0..pairs).map(|_| Default::default()).collect() }
    }

    /// A block's name here. `rules` is whatever else decides what is found in it: the version of the rules, of the
    /// known secrets, and of the profile.
    pub fn block(&self, rules: u64, text: &[u8]) -> Block {
        // Zero is for empty places.
        Block(self.keys.hash_one((rules, text)).max(1))
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
