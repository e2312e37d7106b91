//! `allowedDomains` and `blockedDomains`.

use super::{Described, Rule, key};

pub const TABLE: &[Described] = &[
    Described {
        what: "an allow entry",
        means: "A host, and what may be asked of it; a text alone is its `pattern`.",
        rules: &[],
        keys: &[
            key(
                "pattern",
                "The host, `[http://]host[:port]`: TLS to 443 unless it says otherwise; `*.` in front \
                 is every name below.",
                "\"*.example.com\"",
            ),
            key("action", "Whether requests may pass; `block` is `deny`.", "deny").default("allow"),
            key(
                "httpRestrictions",
                "The only methods and paths the entry is about; without it, all.",
                "[{method: GET, path: \"/rest/api/2/issue/*\"}]",
            ),
            key("upgrades", "Protocols a request may switch to.", "[websocket]").default("[]"),
            key(
                "allowPrivate",
                "Ranges of addresses that are not public and that the host may have all the same.",
                "[10.20.0.0/16]",
            )
            .default("[]"),
            key(
                "allowOverrideHeaders",
                "Whether the agent's headers that override method, URL or origin \
                 (`X-HTTP-Method-Override` and kin) are left in.",
                "true",
            )
            .default("false"),
        ],
    },
    Described {
        what: "a restriction",
        means: "Methods and paths.",
        rules: &[Rule::Some(&["method", "path"])],
        keys: &[
            key(
                "method",
                "One method, a list, or `any`, which is all but TRACE and \
                 CONNECT.",
                "[GET, POST]",
            )
            .default("any"),
            key(
                "path",
                "The path: `*` is one segment or part of it, a final `/*` everything below, `**` \
                 anything, `{id}` one segment; without it, every path.",
                "\"/rest/api/2/issue/*\"",
            ),
        ],
    },
];
