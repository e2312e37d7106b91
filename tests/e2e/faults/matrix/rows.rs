//! The rows. A test that sees something else fails; what it says is what belongs here, or is a finding.

use super::Component::*;
use super::Fault::*;
use super::Reached::{Begun, Whole};
use super::Sees::{Answer, Closed, Cut, NoHandshake, NoListener, Nothing, Refusal};
use super::Within::{AtOnce, Milliseconds, OwnPatience, Seconds};
use super::{Case, Cell, Component, Fault, Reached, Recorded, Sees, Within};

const ALLOWED: Recorded = allowed("allowed");
const NO_VERDICT: Sees = Refusal(503, "no_verdict");
const RECORD_FAILED: Sees = Refusal(503, "record_failed");
const STORE_UNAVAILABLE: Sees = Refusal(503, "store_unavailable");
const SECRET_UNAVAILABLE: Sees = Refusal(503, "secret_unavailable");
const DNS_FAILURE: Sees = Refusal(503, "dns_failure");

pub const MATRIX: &[Cell] = &[
    cell(Attache, Absent, &[refused("it is not there", NO_VERDICT, AtOnce, error("no_verdict"))]),
    cell(
        Attache,
        Slow,
        &[
            refused("it stands still", NO_VERDICT, Seconds(5), error("no_verdict")),
            refused("it stands still, in an open tunnel", NO_VERDICT, Seconds(5), error("no_verdict")),
        ],
    ),
    cell(
        Attache,
        Wrong,
        &[
            refused("its verdict is no message", NO_VERDICT, AtOnce, error("no_verdict")),
            refused("its stream ends without a verdict", NO_VERDICT, AtOnce, error("no_verdict")),
            refused("its verdict is lost", NO_VERDICT, Seconds(5), error("client_gone")),
        ],
    ),
    cell(
        Attache,
        DiesMidRequest,
        &[
            refused("before its verdict", NO_VERDICT, AtOnce, error("no_verdict")),
            passed("while a body is looked into", NO_VERDICT, AtOnce, allowed("failed"), Begun),
            passed("while an answer is looked into", Cut(200), AtOnce, allowed("allowed"), Whole),
            passed("while an answer passes that nobody looks into", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        Attache,
        ComesBack,
        &[
            refused("while it is away", NO_VERDICT, AtOnce, error("no_verdict")),
            passed("it is started again", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(Envoy, Absent, &[refused("it is not there", NoListener, AtOnce, Recorded::NOTHING)]),
    cell(
        Envoy,
        Slow,
        &[
            refused("it stands still", Nothing, OwnPatience, Recorded::NOTHING),
            passed("it goes on, and the agent has waited", Answer(200), OwnPatience, ALLOWED, Whole),
        ],
    ),
    cell(
        Envoy,
        Wrong,
        &[
            refused("its bootstrap asks nobody", NO_VERDICT, AtOnce, error("no_verdict")),
            passed("its bootstrap has no gate", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        Envoy,
        DiesMidRequest,
        &[
            refused("before the verdict", Closed, AtOnce, error("client_gone")),
            passed("while an answer streams", Cut(200), AtOnce, allowed("unknown"), Whole),
        ],
    ),
    cell(
        Envoy,
        ComesBack,
        &[
            refused("while it is away", NoListener, AtOnce, Recorded::NOTHING),
            passed("it is started again", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(Dns, Absent, &[refused("no name server is there", DNS_FAILURE, Seconds(3), error("dns_failure"))]),
    cell(
        Dns,
        Slow,
        &[
            refused("it never answers", DNS_FAILURE, Seconds(3), error("dns_failure")),
            passed("it answers after a second", Answer(200), Seconds(3), ALLOWED, Whole),
        ],
    ),
    cell(
        Dns,
        Wrong,
        &[
            refused("the name does not exist", Refusal(503, "name_not_found"), AtOnce, error("name_not_found")),
            refused("it fails", DNS_FAILURE, Seconds(3), error("dns_failure")),
            refused(
                "it names a private address",
                Refusal(403, "address_forbidden"),
                AtOnce,
                denied("address_forbidden"),
            ),
            refused(
                "it names another address of this machine",
                Refusal(403, "address_forbidden"),
                AtOnce,
                denied("address_forbidden"),
            ),
        ],
    ),
    cell(
        Dns,
        DiesMidRequest,
        &[
            refused("while it is asked", DNS_FAILURE, Seconds(3), error("dns_failure")),
            passed("while an answer streams", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        Dns,
        ComesBack,
        &[
            refused("while it is away", DNS_FAILURE, Seconds(3), error("dns_failure")),
            passed("it is started again", Answer(200), Seconds(5), ALLOWED, Whole),
        ],
    ),
    cell(
        Upstream,
        Absent,
        &[passed(
            "it refuses the connection",
            Refusal(503, "upstream_unreachable"),
            AtOnce,
            allowed("failed"),
            Reached::Nothing,
        )],
    ),
    cell(
        Upstream,
        Slow,
        &[
            passed(
                "it does not answer the connection",
                Refusal(504, "upstream_timeout"),
                Seconds(10),
                allowed("failed"),
                Reached::Nothing,
            ),
            passed("it takes the request and says nothing", Nothing, OwnPatience, allowed("failed"), Whole),
        ],
    ),
    cell(
        Upstream,
        Wrong,
        &[
            passed(
                "its certificate is another host's",
                Refusal(502, "upstream_tls"),
                AtOnce,
                allowed("failed"),
                Reached::Nothing,
            ),
            passed(
                "what it says is not HTTP",
                Refusal(502, "upstream_reset"),
                AtOnce,
                allowed("failed"),
                Reached::Nothing,
            ),
        ],
    ),
    cell(
        Upstream,
        DiesMidRequest,
        &[
            passed("before its answer", Refusal(502, "upstream_reset"), AtOnce, allowed("failed"), Whole),
            passed("while it answers", Cut(200), AtOnce, ALLOWED, Whole),
            passed("while a body is on its way", Refusal(502, "upstream_reset"), AtOnce, allowed("failed"), Begun),
        ],
    ),
    cell(
        Upstream,
        ComesBack,
        &[
            passed(
                "while it is away",
                Refusal(503, "upstream_unreachable"),
                AtOnce,
                allowed("failed"),
                Reached::Nothing,
            ),
            passed("it is started again", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        Redis,
        Absent,
        &[
            refused("a request that has a limit", STORE_UNAVAILABLE, AtOnce, error("store_unavailable")),
            passed("a request that has none", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        Redis,
        Slow,
        &[
            refused(
                "it stands still: a request that has a limit",
                STORE_UNAVAILABLE,
                Milliseconds(500),
                error("store_unavailable"),
            ),
            passed("it stands still: a request that has none", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        Redis,
        Wrong,
        &[
            refused("it answers with errors", STORE_UNAVAILABLE, Milliseconds(500), error("store_unavailable")),
            refused(
                "it answers with what is no answer",
                STORE_UNAVAILABLE,
                Milliseconds(500),
                error("store_unavailable"),
            ),
        ],
    ),
    cell(
        Redis,
        DiesMidRequest,
        &[
            refused(
                "while a person is asked, for so long",
                Refusal(403, "approval_pending"),
                Seconds(3),
                Recorded { decision: "pending", reason: "approval_pending", standing: "blocked" },
            ),
            passed("while an answer streams", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        Redis,
        ComesBack,
        &[
            refused("while it is away", STORE_UNAVAILABLE, AtOnce, error("store_unavailable")),
            passed("it is started again", Answer(200), Seconds(2), ALLOWED, Whole),
        ],
    ),
    cell(
        Collector,
        Absent,
        &[passed("nobody listens there", Answer(200), AtOnce, ALLOWED, Whole).said("a sink does not take records")],
    ),
    cell(
        Collector,
        Slow,
        &[passed("it never answers", Answer(200), AtOnce, ALLOWED, Whole).said("a sink does not take records")],
    ),
    cell(
        Collector,
        Wrong,
        &[
            passed("it refuses everything", Answer(200), AtOnce, ALLOWED, Whole).said("a sink does not take records"),
            passed("it does not speak gRPC", Answer(200), AtOnce, ALLOWED, Whole).said("a sink does not take records"),
        ],
    ),
    cell(
        Collector,
        DiesMidRequest,
        &[
            passed("while the request is decided", Answer(200), AtOnce, ALLOWED, Whole)
                .said("a sink does not take records"),
            passed("while an answer streams", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        Collector,
        ComesBack,
        &[passed("it is started again, and has every record", Answer(200), Seconds(10), ALLOWED, Whole)],
    ),
    cell(
        Disk,
        Absent,
        &[
            refused("there is none to begin with", NO_VERDICT, AtOnce, Recorded::NOTHING).said("cannot be written"),
            refused("it becomes read-only", RECORD_FAILED, AtOnce, error("record_failed"))
                .said("the journal cannot be written"),
            refused("the journal's folder is taken away", RECORD_FAILED, AtOnce, error("record_failed"))
                .said("the journal cannot be written"),
        ],
    ),
    cell(
        Disk,
        Slow,
        &[
            refused("it does not answer, `strict`", RECORD_FAILED, Seconds(3), error("record_failed")),
            passed("it does not answer, `buffered`", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        Disk,
        Wrong,
        &[
            refused("it is full", RECORD_FAILED, AtOnce, error("record_failed")).said("the journal cannot be written"),
            refused("it loses what it took, `strict`", RECORD_FAILED, AtOnce, error("record_failed"))
                .said("the journal cannot be written"),
        ],
    ),
    cell(
        Disk,
        DiesMidRequest,
        &[
            refused("before the verdict", RECORD_FAILED, AtOnce, error("record_failed")),
            passed("while an answer streams", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        Disk,
        ComesBack,
        &[
            refused("while it is away", RECORD_FAILED, AtOnce, error("record_failed")),
            passed("it can be written again", Answer(200), Seconds(1), ALLOWED, Whole)
                .said("the journal is written again"),
        ],
    ),
    cell(
        Clock,
        Absent,
        &[
            passed("it stands still", Answer(200), AtOnce, ALLOWED, Whole),
            refused("it stands still, one more than a limit", Refusal(429, "rate_limited"), AtOnce, limited()),
        ],
    ),
    cell(
        Clock,
        Slow,
        &[
            passed("it is an hour behind", Answer(200), AtOnce, ALLOWED, Whole),
            refused("it is an hour behind, one more than a limit", Refusal(429, "rate_limited"), AtOnce, limited()),
        ],
    ),
    cell(
        Clock,
        Wrong,
        &[
            refused(
                "it is a day ahead: a token that ends in an hour",
                Refusal(407, "invalid_token"),
                AtOnce,
                denied("invalid_token"),
            ),
            refused(
                "it is a day ahead: a rule that blocks in an hour",
                Refusal(403, "rule_blocked"),
                AtOnce,
                denied("rule_blocked"),
            ),
            refused(
                "it is a day ahead: one more than a limit of this hour",
                Refusal(429, "rate_limited"),
                AtOnce,
                limited(),
            ),
            refused("it is a day ahead: a host that has no certificate yet", NoHandshake, AtOnce, Recorded::NOTHING),
        ],
    ),
    cell(
        Clock,
        DiesMidRequest,
        &[
            refused(
                "it jumps past a token's end before the verdict",
                Refusal(401, "invalid_token"),
                AtOnce,
                denied("invalid_token"),
            ),
            passed("it jumps while an answer streams", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        Clock,
        ComesBack,
        &[
            refused("while it is a day ahead", Refusal(407, "invalid_token"), AtOnce, denied("invalid_token")),
            passed("it is right again", Answer(200), AtOnce, ALLOWED, Whole).said("the clock was changed"),
        ],
    ),
    cell(
        PolicyFile,
        Absent,
        &[
            refused("there is none to begin with", NO_VERDICT, AtOnce, Recorded::NOTHING)
                .said("cannot read the policy"),
            passed("it is removed", Answer(200), AtOnce, ALLOWED, Whole).said("stays in force"),
        ],
    ),
    cell(
        PolicyFile,
        Slow,
        &[
            passed("a named pipe takes its place", Answer(200), AtOnce, ALLOWED, Whole).said("stays in force"),
            passed("half of the next one is written", Answer(200), AtOnce, ALLOWED, Whole).said("stays in force"),
        ],
    ),
    cell(
        PolicyFile,
        Wrong,
        &[passed("the next one is no policy", Answer(200), AtOnce, ALLOWED, Whole).said("stays in force")],
    ),
    cell(
        PolicyFile,
        DiesMidRequest,
        &[
            refused(
                "the next one forbids what waits for its verdict",
                Refusal(403, "domain_blocked"),
                AtOnce,
                denied("domain_blocked"),
            ),
            passed("it is removed before the verdict", Answer(200), AtOnce, ALLOWED, Whole),
            passed("the next one forbids what is answered", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        PolicyFile,
        ComesBack,
        &[
            passed("while it is away", Answer(200), AtOnce, ALLOWED, Whole),
            refused(
                "there is another, which blocks",
                Refusal(403, "domain_blocked"),
                Seconds(2),
                denied("domain_blocked"),
            ),
        ],
    ),
    cell(
        SecretFile,
        Absent,
        &[
            refused("there is none to begin with", SECRET_UNAVAILABLE, AtOnce, error("secret_unavailable")),
            passed("there is none to begin with: a request that needs none", Answer(200), AtOnce, ALLOWED, Whole),
            refused("it is removed", SECRET_UNAVAILABLE, Seconds(2), error("secret_unavailable")),
        ],
    ),
    cell(
        SecretFile,
        Slow,
        &[
            refused("a named pipe is there to begin with", SECRET_UNAVAILABLE, AtOnce, error("secret_unavailable")),
            refused("a named pipe takes its place", SECRET_UNAVAILABLE, Seconds(2), error("secret_unavailable")),
        ],
    ),
    cell(
        SecretFile,
        Wrong,
        &[
            refused("it is empty", SECRET_UNAVAILABLE, Seconds(2), error("secret_unavailable")),
            refused("it has two lines", SECRET_UNAVAILABLE, Seconds(2), error("secret_unavailable")),
        ],
    ),
    cell(
        SecretFile,
        DiesMidRequest,
        &[
            refused("it is removed while a person is asked", SECRET_UNAVAILABLE, AtOnce, error("secret_unavailable")),
            passed("it is removed while an answer streams", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        SecretFile,
        ComesBack,
        &[
            refused("while it is away", SECRET_UNAVAILABLE, Seconds(2), error("secret_unavailable")),
            passed("there is another, which is used", Answer(200), Seconds(2), ALLOWED, Whole),
        ],
    ),
    cell(
        Webhook,
        Absent,
        &[
            refused(
                "nobody listens there: a request that is told of",
                Refusal(403, "domain_not_allowed"),
                AtOnce,
                denied("domain_not_allowed"),
            ),
            passed("nobody listens there: a request that is not", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        Webhook,
        Slow,
        &[
            refused(
                "it never answers: a request that is told of",
                Refusal(403, "domain_not_allowed"),
                AtOnce,
                denied("domain_not_allowed"),
            ),
            passed("it never answers: a request that is not", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        Webhook,
        Wrong,
        &[
            refused(
                "it fails: a request that is told of",
                Refusal(403, "domain_not_allowed"),
                AtOnce,
                denied("domain_not_allowed"),
            ),
            refused(
                "it sends elsewhere: a request that is told of",
                Refusal(403, "domain_not_allowed"),
                AtOnce,
                denied("domain_not_allowed"),
            ),
        ],
    ),
    cell(
        Webhook,
        DiesMidRequest,
        &[
            passed("while a person is asked, who agrees", Answer(200), AtOnce, ALLOWED, Whole),
            passed("while an answer streams", Answer(200), AtOnce, ALLOWED, Whole),
        ],
    ),
    cell(
        Webhook,
        ComesBack,
        &[refused(
            "it is started again, and is told of what it missed",
            Refusal(403, "domain_not_allowed"),
            Seconds(10),
            denied("domain_not_allowed"),
        )],
    ),
];

const fn cell(component: Component, fault: Fault, cases: &'static [Case]) -> Cell {
    Cell { component, fault, cases }
}

/// Nothing of it has left.
const fn refused(when: &'static str, sees: Sees, within: Within, recorded: Recorded) -> Case {
    Case { when, sees, within, recorded, reached: Reached::Nothing, said: "" }
}

/// It was allowed.
const fn passed(when: &'static str, sees: Sees, within: Within, recorded: Recorded, reached: Reached) -> Case {
    Case { when, sees, within, recorded, reached, said: "" }
}

impl Case {
    const fn said(self, said: &'static str) -> Case {
        Case { said, ..self }
    }
}

const fn allowed(standing: &'static str) -> Recorded {
    Recorded { decision: "allow", reason: "", standing }
}

const fn denied(reason: &'static str) -> Recorded {
    Recorded { decision: "deny", reason, standing: "blocked" }
}

const fn limited() -> Recorded {
    Recorded { decision: "rate_limited", reason: "rate_limited", standing: "blocked" }
}

const fn error(reason: &'static str) -> Recorded {
    Recorded { decision: "error", reason, standing: "failed" }
}
