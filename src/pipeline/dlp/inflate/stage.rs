//! One coding being undone, a block at a time.

use std::fmt;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::gzip::Gzip;
use super::{Coding, Undecodable};

/// One coding being undone.
pub(in crate::pipeline::dlp) struct Stage {
    kind: Kind,
    block: Box<[u8]>,
    filled: usize,
    written: u64,
    /// Why there is no more: what came out before that was given first.
    failed: Option<Undecodable>,
}

enum Kind {
    Gzip(Box<Gzip>),
    Deflate(Deflate),
    Brotli { state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>, ended: bool },
    Zstd { context: Option<DCtx<'static>>, frames: usize, between: bool, wanted: usize },
}

/// Zlib's wrapping is told by its first two bytes, as browsers and servers do.
enum Deflate {
    Unknown(Option<u8>),
    Known { inflate: Box<Decompress>, ended: bool },
}

/// What is written at once.
const BLOCK: usize = 32 << 10;

/// RFC 9659: 8 MiB.
const ZSTD_WINDOW: u32 = 23;

/// RFC 8878 §3.1.1.2.
const ZSTD_BLOCK_HEAD: usize = 3;

/// `ZSTD_error_prefix_unknown` and `ZSTD_error_frameParameter_windowTooLarge` of zstd_errors.h, which are stable.
const ZSTD_PREFIX_UNKNOWN: usize = 10;
const ZSTD_WINDOW_TOO_LARGE: usize = 16;

impl Stage {
    pub(in crate::pipeline::dlp) fn new(coding: Coding) -> Self {
        let kind = match coding {
            Coding::Gzip => Kind::Gzip(Box::new(Gzip::new())),
            Coding::Deflate => Kind::Deflate(Deflate::Unknown(None)),
            // Strict: without the windows beyond 16 MiB that only its own tools know. The window grows as it is filled.
            Coding::Brotli => Kind::Brotli {
                state: Box::new(BrotliState::new_strict(
                    StandardAlloc::default(),
                    StandardAlloc::default(),
                    StandardAlloc::default(),
                )),
                ended: false,
            },
            Coding::Zstd => Kind::Zstd { context: zstd_context(), frames: 0, between: true, wanted: 0 },
        };
        Self { kind, block: vec![0; BLOCK].into_boxed_slice(), filled: 0, written: 0, failed: None }
    }

    /// One deflated stream without any wrapping, as ZIP has it.
    pub(in crate::pipeline::dlp) fn bare() -> Self {
        let inflate = Box::new(Decompress::new(false));
        let kind = Kind::Deflate(Deflate::Known { inflate, ended: false });
        Self { kind, block: vec![0; BLOCK].into_boxed_slice(), filled: 0, written: 0, failed: None }
    }

    /// Begins again, with what was allocated.
    pub(in crate::pipeline::dlp) fn restart(&mut self) {
        (self.filled, self.written, self.failed) = (0, 0, None);
        match &mut self.kind {
            Kind::Gzip(gzip) => gzip.restart(),
            Kind::Deflate(Deflate::Known { inflate, ended }) => {
                inflate.reset(false);
                *ended = false;
            }
            Kind::Zstd { context, frames, between, wanted } => {
                let reset = |mut old: DCtx<'static>| old.reset(ResetDirective::SessionOnly).ok().map(|_code| old);
                *context = context.take().and_then(reset).or_else(zstd_context);
                (*frames, *between, *wanted) = (0, true, 0);
            }
            Kind::Deflate(_) => *self = Self::new(Coding::Deflate),
            Kind::Brotli { .. } => *self = Self::new(Coding::Brotli),
        }
    }

