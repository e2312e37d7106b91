//! `rules`, and limits, which agents have too.

use super::{Described, Rule, key};

pub const TABLE: &[Described] = &[
    Described {
        what: "a rule",
        means: "What is done about requests that the lists of domains let pass.",
        rules: &[],
        keys: &[
            key("name", "What answers, records and counters know it by: 1 to 80 characters.", "No deletes"),
            key("host", "The host, `[http://]host[:port]`; without a port, every port.", "mail.example.com"),
            key("path", "The path, as in restrictions; without it, every path.", "/v1/refunds"),
            key("method", "One method, a list, or `any`, which is all but TRACE and CONNECT.", "[PUT, DELETE]")
                .default("any"),
            key("agents", "Whom it is about.", "[researcher]").default("all"),
            key(
                "query",
                "What parameters of the query must be, case aside; `*` is any run of characters.",
                "{dry_run: \"false\"}",
            )
            .default("{}")
            .also("{propertyNames: {minLength: 1}}"),
            key(
                "headers",
                "What header fields must be, case aside; `*` is any run of characters.",
                "{X-Tenant: \"*\"}",
            )
            .default("{}")
            .also("{propertyNames: {minLength: 1}}"),
            key(
                "action",
                "What is done: refuse (`deny` is `block`), put on record, limit, or ask a person.",
                "{rateLimit: {requests: 10, per: hour}}",
            ),
            key("mode", "`monitor`: it is put on record what would have been done, and the request passes.", "monitor")
                .default("enforce"),
            key(
                "only",
                "The hours in which alone it holds.",
                "{days: [mon, tue, wed, thu, fri], from: \"08:00\", to: \"18:00\", timezone: Europe/Berlin}",
            ),
            key("except", "The hours in which it does not hold.", "{days: [sat, sun], timezone: UTC}"),
            key("notBefore", "The instant from which on it holds.", "\"2026-01-01T00:00:00Z\""),
            key("notAfter", "The instant from which on it no longer holds.", "\"2026-12-31T18:00:00+01:00\""),
        ],
    },
    Described {
        what: "an action",
        means: "What a rule does, where that takes more than a word.",
        rules: &[Rule::One(&["rateLimit", "approval"])],
        keys: &[
            key(
                "rateLimit",
                "Refuse what is more than this (429), counted for each agent.",
                "{requests: 10, per: hour}",
            ),
            key("approval", "Hold the request and ask a person.", "{hold: 20s, expires: 15m, notify: [ops]}"),
        ],
    },
    Described {
        what: "a rate limit",
        means: "So much in any window of a length.",
        rules: &[],
        keys: &[
            key("requests", "The most that may pass in any window: requests, or what `weight` counts.", "200"),
            key("per", "The length of the window: 1ms to 366d, or `second`, `minute`, `hour`, `day`.", "60s"),
            key(
                "weight",
                "What is counted instead of requests; `bytes` are those of the body.",
                "{items: batch.requests}",
            ),
        ],
    },
    Described {
        what: "a weight",
        means: "What a limit counts in a JSON body.",
        rules: &[],
        keys: &[key(
            "items",
            "The names on the way to the list whose items count, parted by dots; `.` is the body itself.",
            "batch.requests",
        )],
    },
    Described {
        what: "an approval",
        means: "How a person is asked.",
        rules: &[],
        keys: &[
            key("hold", "How long the request is held, 0s to 55m; after that the agent is told to come again.", "1m")
                .default("20s"),
            key("expires", "How long the question stays open, and an approval unused: 1s to 366d.", "1h")
                .default("15m"),
            key("notify", "The channels of `notifications` that are told.", "[ops]").default("[]"),
        ],
    },
    Described {
        what: "a time window",
        means: "Hours of the week.",
        rules: &[Rule::Some(&["days", "from"]), Rule::Needs("from", "to"), Rule::Needs("to", "from")],
        keys: &[
            key("days", "The days on which the hours begin; without it, every day.", "[sat, sun]"),
            key("from", "When they begin; without it and `to`, all day.", "\"08:00\""),
            key("to", "When they end, up to `24:00`; on the next day where that is before `from`.", "\"18:00\""),
            key("timezone", "Whose clock: a name of the IANA time zone database.", "Europe/Berlin"),
        ],
    },
];
