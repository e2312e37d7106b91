//! What is found in a request before anything of it leaves.

use std::mem;

use smallvec::SmallVec;

use super::request::Body;
use super::request::Request;
use super::{Exchange, MOST_HELD, record};
use crate::pipeline::audit::FindingNote;
use crate::pipeline::policy::Permit;
use crate::pipeline::policy::decision::{Denial, Reason};
use crate::pipeline::policy::inspect::{
    BodyInspection, Inspect, InspectResponse, Inspection, Refusal, Subject, Unheld,
};

/// Names of fields.
pub type Names = SmallVec<[Box<str>; 4]>;

/// What is known of a request from looking into it, and what looks into the rest of its exchange.
#[derive(Debug, Default)]
pub struct Look {
    /// All of the head was looked at.
    pub is_complete: bool,
    /// What was found, for the record.
    pub notes: Vec<FindingNote>,
    /// How much of the body that was held was looked into, in bytes.
    pub scanned: u64,
    /// Fields that go out with another value.
    pub set: Vec<(Box<str>, Vec<u8>)>,
    /// Fields that do not go out.
    pub remove: Vec<Box<str>>,
    /// Those that are for this proxy alone, where they are known already.
    pub stays: Option<Names>,
    /// The query that goes out.
    pub query: Option<Box<str>>,
    /// What goes out in place of the body that was held.
    pub sent: Option<Box<[u8]>>,
    /// Looks into what of the request has not been seen.
    pub request: Option<BodyInspection>,
    /// Looks into the response.
    pub response: Option<Box<dyn InspectResponse>>,
}

impl Exchange {
    /// Looks into the head, and into the body if it is there. True if the body has to be held before the rest of the
    /// decision.
    pub(super) fn look_into(&mut self, permit: &Permit) -> Result<bool, Denial> {
        self.look = Look::default();
        let Some(request) = &self.request else { return Ok(false) };
        let obliged = request.lacks_body(permit);
        let Some((stays, opened)) = self.open(permit) else { return Ok(obliged) };
        let inspection = opened.map_err(|refusal| {
            // Who refuses without a finding has perhaps not looked.
            self.look.is_complete = !refusal.findings.is_empty();
            self.look.notes.extend(refusal.findings.iter().map(record::note));
            refusal.denial
        })?;
        let Inspection { findings, set, remove, query, request: mut body, response } = inspection;
        self.look = Look {
            is_complete: true,
            notes: findings.iter().map(record::note).collect(),
            set,
            remove,
            stays: Some(stays),
            query,
            response,
            ..Look::default()
        };
        let Some(request) = &self.request else { return Ok(false) };
        // What follows an upgrade is another protocol, in both directions.
        if request.head()?.upgrades().next().is_some() {
            body = None;
            self.look.response = None;
        }
        let Some(body) = body else { return Ok(obliged) };
        match &request.body {
            Body::Whole(_) => {}
            Body::Unseen if obliged || request.fits() => return Ok(true),
            Body::Unseen | Body::Large => {
                if body.unheld == Unheld::Refuse {
                    return Err(Denial::new(Reason::BodyTooLarge));
                }
                self.look.request = Some(body);
                return Ok(false);
            }
            // Whoever needs all of it refuses with a reason of its own.
            Body::Cut if request.needs_body(permit) => return Ok(false),
            Body::Cut => return Err(Denial::new(Reason::BodyTooLarge).because("it could not be held whole")),
        }
        self.look_into_whole(body.inspect)?;
        Ok(false)
    }

    /// The inspection of this request, and the fields of it that stay here; none where nothing is looked into.
    pub(super) fn open(&mut self, permit: &Permit) -> Option<(Names, Result<Inspection, Refusal>)> {
        let inspector = self.rules.inspector.clone()?;
        let request = self.request.as_ref()?;
        let head = request.head().ok()?;
        let stays = self.leaves_behind(request, head, permit);
        let ends = matches!(&request.body, Body::Whole(body) if body.is_empty() && !request.awaits_trailers);
        self.looking = true;
        let opened = inspector.open(&Subject {
            id: &request.id,
            head,
            stays: &stays,
            permit,
            ends,
            now: self.decided.monotonic,
        });
        self.looking = false;
        Some((stays, opened))
    }

    fn look_into_whole(&mut self, mut inspect: Box<dyn Inspect>) -> Result<(), Denial> {
        let Some(Request { body: Body::Whole(body), .. }) = &self.request else { return Ok(()) };
        self.looking = true;
        self.look.scanned = body.len() as u64;
        let mut out = Vec::with_capacity(body.len());
        // The fields behind a body that is held are looked into on their own: by then it has been answered.
        let clean = inspect.whole(body, &mut out);
        self.look.notes.extend(inspect.findings().iter().map(record::note));
        self.looking = false;
        clean?;
        if *out != **body {
            self.look.sent = Some(out.into());
        }
        Ok(())
    }

    /// The body as it would go out.
    pub(super) fn take_sent(&mut self) -> Option<Vec<u8>> {
        mem::take(&mut self.look.sent).map(Vec::from)
    }
}

impl Request {
    /// True if the body can be held without keeping anybody waiting: its end is known, and not far.
    fn fits(&self) -> bool {
        // A gRPC stream is a conversation, whatever length it states.
        !self.is_grpc() && self.stated_length().is_some_and(|length| length <= MOST_HELD as u64)
    }
}
