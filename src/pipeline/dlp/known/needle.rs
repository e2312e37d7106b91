//! How a value may be written: each way is a needle to look for.

use std::ops::Range;

use super::strength;
use crate::pipeline::dlp::finding::Step;
use zeroize::Zeroizing;

/// A value written in one way; only the characters that do not depend on what stands before and after it.
pub struct Needle {
    /// The place of its bytes in [`Haystack::bytes`].
    pub bytes: Range<usize>,
    /// Whose value.
    pub value: usize,
    /// The way; none for the value itself.
    pub step: Option<Step>,
    /// True if the case of letters does not matter.
    pub folds: bool,
    /// Characters on either side that carry something of the value and something of its neighbours.
    pub edges: (usize, usize),
    unit: Unit,
}

/// Which bytes of the value a character stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// One each.
    Byte,
    /// One each, last byte first.
    Reversed,
    /// So many bits each, the first so many bits after the value's first.
    Bits { width: usize, skipped: usize },
    /// Five for four bytes, so many after the value's first.
    Groups { skipped: usize },
    /// Not told: of this one only the whole counts.
    Whole,
}

/// The needles, and their bytes in one place that is wiped.
#[derive(Default)]
pub struct Haystack {
    /// Of all needles.
    pub bytes: Zeroizing<Vec<u8>>,
    /// The needles.
    pub needles: Vec<Needle>,
}

/// A needle that is shorter tells too little.
const LEAST: usize = strength::LEAST;

/// A value of so many bytes is found in any case of letters: a host name has lost it.
const FOLDED: usize = 16;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const HEX: &[u8; 16] = b"0123456789abcdef";
/// Adobe's, ZeroMQ's, and that of RFC 1924, which git and Python write.
const BASE85: [&[u8; 85]; 3] = [
    b"!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstu",
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#",
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~",
];

impl Haystack {
    /// Adds every way this value may be written.
    pub fn add(&mut self, value: usize, bytes: &[u8]) {
        let long = bytes.len() >= FOLDED;
        let way = |step, folds, unit| Way { value, step, folds, edges: (0, 0), unit };
        self.push(way(None, long, Unit::Byte), bytes.iter().copied());
        self.push(way(Some(Step::Reversed), long, Unit::Reversed), bytes.iter().rev().copied());
        if bytes.iter().any(|byte| json(*byte).len() > 1) {
            self.push(way(Some(Step::Escapes), long, Unit::Whole), bytes.iter().flat_map(|byte| json(*byte)));
        }
        if bytes.iter().any(|byte| !is_unreserved(*byte)) {
            self.push(way(Some(Step::Percent), long, Unit::Whole), bytes.iter().flat_map(|byte| percent(*byte)));
        }
        for lead in 0..3 {
            self.bits(way(Some(Step::Base64), false, Unit::Byte), bytes, lead, BASE64);
            let drawn = Bits::new(bytes, lead, 6);
            if drawn.indices().any(|index| index >= 62) {
                self.bits(way(Some(Step::Base64), false, Unit::Byte), bytes, lead, BASE64_URL);
            }
        }
        for lead in 0..5 {
            self.bits(way(Some(Step::Base32), true, Unit::Byte), bytes, lead, BASE32);
        }
        self.bits(way(Some(Step::Hex), true, Unit::Byte), bytes, 0, HEX);
        for skipped in 0..4 {
            for alphabet in BASE85 {
                let (groups, rest) = bytes.get(skipped..).unwrap_or_default().as_chunks::<4>();
                let edges = (if skipped == 0 { 0 } else { 5 }, if rest.is_empty() { 0 } else { 5 });
                let way = Way { edges, ..way(Some(Step::Base85), false, Unit::Groups { skipped }) };
                self.push(way, groups.iter().flat_map(|group| base85(*group, alphabet)));
            }
        }
    }

    /// The bytes of a needle.
    pub fn of(&self, needle: &Needle) -> &[u8] {
        self.bytes.get(needle.bytes.clone()).unwrap_or_default()
    }

    fn bits(&mut self, way: Way, bytes: &[u8], lead: usize, alphabet: &[u8]) {
        let width = alphabet.len().ilog2() as usize;
        let drawn = Bits::new(bytes, lead, width);
        let edges = (usize::from(drawn.skipped > 0), usize::from(drawn.left_over() > 0));
        let way = Way { edges, unit: Unit::Bits { width, skipped: drawn.skipped }, ..way };
        self.push(way, drawn.indices().filter_map(|index| alphabet.get(index).copied()));
    }

