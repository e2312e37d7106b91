//! `services`, `notifications`, and secrets that are in Vault: what is elsewhere.

use super::{Described, Rule, key};

pub const TABLE: &[Described] = &[
    Described {
        what: "a service",
        means: "Which hosts an API has, and where it takes its key.",
        rules: &[
            Rule::AtMostOne(&["headerName", "queryParam"]),
            Rule::Needs("headerName", "headerFormat"),
            Rule::Needs("headerFormat", "headerName"),
        ],
        keys: &[
            key("hosts", "The hosts that get the key, `[http://]host[:port]`.", "[\"billing.example.com:8443\"]"),
            key("path", "The paths that get the key; without it, every path.", "\"/v1/**\""),
            key(
                "headerName",
                "The header that carries it; without it and `queryParam`, `Authorization` with `Bearer {value}`.",
                "X-Api-Key",
            ),
            key("headerFormat", "What the header becomes, as in injections.", "\"{value}\""),
            key("queryParam", "The query parameter that carries it, instead of a header.", "api_key"),
            key("documentation", "Where the vendor says so.", "\"https://docs.example.com/auth\""),
            key("note", "What its user has to know beyond that.", "Keys are made by the billing team."),
            key(
                "kind",
                "`llm`: a language model, to which the values pass that vendors print in their documentation.",
                "llm",
            ),
            key("override", "Whether it is meant to stand in for the catalogue's service of that name.", "true")
                .default("false"),
        ],
    },
    Described {
        what: "a notification",
        means: "One who is told.",
        rules: &[],
        keys: &[
            key("webhook", "Where to.", "{url: \"https://hooks.example.com/x\", secret: {file: /run/secrets/hook}}"),
            key("events", "What of.", "[blocked, approvalRequested]"),
        ],
    },
    Described {
        what: "a webhook",
        means: "A URL that gets a signed POST for each event.",
        rules: &[],
        keys: &[
            key("url", "The URL, `https://` unless `plaintext` says otherwise.", "\"https://hooks.example.com/x\""),
            key("secret", "What the messages are signed with.", "{file: /run/secrets/hook}"),
            key("plaintext", "Whether messages may travel without TLS.", "true").default("false"),
        ],
    },
    Described {
        what: "a webhook's secret",
        means: "Where the secret is.",
        rules: &[Rule::One(&["env", "file"])],
        keys: &[
            key("env", "The environment variable that holds it.", "HOOK_SECRET"),
            key(
                "file",
                "The file that holds it; a relative path counts from the policy's folder.",
                "/run/secrets/hook",
            ),
        ],
    },
    Described {
        what: "an entry in vault",
        means: "An entry of Vault's key-value engine, version 2, and how to get at it.",
        rules: &[],
        keys: &[
            key("address", "Vault's address; without it, `VAULT_ADDR`.", "\"https://vault.example.com:8200\""),
            key("plaintext", "Whether Vault may be asked without TLS.", "true").default("false"),
            key("namespace", "The namespace; without it, `VAULT_NAMESPACE`.", "team-a"),
            key("mount", "Where the engine is mounted.", "kv").default("secret"),
            key("path", "The path of the entry, as `vault kv get` takes it.", "agents/jira"),
            key("field", "The field of the entry.", "token"),
            key("auth", "How to log in; without it, by the token in `VAULT_TOKEN`.", "{kubernetes: {role: attache}}"),
            key(
                "caFile",
                "The CA that Vault's certificate is from; without it, `VAULT_CACERT`, else the system's.",
                "/etc/vault/ca.pem",
            ),
            key("refresh", "How long a secret is used before it is fetched again: 1s to 24h.", "15m").default("5m"),
        ],
    },
    Described {
        what: "a way to log in",
        means: "How to log in to Vault.",
        rules: &[Rule::One(&["tokenFile", "tokenEnv", "kubernetes"])],
        keys: &[
            key("tokenFile", "The file that holds a token.", "/run/secrets/vault-token"),
            key("tokenEnv", "The environment variable that holds a token.", "VAULT_TOKEN"),
            key("kubernetes", "By the token of the pod's service account.", "{role: attache}"),
        ],
    },
    Described {
        what: "a login by Kubernetes",
        means: "Vault's Kubernetes method.",
        rules: &[],
        keys: &[
            key("role", "The role in Vault.", "attache"),
            key("mount", "Where the method is mounted.", "kubernetes-prod").default("kubernetes"),
            key("tokenFile", "The file with the service account's token.", "/run/secrets/sa-token")
                .default("/var/run/secrets/kubernetes.io/serviceaccount/token"),
        ],
    },
];
