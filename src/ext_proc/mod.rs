//! Envoy's External Processing service: one stream for each request.
//!
//! Envoy forwards a request whose stream ends with OK before there was a verdict, whatever `failure_mode_allow`
//! says. So the stream that answers *is* the one that reads: it ends with OK only after Envoy has closed its
//! side, and everything else is an error status, on which Envoy refuses the request. Nothing is spawned.

mod backlog;
mod drive;
mod held;
mod load;
mod translate;
mod wire;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use prost::bytes::Bytes;
use tonic::{Request, Response, Status, Streaming};

use crate::pipeline::exchange::Event;
use drive::{Driver, Step};
pub use drive::{Herald, Needs, Receipt, Recorder, Resolve};
pub use held::Held;
pub use load::{Load, idle, turned};
use wire::ProcessingResponse;
pub use wire::{Part, ProcessingRequest};

/// The service.
#[derive(Clone)]
pub struct ExternalProcessor(Arc<Needs>);

impl ExternalProcessor {
    /// A service that decides with what `needs` holds.
    pub fn new(needs: Needs) -> Self {
        Self(Arc::new(needs))
    }

    fn process(&self, request: Request<Streaming<Bytes>>) -> Result<Response<Pin<Box<StrictStream>>>, Status> {
        let Some(entrance) = translate::entrance(request.metadata()) else {
            return Err(Status::invalid_argument(
                "`x-attache-door` must be `proxy`, `tls`, `plain`, `transparent-tls` or `transparent-plain`: use the bootstrap that `attache envoy render` prints",
            ));
        };
        let driver = Driver::new(self.0.clone(), entrance, request.metadata());
        let requests = request.into_inner();
        let stream = StrictStream { requests, driver, replies: VecDeque::new(), state: State::Reading };
        Ok(Response::new(Box::pin(stream)))
    }
}

/// The stream of replies, which polls the stream of requests itself.
pub struct StrictStream {
    requests: Streaming<Bytes>,
    driver: Driver,
    /// What is to be sent before anything else happens.
    replies: VecDeque<ProcessingResponse>,
    state: State,
}

enum State {
    Reading,
    Waiting(Pin<Box<dyn Future<Output = Event> + Send>>),
    Ended,
}

impl Stream for StrictStream {
    type Item = Result<ProcessingResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(reply) = this.replies.pop_front() {
                return Poll::Ready(Some(Ok(reply)));
            }
            let step = match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::Waiting(event) => match this.driver.guard(|_| event.as_mut().poll(cx)) {
                    Ok(Poll::Pending) => return Poll::Pending,
                    Ok(Poll::Ready(event)) => this.driver.on(event),
                    Err(step) => step,
                },
                State::Reading => match Pin::new(&mut this.requests).poll_next(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(Ok(message))) => this.driver.take(&message),
                    // Only now may the stream end with OK: Envoy has closed it.
                    Poll::Ready(None) => {
                        this.state = State::Ended;
                        return Poll::Ready(None);
                    }
                    Poll::Ready(Some(Err(status))) => Step::End(status),
                },
            };
            this.state = match step {
                Step::Replies(replies) => {
                    this.replies = replies;
                    State::Reading
                }
                Step::ReplyAndWait(reply, event) => {
                    this.replies.push_back(*reply);
                    State::Waiting(event)
                }
                Step::End(status) => {
                    this.state = State::Ended;
                    return Poll::Ready(Some(Err(status)));
                }
                Step::Wait(event) => State::Waiting(event),
            };
        }
    }
}
