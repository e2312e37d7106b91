//! From the verdict on: what is shown of the exchange, and what goes on of it.

use super::flow::{Answered, Flow, Parts, Stream, Way};
use super::{Effect, Event, Exchange, Forward, Now, Reply, Shows, Stage};
use crate::pipeline::audit::{Direction, InspectionAction, InspectionRecord};
use crate::pipeline::policy::Permit;
use crate::pipeline::policy::decision::{Denial, Reason};
use crate::pipeline::policy::inspect::{BodyInspection, Unheld};

impl Exchange {
    /// Prepares for what passes after the verdict, and says in it what has to be shown.
    pub(super) fn let_pass(&mut self, forward: &mut Forward, permit: &Permit) -> Result<(), Denial> {
        let awaits_trailers = self.request.as_ref().is_some_and(|request| request.awaits_trailers);
        let mut request = Way::Unseen;
        if awaits_trailers {
            let opened = self.open(permit).map(|(_, opened)| opened).transpose();
            let trailers = opened.map_err(|refusal| refusal.denial)?.and_then(|inspection| inspection.request);
            let inspect = trailers.map(|trailers| trailers.inspect);
            request = Way::Trailers(Stream::new(inspect, &[]), forward.upstream);
        } else if let Some(BodyInspection { inspect, unheld }) = self.look.request.take() {
            if unheld == Unheld::StreamOfAnyLength {
                forward.remove.push("content-length".into());
            }
            // Trailers may follow, but for HTTP/1.1, where they are dropped: only there is this field.
            forward.once = self.request.as_ref().is_none_or(|r| r.fields().get("transfer-encoding").is_none());
            let stream = Stream::new(Some(inspect), &[]);
            let is_stated =
                unheld == Unheld::Stream && self.request.as_ref().is_some_and(|r| r.stated_length().is_some());
            request = Way::Body(if is_stated { stream.of_stated_length() } else { stream });
        }
        let response = match (self.look.response.take(), self.shows_response) {
            // The policy has changed since Envoy was told what to show, and it cannot be told again.
            (Some(_), Some(false)) => return Err(Denial::new(Reason::PolicyChanged)),
            (None, None | Some(false)) => Answered::Unseen,
            (inspect, _) => Answered::Awaited(inspect),
        };
        if self.held_for_plaintext.is_some_and(|held| held != forward.plaintext) {
            // The route that was chosen for the body leads elsewhere.
            return Err(Denial::new(Reason::PolicyChanged));
        }
        forward.body = self.take_sent();
        forward.awaits_trailers = awaits_trailers;
        forward.shows =
            Shows { request: !matches!(request, Way::Unseen), response: !matches!(response, Answered::Unseen) };
        let (has_answered, is_released, last) = (false, false, Direction::Request);
        let flow = Flow { request, response, has_answered, is_released, last };
        self.flow = Some(flow).filter(|flow| !flow.is_empty());
        Ok(())
    }

    /// Takes a part that is shown, and says what goes on.
    pub(super) fn pass(&mut self, event: Event, now: Now) -> Effect {
        let Some(flow) = &mut self.flow else { return Effect::Pass(Parts::new()) };
        flow.last = match &event {
            Event::ResponseHead(_) | Event::ResponseChunk(_) | Event::ResponseTrailers(_) => Direction::Response,
            _ => Direction::Request,
        };
        let direction = flow.last;
        self.looking = true;
        let passed = match &event {
            Event::Chunk(chunk) => flow.request(chunk),
            Event::Trailers(fields) => flow.trailers(fields),
            Event::ResponseHead(head) => flow.response_head(head),
            Event::ResponseChunk(chunk) => flow.response(chunk),
            Event::ResponseTrailers(fields) => flow.response_trailers(fields),
            _ => Err(Denial::new(Reason::InternalError).because(super::name_of(&event))),
        };
        self.looking = false;
        let parts = match passed {
            Ok(parts) => parts,
            Err(denial) => return self.cut(direction, &denial, now),
        };
        let due = flow.stream(direction).is_some_and(|stream| stream.is_due());
        match due.then(|| self.inspection(direction, now)).flatten() {
            Some(record) => {
                self.stage = Stage::Noting(Effect::Pass(parts));
                Effect::Note(Box::new(record))
            }
            None => {
                self.stage = Stage::Flowing;
                Effect::Pass(parts)
            }
        }
    }

    /// Ends an exchange that has been let go: with an answer if there has been none, else in the middle of it.
    pub(super) fn cut(&mut self, direction: Direction, denial: &Denial, now: Now) -> Effect {
        self.looking = false;
        let answer = self.answer_to(denial);
        let has_answered = self.flow.as_ref().is_some_and(|flow| flow.has_answered);
        let Some(record) = self.inspection(direction, now) else { return self.refuse(denial, now) };
        let record = InspectionRecord {
            action: InspectionAction::Blocked,
            reason: Some(denial.reason.as_str().into()),
            detail: denial.detail.clone(),
            rule: denial.rule.clone(),
            status: (!has_answered).then_some(answer.status),
            ..record
        };
        self.stage = Stage::Noting(Effect::Reply(Reply::Deny(Box::new(answer))));
        Effect::Note(Box::new(record))
    }

    /// What was found in a direction since this was last asked. None where nothing is looked into at all.
    pub(super) fn inspection(&mut self, direction: Direction, now: Now) -> Option<InspectionRecord> {
        let request_id = self.request.as_ref()?.id.clone();
        let stream = self.flow.as_mut()?.stream(direction);
        let (bytes, (findings, action)) = stream.map_or_else(
            || (0, (Vec::new(), InspectionAction::Monitored)),
            |stream| (stream.bytes, stream.take_notes()),
        );
        let record = InspectionRecord {
            request_id,
            time: now.wall,
            direction,
            action,
            reason: None,
            detail: None,
            rule: None,
            status: None,
            findings,
            bytes,
        };
        Some(record)
    }
}
