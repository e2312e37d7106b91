//! What changes meanwhile: the policy, the credential, and what people say.

use std::sync::Arc;
use std::time::Duration;

use attache::control;
use attache::control::api::{AnswerApprovalRequest, State, StatusReply, Verdict};

use super::agents::World;
use super::place::Policy;
use crate::support::{GLANCE, within};

const SECOND: Duration = Duration::from_secs(1);

/// Another policy each second, and each tenth time one that is wrong.
pub async fn policies(world: Arc<World>) {
    for round in 1u64.. {
        tokio::time::sleep(SECOND).await;
        if round.is_multiple_of(10) {
            world.attache.replace_policy("allowedDomains: [api.example.com, 'not a host!']");
            within("the broken policy to be refused", shown(&world, |status| !status.reload_error.is_empty())).await;
            continue;
        }
        let (_, before) = world.force.now();
        let next = if before == Policy::First { Policy::Second } else { Policy::First };
        let revision = shown(&world, |_| true).await.policy_revision;
        world.force.step();
        world.attache.replace_policy(&next.text(&world.key.file));
        within("the next policy", shown(&world, |status| status.policy_revision != revision)).await;
        world.force.step();
    }
}

/// What the service says of itself, once it says what is wanted.
async fn shown(world: &World, wanted: impl Fn(&StatusReply) -> bool) -> StatusReply {
    loop {
        let status = control::status(&world.attache.socket()).await.unwrap();
        if wanted(&status) {
            return status;
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// Another value of the credential each second.
pub async fn credential(world: Arc<World>) {
    loop {
        tokio::time::sleep(SECOND).await;
        world.key.rotate();
    }
}

/// Somebody who agrees to what asks for yes, and to nothing else.
pub async fn people(world: Arc<World>) {
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let open = control::list_approvals(&world.attache.socket()).await.unwrap();
        for question in open.into_iter().filter(|question| question.state() == State::Pending) {
            let verdict = if question.path.contains("/yes/") { Verdict::Approve } else { Verdict::Refuse };
            let (ticket, by, why) = (question.ticket, "ann".to_owned(), String::new());
            let answer = AnswerApprovalRequest { ticket, verdict: verdict.into(), by, why };
            if let Err(error) = control::answer_approval(&world.attache.socket(), answer).await {
                world.books.fault(format!("an answer was not taken: {error}"));
            }
        }
    }
}
