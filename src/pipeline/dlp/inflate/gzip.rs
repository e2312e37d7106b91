//! The frame of gzip, RFC 1952 §2.3: members with a head, a deflated body, and a checksum.

use crc32fast::Hasher;
use flate2::Decompress;

use super::Undecodable;
use super::stage::{Step, inflate};

/// A gzip file in the middle of being read.
#[derive(Debug)]
pub(super) struct Gzip {
    place: Place,
    flags: u8,
    body: Decompress,
    checksum: Hasher,
    members: usize,
}

/// What comes next. A number counts the bytes of it that were read.
#[derive(Debug, Clone, Copy)]
enum Place {
    Head(usize),
    ExtraLength(Option<u8>),
    Extra(u16),
    Name,
    Comment,
    HeadChecksum(usize),
    Body,
    /// With the checksum, then the length.
    Trailer(usize, u64),
}

const HEAD: usize = 10;
const HEAD_CHECKSUM: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

impl Gzip {
    pub(super) fn new() -> Self {
        Self { place: Place::Head(0), flags: 0, body: Decompress::new(false), checksum: Hasher::new(), members: 0 }
    }

    /// Begins again.
    pub(super) fn restart(&mut self) {
        (self.place, self.members) = (Place::Head(0), 0);
    }

    /// Reads some and writes some: how many bytes of either.
    pub(super) fn step(&mut self, input: &[u8], block: &mut [u8]) -> Result<Step, Undecodable> {
        if !matches!(self.place, Place::Body) {
            let mut taken = 0;
            for byte in input {
                if matches!(self.place, Place::Body) {
                    break;
                }
                self.frame(*byte)?;
                taken += 1;
            }
            return Ok((taken, 0, None));
        }
        let (taken, written, ended) = inflate(&mut self.body, input, block);
        self.checksum.update(block.get(..written).unwrap_or_default());
        if ended == Ok(true) {
            self.place = Place::Trailer(0, 0);
        }
        Ok((taken, written, ended.err()))
    }

    /// True between two members.
    pub(super) fn is_complete(&self) -> bool {
        self.members > 0 && matches!(self.place, Place::Head(0))
    }

    /// Reads a byte that is not of the body.
    fn frame(&mut self, byte: u8) -> Result<(), Undecodable> {
        self.place = match self.place {
            Place::Head(at) => {
                let expected = match at {
                    0 => byte == 0x1f,
                    1 => byte == 0x8b,
                    2 => byte == 8,
                    3 => byte & RESERVED == 0,
                    _ => true,
                };
                if !expected {
                    let behind = self.members > 0 && at < 2;
                    return Err(if behind { Undecodable::Trailing } else { Undecodable::Malformed });
                }
                if at == 3 {
                    self.flags = byte;
                }
                if at + 1 < HEAD { Place::Head(at + 1) } else { self.after_head() }
            }
            Place::ExtraLength(None) => Place::ExtraLength(Some(byte)),
            Place::ExtraLength(Some(low)) => match u16::from_le_bytes([low, byte]) {
                0 => self.after_extra(),
                length => Place::Extra(length),
            },
            Place::Extra(left) if left > 1 => Place::Extra(left - 1),
            Place::Extra(_) => self.after_extra(),
            Place::Name if byte == 0 => self.after_name(),
            Place::Comment if byte == 0 => self.after_comment(),
            Place::HeadChecksum(0) => Place::HeadChecksum(1),
            Place::HeadChecksum(_) => self.before_body(),
            Place::Trailer(at, seen) => {
                let seen = seen | u64::from(byte) << (8 * at);
                if at < 7 { Place::Trailer(at + 1, seen) } else { self.close(seen)? }
            }
            same => same,
        };
        Ok(())
    }

    fn after_head(&mut self) -> Place {
        if self.flags & EXTRA == 0 { self.after_extra() } else { Place::ExtraLength(None) }
    }

    fn after_extra(&mut self) -> Place {
        if self.flags & NAME == 0 { self.after_name() } else { Place::Name }
    }

    fn after_name(&mut self) -> Place {
        if self.flags & COMMENT == 0 { self.after_comment() } else { Place::Comment }
    }

    fn after_comment(&mut self) -> Place {
        if self.flags & HEAD_CHECKSUM == 0 { self.before_body() } else { Place::HeadChecksum(0) }
    }

    fn before_body(&mut self) -> Place {
        self.body.reset(false);
        self.checksum.reset();
        Place::Body
    }

    /// The length is that of the body modulo 2^32.
    fn close(&mut self, trailer: u64) -> Result<Place, Undecodable> {
        let stated = (trailer as u32, (trailer >> 32) as u32);
        if stated != (self.checksum.clone().finalize(), self.body.total_out() as u32) {
            return Err(Undecodable::Malformed);
        }
        self.members += 1;
        Ok(Place::Head(0))
    }
}
