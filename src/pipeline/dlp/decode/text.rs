//! Whether bytes read as text.

use std::ops::Range;

/// How much of something long is looked at.
const SAMPLE: usize = 4 << 10;

/// True if at least 85 % of it, or of its beginning where it is long, is printable: UTF-8, or UTF-16 of mostly ASCII.
pub(super) fn reads_as_text(bytes: &[u8]) -> bool {
    let sample = bytes.get(..SAMPLE).unwrap_or(bytes);
    if sample.is_empty() {
        return false;
    }
    let counts = Counts::of(sample);
    let zeros = counts.zeros;
    if zeros * 5 >= sample.len() * 2 {
        let shown = sample.iter().filter(|byte| is_printable(**byte)).count();
        return shown * 5 >= sample.len() && (zeros + shown) * 20 >= sample.len() * 17;
    }
    // Most of what is asked about is one or the other, whatever of it is UTF-8.
    let enough = |shown: usize| shown * 20 >= sample.len() * 17;
    if enough(counts.printable) || !enough(counts.most) {
        return enough(counts.printable);
    }
    let mut shown = 0;
    for chunk in sample.utf8_chunks() {
        let valid = chunk.valid();
        shown += match valid.is_ascii() {
            true => valid.bytes().filter(|byte| is_printable(*byte)).count(),
            false => valid.chars().filter(|c| !c.is_control() || c.is_whitespace()).map(char::len_utf8).sum(),
        };
    }
    enough(shown)
}

/// How many bytes are of a kind.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    zeros: usize,
    printable: usize,
    /// No more are shown: of what is not ASCII only what is UTF-8 is, four bytes at most for each that begins some.
    most: usize,
}

impl Counts {
    fn of(bytes: &[u8]) -> Self {
        let (mut counts, mut spaces, mut begun, mut before) = (Self::default(), 0, 0, 0);
        for byte in bytes {
            counts.zeros += usize::from(*byte == 0);
            counts.printable += usize::from(is_printable(*byte));
            spaces += usize::from(matches!(byte, 0x0b | 0x0c));
            begun += usize::from((before >= 0xc2) & (byte & 0xc0 == 0x80));
            before = *byte;
        }
        counts.most = counts.printable + spaces + 4 * begun;
        counts
    }
}

/// Stretches of printable ASCII of at least so many bytes.
pub(super) fn stretches(bytes: &[u8], least: usize) -> impl Iterator<Item = Range<usize>> {
    let bytes = if has_stretch(bytes, least) { bytes } else { &[] };
    bytes
        .chunk_by(|left, right| is_printable(*left) == is_printable(*right))
        .scan(0, |at, part| {
            let start = *at;
            *at += part.len();
            Some((part.first().is_some_and(|byte| is_printable(*byte)), start..*at))
        })
        .filter_map(move |(printable, range)| (printable && range.len() >= least).then_some(range))
}

/// Whether there is one. From the end of where one might be: most have another byte near there.
fn has_stretch(bytes: &[u8], least: usize) -> bool {
    let mut at = 0;
    while let Some(row) = bytes.get(at..at + least) {
        match row.iter().rposition(|byte| !is_printable(*byte)) {
            Some(last) => at += last + 1,
            None => return true,
        }
    }
    false
}

/// Printable ASCII and white space.
#[inline]
pub(super) fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r')
}

/// How likely it is that a secret is in it: Shannon's entropy of its first bytes, in 1/16 bit for each.
pub(super) fn entropy(bytes: &[u8]) -> u32 {
    let sample = bytes.get(..256).unwrap_or(bytes);
    let mut counts = [0_u16; 256];
    for byte in sample {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let length = sample.len().max(1) as f32;
    let share = |count: &u16| f32::from(*count) / length;
    let bits: f32 = counts.iter().filter(|count| **count > 0).map(|count| -share(count) * share(count).log2()).sum();
    (bits * 16.0) as u32
}
