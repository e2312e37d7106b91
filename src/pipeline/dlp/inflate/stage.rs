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
}

enum Kind {
    Gzip(Box<Gzip>),
    Deflate(Deflate),
    Brotli { state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>, ended: bool },
    Zstd { context: Option<DCtx<'static>>, frames: usize, between: bool },
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
            Coding::Zstd => Kind::Zstd { context: zstd_context(), frames: 0, between: true },
        };
        Self { kind, block: vec![0; BLOCK].into_boxed_slice(), filled: 0, written: 0 }
    }

    /// One deflated stream without any wrapping, as ZIP has it.
    pub(in crate::pipeline::dlp) fn bare() -> Self {
        let inflate = Box::new(Decompress::new(false));
        let kind = Kind::Deflate(Deflate::Known { inflate, ended: false });
        Self { kind, block: vec![0; BLOCK].into_boxed_slice(), filled: 0, written: 0 }
    }

    /// Begins again, with what was allocated.
    pub(in crate::pipeline::dlp) fn restart(&mut self) {
        (self.filled, self.written) = (0, 0);
        match &mut self.kind {
            Kind::Gzip(gzip) => gzip.restart(),
            Kind::Deflate(Deflate::Known { inflate, ended }) => {
                inflate.reset(false);
                *ended = false;
            }
            Kind::Zstd { context, frames, between } => {
                let reset = |mut old: DCtx<'static>| old.reset(ResetDirective::SessionOnly).ok().map(|_code| old);
                *context = context.take().and_then(reset).or_else(zstd_context);
                (*frames, *between) = (0, true);
            }
            Kind::Deflate(_) => *self = Self::new(Coding::Deflate),
            Kind::Brotli { .. } => *self = Self::new(Coding::Brotli),
        }
    }

    /// Reads some of the input and writes at most a block: how much was read, and the block. With neither, it needs
    /// more.
    pub(in crate::pipeline::dlp) fn step(&mut self, input: &[u8]) -> Result<(usize, &[u8]), Undecodable> {
        self.filled = 0;
        let block = &mut self.block;
        let (read, written) = match &mut self.kind {
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
                match result {
                    BrotliResult::ResultFailure => return Err(Undecodable::Malformed),
                    BrotliResult::ResultSuccess => *ended = true,
                    BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => {}
                }
                (read, written)
            }
            // To call it between two frames would begin one.
            Kind::Zstd { between: true, .. } if input.is_empty() => (0, 0),
            Kind::Zstd { context: None, .. } => return Err(Undecodable::Malformed),
            Kind::Zstd { context: Some(context), frames, between } => {
                let mut source = InBuffer::around(input);
                let mut target = OutBuffer::around(&mut **block);
                match context.decompress_stream(&mut target, &mut source) {
                    Ok(hint) => {
                        *between = hint == 0;
                        *frames += usize::from(*between);
                    }
                    Err(code) => {
                        return Err(match 0_usize.wrapping_sub(code) {
                            ZSTD_WINDOW_TOO_LARGE => Undecodable::TooLarge,
                            ZSTD_PREFIX_UNKNOWN if *frames > 0 => Undecodable::Trailing,
                            _ => Undecodable::Malformed,
                        });
                    }
                }
                (source.pos(), target.pos())
            }
        };
        self.filled = written;
        self.written += written as u64;
        Ok((read, self.block()))
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

impl Deflate {
    fn step(&mut self, input: &[u8], block: &mut [u8]) -> Result<(usize, usize), Undecodable> {
        match self {
            Self::Known { ended: true, .. } => beyond(input),
            Self::Known { inflate: stream, ended } => {
                let (read, written, end) = inflate(stream, input, block)?;
                *ended = end;
                Ok((read, written))
            }
            Self::Unknown(first) => {
                let Some((byte, _)) = input.split_first() else { return Ok((0, 0)) };
                let Some(first) = first else {
                    *first = Some(*byte);
                    return Ok((1, 0));
                };
                let head = [*first, *byte];
                let mut stream = Box::new(Decompress::new(is_zlib(head)));
                // Two bytes write a block at most: a long repetition takes more.
                let (read, written, ended) = inflate(&mut stream, &head, block)?;
                *self = Self::Known { inflate: stream, ended };
                if read < head.len() {
                    return Err(Undecodable::Trailing);
                }
                Ok((1, written))
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
) -> Result<(usize, usize, bool), Undecodable> {
    let (read, written) = (stream.total_in(), stream.total_out());
    let status = stream.decompress(input, block, FlushDecompress::None).map_err(|_error| Undecodable::Malformed)?;
    // Both are at most the lengths of the two slices.
    let (read, written) = ((stream.total_in() - read) as usize, (stream.total_out() - written) as usize);
    Ok((read, written, status == Status::StreamEnd))
}

/// RFC 1950 §2.2: deflate with a window of at most 32 KiB, and a check of both bytes.
pub(in crate::pipeline::dlp) fn is_zlib([cmf, flg]: [u8; 2]) -> bool {
    cmf & 0x0f == 8 && cmf >> 4 <= 7 && u16::from_be_bytes([cmf, flg]).is_multiple_of(31)
}

fn beyond(input: &[u8]) -> Result<(usize, usize), Undecodable> {
    if input.is_empty() { Ok((0, 0)) } else { Err(Undecodable::Trailing) }
}

fn zstd_context() -> Option<DCtx<'static>> {
    let mut context = DCtx::try_create()?;
    context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW)).ok()?;
    Some(context)
}
