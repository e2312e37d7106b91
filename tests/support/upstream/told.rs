//! What a test wants the upstream to say, byte for byte.

use std::collections::HashMap;
use std::io::Error;
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use tokio::sync::Notify;

use super::Recorded;

/// Answers by path.
pub type Told = Arc<Mutex<HashMap<String, Answer>>>;

/// An answer. With one part it has a `Content-Length`, with more it has none.
#[derive(Clone)]
pub struct Answer {
    status: u16,
    fields: Vec<(&'static str, String)>,
    parts: Vec<Vec<u8>>,
    trailers: HeaderMap,
    /// Lets each part after the first go out.
    gate: Option<Arc<Notify>>,
    gives_ranges: bool,
}

impl Answer {
    /// 200.
    pub fn new(content_type: &str, body: impl AsRef<[u8]>) -> Answer {
        let fields = vec![("content-type", content_type.to_owned())];
        let (parts, trailers) = (vec![body.as_ref().to_vec()], HeaderMap::new());
        Answer { status: 200, fields, parts, trailers, gate: None, gives_ranges: false }
    }

    pub fn status(mut self, status: u16) -> Answer {
        self.status = status;
        self
    }

    pub fn field(mut self, name: &'static str, value: &str) -> Answer {
        self.fields.push((name, value.to_owned()));
        self
    }

    /// The body in parts of so many bytes.
    pub fn cut(mut self, bytes: usize) -> Answer {
        self.parts = self.parts.concat().chunks(bytes).map(<[u8]>::to_vec).collect();
        self
    }

    /// Whoever asks for a part of it gets that (RFC 9110 §14.2), by the field of Azure's blobs too.
    pub fn in_ranges(mut self) -> Answer {
        self.gives_ranges = true;
        self.field("accept-ranges", "bytes")
    }

    /// A field behind the body.
    pub fn trailer(mut self, name: &'static str, value: &str) -> Answer {
        self.trailers.insert(name, value.parse().unwrap());
        self
    }

    /// A further part, which waits for `gate`.
    pub fn after(mut self, gate: &Arc<Notify>, part: impl AsRef<[u8]>) -> Answer {
        self.parts.push(part.as_ref().to_vec());
        self.gate = Some(gate.clone());
        self
    }

    /// The part of it that is asked for.
    pub(super) fn part(mut self, fields: &HeaderMap) -> Answer {
        let asked = fields.get("range").or(fields.get("x-ms-range")).filter(|_| self.gives_ranges);
        let Some((from, to)) = asked.and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'))
        else {
            return self;
        };
        let body = self.parts.concat();
        let from: usize = from.parse().unwrap();
        let to = to.parse().map_or(body.len(), |last: usize| body.len().min(last + 1));
        self.parts = vec![body[from..to].to_vec()];
        let range = format!("bytes {from}-{}/{}", to - 1, body.len());
        self.status(206).field("content-range", &range)
    }

    pub(super) async fn say(self, request: Request<Recorded>) -> Result<Response<UnsyncBoxBody<Bytes, Error>>, Error> {
        let is_head = request.method() == http::Method::HEAD;
        // The agent is heard out first, as most servers do.
        request.into_body().collect().await.map_err(Error::other)?;
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.fields {
            response = response.header(*name, value);
        }
        if is_head {
            // Over HTTP/2 nobody else leaves the body out.
            let length = self.parts.iter().map(Vec::len).sum::<usize>();
            let none = Full::default().map_err(|never| match never {}).boxed_unsync();
            return response.header("content-length", length).body(none).map_err(Error::other);
        }
        let mut parts = self.parts.into_iter();
        let body = if parts.len() == 1 && self.trailers.is_empty() {
            Full::new(Bytes::from(parts.next().unwrap_or_default())).map_err(|never| match never {}).boxed_unsync()
        } else {
            let gate = self.gate;
            let parts = stream::iter(parts.enumerate()).then(move |(at, part)| {
                let gate = gate.clone().filter(|_| at > 0);
                async move {
                    if let Some(gate) = gate {
                        gate.notified().await;
                    } else {
                        // Each part goes out on its own.
                        tokio::task::yield_now().await;
                    }
                    Ok(Frame::data(Bytes::from(part)))
                }
            });
            let trailers = stream::iter((!self.trailers.is_empty()).then(|| Ok(Frame::trailers(self.trailers))));
            StreamBody::new(parts.chain(trailers)).boxed_unsync()
        };
        response.body(body).map_err(Error::other)
    }
}
