//! What a short run cannot be, told of all its bytes at once: nearly every value of a JSON text is long enough to be
//! something encoded, and hardly one is.

use crate::pipeline::dlp::lanes::{self, BLOCK, Blocks, Kinds, Vector};

/// Which ways of reading a run are worth it. One that is not finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Glance {
    /// It has a capital or a digit.
    pub varied: bool,
    /// Four quads of base64 in a row may be ASCII.
    pub quads: bool,
    /// There are as many hex digits in a row as are read.
    pub hex: bool,
    /// There is as much of base32 in a row as is read, in capitals or small letters.
    pub base32: bool,
    /// Its last word is of the alphabet of base58, and as long as is read.
    pub base58: bool,
}

/// What is longer is not looked at here.
const MOST: usize = 2 * BLOCK;

impl Glance {
    const EVERYTHING: Self = Self { varied: true, quads: true, hex: true, base32: true, base58: true };

    /// Looks at a run. In one of several `lines` quads go on behind a line's end.
    #[inline]
    pub(super) fn of(run: &[u8], lines: bool) -> Self {
        if run.len() > MOST {
            return Self::EVERYTHING;
        }
        let blocks = Blocks::of(run);
        let mut masks = [0; KINDS];
        for (at, block) in blocks.iter() {
            for (mask, bits) in masks.iter_mut().zip(lanes::masks::<Alphabets, KINDS>(block)) {
                *mask |= u128::from(bits) << at;
            }
        }
        let [first, second, capitals, small, digits, of_base32, hex, signs, not_base58] = masks;
        let quad = first & second >> 1;
        let two = quad & quad >> 4;
        let word = (u128::BITS - signs.leading_zeros()) as usize;
        let of_base58 = (capitals | small | digits) & !not_base58;
        let length = run.len() - word;
        Self {
            varied: capitals | digits != 0,
            quads: lines || two & two >> 8 != 0,
            hex: sixteen(hex | digits),
            base32: sixteen(capitals | of_base32) || sixteen(small | of_base32),
            base58: length >= super::base58::SHORTEST
                && of_base58.unbounded_shr(word as u32).trailing_ones() as usize >= length,
        }
    }
}

/// Whether so many follow each other.
fn sixteen(all: u128) -> bool {
    let two = all & all >> 1;
    let four = two & two >> 2;
    let eight = four & four >> 4;
    eight & eight >> 8 != 0
}

const KINDS: usize = 9;

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
                0..6,
            ),
        ) {
            let run = parts.concat().into_bytes();
            let run = run.get(..MOST).unwrap_or(&run);
            let glance = Glance::of(run, false);
            let is_capital = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
            let is_small = |byte: u8| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte);
            let is = |byte: Option<&u8>, class| byte.and_then(|byte| quad_class(*byte)).is_some_and(|of| of & class != 0);
            let quad = |at: usize| is(run.get(at), FIRST) && is(run.get(at + 1), SECOND);
            prop_assert_eq!(glance.varied, run.iter().any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()));
            prop_assert_eq!(glance.quads, (0..run.len()).any(|at| (0..4).all(|n| quad(at + n * 4))));
            prop_assert_eq!(glance.hex, in_a_row(run, |byte| hex(byte).is_some()));
            prop_assert_eq!(glance.base32, in_a_row(run, is_capital) || in_a_row(run, is_small));
            let word = run.rsplit(|byte| b"+/-_".contains(byte)).next().unwrap();
            prop_assert_eq!(glance.base58, word.len() >= 21 && word.iter().all(|byte| base58::value(*byte).is_some()));
            prop_assert!(Glance::of(run, true).quads);
        }
    }

    #[test]
    fn what_is_long_may_be_anything() {
        assert_eq!(Glance::of(&[b'x'; MOST + 1], false), Glance::EVERYTHING);
        assert!(!Glance::of(&[b'x'; MOST], false).varied);
    }
}
