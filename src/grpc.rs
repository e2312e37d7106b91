//! The codec of the services that every request passes.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

/// Reads and writes protobuf as tonic's own codec does, but reads a message as the one slice it is: prost is several
/// times as fast on a slice as on tonic's buffer, which it asks anew for every byte.
pub struct SliceCodec<Sent, Received>(PhantomData<fn(Received) -> Sent>);

/// Its reading half.
pub struct SliceDecoder<Received>(PhantomData<fn() -> Received>);

impl<Sent, Received> Default for SliceCodec<Sent, Received> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Sent: Message + 'static, Received: Message + Default + 'static> Codec for SliceCodec<Sent, Received> {
    type Encode = Sent;
    type Decode = Received;
    type Encoder = ProstEncoder<Sent>;
    type Decoder = SliceDecoder<Received>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        SliceDecoder(PhantomData)
    }
}

impl<Received: Message + Default> Decoder for SliceDecoder<Received> {
    type Item = Received;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Received>, Status> {
        let message = buffer.chunk();
        let length = message.len();
        if length != buffer.remaining() {
            return Err(Status::internal("a message came in pieces"));
        }
        let received = Received::decode(message).map_err(|error| Status::internal(error.to_string()))?;
        buffer.advance(length);
        Ok(Some(received))
    }
}
