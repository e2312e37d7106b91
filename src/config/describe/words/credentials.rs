//! `credentials`.

use super::{Described, Rule, key};

pub const TABLE: &[Described] = &[
    Described {
        what: "a credential",
        means: "A secret, and where it may go.",
        rules: &[
            Rule::One(&["envVarKey", "file", "vault"]),
            Rule::Unless {
                absent: "service",
                then: "{properties: {injections: {items: {anyOf: [{required: [headerName]}, {required: [queryParam]}]}}}}",
                says: "Without `service`, each of its `injections` has `headerName` or `queryParam`.",
            },
        ],
        keys: &[
            key("name", "Its name, in logs and records.", "jira"),
            key("envVarKey", "The environment variable that holds it.", "JIRA_API_TOKEN"),
            key(
                "file",
                "The file that holds it, read again when it changes; a relative path counts from the \
                 policy's folder.",
                "/run/secrets/jira",
            ),
            key(
                "vault",
                "The entry of Vault's key-value engine (version 2) that holds it.",
                "{path: agents/jira, field: token}",
            ),
            key(
                "service",
                "The service whose hosts, and whose header or parameter, it is for, beside `injections`.",
                "openai",
            ),
            key(
                "injections",
                "The places it may go to.",
                "[{domain: jira.example.com, headerName: Authorization, headerFormat: \"Bearer {value}\"}]",
            )
            .default("[]"),
            key(
                "endpoints",
                "The only requests it may go with; without it, all at its places.",
                "[{methods: [POST], paths: [/v1/chat/completions]}]",
            ),
            key("agents", "Who may use it.", "[researcher]").default("all"),
            key("placeholder", "What the agent may hold in its place, to satisfy its SDK.", "sk-agent-placeholder"),
        ],
    },
    Described {
        what: "an injection",
        means: "One place a credential may go to.",
        rules: &[
            Rule::AtMostOne(&["headerName", "queryParam"]),
            Rule::Needs("headerName", "headerFormat"),
            Rule::Needs("headerFormat", "headerName"),
        ],
        keys: &[
            key("domain", "The host, `[http://]host[:port]`, as in allow entries.", "api.example.com"),
            key("path", "The path, as in restrictions; without it, every path.", "\"/rest/**\""),
            key("headerName", "The header that carries it; what the agent put there is replaced.", "Authorization"),
            key(
                "headerFormat",
                "What the header becomes: `{value}` is the secret, `{base64:…}` encodes what it encloses.",
                "\"Bearer {value}\"",
            ),
            key("queryParam", "The query parameter that carries it, instead of a header.", "api_key"),
            key("plaintext", "Whether it may go out without TLS.", "true").default("false"),
        ],
    },
    Described {
        what: "an endpoint",
        means: "Every pair of one of the methods and one of the paths.",
        rules: &[Rule::Some(&["methods", "paths"])],
        keys: &[
            key("methods", "One method, a list, or `any`; nothing in it is `any`.", "[POST]").default("any"),
            key(
                "paths",
                "Paths as in restrictions; one without wildcards covers what is below it too. Without it, every path.",
                "[/v1/chat/completions, \"/v1/models/*\"]",
            ),
        ],
    },
];
