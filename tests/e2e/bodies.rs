//! Bodies, trailers and responses on their way through the real Envoy, looked into by an inspector that a test can
//! predict: what it finds never goes on, what it clears goes on as it came, and nobody waits who need not.
//!
//! The service runs inside the test, so that the policy can be given that inspector.

mod held;
mod large;
mod product;
mod responses;
mod service;
mod streamed;

/// Where the inspector of `support/watcher.rs` finds the types it is made of.
mod seam {
    pub use ::attache::pipeline::agent::AgentId;
    pub use ::attache::pipeline::dlp::finding::{Action, Category, Confidence, Finding};
    pub use ::attache::pipeline::message::Fields;
    pub use ::attache::pipeline::policy::inspect::{
        BodyInspection, Inspect, InspectResponse, Inspection, Refusal, ResponseHead, ResponseInspection, Subject,
        Unheld,
    };
    pub use ::attache::pipeline::policy::{Denial, Inspector, Reason};
}

#[path = "../support/watcher.rs"]
mod watcher;
