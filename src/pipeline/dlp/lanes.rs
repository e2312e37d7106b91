//! Sixteen bytes at once: which of 64 bytes are of a kind, as a bit for each. Every byte of every message comes by here,
//! more than once.
//!
//! It is the one module with `unsafe` in it: instructions that every x86-64 processor has (SSE2 belongs to the architecture)
//! and that the compiler only offers as such, and some of AVX2, where the processor is asked first. Elsewhere the same is
//! done byte by byte; a test holds one against the other.

#![allow(unsafe_code)]

#[cfg(not(target_arch = "x86_64"))]
pub use bytes::Lanes;
#[cfg(target_arch = "x86_64")]
pub use sse2::Lanes;

/// How many bytes a mask is of.
pub const BLOCK: usize = 64;

/// For each hash of three bytes a bit for each five low bits of the fourth that may follow.
pub type Followers = [u32; 1 << FOLLOWERS_BITS];

/// How many bits that hash has.
pub const FOLLOWERS_BITS: u32 = 14;

/// A block and as much behind it as belongs to its last place.
pub type Windows = [u8; BLOCK + 8];

/// The first three of four bytes, the first in the lowest place, as they are hashed.
#[inline(always)]
pub fn hash_of_three(window: u32) -> u32 {
    window.wrapping_mul(MULTIPLIER) >> (u32::BITS - FOLLOWERS_BITS)
}

/// Knuth's, without the fourth byte of what it is multiplied with.
const MULTIPLIER: u32 = 0x9e37_79b1 << 8;

/// A bit for each second place of a block: whether the fourth byte from there may follow the three before it. Letters of
/// both cases are alike.
#[inline]
pub fn following(followers: &Followers, bytes: &Windows) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if let Some(mask) = avx2::following(followers, bytes) {
        return mask;
    }
    following_one_by_one(followers, bytes)
}

#[cfg_attr(target_arch = "x86_64", cold)]
fn following_one_by_one(followers: &Followers, bytes: &Windows) -> u32 {
    let windows = bytes.windows(4).step_by(2).take(BLOCK / 2).enumerate();
    windows.fold(0, |mask, (at, window)| {
        let window = window.iter().rev().fold(0, |window, byte| window << 8 | u32::from(byte | 0x20));
        let follows = followers.get(hash_of_three(window) as usize).copied().unwrap_or_default();
        mask | (follows >> (window >> 24 & 31) & 1) << at
    })
}

/// A bit for each byte of which `is` says so.
#[inline(always)]
pub fn mask(block: &[u8; BLOCK], is: impl Fn(Lanes) -> Lanes) -> u64 {
    let (lanes, _) = block.as_chunks::<16>();
    lanes.iter().rev().fold(0, |mask, lane| mask << 16 | u64::from(is(Lanes::of(lane)).bits()))
}

/// The places of the bytes of which `is` says so.
pub fn places(text: &[u8], is: impl Fn(Lanes) -> Lanes + Copy) -> impl Iterator<Item = usize> {
    let length = text.len();
    let masks = blocks(text).map(move |(at, block)| (at, mask(&block, is))).filter(|(_, mask)| *mask != 0);
    let each = masks.flat_map(|(at, mask)| {
        let bits = std::iter::successors(Some(mask), |mask| Some(mask & (mask - 1)).filter(|mask| *mask != 0));
        bits.map(move |mask| at + mask.trailing_zeros() as usize)
    });
    each.take_while(move |at| *at < length)
}

