//! What the characters of each alphabet stand for.

/// What a character of base64 stands for, in either of its alphabets (RFC 4648 §4, §5).
#[inline]
pub(super) fn base64(byte: u8) -> Option<u8> {
    lookup(&BASE64, byte)
}

/// What a character of base64 may be in a quad of ASCII: [`FIRST`], [`SECOND`], [`THIRD`], or none.
#[inline]
pub(super) fn quad_class(byte: u8) -> Option<u8> {
    lookup(&QUAD, byte)
}

/// It holds the upper six bits of a byte that is printable, white space or zero.
pub(super) const FIRST: u8 = 1;
/// It ends with the upper four bits of such a byte.
pub(super) const SECOND: u8 = 1 << 1;
/// It ends with the upper two bits of such a byte.
pub(super) const THIRD: u8 = 1 << 2;

/// Whether it is a character of base64.
#[inline]
pub(super) fn is_base64(byte: u8) -> bool {
    base64(byte).is_some()
}

/// What a character of base32 stands for, in either case (RFC 4648 §6).
#[inline]
pub(super) fn base32(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a'),
        b'2'..=b'7' => Some(byte - b'2' + 26),
        _ => None,
    }
}

/// What a hex digit stands for.
#[inline]
pub(super) fn hex(byte: u8) -> Option<u8> {
    lookup(&HEX, byte)
}

/// Two hex digits.
#[inline]
pub(super) fn hex_pair(high: u8, low: u8) -> Option<u8> {
    Some(hex(high)? << 4 | hex(low)?)
}

/// A hex digit, or what stands between and before pairs of them.
#[inline]
pub(super) fn is_hexish(byte: u8) -> bool {
    hex(byte).is_some() || b":- ,;xX\\\n\r".contains(&byte)
}

const NONE: u8 = 0xff;

macro_rules! filled {
    ($of:ident) => {{
        let mut table = [NONE; 256];
        let mut byte = 0;
        while byte < 256 {
            #[expect(clippy::indexing_slicing, reason = "it is filled when it is compiled")]
            {
                table[byte] = $of(byte as u8);
            }
            byte += 1;
        }
        table
    }};
}

static BASE64: [u8; 256] = filled!(base64_of);
static QUAD: [u8; 256] = filled!(quad_of);
static HEX: [u8; 256] = filled!(hex_of);

#[inline]
fn lookup(table: &[u8; 256], byte: u8) -> Option<u8> {
    table.get(usize::from(byte)).copied().filter(|value| *value != NONE)
}

const fn base64_of(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => NONE,
    }
}

const fn quad_of(byte: u8) -> u8 {
    let value = base64_of(byte);
    if value == NONE {
        return NONE;
    }
    let first = if matches!(value, 0 | 2 | 3 | 8..=31) { FIRST } else { 0 };
    let second = if matches!(value & 15, 0 | 2..=7) { SECOND } else { 0 };
    let third = if value & 3 < 2 { THIRD } else { 0 };
    first | second | third
}

const fn hex_of(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => NONE,
    }
}
