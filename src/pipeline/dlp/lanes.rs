//! Sixteen bytes at once: which of 64 bytes are of a kind, as a bit for each. Every byte of every message comes by here,
//! more than once.
//!
//! It is the one module with `unsafe` in it: instructions that every x86-64 processor has (SSE2 belongs to the architecture)
//! and that the compiler only offers as such, and those of AVX2 and AVX-512, thirty-two and sixty-four bytes at once, where
//! the processor is asked first. Elsewhere the same is done byte by byte; tests hold one against the other.

#![allow(unsafe_code)]

use std::marker::PhantomData;

#[cfg(not(target_arch = "x86_64"))]
use bytes::Lanes;
#[cfg(target_arch = "x86_64")]
use sse2::Lanes;

/// How many bytes a mask is of.
pub const BLOCK: usize = 64;

/// For each hash of three bytes a bit for each five low bits of the fourth that may follow.
pub type Followers = [u32; 1 << FOLLOWERS_BITS];

/// How many bits that hash has.
pub const FOLLOWERS_BITS: u32 = 13;

/// A block and as much behind it as belongs to its last place.
pub type Windows = [u8; BLOCK + BEHIND];

/// How much that is.
const BEHIND: usize = 8;

/// How many blocks are read in one go: the processor is asked once for all of them.
pub const TOGETHER: usize = 16;

/// The first three of four bytes, the first in the lowest place, as they are hashed.
#[inline(always)]
pub fn hash_of_three(window: u32) -> u32 {
    window.wrapping_mul(MULTIPLIER) >> (u32::BITS - FOLLOWERS_BITS)
}

/// Knuth's, without the fourth byte of what it is multiplied with.
const MULTIPLIER: u32 = 0x9e37_79b1 << 8;

/// A bit for each second place of a block: whether the fourth byte from there may follow the three before it. Letters of
/// both cases are alike. As many blocks are read as have all that belongs to them, up to [`TOGETHER`]; how many these were.
#[inline]
pub fn following(followers: &Followers, text: &[u8], masks: &mut [u32; TOGETHER]) -> usize {
    let count = (text.len().saturating_sub(BEHIND) / BLOCK).min(TOGETHER);
    #[cfg(target_arch = "x86_64")]
    if avx512::following(followers, text, masks) || avx2::following(followers, text, masks) {
        return count;
    }
    following_one_by_one(followers, text, masks);
    count
}

#[cfg_attr(target_arch = "x86_64", cold)]
fn following_one_by_one(followers: &Followers, text: &[u8], masks: &mut [u32; TOGETHER]) {
    for (mask, bytes) in masks.iter_mut().zip(text.windows(BLOCK + BEHIND).step_by(BLOCK)) {
        let windows = bytes.windows(4).step_by(2).take(BLOCK / 2).enumerate();
        *mask = windows.fold(0, |mask, (at, window)| {
            let window = window.iter().rev().fold(0, |window, byte| window << 8 | u32::from(byte | 0x20));
            let follows = followers.get(hash_of_three(window) as usize).copied().unwrap_or_default();
            mask | (follows >> (window >> 24 & 31) & 1) << at
        });
    }
}

/// Some bytes at once; as an answer, all ones where it is yes.
pub trait Vector: Copy {
    /// Which are this byte.
    fn is(self, byte: u8) -> Self;
    /// Which are one of `count` bytes from this one on. At most 127, none beyond the last byte.
    fn within(self, first: u8, count: i8) -> Self;
    /// What is one or the other.
    fn or(self, other: Self) -> Self;
    /// The same with small letters for capitals, and a few signs for others.
    fn folded(self) -> Self;
}

/// What bytes may be of: several kinds that are asked for together.
pub trait Kinds<const N: usize> {
    /// Which of these bytes are of each.
    fn of<V: Vector>(bytes: V) -> [V; N];
}

/// For each kind a bit for each byte of a block.
#[inline(always)]
pub fn masks<K: Kinds<N>, const N: usize>(block: &[u8; BLOCK]) -> [u64; N] {
    let mut masks = [[0; N]];
    masks_of::<K, N>(std::slice::from_ref(block), &mut masks);
    let [masks] = masks;
    masks
}

