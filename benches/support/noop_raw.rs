//! The least a service built on tonic must do: `noop_ext_proc` with messages left as the bytes they are, an answer that
//! was encoded before, and no more of tonic than a stream needs.

use std::convert::Infallible;
use std::ffi::OsString;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::bytes::{Buf, BufMut, Bytes};
use tokio::net::UnixListener;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{ClientStreamingService, Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::noop_ext_proc::{Ca, Options, run_as, services};
use super::noop_words::Words;

/// Serves until it is killed.
pub fn run(arguments: impl Iterator<Item = OsString>) {
    run_as(arguments, serve);
}

async fn serve(options: Options) {
    let listener = UnixListener::bind(&options.socket).expect("the socket is free");
    let verdicts = Verdicts(Arc::new(Words::new(&options)));
    let ca = Arc::new(Ca::load_or_make(&options.ca_out));
    let others = services(options, ca).await;
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        let (verdicts, others) = (verdicts.clone(), others.clone());
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(16 << 20)
            .max_concurrent_streams(None)
            .serve_connection(
                TokioIo::new(socket),
                service_fn(move |request: http::Request<Incoming>| -> BoxFuture<_, Infallible> {
                    let verdicts = verdicts.clone();
                    match request.uri().path().split('/').nth(1).unwrap_or_default() {
                        "envoy.service.ext_proc.v3.ExternalProcessor" => {
                            Box::pin(async { Ok(Grpc::new(Raw).streaming(verdicts, request).await) })
                        }
                        "envoy.service.accesslog.v3.AccessLogService" => {
                            Box::pin(async { Ok(Grpc::new(Raw).client_streaming(Drain, request).await) })
                        }
                        _ => others.clone().call(request.map(tonic::body::Body::new)),
                    }
                }),
            );
        tokio::spawn(connection);
    }
}

#[derive(Clone)]
struct Verdicts(Arc<Words>);

impl StreamingService<Bytes> for Verdicts {
    type Response = Bytes;
    type ResponseStream = Replies;
    type Future = Ready<Result<Response<Replies>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        ready(Ok(Response::new(Replies(request.into_inner(), self.0.clone()))))
    }
}

/// Replies while it reads.
struct Replies(Streaming<Bytes>, Arc<Words>);

impl Stream for Replies {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let message = std::task::ready!(self.0.poll_next_unpin(cx));
        Poll::Ready(message.map(|message| message.map(|message| self.1.message_to(&message))))
    }
}

/// Reads and forgets.
struct Drain;

impl ClientStreamingService<Bytes> for Drain {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async {
            let mut messages = request.into_inner();
            while messages.message().await?.is_some() {}
            Ok(Response::new(Bytes::new()))
        })
    }
}

/// Messages as the bytes they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(1024, 32 << 10)
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(2048, 32 << 10)
    }
}