/// A text in blocks, each with its place; blanks follow the end.
pub fn blocks(text: &[u8]) -> impl Iterator<Item = (usize, [u8; BLOCK])> + '_ {
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    let mut last = [b' '; BLOCK];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let all = blocks.iter().copied().chain((!rest.is_empty()).then_some(last));
    all.enumerate().map(|(at, block)| (at * BLOCK, block))
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi8, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8,
    };

    /// Sixteen bytes; as an answer, all ones where it is yes.
    #[derive(Clone, Copy)]
    pub struct Lanes(__m128i);

    // SAFETY, of all that follows: the target has SSE2, and the only address read from is that of an array of sixteen bytes,
    // which the instruction needs not to be aligned.
    impl Lanes {
        /// These bytes.
        #[inline(always)]
        pub fn of(bytes: &[u8; 16]) -> Self {
            Self(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
        }

        /// Which are this byte.
        #[inline(always)]
        pub fn is(self, byte: u8) -> Self {
            Self(unsafe { _mm_cmpeq_epi8(self.0, _mm_set1_epi8(byte as i8)) })
        }

        /// Which are one of `count` bytes from this one on. At most 127, none beyond the last byte.
        #[inline(always)]
        pub fn within(self, first: u8, count: i8) -> Self {
            // Moved so that the first is the least of the signed ones.
            let moved = unsafe { _mm_add_epi8(self.0, _mm_set1_epi8(i8::MIN.wrapping_sub(first as i8))) };
            Self(unsafe { _mm_cmplt_epi8(moved, _mm_set1_epi8(i8::MIN + count)) })
        }

        /// What is one or the other.
        #[inline(always)]
        pub fn or(self, other: Self) -> Self {
            Self(unsafe { _mm_or_si128(self.0, other.0) })
        }

        /// The same with small letters for capitals, and a few signs for others.
        #[inline(always)]
        pub fn folded(self) -> Self {
            Self(unsafe { _mm_or_si128(self.0, _mm_set1_epi8(0x20)) })
        }

        /// The highest bit of each, the first in the lowest place.
        #[inline(always)]
        pub fn bits(self) -> u16 {
            unsafe { _mm_movemask_epi8(self.0) as u16 }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        _mm_loadu_si128, _mm256_and_si256, _mm256_castsi256_ps, _mm256_i32gather_epi32, _mm256_movemask_ps,
        _mm256_mullo_epi32, _mm256_or_si256, _mm256_set_m128i, _mm256_set1_epi32, _mm256_setr_epi8,
        _mm256_shuffle_epi8, _mm256_sllv_epi32, _mm256_srli_epi32, _mm256_xor_si256,
    };

    use super::{BLOCK, FOLLOWERS_BITS, Followers, MULTIPLIER, Windows};

    /// The same as one by one, eight places at once; none where the processor has no AVX2.
    #[inline(always)]
    pub fn following(followers: &Followers, bytes: &Windows) -> Option<u32> {
        if !is_x86_feature_detected!("avx2") {
            return None;
        }
        // SAFETY: the processor has AVX2.
        Some(unsafe { eights(followers, bytes) })
    }

    #[target_feature(enable = "avx2")]
    fn eights(followers: &Followers, bytes: &Windows) -> u32 {
        const HASH: i32 = (u32::BITS - FOLLOWERS_BITS) as i32;
        // Of each half the four bytes from each second place on.
        let spread = _mm256_setr_epi8(
            0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7, 6, 7, 8, 9, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7, 6, 7, 8, 9,
        );
        let fold = _mm256_set1_epi32(0x2020_2020);
        let last = _mm256_set1_epi32(31);
        let multiplier = _mm256_set1_epi32(MULTIPLIER as i32);
        let mut mask = 0;
        for at in (0..BLOCK).step_by(16).rev() {
            let from = bytes.as_ptr().wrapping_add(at);
            // SAFETY: 24 bytes from there on are of the array.
            let halves =
                unsafe { _mm256_set_m128i(_mm_loadu_si128(from.wrapping_add(8).cast()), _mm_loadu_si128(from.cast())) };
            let windows = _mm256_or_si256(_mm256_shuffle_epi8(halves, spread), fold);
            let hashes = _mm256_srli_epi32::<HASH>(_mm256_mullo_epi32(windows, multiplier));
            // SAFETY: a hash has as many bits as the places of the table.
            let follows = unsafe { _mm256_i32gather_epi32::<4>(followers.as_ptr().cast(), hashes) };
            // The bit in the highest place of each.
            let left = _mm256_xor_si256(_mm256_and_si256(_mm256_srli_epi32::<24>(windows), last), last);
            let bits = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_sllv_epi32(follows, left)));
            mask = mask << 8 | bits as u32;
        }
        mask
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod bytes {
    /// Sixteen bytes; as an answer, all ones where it is yes.
    #[derive(Clone, Copy)]
    pub struct Lanes([u8; 16]);

    impl Lanes {
        /// These bytes.
        pub fn of(bytes: &[u8; 16]) -> Self {
            Self(*bytes)
        }

        /// Which are this byte.
        pub fn is(self, byte: u8) -> Self {
            Self(self.0.map(|is| if is == byte { u8::MAX } else { 0 }))
        }

        /// Which are one of `count` bytes from this one on. At most 127, none beyond the last byte.
        pub fn within(self, first: u8, count: i8) -> Self {
            Self(self.0.map(|is| if is.wrapping_sub(first) < count as u8 { u8::MAX } else { 0 }))
        }

        /// What is one or the other.
        pub fn or(self, other: Self) -> Self {
            let mut both = self.0;
            both.iter_mut().zip(other.0).for_each(|(one, other)| *one |= other);
            Self(both)
        }

        /// The same with small letters for capitals, and a few signs for others.
        pub fn folded(self) -> Self {
            Self(self.0.map(|byte| byte | 0x20))
        }

        /// The highest bit of each, the first in the lowest place.
        pub fn bits(self) -> u16 {
            self.0.iter().rev().fold(0, |bits, byte| bits << 1 | u16::from(byte >> 7))
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use proptest::prelude::*;

    use super::{BLOCK, Followers, Windows, avx2, bytes, following_one_by_one, hash_of_three, sse2};

    proptest! {
        #[test]
        fn sixteen_at_once_are_what_each_is(
            all in prop::array::uniform16(any::<u8>()), byte in any::<u8>(), other in any::<u8>(), count in 0..=127_i8,
        ) {
            let fast = sse2::Lanes::of(&all);
            let slow = bytes::Lanes::of(&all);
            let first = byte.min(u8::MAX - count as u8);
            prop_assert_eq!(fast.bits(), slow.bits());
            prop_assert_eq!(fast.is(all[3]).bits(), slow.is(all[3]).bits());
            prop_assert_eq!(fast.within(first, count).bits(), slow.within(first, count).bits());
            prop_assert_eq!(fast.folded().is(byte).bits(), slow.folded().is(byte).bits());
            prop_assert_eq!(fast.is(byte).or(fast.is(other)).bits(), slow.is(byte).or(slow.is(other)).bits());
        }

        #[test]
        fn eight_at_once_are_what_each_is(text in prop::collection::vec(prop::sample::select(b"aBc_- \xff9".to_vec()), BLOCK + 8), some in any::<u64>()) {
            let bytes: Windows = text.try_into().unwrap();
            let mut followers: Box<Followers> = vec![0; size_of::<Followers>() / 4].try_into().unwrap();
            for at in (0..BLOCK).filter(|at| some >> at & 1 == 1) {
                let window = u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) | 0x2020_2020;
                followers[hash_of_three(window) as usize] |= 1 << (window >> 24 & 31);
            }
            let slow = following_one_by_one(&followers, &bytes);
            prop_assert!((0..BLOCK / 2).all(|at| some >> (2 * at) & 1 == 0 || slow >> at & 1 == 1));
            prop_assert_eq!(avx2::following(&followers, &bytes).unwrap_or(slow), slow);
        }
    }
}