/// The same of many blocks.
#[inline(always)]
fn masks_of<K: Kinds<N>, const N: usize>(blocks: &[[u8; BLOCK]], masks: &mut [[u64; N]]) {
    #[cfg(target_arch = "x86_64")]
    if avx512::masks::<K, N>(blocks, masks) || avx2::masks::<K, N>(blocks, masks) {
        return;
    }
    for (masks, block) in masks.iter_mut().zip(blocks) {
        *masks = sixteens::<K, N>(block);
    }
}

/// For each kind a bit for each byte, for each block of a text in turn, with its place. Behind the end are blanks.
pub struct Masks<'t, K, const N: usize> {
    blocks: Blocks<'t>,
    next: usize,
    /// Those of the blocks that were read together with the last one.
    ready: [[u64; N]; TOGETHER],
    kinds: PhantomData<K>,
}

impl<'t, K: Kinds<N>, const N: usize> Masks<'t, K, N> {
    /// Those of a text.
    #[inline]
    pub fn of(text: &'t [u8]) -> Self {
        Self { blocks: Blocks::of(text), next: 0, ready: [[0; N]; TOGETHER], kinds: PhantomData }
    }

    #[inline(never)]
    fn read(&mut self) {
        let rest = self.blocks.whole.get(self.next..).unwrap_or_default();
        let whole = rest.get(..TOGETHER).unwrap_or(rest);
        masks_of::<K, N>(whole, &mut self.ready);
        if let Some(masks) = self.ready.get_mut(whole.len()) {
            *masks = self::masks::<K, N>(&self.blocks.last);
        }
    }
}

impl<K: Kinds<N>, const N: usize> Iterator for Masks<'_, K, N> {
    type Item = (usize, [u64; N]);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.blocks.count() {
            return None;
        }
        let slot = self.next % TOGETHER;
        if slot == 0 {
            self.read();
        }
        let at = self.next * BLOCK;
        self.next += 1;
        self.ready.get(slot).map(|masks| (at, *masks))
    }

    /// All of those that were read together, without asking at each whether there are more.
    #[inline(always)]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(mut self, mut so_far: B, mut f: F) -> B {
        let count = self.blocks.count();
        while self.next < count {
            let slot = self.next % TOGETHER;
            if slot == 0 {
                self.read();
            }
            let ready = TOGETHER.min(slot + count - self.next);
            for masks in self.ready.get(slot..ready).unwrap_or_default() {
                so_far = f(so_far, (self.next * BLOCK, *masks));
                self.next += 1;
            }
        }
        so_far
    }
}

#[inline(always)]
fn sixteens<K: Kinds<N>, const N: usize>(block: &[u8; BLOCK]) -> [u64; N] {
    let (lanes, _) = block.as_chunks::<16>();
    let mut masks = [0; N];
    for lane in lanes.iter().rev() {
        for (mask, kind) in masks.iter_mut().zip(K::of(Lanes::of(lane))) {
            *mask = *mask << 16 | u64::from(kind.bits());
        }
    }
    masks
}

/// A bit for each byte of a block that is not before this place.
#[inline(always)]
pub fn not_before(place: usize, block: usize) -> u64 {
    u64::MAX.checked_shl(place.saturating_sub(block).try_into().unwrap_or(u64::BITS)).unwrap_or(0)
}

/// Tells each place of a byte of a kind.
#[inline(always)]
pub fn each_place<K: Kinds<1>>(text: &[u8], mut found: impl FnMut(usize)) {
    Masks::<K, 1>::of(text).for_each(|(block, [mask])| {
        let mut mask = mask & !not_before(text.len(), block);
        while mask != 0 {
            found(block + mask.trailing_zeros() as usize);
            mask &= mask - 1;
        }
    });
}

/// The places of the bytes of a kind.
pub fn places<K: Kinds<1>>(text: &[u8]) -> impl Iterator<Item = usize> {
    let length = text.len();
    let masks = Masks::<K, 1>::of(text).filter(|(_, [mask])| *mask != 0);
    let each = masks.flat_map(|(at, [mask])| {
        let bits = std::iter::successors(Some(mask), |mask| Some(mask & (mask - 1)).filter(|mask| *mask != 0));
        bits.map(move |mask| at + mask.trailing_zeros() as usize)
    });
    each.take_while(move |at| *at < length)
}

/// A text in blocks; blanks follow the end.
#[derive(Debug)]
pub struct Blocks<'t> {
    whole: &'t [[u8; BLOCK]],
    /// What is left over.
    last: [u8; BLOCK],
    count: usize,
}

