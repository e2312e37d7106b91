//! `dlp`: what is done about secrets and personal data.

use super::{Described, Rule, key};

pub const TABLE: &[Described] = &[
    Described {
        what: "what is said about data",
        means: "What is done about secrets and personal data in requests and responses.",
        rules: &[],
        keys: &[
            key(
                "profiles",
                "What is done about what is found, by the name that agents call it; `default` is for all that name none, \
                 and `off` is built in.",
                "{strict: {requests: {pii: redact}, responses: {credentials: redact}}}",
            )
            .default("{}"),
            key(
                "rules",
                "What is looked for beside what is built in; `attache dlp rules` lists that.",
                "[{id: acme-key, keywords: [acme_], pattern: \"acme_[A-Za-z0-9]{24}\"}]",
            )
            .default("[]"),
            key(
                "allow",
                "What passes although a rule finds it.",
                "[{rule: generic-secret, host: api.example.com, path: \"/v1/keys\", reason: the API makes such keys}]",
            )
            .default("[]"),
            key(
                "canaries",
                "Values that are there only to be missed when they leave; they are looked for as credentials are.",
                "[{name: bait, file: /run/secrets/bait}]",
            )
            .default("[]"),
        ],
    },
    Described {
        what: "what is done about data",
        means: "How a profile differs from the built-in default, which blocks `credentials`, `crypto`, `custom` and \
                `pii` without `pii.contact` in requests, and looks for known secrets alone in responses.",
        rules: &[],
        keys: &[
            key(
                "requests",
                "What is done about what is found in requests, by category or by the id of a rule; a rule counts before \
                 its category, and `pii.financial` before `pii`.",
                "{credentials: block, pii: redact, pii.contact: monitor}",
            )
            .default("{}"),
            key(
                "responses",
                "The same about responses; what it does not name is not looked for there.",
                "{credentials: redact, promptInjection: monitor}",
            )
            .default("{}"),
            key(
                "overBuffer",
                "What becomes of a body that is too large to be held: `stream` judges it on its way, `block` refuses it \
                 (413).",
                "block",
            )
            .default("stream"),
            key(
                "ownCredentials",
                "What is done about credentials that the agent itself sends in `Authorization` and `Cookie`.",
                "allow",
            )
            .default("block"),
            key(
                "webSockets",
                "What is done about WebSockets, whose messages are not looked at; an entry has to allow them too \
                 (`upgrades`).",
                "allow",
            )
            .default("block"),
            key("mode", "`monitor`: what is found is put on record and passes; known secrets never do.", "monitor")
                .default("enforce"),
        ],
    },
    Described {
        what: "a rule about data",
        means: "Something to look for: a keyword, a pattern where it stands, and what speaks for or against a match.",
        rules: &[],
        keys: &[
            key("id", "Its name: lower-case words joined by `-`.", "acme-key"),
            key("category", "What it finds: a category of the built-in ones, or `custom.` and a name.", "custom.acme")
                .default("credentials"),
            key("service", "Whose it is.", "Acme"),
            key("severity", "How bad it is when one leaves.", "critical").default("high"),
            key("source", "Where the format is published.", "\"https://docs.example.com/keys\""),
            key(
                "keywords",
                "One of these stands in everything that the rule finds, in any case of letters; at least three characters.",
                "[acme_]",
            ),
            key(
                "reach",
                "Where the pattern may match: `within`, around the keyword; `assigned`, where the value begins of a name \
                 with the keyword in it; `nearby`, within 96 bytes of it.",
                "assigned",
            )
            .default("within"),
            key(
                "pattern",
                "A regular expression without look-around, of which every match has a longest length.",
                "\"acme_[A-Za-z0-9]{24}\"",
            ),
            key("secretGroup", "The group of the pattern that is the secret; 0 is all of the match.", "1").default("0"),
            key("boundary", "Whether a match may not be a part of a longer word.", "false").default("true"),
            key("minLen", "The fewest bytes of the secret.", "16").default("0"),
            key("maxLen", "The most bytes of a match, where the pattern has no bound of its own: up to 4096.", "256"),
            key("entropy", "The least Shannon entropy of the secret, in bits for each byte.", "3.5").default("0"),
            key("validators", "What is checked of the secret.", "[luhn]").default("[]"),
            key(
                "confidence",
                "How sure a match is; without it `high` for `within`, `medium` for `assigned`, `low` for `nearby`.",
                "{base: high}",
            ),
            key("allow", "Patterns of secrets that are none.", "[\"^acme_test\"]").default("[]"),
            key("documented", "Values that the vendor prints in its documentation.", "[acme_EXAMPLEEXAMPLEEXAMPLEEX]")
                .default("[]"),
            key("examples", "What it finds and what it does not, held to when the policy is read.", "{match: [a]}"),
        ],
    },
    Described {
        what: "how sure a match is",
        means: "Credentials are acted on from `medium`, personal data from `high`; what is less sure is put on record.",
        rules: &[],
        keys: &[
            key("base", "Where the rule has no validators.", "high"),
            key("onValid", "Where all of them hold.", "high").default("confirmed"),
            key("onInvalid", "Where one does not; without it that is no finding.", "low"),
        ],
    },
    Described {
        what: "examples of a rule",
        means: "Texts that show what a rule finds.",
        rules: &[],
        keys: &[
            key("match", "Texts in which it finds something.", "[key=acme_x7Kp2mQw9Rt4Yv6Zb8Nc3Lf5]").default("[]"),
            key("noMatch", "Texts in which it finds nothing.", "[acme_handbook]").default("[]"),
        ],
    },
    Described {
        what: "an exemption",
        means: "What passes although a rule finds it; known secrets and canaries never do.",
        rules: &[Rule::Some(&["rule", "valueSha256"]), Rule::AtMostOne(&["agent", "agents"])],
        keys: &[
            key("rule", "The rule that is not to count, by its id.", "generic-secret"),
            key(
                "valueSha256",
                "The SHA-256 of the one value that passes, in 64 hexadecimal digits; without it, every value.",
                "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            ),
            key("host", "The hosts that it may go to, `[http://]host[:port]`; without it, all.", "api.example.com"),
            key("path", "The paths that it may go to; without it, all.", "\"/v1/keys\""),
            key("agent", "The one agent that may send it.", "researcher"),
            key("agents", "The agents that may send it.", "[researcher]").default("all"),
            key("reason", "Why that is right.", "the API makes such keys"),
        ],
    },
    Described {
        what: "a canary",
        means: "A value that is there only to be missed when it leaves.",
        rules: &[Rule::One(&["value", "env", "file"])],
        keys: &[
            key("name", "What records call it.", "bait"),
            key("value", "The value itself: it opens nothing.", "canary-x7Kp2mQw9Rt4Yv6Z"),
            key("env", "The environment variable that holds it.", "BAIT"),
            key("file", "The file that holds it; a relative path counts from the policy's folder.", "/run/secrets/bait"),
        ],
    },
];
