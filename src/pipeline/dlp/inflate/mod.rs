//! Undoes the codings of a body, piece by piece as it comes, within bounds: a bomb ends where it stops to be plausible.

mod gzip;
mod stage;

use smallvec::SmallVec;

use super::finding::Step;

pub(super) use stage::{Stage, is_zlib};

/// A coding of a body, as `Content-Encoding` names it (RFC 9110 §8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or RFC 1951 alone: senders mean either.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878, with the window of RFC 9659.
    Zstd,
}

/// Undoes one coding or several on top of each other.
#[derive(Debug)]
pub struct Inflater {
    stages: SmallVec<[Stage; 2]>,
    /// Bytes that the first stage has read.
    read: u64,
    failed: Option<Undecodable>,
}

/// Why a body cannot be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Undecodable {
    /// Not in the coding that it is said to be in.
    #[error("the body is not in the coding it is said to be in: send it as `Content-Encoding` says, or without")]
    Malformed,
    /// It ends before its end.
    #[error("the encoded body ends too early: send all of it")]
    Truncated,
    /// Something stands behind its end.
    #[error("something stands behind the end of the encoded body: send nothing after it")]
    Trailing,
    /// A bomb, or a window that is too large.
    #[error("the body becomes too large when it is decoded: send it without `Content-Encoding`")]
    TooLarge,
}

/// How many bytes one byte may become, once there are more than [`FREE`].
const RATIO: u64 = 100;

/// Bytes that come out whatever went in.
const FREE: u64 = 1 << 20;

impl Coding {
    /// Reads one name of a `Content-Encoding`: `Some(None)` for one that changes nothing, `None` for an unknown one.
    pub fn parse(token: &[u8]) -> Option<Option<Self>> {
        let named: [(&[u8], Option<Self>); 7] = [
            (b"identity", None),
            (b"gzip", Some(Self::Gzip)),
            (b"x-gzip", Some(Self::Gzip)),
            (b"deflate", Some(Self::Deflate)),
            (b"br", Some(Self::Brotli)),
            (b"zstd", Some(Self::Zstd)),
            (b"", None),
        ];
        let token = token.trim_ascii();
        named.into_iter().find(|(name, _)| token.eq_ignore_ascii_case(name)).map(|(_, coding)| coding)
    }

    /// What a finding's chain says of it.
    pub fn step(self) -> Step {
        match self {
            Self::Gzip => Step::Gzip,
            Self::Deflate => Step::Deflate,
            Self::Brotli => Step::Brotli,
            Self::Zstd => Step::Zstd,
        }
    }
}

impl Inflater {
    /// Undoes these, which are in the order of `Content-Encoding`: the one applied last is undone first.
    pub fn new(codings: &[Coding]) -> Self {
        Self { stages: codings.iter().rev().map(|coding| Stage::new(*coding)).collect(), read: 0, failed: None }
    }

    /// Takes the next piece, and appends all that can be decoded by now.
    ///
    /// # Errors
    /// If it cannot be decoded; nothing more can be then. What came out before stays in `out`.
    pub fn push(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), Undecodable> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let pushed = match self.stages.is_empty() {
            true => {
                out.extend_from_slice(input);
                Ok(())
            }
            false => feed(&mut self.stages, input, &mut self.read, true, out),
        };
        self.failed = pushed.err();
        pushed
    }

    /// Says that there is no more. A body without a byte is whole.
    ///
    /// # Errors
    /// If there should be more.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Undecodable> {
        self.push(&[], out)?;
        match self.read == 0 || self.stages.iter().all(Stage::is_complete) {
            true => Ok(()),
            false => Err(Undecodable::Truncated),
        }
    }
}

