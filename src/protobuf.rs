//! Reads protobuf where it lies: the fields of a message in turn, nothing copied (*Encoding*, protobuf.dev).
//!
//! Every request is described by Envoy in two messages of some hundred fields, most of which nobody reads. Their numbers
//! stand in the `wire` modules.

/// The fields of a message in the order they came. After an error there are no more.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

/// See [`fields`].
pub struct Fields<'a>(&'a [u8]);

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// An integer or a boolean.
    Varint(u64),
    /// A text, bytes, or a message of its own.
    Bytes(&'a [u8]),
    /// A number of fixed size; none is read.
    Fixed,
}

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of Envoy's is no protobuf: attache and this Envoy do not fit together")]
pub struct Malformed;

/// A field that is text.
pub fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed)
}

/// The key and value of one entry of a `map<string, …>` whose values are messages; a `Struct`'s fields are one.
pub fn entry(message: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (mut key, mut value) = ("", &[][..]);
    for field in fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => key = text(bytes)?,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((key, value))
}

/// The text in a `google.protobuf.Value`, where it is one.
pub fn string_value(message: &[u8]) -> Result<Option<&str>, Malformed> {
    let mut found = None;
    for field in fields(message) {
        if let (3, Value::Bytes(bytes)) = field? {
            found = Some(text(bytes)?);
        }
    }
    Ok(found)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    #[inline(always)]
    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups, which no message of Envoy's has, and what is none of these.
            _ => return Err(Malformed),
        };
        match key >> 3 {
            0 => Err(Malformed),
            number => Ok((number, value)),
        }
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.0 {
            // As nearly all are.
            [byte @ 0..0x80, rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                // The tenth byte has room for one bit.
                return if shift < 63 || *byte < 2 { Ok(value) } else { Err(Malformed) };
            }
        }
        Err(Malformed)
    }

    #[inline(always)]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    /// One field of each kind; the numbers need one, two and five bytes.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Kinds {
        #[prost(uint64, optional, tag = "1")]
        number: Option<u64>,
        #[prost(bytes = "vec", repeated, tag = "16")]
        bytes: Vec<Vec<u8>>,
        #[prost(fixed64, optional, tag = "17")]
        long: Option<u64>,
        #[prost(fixed32, optional, tag = "18")]
        short: Option<u32>,
        #[prost(int64, optional, tag = "536870911")]
        last: Option<i64>,
    }

    fn kinds() -> impl Strategy<Value = Kinds> {
        let bytes = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..4);
        let (long, short): (Option<u64>, Option<u32>) = (Some(1), Some(2));
        (any::<Option<u64>>(), bytes, any::<Option<i64>>()).prop_map(move |(number, bytes, last)| Kinds {
            number,
            bytes,
            long,
            short,
            last,
        })
    }

    proptest! {
        #[test]
        fn what_prost_writes_is_read(kinds in kinds()) {
            let written = kinds.encode_to_vec();
            let mut read = Kinds { long: Some(1), short: Some(2), ..Kinds::default() };
            let mut fixed = 0;
            for field in fields(&written) {
                match field.unwrap() {
                    (1, Value::Varint(number)) => read.number = Some(number),
                    (16, Value::Bytes(bytes)) => read.bytes.push(bytes.to_vec()),
                    (17 | 18, Value::Fixed) => fixed += 1,
                    (536_870_911, Value::Varint(number)) => read.last = Some(number as i64),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert_eq!((read, fixed), (kinds, 2));
        }

        #[test]
        fn what_is_cut_off_is_malformed(kinds in kinds(), at: prop::sample::Index) {
            let written = kinds.encode_to_vec();
            let cut = &written[..at.index(written.len())];
            let whole = fields(cut).all(|field| field.is_ok());
            prop_assert_eq!(whole, Kinds::decode(cut).is_ok());
        }

        #[test]
        fn what_is_read_of_any_bytes_is_what_prost_reads(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            // `()` knows no field, so prost skips each as we do; groups alone it would skip too.
            if fields(&bytes).all(|field| field.is_ok()) {
                prop_assert!(<() as Message>::decode(&*bytes).is_ok(), "{bytes:?}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_message_are_malformed() {
        for bytes in [
            &b"\x00\x01"[..],
            b"\x08",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0a\x02x",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0b\x0c",
            b"\x0f",
            b"\x09\x00",
            b"\xff\xff\xff\xff\xff\xff\x01\x00",
        ] {
            let read: Vec<_> = fields(bytes).collect();
            assert_eq!(read, [Err(Malformed)], "{bytes:?}");
        }
    }
}
