//! What a short run cannot be, told of all its bytes at once: nearly every value of a JSON text is long enough to be
//! something encoded, and hardly one is.

use std::ops::{BitAnd, BitOr, BitXor, Range, Shl, Shr};

use super::base58::SHORTEST;
use crate::pipeline::dlp::lanes::{self, BLOCK, Kinds, Vector};

/// Which ways of reading a run are worth it. One that is not finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Glance {
    /// It has a capital or a digit.
    pub varied: bool,
    /// Something compressed may begin in it: one of the characters that its heads begin with stands where one would.
    pub packed: bool,
    /// Four quads of base64 in a row may be ASCII.
    pub quads: bool,
    /// There are as many hex digits in a row as are read.
    pub hex: bool,
    /// There is as much of base32 in a row as is read, in capitals.
    pub capitals: bool,
    /// The same in small letters.
    pub small: bool,
    /// Its last word is of the alphabet of base58, and as long as is read.
    pub base58: bool,
}

/// What is longer is not looked at here.
const MOST: usize = 2 * BLOCK;

impl Glance {
    const EVERYTHING: Self =
        Self { varied: true, packed: true, quads: true, hex: true, capitals: true, small: true, base58: true };

    /// Looks at a run. In one of several `lines` quads go on behind a line's end.
    #[inline]
    pub(super) fn of(text: &[u8], run: Range<usize>, lines: bool) -> Self {
        let length = run.len();
        if length > MOST {
            return Self::EVERYTHING;
        }
        let first = masks_at(text, run.start);
        if length <= BLOCK {
            return Self::by(first, u64::MAX.unbounded_shr((BLOCK - length) as u32), length, lines);
        }
        let mut both = [0; KINDS];
        for (both, (first, second)) in both.iter_mut().zip(first.into_iter().zip(masks_at(text, run.start + BLOCK))) {
            *both = u128::from(first) | u128::from(second) << BLOCK;
        }
        Self::by(both, u128::MAX.unbounded_shr((MOST - length) as u32), length, lines)
    }

    /// The same, by a bit for each byte from the first on, and one for each that is of the run.
    #[inline(always)]
    fn by<M: Mask>(masks: [M; KINDS], run: M, length: usize, lines: bool) -> Self {
        let [first, second, capitals, small, digits, of_base32, hex, signs, not_base58, heads] = masks;
        let none = M::from(0);
        let quad = first & (second & run) >> 1;
        let two = quad & quad >> 4;
        let varied = (capitals | digits) & run;
        let (of_base32, signs) = (of_base32 & run, signs & run);
        // The last that is none of the alphabet is a sign, and stands before as many as are read.
        let of_word = (capitals | small | digits) & run;
        let not_of_word = run ^ (of_word ^ (of_word & not_base58));
        let base58 = length >= SHORTEST && not_of_word ^ signs <= signs && signs >> (length - SHORTEST) == none;
        Self {
            varied: varied != none,
            packed: heads & run & (M::from(0b1111) | signs << 1) != none,
            quads: lines || two & two >> 8 != none,
            hex: sixteen((hex | digits) & run),
            capitals: sixteen(capitals & run | of_base32),
            small: sixteen(small & run | of_base32),
            base58,
        }
    }
}

/// A bit for each of so many bytes.
trait Mask:
    Copy
    + PartialOrd
    + From<u8>
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
    + Shl<usize, Output = Self>
    + Shr<usize, Output = Self>
{
}

impl Mask for u64 {}
impl Mask for u128 {}

/// Those of the block that begins here; behind the end of the text are blanks.
#[inline(always)]
fn masks_at(text: &[u8], at: usize) -> [u64; KINDS] {
    let rest = text.get(at..).unwrap_or_default();
    match rest.first_chunk() {
        Some(block) => lanes::masks::<Alphabets, KINDS>(block),
        None => {
            let mut block = [b' '; BLOCK];
            block.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            lanes::masks::<Alphabets, KINDS>(&block)
        }
    }
}

/// Whether so many follow each other.
#[inline(always)]
fn sixteen<M: Mask>(all: M) -> bool {
    let two = all & all >> 1;
    let four = two & two >> 2;
    let eight = four & four >> 4;
    eight & eight >> 8 != M::from(0)
}

const KINDS: usize = 10;

