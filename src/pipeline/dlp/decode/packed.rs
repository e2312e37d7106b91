//! Compressed bodies that nobody declared, told by how they begin.

use memchr::memmem;

use super::Ways;
use crate::pipeline::dlp::finding::Step;
use crate::pipeline::dlp::inflate::{Coding, Stage, is_zlib};

/// True if these bytes begin as a compressed body does.
pub(super) fn is_packed(bytes: &[u8]) -> bool {
    const FEWEST: usize = 8;
    bytes.len() >= FEWEST && (Kind::of(bytes).is_some() || begins_zlib(bytes))
}

/// Reads what is compressed, wherever it begins.
pub(super) fn read(text: &[u8], ways: &mut Ways<'_, '_>) {
    if begins_zlib(text) {
        unpack(text, 0, 0, &mut Stage::new(Coding::Deflate), Step::Deflate, ways);
    }
    for kind in [Kind::Gzip, Kind::Zstd, Kind::Zip] {
        let mut done = 0;
        // What undoes it, with its step; made once.
        let mut stages: [Option<Stage>; 2] = [None, None];
        for at in memmem::find_iter(text, kind.magic()) {
            let rest = text.get(at..).unwrap_or_default();
            if at < done || Kind::of(rest).is_none() {
                continue;
            }
            let Some((coding, step, body)) = kind.begin(rest) else { continue };
            let [first, second] = &mut stages;
            let stage = match coding {
                Some(coding) => first.get_or_insert_with(|| Stage::new(coding)),
                None => second.get_or_insert_with(Stage::bare),
            };
            stage.restart();
            done = unpack(text, at, at + body, stage, step, ways);
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Gzip,
    Zstd,
    Zip,
}

impl Kind {
    fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            // RFC 1952 §2.3: deflate, no reserved flags.
            [0x1f, 0x8b, 8, flags, _, _, _, _, extra, _, ..] if flags & 0xe0 == 0 && matches!(extra, 0 | 2 | 4) => {
                Some(Self::Gzip)
            }
            [0x28, 0xb5, 0x2f, 0xfd, descriptor, ..] if descriptor & 0x08 == 0 => Some(Self::Zstd),
            [b'P', b'K', 3, 4, ..] => Some(Self::Zip),
            _ => None,
        }
    }

    fn magic(self) -> &'static [u8] {
        match self {
            Self::Gzip => b"\x1f\x8b\x08",
            Self::Zstd => b"\x28\xb5\x2f\xfd",
            Self::Zip => b"PK\x03\x04",
        }
    }

    /// Its coding, none for deflate alone, and where its body begins.
    fn begin(self, bytes: &[u8]) -> Option<(Option<Coding>, Step, usize)> {
        match self {
            Self::Gzip => Some((Some(Coding::Gzip), Step::Gzip, 0)),
            Self::Zstd => Some((Some(Coding::Zstd), Step::Zstd, 0)),
            Self::Zip => {
                // APPNOTE.TXT §4.3.7: method, then the lengths of name and extra field. What is stored is seen as it is.
                let word = |at: usize| bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes);
                let (method, name, extra) = (word(8)?, word(26)?, word(28)?);
                const DEFLATED: u16 = 8;
                const ZSTD: u16 = 93;
                let coding = match method {
                    DEFLATED => None,
                    ZSTD => Some(Coding::Zstd),
                    _ => return None,
                };
                Some((coding, Step::Zip, 30 + usize::from(name) + usize::from(extra)))
            }
        }
    }
}

/// RFC 1950 as its compressors write it: a window of 32 KiB and no dictionary.
fn begins_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [0x78, flags @ (0x01 | 0x5e | 0x9c | 0xda), ..] if is_zlib([0x78, *flags]))
}

/// Adds what a body becomes, as far as it can be undone and the budget goes. Returns where it ends.
fn unpack(text: &[u8], start: usize, body: usize, stage: &mut Stage, step: Step, ways: &mut Ways<'_, '_>) -> usize {
    /// What a body costs that comes to little: thousands of those cost time, if not space.
    const ATTEMPT: usize = 8 << 10;
    let left = ways.budget.left;
    if left < ATTEMPT {
        ways.budget.take(usize::MAX);
        return start;
    }
    let mut out = Vec::new();
    let mut at = body;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let Ok((read, block)) = stage.step(rest) else { break };
        if read == 0 && block.is_empty() {
            break;
        }
        if out.len() + block.len() > left {
            // Marks it as exhausted, whatever the other views take.
            ways.budget.take(usize::MAX);
            break;
        }
        out.extend_from_slice(block);
        at += read;
        if stage.is_complete() {
            break;
        }
    }
    // An archive may have many small files, but they are whole.
    if !stage.is_complete() {
        ways.budget.take(ATTEMPT);
    }
    if out.is_empty() {
        return start;
    }
    ways.run(step, start..at, out);
    at
}