    /// Reads some of the input and writes at most a block: how much was read, and the block. With neither, it needs
    /// more.
    pub(in crate::pipeline::dlp) fn step(&mut self, input: &[u8]) -> Result<(usize, &[u8]), Undecodable> {
        self.filled = 0;
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let block = &mut self.block;
        let (read, written, failed) = match &mut self.kind {
            Kind::Gzip(gzip) => gzip.step(input, block)?,
            Kind::Deflate(deflate) => deflate.step(input, block)?,
            Kind::Brotli { ended: true, .. } => beyond(input)?,
            Kind::Brotli { state, ended } => {
                let (mut left, mut read) = (input.len(), 0);
                let (mut space, mut written, mut total) = (block.len(), 0, 0);
                let result = BrotliDecompressStream(
                    &mut left,
                    &mut read,
                    input,
                    &mut space,
                    &mut written,
                    block,
                    &mut total,
                    state,
                );
                *ended = matches!(result, BrotliResult::ResultSuccess);
                let failed = matches!(result, BrotliResult::ResultFailure);
                (read, written, failed.then_some(Undecodable::Malformed))
            }
            // To call it between two frames would begin one.
            Kind::Zstd { between: true, .. } if input.is_empty() => (0, 0, None),
            Kind::Zstd { context: None, .. } => return Err(Undecodable::Malformed),
            Kind::Zstd { context: Some(context), frames, between, wanted } => {
                // What it writes in a call that fails is lost, so each call takes one block at most, and nothing of the
                // next: what it wants, less what it would like to see of that.
                let most = wanted.saturating_sub(ZSTD_BLOCK_HEAD).max(1);
                let mut source = InBuffer::around(input.get(..most).unwrap_or(input));
                let mut target = OutBuffer::around(&mut **block);
                let failed = match context.decompress_stream(&mut target, &mut source) {
                    Ok(hint) => {
                        (*wanted, *between) = (hint, hint == 0);
                        *frames += usize::from(*between);
                        None
                    }
                    Err(code) => Some(match 0_usize.wrapping_sub(code) {
                        ZSTD_WINDOW_TOO_LARGE => Undecodable::TooLarge,
                        ZSTD_PREFIX_UNKNOWN if *frames > 0 => Undecodable::Trailing,
                        _ => Undecodable::Malformed,
                    }),
                };
                (source.pos(), target.pos(), failed)
            }
        };
        self.filled = written;
        self.written += written as u64;
        self.failed = failed;
        match failed.filter(|_| written == 0) {
            Some(failed) => Err(failed),
            None => Ok((read, self.block())),
        }
    }

    /// What the last step wrote.
    pub(in crate::pipeline::dlp) fn block(&self) -> &[u8] {
        self.block.get(..self.filled).unwrap_or_default()
    }

    /// The bytes that were written so far.
    pub(in crate::pipeline::dlp) fn written(&self) -> u64 {
        self.written
    }

    /// True if what came so far is all of it, or could be.
    pub(in crate::pipeline::dlp) fn is_complete(&self) -> bool {
        match &self.kind {
            Kind::Gzip(gzip) => gzip.is_complete(),
            Kind::Deflate(deflate) => matches!(deflate, Deflate::Known { ended: true, .. }),
            Kind::Brotli { ended, .. } => *ended,
            Kind::Zstd { frames, between, .. } => *between && *frames > 0,
        }
    }
}

/// How much was read and written, and what is wrong with what comes then.
pub(super) type Step = (usize, usize, Option<Undecodable>);

impl Deflate {
    fn step(&mut self, input: &[u8], block: &mut [u8]) -> Result<Step, Undecodable> {
        match self {
            Self::Known { ended: true, .. } => beyond(input),
            Self::Known { inflate: stream, ended } => {
                let (read, written, end) = inflate(stream, input, block);
                *ended = end == Ok(true);
                Ok((read, written, end.err()))
            }
            Self::Unknown(first) => {
                let Some((byte, _)) = input.split_first() else { return Ok((0, 0, None)) };
                let Some(first) = first else {
                    *first = Some(*byte);
                    return Ok((1, 0, None));
                };
                let head = [*first, *byte];
                let mut stream = Box::new(Decompress::new(is_zlib(head)));
                // Two bytes write a block at most: a long repetition takes more.
                let (read, written, end) = inflate(&mut stream, &head, block);
                *self = Self::Known { inflate: stream, ended: end == Ok(true) };
                let trailing = (read < head.len()).then_some(Undecodable::Trailing);
                Ok((1, written, end.err().or(trailing)))
            }
        }
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("written", &self.written).finish_non_exhaustive()
    }
}

/// Inflates some: bytes read, bytes written, and whether that was the end.
pub(super) fn inflate(
    stream: &mut Decompress,
    input: &[u8],
    block: &mut [u8],
) -> (usize, usize, Result<bool, Undecodable>) {
    let (read, written) = (stream.total_in(), stream.total_out());
    let status = stream.decompress(input, block, FlushDecompress::None);
    // Both are at most the lengths of the two slices.
    let (read, written) = ((stream.total_in() - read) as usize, (stream.total_out() - written) as usize);
    (read, written, status.map(|status| status == Status::StreamEnd).map_err(|_error| Undecodable::Malformed))
}

/// RFC 1950 §2.2: deflate with a window of at most 32 KiB, and a check of both bytes.
pub(in crate::pipeline::dlp) fn is_zlib([cmf, flg]: [u8; 2]) -> bool {
    cmf & 0x0f == 8 && cmf >> 4 <= 7 && u16::from_be_bytes([cmf, flg]).is_multiple_of(31)
}

fn beyond(input: &[u8]) -> Result<Step, Undecodable> {
    if input.is_empty() { Ok((0, 0, None)) } else { Err(Undecodable::Trailing) }
}

fn zstd_context() -> Option<DCtx<'static>> {
    let mut context = DCtx::try_create()?;
    context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW)).ok()?;
    Some(context)
}