    fn push(&mut self, way: Way, bytes: impl Iterator<Item = u8>) {
        let start = self.bytes.len();
        for byte in bytes {
            self.reserve();
            self.bytes.push(byte);
        }
        if self.bytes.len() - start < LEAST {
            self.bytes.truncate(start);
            return;
        }
        let Way { value, step, folds, edges, unit } = way;
        self.needles.push(Needle { bytes: start..self.bytes.len(), value, step, folds, edges, unit });
    }

    /// A buffer that grew by itself would leave copies of the secrets behind.
    fn reserve(&mut self) {
        if self.bytes.len() == self.bytes.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity((2 * self.bytes.len()).max(4096)));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
    }
}

impl Needle {
    /// Which bytes of the value these characters of the needle, with those they share some with, stand for; `len` is that of the value.
    pub fn stands_for(&self, chars: Range<usize>, len: usize) -> Range<usize> {
        let whole = chars == (0..self.bytes.len());
        match self.unit {
            Unit::Byte => chars,
            Unit::Reversed => len.saturating_sub(chars.end)..len.saturating_sub(chars.start),
            Unit::Bits { width, skipped } => {
                let (first, last) = (skipped + chars.start * width, skipped + chars.end * width);
                (first + 1).saturating_sub(width) / 8..(last + width - 1).div_ceil(8).min(len)
            }
            Unit::Groups { skipped } => skipped + chars.start.div_ceil(5) * 4..skipped + chars.end / 5 * 4,
            Unit::Whole if whole => 0..len,
            Unit::Whole => 0..0,
        }
    }

    /// How many characters surely carry a part of so many bytes; all where no part of it counts.
    pub fn chars_for(&self, part: usize) -> usize {
        let chars = match self.unit {
            Unit::Byte | Unit::Reversed => part,
            Unit::Bits { width, .. } => (part * 8 + 1 - width) / width,
            Unit::Groups { .. } => part / 4 * 5,
            Unit::Whole => usize::MAX,
        };
        chars.min(self.bytes.len())
    }
}

/// A needle without its bytes.
struct Way {
    value: usize,
    step: Option<Step>,
    folds: bool,
    edges: (usize, usize),
    unit: Unit,
}

/// Bytes drawn as digits of a few bits each, behind so many bytes that are not known.
struct Bits<'a> {
    bytes: &'a [u8],
    width: usize,
    /// Bits of the value that share a digit with what stands before it.
    skipped: usize,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8], lead: usize, width: usize) -> Self {
        Self { bytes, width, skipped: (width - lead * 8 % width) % width }
    }

    fn indices(&self) -> impl Iterator<Item = usize> {
        let all = (self.bytes.len() * 8).saturating_sub(self.skipped) / self.width;
        (0..all).map(|digit| {
            let first = self.skipped + digit * self.width;
            (first..first + self.width).fold(0, |index, bit| {
                let byte = self.bytes.get(bit / 8).copied().unwrap_or_default();
                index << 1 | usize::from(byte >> (7 - bit % 8) & 1)
            })
        })
    }

    fn left_over(&self) -> usize {
        (self.bytes.len() * 8).saturating_sub(self.skipped) % self.width
    }
}

fn base85(group: [u8; 4], alphabet: &[u8; 85]) -> [u8; 5] {
    let mut rest = u32::from_be_bytes(group);
    let mut chars = [0; 5];
    for char in chars.iter_mut().rev() {
        *char = alphabet.get((rest % 85) as usize).copied().unwrap_or_default();
        rest /= 85;
    }
    chars
}

/// RFC 8259 §7, with the short forms.
fn json(byte: u8) -> smallvec::SmallVec<[u8; 6]> {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x00..0x20 => {
            let [high, low] = hex(byte).map(|digit| digit.to_ascii_lowercase());
            return smallvec::smallvec![b'\\', b'u', b'0', b'0', high, low];
        }
        byte => return smallvec::smallvec![byte],
    };
    smallvec::smallvec![b'\\', short]
}

/// RFC 3986 §2.3: all that is not unreserved.
fn percent(byte: u8) -> smallvec::SmallVec<[u8; 6]> {
    if is_unreserved(byte) {
        return smallvec::smallvec![byte];
    }
    let [high, low] = hex(byte);
    smallvec::smallvec![b'%', high, low]
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn hex(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 0xf].map(|nibble| HEX.get(usize::from(nibble)).map_or(b'0', u8::to_ascii_uppercase))
}
