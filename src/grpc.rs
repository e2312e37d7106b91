//! The codec of the services that every request passes.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::{Buf, Bytes};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

/// What a stream's buffers start with, in bytes: the most that a request's head or its answer takes, by and large. A
/// stream is for one of each, and tonic's default of 8 KiB leaves the allocator's fast path.
const RECEIVED: usize = 2048;
const SENT: usize = 1024;
/// Tonic's own.
const YIELD_THRESHOLD: usize = 32 * 1024;

/// Writes protobuf, and gives what it receives as the bytes it is: [`crate::protobuf`] reads them where they lie.
pub struct BytesCodec<Sent>(PhantomData<fn() -> Sent>);

/// Its reading half.
pub struct BytesDecoder;

impl<Sent> Default for BytesCodec<Sent> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Sent: Message + 'static> Codec for BytesCodec<Sent> {
    type Encode = Sent;
    type Decode = Bytes;
    type Encoder = ProstEncoder<Sent>;
    type Decoder = BytesDecoder;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(SENT, YIELD_THRESHOLD))
    }

    fn decoder(&mut self) -> Self::Decoder {
        BytesDecoder
    }
}

impl Decoder for BytesDecoder {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(RECEIVED, YIELD_THRESHOLD)
    }
}
