//! Files of cases: what a policy is expected to do.

use super::{Described, Rule, key};

pub const TABLE: &[Described] = &[
    Described {
        what: "a file of cases",
        means: "Cases, and what they have in common.",
        rules: &[],
        keys: &[
            key("agent", "Who sends the requests that name nobody.", "researcher"),
            key("source", "The address that requests come from.", "\"10.1.2.3\""),
            key("at", "When each case begins, as RFC 3339; without it, now.", "\"2026-11-20T14:30:00Z\""),
            key("cases", "The cases.", "[{request: \"GET https://api.example.com/v1\", expect: allow}]"),
        ],
    },
    Described {
        what: "a case",
        means: "A request, or several in a row, and what is to become of it; it begins with nothing counted.",
        rules: &[Rule::One(&["request", "steps"]), Rule::Needs("request", "expect"), Rule::Needs("expect", "request")],
        keys: &[
            key("name", "What it is called; without it, as its request.", "nobody deletes"),
            key(
                "steps",
                "Requests in this order, each counted before the next.",
                "[{request: \"GET https://api.example.com/v1\", repeat: 10, expect: allow}]",
            ),
            key("agent", "Who sends the requests of this case that name nobody.", "researcher"),
            key("request", "The request.", "\"GET https://api.example.com/v1\""),
            key("expect", "What is to become of it.", "{decision: deny, reason: rule_blocked}"),
            key("repeat", "How many times it is sent; what is expected is expected each time.", "10").default("1"),
            key("after", "How much later than the one before it is sent.", "1h").default("0s"),
        ],
    },
    Described {
        what: "a step",
        means: "One of several requests in a row.",
        rules: &[Rule::Needs("request", "expect"), Rule::Needs("expect", "request"), Rule::Some(&["request"])],
        keys: &[
            key("agent", "Who sends it, where the request names nobody.", "researcher"),
            key("request", "The request.", "\"GET https://api.example.com/v1\""),
            key("expect", "What is to become of it.", "rate_limited"),
            key("repeat", "How many times it is sent; what is expected is expected each time.", "10").default("1"),
            key("after", "How much later than the one before it is sent.", "1h").default("0s"),
        ],
    },
    Described {
        what: "a request",
        means: "A request in all its parts.",
        rules: &[],
        keys: &[
            key("method", "The method.", "POST"),
            key(
                "url",
                "The absolute URL: `https://` goes through a tunnel, `http://` to the proxy itself.",
                "\"https://api.example.com/v1/items\"",
            ),
            key(
                "headers",
                "Header fields; those that begin with `Proxy-` are for the proxy.",
                "{X-Request-Kind: batch}",
            ),
            key("body", "The body.", "'{\"items\": [1, 2]}'"),
            key("agent", "Who sends it, whatever identity it shows beside.", "researcher"),
            key("source", "The address it comes from.", "\"10.1.2.3\""),
            key("at", "When it is sent, as RFC 3339.", "\"2026-11-20T14:30:00Z\""),
            key("approved", "What the person says who is asked; without it, nothing.", "true"),
        ],
    },
    Described {
        what: "an expectation",
        means: "What is to become of a request; what is absent may be anything.",
        rules: &[Rule::Some(&["decision", "status", "reason", "rule", "credentials", "would"])],
        keys: &[
            key("decision", "What is enforced.", "deny"),
            key("status", "The status of the answer that the agent gets in place of the upstream's.", "403"),
            key("reason", "Why it is refused, as the answer's `reason` has it.", "rule_blocked"),
            key("rule", "The entry that decides, as the answer's `rule` has it.", "\"rules[No deletes]\""),
            key("credentials", "The names of all credentials that are injected.", "[openai]"),
            key("would", "What is only watched: `nothing`, or what would be enforced.", "{decision: deny}"),
        ],
    },
    Described {
        what: "what is only watched",
        means: "What would be enforced; what is absent may be anything.",
        rules: &[],
        keys: &[
            key("decision", "What.", "deny"),
            key("reason", "Why.", "rule_blocked"),
            key("rule", "By which entry.", "\"rules[No deletes]\""),
        ],
    },
];