/// Pushes bytes through what is left of the stages. `read` counts what the first one took: all are measured by it, or
/// every one of a stack could multiply by [`RATIO`].
fn feed(
    stages: &mut [Stage],
    mut input: &[u8],
    read: &mut u64,
    first: bool,
    out: &mut Vec<u8>,
) -> Result<(), Undecodable> {
    let Some((stage, rest)) = stages.split_first_mut() else {
        out.extend_from_slice(input);
        return Ok(());
    };
    loop {
        let (taken, block) = stage.step(input)?;
        if taken == 0 && block.is_empty() {
            // A decoder that stands still before its input would do so for ever.
            return if input.is_empty() { Ok(()) } else { Err(Undecodable::Malformed) };
        }
        input = input.split_at_checked(taken).map_or(&[], |(_, left)| left);
        if first {
            *read += taken as u64;
        }
        if stage.written() > FREE.max(read.saturating_mul(RATIO)) {
            return Err(Undecodable::TooLarge);
        }
        let block = stage.block();
        if !block.is_empty() {
            feed(rest, block, read, false, out)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::Coding::{Brotli, Deflate, Gzip, Zstd};
    use super::*;

    /// What senders make of a text: a name, the coding it is declared as, and how it is made.
    type Encoder = (&'static str, Coding, fn(&[u8]) -> Vec<u8>);
    const ENCODERS: [Encoder; 5] = [
        ("gzip", Gzip, gzip),
        ("zlib", Deflate, zlib),
        ("raw", Deflate, raw),
        ("br", Brotli, brotli),
        ("zstd", Zstd, zstd),
    ];

    #[test]
    fn names_are_read_in_any_case() {
        for (name, coding) in [
            ("gzip", Some(Some(Gzip))),
            ("X-GZIP", Some(Some(Gzip))),
            (" deflate ", Some(Some(Deflate))),
            ("br", Some(Some(Brotli))),
            ("zstd", Some(Some(Zstd))),
            ("identity", Some(None)),
            ("", Some(None)),
            ("compress", None),
            ("gzip,br", None),
        ] {
            assert_eq!(Coding::parse(name.as_bytes()), coding, "{name}");
        }
    }

    #[test]
    fn the_coding_applied_last_is_undone_first() {
        for (name, coding, encode) in ENCODERS {
            let body = brotli(&encode(b"stacked"));
            assert_eq!(undone(&[coding, Brotli], &body, 1).unwrap(), b"stacked", "{name}");
        }
        assert_eq!(undone(&[], b"as it is", 3).unwrap(), b"as it is");
    }

    #[test]
    fn what_is_no_whole_body_is_an_error() {
        let text = b"some text that is long enough to be cut ".repeat(9);
        for (name, coding, encode) in ENCODERS {
            let whole = encode(&text);
            for cut in 1..whole.len() {
                let result = undone(&[coding], &whole[..cut], 7);
                assert_eq!(result.unwrap_err(), Undecodable::Truncated, "{name} cut at {cut}");
            }
            let trailing = [&whole[..], b"more"].concat();
            assert_eq!(undone(&[coding], &trailing, 5).unwrap_err(), Undecodable::Trailing, "{name}");
            let garbage = undone(&[coding], b"\xff\xff\xffno coding at all", 4).unwrap_err();
            assert!(matches!(garbage, Undecodable::Malformed | Undecodable::Truncated), "{name}: {garbage}");
            assert_eq!(undone(&[coding], b"", 1).unwrap(), b"", "{name}: nothing is whole");
        }
        let mut wrong = gzip(&text);
        let at = wrong.len() - 6;
        wrong[at] ^= 1;
        assert_eq!(undone(&[Gzip], &wrong, 64).unwrap_err(), Undecodable::Malformed, "a checksum that does not hold");
    }

    #[test]
    fn members_and_frames_follow_each_other() {
        for (coding, encode) in [(Gzip, gzip as fn(&[u8]) -> Vec<u8>), (Zstd, zstd)] {
            let body = [encode(b"one "), encode(b""), encode(b"two")].concat();
            for size in [1, 9, body.len()] {
                assert_eq!(undone(&[coding], &body, size).unwrap(), b"one two");
            }
        }
        // A skippable frame of zstd.
        let body = [&b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"[..], &zstd(b"text")].concat();
        assert_eq!(undone(&[Zstd], &body, 2).unwrap(), b"text");
    }

    #[test]
    fn all_of_a_gzip_head_is_read() {
        let plain = gzip(b"text");
        let mut body = vec![0x1f, 0x8b, 8, HEAD_FLAGS, 0, 0, 0, 0, 0, 3];
        body.extend(b"\x03\x00abcname\0comment\0\x12\x34");
        body.extend(&plain[10..]);
        for size in [1, 2, 64] {
            assert_eq!(undone(&[Gzip], &body, size).unwrap(), b"text");
        }
    }
    const HEAD_FLAGS: u8 = 0b1_1110;

    #[test]
    fn a_bomb_ends_within_bounds() {
        let zeros = vec![0; 64 << 20];
        for (name, coding, encode) in ENCODERS {
            let bomb = encode(&zeros);
            // Deflate cannot do more than about 1000:1, the others can.
            assert!(bomb.len() < 1 << 17, "{name}");
            let mut inflater = Inflater::new(&[coding]);
            let mut out = Vec::new();
            let result = bomb.chunks(4096).try_for_each(|chunk| inflater.push(chunk, &mut out));
            assert_eq!(result, Err(Undecodable::TooLarge), "{name}");
            assert!(out.len() as u64 <= FREE + RATIO * bomb.len() as u64, "{name}: {}", out.len());
            assert_eq!(inflater.push(b"", &mut out), Err(Undecodable::TooLarge), "{name}: it stays so");
        }
        let nested = gzip(&gzip(&zeros));
        let mut out = Vec::new();
        assert_eq!(Inflater::new(&[Gzip, Gzip]).push(&nested, &mut out), Err(Undecodable::TooLarge));
        assert!(out.len() as u64 <= FREE + RATIO * nested.len() as u64);
    }

    #[test]
    fn a_window_that_is_too_large_is_refused() {
        // A frame head with a window of 16 MiB: descriptor without single segment, exponent 14.
        let body = b"\x28\xb5\x2f\xfd\x00\x70\x01\x00\x00";
        assert_eq!(undone(&[Zstd], body, 64).unwrap_err(), Undecodable::TooLarge);
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same(
            words in prop::collection::vec("[a-z ]{0,40}|\\PC{0,9}", 0..60),
            size in 1_usize..99,
            which in prop::collection::vec(0..ENCODERS.len(), 1..3),
        ) {
            let text = words.concat().into_bytes();
            let body = which.iter().fold(text.clone(), |body, at| ENCODERS[*at].2(&body));
            let codings: Vec<_> = which.iter().map(|at| ENCODERS[*at].1).collect();
            prop_assert_eq!(undone(&codings, &body, size).unwrap(), text);
        }

        #[test]
        fn what_is_before_the_fault_comes_out_however_it_is_cut(
            // Nobody guesses that a body is Brotli, and one that says so and is not is refused whatever comes out.
            text in "[a-z]{0,300}", at in prop::sample::select(vec![0, 1, 2, 4_usize]), spoilt in any::<prop::sample::Index>(), size in 1_usize..9
        ) {
            let (_, coding, encode) = ENCODERS[at];
            let mut body = encode(text.as_bytes());
            let spoilt = spoilt.index(body.len());
            body[spoilt] ^= 0x55;
            let until = |size: usize| {
                let (mut inflater, mut out) = (Inflater::new(&[coding]), Vec::new());
                let _ = body.chunks(size).try_for_each(|chunk| inflater.push(chunk, &mut out));
                out
            };
            let (whole, cut) = (until(body.len()), until(size));
            prop_assert!(whole.starts_with(&cut) || cut.starts_with(&whole));
            prop_assert!(whole.len() >= cut.len(), "{} of {}", whole.len(), cut.len());
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..ENCODERS.len(), spoilt in any::<prop::sample::Index>()) {
            let (_, coding, encode) = ENCODERS[at];
            let _ = undone(&[coding], &bytes, 50);
            let mut body = encode(&bytes);
            let spoilt = spoilt.index(body.len());
            body[spoilt] = body[spoilt].wrapping_add(1);
            let _ = undone(&[coding], &body, 50);
        }
    }

    fn undone(codings: &[Coding], body: &[u8], size: usize) -> Result<Vec<u8>, Undecodable> {
        let mut inflater = Inflater::new(codings);
        let mut out = Vec::new();
        for chunk in body.chunks(size) {
            inflater.push(chunk, &mut out)?;
        }
        inflater.finish(&mut out)?;
        Ok(out)
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn raw(text: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn brotli(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let parameters = brotli::enc::BrotliEncoderParams { quality: 5, ..Default::default() };
        brotli::BrotliCompress(&mut &*text, &mut out, &parameters).unwrap();
        out
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 3).unwrap()
    }
}