impl<'t> Blocks<'t> {
    /// Those of a text. Only what is left over is copied.
    #[inline]
    pub fn of(text: &'t [u8]) -> Self {
        let (whole, rest) = text.as_chunks::<BLOCK>();
        let mut last = [b' '; BLOCK];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        Self { whole, last, count: whole.len() + usize::from(!rest.is_empty()) }
    }

    /// How many there are.
    #[inline(always)]
    pub fn count(&self) -> usize {
        self.count
    }

    /// One of them.
    #[inline(always)]
    pub fn at(&self, at: usize) -> &[u8; BLOCK] {
        self.whole.get(at).unwrap_or(&self.last)
    }
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

        /// The highest bit of each, the first in the lowest place.
        #[inline(always)]
        pub fn bits(self) -> u16 {
            unsafe { _mm_movemask_epi8(self.0) as u16 }
        }
    }

    // SAFETY: as above.
    impl super::Vector for Lanes {
        #[inline(always)]
        fn is(self, byte: u8) -> Self {
            Self(unsafe { _mm_cmpeq_epi8(self.0, _mm_set1_epi8(byte as i8)) })
        }

        #[inline(always)]
        fn within(self, first: u8, count: i8) -> Self {
            // Moved so that the first is the least of the signed ones.
            let moved = unsafe { _mm_add_epi8(self.0, _mm_set1_epi8(i8::MIN.wrapping_sub(first as i8))) };
            Self(unsafe { _mm_cmplt_epi8(moved, _mm_set1_epi8(i8::MIN + count)) })
        }

        #[inline(always)]
        fn or(self, other: Self) -> Self {
            Self(unsafe { _mm_or_si128(self.0, other.0) })
        }

        #[inline(always)]
        fn folded(self) -> Self {
            Self(unsafe { _mm_or_si128(self.0, _mm_set1_epi8(0x20)) })
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm_loadu_si128, _mm256_add_epi8, _mm256_and_si256, _mm256_castsi256_ps, _mm256_cmpeq_epi8,
        _mm256_cmpgt_epi8, _mm256_i32gather_epi32, _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_movemask_ps,
        _mm256_mullo_epi32, _mm256_or_si256, _mm256_set_m128i, _mm256_set1_epi8, _mm256_set1_epi32, _mm256_setr_epi8,
        _mm256_shuffle_epi8, _mm256_sllv_epi32, _mm256_srli_epi32, _mm256_xor_si256,
    };

    use super::{BLOCK, FOLLOWERS_BITS, Followers, Kinds, MULTIPLIER, TOGETHER, Vector, Windows};

    /// The same as sixteen by sixteen; false where the processor has no AVX2.
    #[inline(always)]
    pub fn masks<K: Kinds<N>, const N: usize>(blocks: &[[u8; BLOCK]], masks: &mut [[u64; N]]) -> bool {
        if !is_x86_feature_detected!("avx2") {
            return false;
        }
        // SAFETY: the processor has AVX2.
        unsafe { each::<K, N>(blocks, masks) };
        true
    }

    #[target_feature(enable = "avx2")]
    fn each<K: Kinds<N>, const N: usize>(blocks: &[[u8; BLOCK]], masks: &mut [[u64; N]]) {
        let mut at = 0;
        // Adapters of iterators are calls here, which take longer than what they are for.
        while let (Some(block), Some(masks)) = (blocks.get(at), masks.get_mut(at)) {
            *masks = thirty_twos::<K, N>(block);
            at += 1;
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn thirty_twos<K: Kinds<N>, const N: usize>(block: &[u8; BLOCK]) -> [u64; N] {
        let (first, second) = block.split_at(BLOCK / 2);
        // SAFETY: 32 bytes there are of each half; they need not be aligned.
        let first = K::of(Lanes(unsafe { _mm256_loadu_si256(first.as_ptr().cast()) }));
        // SAFETY: the same.
        let second = K::of(Lanes(unsafe { _mm256_loadu_si256(second.as_ptr().cast()) }));
        let mut masks = [0; N];
        let mut at = 0;
        while at < N {
            #[expect(clippy::indexing_slicing, reason = "all three have as many")]
            {
                let (low, high) = (_mm256_movemask_epi8(first[at].0), _mm256_movemask_epi8(second[at].0));
                masks[at] = u64::from(low as u32) | u64::from(high as u32) << (BLOCK / 2);
            }
            at += 1;
        }
        masks
    }

    /// Thirty-two bytes. There are some only where the processor has AVX2.
    #[derive(Clone, Copy)]
    struct Lanes(__m256i);

    // SAFETY, of all that follows: whoever has some was on a processor that has AVX2.
    impl Vector for Lanes {
        #[inline(always)]
        fn is(self, byte: u8) -> Self {
            Self(unsafe { _mm256_cmpeq_epi8(self.0, _mm256_set1_epi8(byte as i8)) })
        }

        #[inline(always)]
        fn within(self, first: u8, count: i8) -> Self {
            // Moved so that the first is the least of the signed ones.
            let moved = unsafe { _mm256_add_epi8(self.0, _mm256_set1_epi8(i8::MIN.wrapping_sub(first as i8))) };
            Self(unsafe { _mm256_cmpgt_epi8(_mm256_set1_epi8(i8::MIN + count), moved) })
        }

        #[inline(always)]
        fn or(self, other: Self) -> Self {
            Self(unsafe { _mm256_or_si256(self.0, other.0) })
        }

        #[inline(always)]
        fn folded(self) -> Self {
            Self(unsafe { _mm256_or_si256(self.0, _mm256_set1_epi8(0x20)) })
        }
    }

    /// The same as one by one, eight places at once; false where the processor has no AVX2.
    #[inline(always)]
    pub fn following(followers: &Followers, text: &[u8], masks: &mut [u32; TOGETHER]) -> bool {
        if !is_x86_feature_detected!("avx2") {
            return false;
        }
        // SAFETY: the processor has AVX2.
        unsafe { following_each(followers, text, masks) };
        true
    }

    #[target_feature(enable = "avx2")]
    fn following_each(followers: &Followers, mut text: &[u8], masks: &mut [u32; TOGETHER]) {
        let mut at = 0;
        while let (Some(bytes), Some(mask)) = (text.first_chunk(), masks.get_mut(at)) {
            *mask = eights(followers, bytes);
            text = text.get(BLOCK..).unwrap_or_default();
            at += 1;
        }
    }

    #[inline]
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

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        __m512i, _mm512_add_epi8, _mm512_andnot_si512, _mm512_cmpeq_epi8_mask, _mm512_cmplt_epi8_mask,
        _mm512_cmplt_epi32_mask, _mm512_i32gather_epi32, _mm512_loadu_si512, _mm512_movepi8_mask, _mm512_movm_epi8,
        _mm512_mullo_epi32, _mm512_or_si512, _mm512_permutexvar_epi64, _mm512_set_epi64, _mm512_set1_epi8,
        _mm512_set1_epi32, _mm512_set4_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_sllv_epi32,
        _mm512_srli_epi32,
    };

    use super::{BEHIND, BLOCK, FOLLOWERS_BITS, Followers, Kinds, MULTIPLIER, TOGETHER, Vector, Windows};

    /// The same as sixteen by sixteen; false where the processor has no AVX-512.
    #[inline(always)]
    pub fn masks<K: Kinds<N>, const N: usize>(blocks: &[[u8; BLOCK]], masks: &mut [[u64; N]]) -> bool {
        if !is_x86_feature_detected!("avx512bw") {
            return false;
        }
        // SAFETY: the processor has AVX-512.
        unsafe { each::<K, N>(blocks, masks) };
        true
    }

    #[target_feature(enable = "avx512bw")]
    fn each<K: Kinds<N>, const N: usize>(blocks: &[[u8; BLOCK]], masks: &mut [[u64; N]]) {
        let mut at = 0;
        // Adapters of iterators are calls here, which take longer than what they are for.
        while let (Some(block), Some(masks)) = (blocks.get(at), masks.get_mut(at)) {
            // SAFETY: 64 bytes there are of a block; they need not be aligned.
            let kinds = K::of(Lanes(unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }));
            let mut kind = 0;
            while kind < N {
                #[expect(clippy::indexing_slicing, reason = "both have as many")]
                {
                    masks[kind] = _mm512_movepi8_mask(kinds[kind].0);
                }
                kind += 1;
            }
            at += 1;
        }
    }

    /// Sixty-four bytes. There are some only where the processor has AVX-512.
    #[derive(Clone, Copy)]
    struct Lanes(__m512i);

    // SAFETY, of all that follows: whoever has some was on a processor that has AVX-512. An answer is put back into bytes for
    // the next question; where it is asked as a mask, the compiler leaves both out.
    impl Vector for Lanes {
        #[inline(always)]
        fn is(self, byte: u8) -> Self {
            Self(unsafe { _mm512_movm_epi8(_mm512_cmpeq_epi8_mask(self.0, _mm512_set1_epi8(byte as i8))) })
        }

        #[inline(always)]
        fn within(self, first: u8, count: i8) -> Self {
            // Moved so that the first is the least of the signed ones.
            let moved = unsafe { _mm512_add_epi8(self.0, _mm512_set1_epi8(i8::MIN.wrapping_sub(first as i8))) };
            Self(unsafe { _mm512_movm_epi8(_mm512_cmplt_epi8_mask(moved, _mm512_set1_epi8(i8::MIN + count))) })
        }

        #[inline(always)]
        fn or(self, other: Self) -> Self {
            Self(unsafe { _mm512_or_si512(self.0, other.0) })
        }

        #[inline(always)]
        fn folded(self) -> Self {
            Self(unsafe { _mm512_or_si512(self.0, _mm512_set1_epi8(0x20)) })
        }
    }

    /// The same as one by one, sixteen places at once; false where the processor has no AVX-512.
    #[inline(always)]
    pub fn following(followers: &Followers, text: &[u8], masks: &mut [u32; TOGETHER]) -> bool {
        if !is_x86_feature_detected!("avx512bw") {
            return false;
        }
        // SAFETY: the processor has AVX-512.
        unsafe { following_each(followers, text, masks) };
        true
    }

    #[target_feature(enable = "avx512bw")]
    fn following_each(followers: &Followers, mut text: &[u8], masks: &mut [u32; TOGETHER]) {
        const { assert!(size_of::<Windows>() == 72) }
        // Of each 64 bytes the eights that belong to the first half of a block, or to the second half, which begins BEHIND
        // bytes earlier there.
        let first = _mm512_set_epi64(4, 3, 3, 2, 2, 1, 1, 0);
        let second = _mm512_set_epi64(7, 6, 6, 5, 5, 4, 4, 3);
        let mut at = 0;
        while let (Some(bytes), Some(mask)) = (text.first_chunk::<{ BLOCK + BEHIND }>(), masks.get_mut(at)) {
            // SAFETY: 64 bytes there are from the first on.
            let half = _mm512_permutexvar_epi64(first, unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) });
            let low = sixteens(followers, half);
            // SAFETY: and as many from the eighth on.
            let from = unsafe { _mm512_loadu_si512(bytes.as_ptr().wrapping_add(BEHIND).cast()) };
            let high = sixteens(followers, _mm512_permutexvar_epi64(second, from));
            *mask = u32::from(low) | u32::from(high) << 16;
            text = text.get(BLOCK..).unwrap_or_default();
            at += 1;
        }
    }

    /// Of four times sixteen bytes, each eight further than the last.
    #[inline]
    #[target_feature(enable = "avx512bw")]
    fn sixteens(followers: &Followers, bytes: __m512i) -> u16 {
        const HASH: u32 = u32::BITS - FOLLOWERS_BITS;
        // Of each the four bytes from each second place on.
        let spread = _mm512_set4_epi32(0x0908_0706, 0x0706_0504, 0x0504_0302, 0x0302_0100);
        let windows = _mm512_or_si512(_mm512_shuffle_epi8(bytes, spread), _mm512_set1_epi32(0x2020_2020));
        let hashes = _mm512_srli_epi32::<HASH>(_mm512_mullo_epi32(windows, _mm512_set1_epi32(MULTIPLIER as i32)));
        // SAFETY: a hash has as many bits as the places of the table.
        let follows = unsafe { _mm512_i32gather_epi32::<4>(hashes, followers.as_ptr().cast()) };
        // The bit in the highest place of each.
        let left = _mm512_andnot_si512(_mm512_srli_epi32::<24>(windows), _mm512_set1_epi32(31));
        _mm512_cmplt_epi32_mask(_mm512_sllv_epi32(follows, left), _mm512_setzero_si512())
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

        /// The highest bit of each, the first in the lowest place.
        pub fn bits(self) -> u16 {
            self.0.iter().rev().fold(0, |bits, byte| bits << 1 | u16::from(byte >> 7))
        }
    }

    impl super::Vector for Lanes {
        fn is(self, byte: u8) -> Self {
            Self(self.0.map(|is| if is == byte { u8::MAX } else { 0 }))
        }

        fn within(self, first: u8, count: i8) -> Self {
            Self(self.0.map(|is| if is.wrapping_sub(first) < count as u8 { u8::MAX } else { 0 }))
        }

        fn or(self, other: Self) -> Self {
            let mut both = self.0;
            both.iter_mut().zip(other.0).for_each(|(one, other)| *one |= other);
            Self(both)
        }

        fn folded(self) -> Self {
            Self(self.0.map(|byte| byte | 0x20))
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use proptest::prelude::*;

    use super::{
        BEHIND, BLOCK, Followers, Kinds, Masks, TOGETHER, Vector, avx2, avx512, bytes, following_one_by_one,
        hash_of_three, sixteens, sse2,
    };

    /// How many masks are taken one by one before the rest is.
    const BEGUN: usize = 5;

    /// Each of what is asked of bytes.
    struct All;

    impl Kinds<5> for All {
        fn of<V: Vector>(bytes: V) -> [V; 5] {
            [
                bytes,
                bytes.is(0x80),
                bytes.within(b'a', 127),
                bytes.within(0, 60),
                bytes.folded().within(b'a', 26).or(bytes.is(b'-')),
            ]
        }
    }

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
        fn more_at_once_are_what_sixteen_are(text in prop::collection::vec(any::<u8>(), 0..3 * TOGETHER * BLOCK)) {
            let (blocks, rest) = text.as_chunks::<BLOCK>();
            let mut slow: Vec<_> = blocks.iter().map(sixteens::<All, 5>).collect();
            for masks in [avx2::masks::<All, 5>, avx512::masks::<All, 5>] {
                let mut fast = vec![[0; 5]; blocks.len()];
                if masks(blocks, &mut fast) {
                    prop_assert_eq!(&fast, &slow);
                }
            }
            if !rest.is_empty() {
                let mut last = [b' '; BLOCK];
                last[..rest.len()].copy_from_slice(rest);
                slow.push(sixteens::<All, 5>(&last));
            }
            let each: Vec<_> = slow.into_iter().enumerate().map(|(block, masks)| (block * BLOCK, masks)).collect();
            let mut folded = Vec::new();
            Masks::<All, 5>::of(&text).for_each(|masks| folded.push(masks));
            prop_assert_eq!(&folded, &each);
            let mut masks = Masks::<All, 5>::of(&text);
            let begun: Vec<_> = masks.by_ref().take(BEGUN).collect();
            prop_assert_eq!(&begun, &each[..begun.len()]);
            folded.clear();
            masks.for_each(|masks| folded.push(masks));
            prop_assert_eq!(&folded, &each[begun.len()..]);
            let mut one_by_one = Masks::<All, 5>::of(&text);
            prop_assert!(each.iter().all(|masks| one_by_one.next() == Some(*masks)) && one_by_one.next().is_none());
        }

        #[test]
        fn more_at_once_are_what_each_is(
            bytes in prop::collection::vec(prop::sample::select(b"aBc_- \xff9".to_vec()), BLOCK + BEHIND..3 * BLOCK), some in any::<u64>(),
        ) {
            let mut followers: Box<Followers> = vec![0; size_of::<Followers>() / 4].try_into().unwrap();
            for at in (0..BLOCK).filter(|at| some >> at & 1 == 1) {
                let window = u32::from_le_bytes(*bytes[at..].first_chunk().unwrap()) | 0x2020_2020;
                followers[hash_of_three(window) as usize] |= 1 << (window >> 24 & 31);
            }
            let mut slow = [0; TOGETHER];
            following_one_by_one(&followers, &bytes, &mut slow);
            prop_assert!((0..BLOCK / 2).all(|at| some >> (2 * at) & 1 == 0 || slow[0] >> at & 1 == 1));
            for following in [avx2::following, avx512::following] {
                let mut fast = [0; TOGETHER];
                if following(&followers, &bytes, &mut fast) {
                    prop_assert_eq!(fast, slow);
                }
            }
        }
    }
}