struct Alphabets;

impl Kinds<KINDS> for Alphabets {
    #[inline(always)]
    fn of<V: Vector>(bytes: V) -> [V; KINDS] {
        // As [`quad_class`](super::alphabet::quad_class) says.
        let first = bytes.is(b'A').or(bytes.within(b'C', 2)).or(bytes.within(b'I', 18)).or(bytes.within(b'a', 6));
        let capital = bytes.is(b'A').or(bytes.within(b'C', 6)).or(bytes.is(b'Q')).or(bytes.within(b'S', 6));
        let small = bytes.is(b'g').or(bytes.within(b'i', 6)).or(bytes.is(b'w')).or(bytes.within(b'y', 2));
        let second = capital.or(small).or(bytes.within(b'0', 4));
        let signs = bytes.is(b'+').or(bytes.is(b'/')).or(bytes.is(b'-')).or(bytes.is(b'_'));
        let not_base58 = bytes.is(b'0').or(bytes.is(b'O')).or(bytes.is(b'I')).or(bytes.is(b'l'));
        // As [`base64`](super::base64) reads what is packed.
        let heads = bytes.is(b'H').or(bytes.is(b'K')).or(bytes.is(b'U')).or(bytes.is(b'e'));
        [
            first,
            second,
            bytes.within(b'A', 26),
            bytes.within(b'a', 26),
            bytes.within(b'0', 10),
            bytes.within(b'2', 6),
            bytes.folded().within(b'a', 6),
            signs,
            not_base58,
            heads,
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::alphabet::{FIRST, SECOND, hex, quad_class};
    use super::super::base58;
    use super::*;

    /// Whether as many in a row as are read are of a kind.
    fn in_a_row(run: &[u8], is: impl Fn(u8) -> bool) -> bool {
        run.windows(16).any(|row| row.iter().all(|byte| is(*byte)))
    }

    proptest! {
        #[test]
        fn it_sees_what_the_bytes_one_by_one_are(
            parts in prop::collection::vec(
                prop_oneof!["[A-Za-z0-9+/_-]{1,40}", "[0-9a-f]{1,40}", "[A-Z2-7]{1,40}", "[a-z2-7]{1,40}", "[1-9A-HJ-NP-Za-km-z]{1,60}", "[ACDI-Za-f][A-HQg-n0-3][A-Z]{2}", "\n"],
                0..9,
            ),
            from in 0..9_usize,
            length in 0..=MOST,
        ) {
            let text = parts.concat().into_bytes();
            let run = text.get(from..text.len().min(from + length)).unwrap_or_default();
            let glance = Glance::of(&text, from..from + run.len(), false);
            let is_capital = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
            let is_small = |byte: u8| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte);
            let is = |byte: Option<&u8>, class| byte.and_then(|byte| quad_class(*byte)).is_some_and(|of| of & class != 0);
            let quad = |at: usize| is(run.get(at), FIRST) && is(run.get(at + 1), SECOND);
            prop_assert_eq!(glance.varied, run.iter().any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()));
            prop_assert_eq!(glance.quads, (0..run.len()).any(|at| (0..4).all(|n| quad(at + n * 4))));
            prop_assert_eq!(glance.hex, in_a_row(run, |byte| hex(byte).is_some()));
            prop_assert_eq!(glance.capitals, in_a_row(run, is_capital));
            prop_assert_eq!(glance.small, in_a_row(run, is_small));
            let begins = |at: &usize| *at < 4 || b"+/-_".contains(&run[at - 1]);
            prop_assert_eq!(glance.packed, (0..run.len()).filter(begins).any(|at| b"HKUe".contains(&run[at])));
            let word = run.rsplit(|byte| b"+/-_".contains(byte)).next().unwrap();
            prop_assert_eq!(glance.base58, word.len() >= 21 && word.iter().all(|byte| base58::value(*byte).is_some()));
            prop_assert!(Glance::of(&text, from..from + run.len(), true).quads);
        }
    }

    #[test]
    fn what_is_long_may_be_anything() {
        assert_eq!(Glance::of(&[b'x'; MOST + 1], 0..MOST + 1, false), Glance::EVERYTHING);
        assert!(!Glance::of(&[b'x'; MOST], 0..MOST, false).varied);
    }
}
