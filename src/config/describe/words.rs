//! What the decoder does not know of its keys: meaning, default, an example, and what excludes what.
//!
//! Tests hold this table to the decoder: it has each of its keys and no other, its examples are read, and its rules
//! are the decoder's.

/// A mapping of the language.
pub struct Described {
    /// Its name in the decoder, with article.
    pub what: &'static str,
    /// One sentence.
    pub means: &'static str,
    /// What the decoder asks of its keys beside that required ones are there.
    pub rules: &'static [Rule],
    /// Its keys.
    pub keys: &'static [Key],
}

/// What the keys of a mapping ask of each other.
pub enum Rule {
    /// Exactly one of these.
    One(&'static [&'static str]),
    /// None or one of these.
    AtMostOne(&'static [&'static str]),
    /// One or more of these.
    Some(&'static [&'static str]),
    /// The first only beside the second.
    Needs(&'static str, &'static str),
    /// Where a key is absent, more holds.
    Unless {
        /// That key.
        absent: &'static str,
        /// A JSON Schema for the mapping, as YAML.
        then: &'static str,
        /// The same as a sentence.
        says: &'static str,
    },
}

/// A key of a mapping.
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// One sentence, with units.
    pub means: &'static str,
    /// A value, as YAML.
    pub example: &'static str,
    /// What its absence is the same as, as YAML; empty: it is not the same as any value.
    pub default: &'static str,
    /// More of its JSON Schema, as YAML; it wins over what the decoder tells.
    pub also: &'static str,
}

const fn key(name: &'static str, means: &'static str, example: &'static str) -> Key {
    Key { name, means, example, default: "", also: "" }
}

impl Key {
    const fn default(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    const fn also(self, also: &'static str) -> Self {
        Self { also, ..self }
    }
}

/// The mapping that the decoder calls `what`.
pub fn of(what: &str) -> Option<&'static Described> {
    TABLE.iter().flat_map(|part| part.iter()).find(|described| described.what == what)
}

/// The key `name` of the mapping `what`.
pub fn key_of(what: &str, name: &str) -> Option<&'static Key> {
    of(what)?.keys.iter().find(|key| key.name == name)
}

/// What every text of that kind fits, as a regular expression of ECMA 262; it may fit others too.
pub fn pattern(what: &str) -> Option<&'static str> {
    PATTERNS.iter().find(|(kinds, _)| kinds.contains(&what)).map(|(_, pattern)| *pattern)
}

/// What every name fits.
pub const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$";

/// Kinds of texts with what they fit.
pub const PATTERNS: &[(&[&str], &str)] = &[
    (&["the name of an agent", "the name of the credential"], NAME),
    (&["a domain"], r"^(http://)?[^/?#@\s]+$"),
    (&["a path"], r"^/[^?#]*$"),
    // Nothing stands for `any`.
    (&["a method"], r"^[!#$%&'*+.^_`|~0-9A-Za-z-]*$"),
    (&["an address range"], r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"),
    (&["the name of a header"], r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
    (&["the value of the header"], r"^[!-~]([ -~]*[!-~])?$"),
    (&["the name of a query parameter"], r"^[!-~]+$"),
    (&["a format with `{value}` in it"], r"\{value\}"),
    (&["the name of an environment variable"], "^[A-Za-z_][A-Za-z0-9_]*$"),
    (&["the SHA-256 of the token in hexadecimal"], "^[0-9A-Fa-f]{64}$"),
];

/// The table, one part for each part of the language.
pub const TABLE: &[&[Described]] = &[POLICY, DOMAINS, AGENTS, CREDENTIALS];

const POLICY: &[Described] = &[Described {
    what: "a policy",
    means: "What agents may send out; whatever it does not name is refused.",
    rules: &[],
    keys: &[
        key("version", "The version of the policy language.", "1")
            .default("1")
            .also("{type: [integer, string], enum: [1, \"1\"]}"),
        key("allowedDomains", "What every agent may reach.", "[api.example.com]").default("[]"),
        key(
            "blockedDomains",
            "What no agent may reach, everything below these names included; wins over every allow entry.",
            "[pastebin.com]",
        )
        .default("[]"),
        key(
            "agents",
            "Who may call. Without it there is exactly one agent, named by `--agent`, else `default`.",
            "{researcher: {identity: [{token: {env: RESEARCHER_PROXY_TOKEN}}]}}",
        )
        .also("{minProperties: 1, not: {required: [all]}}"),
        key("defaultAgent", "Who callers are that present no identity at all; without it they are refused.", "researcher"),
        key("proxyChallenge", "Whether a CONNECT without identity is asked for one (407).", "true").default("false"),
        key(
            "credentials",
            "What attaché adds to requests on the agents' behalf, and the agents never see.",
            "[{name: jira, envVarKey: JIRA_API_TOKEN, injections: [{domain: jira.example.com, headerName: Authorization, headerFormat: \"Bearer {value}\"}]}]",
        )
        .default("[]"),
    ],
}];

const DOMAINS: &[Described] = &[
    Described {
        what: "an allow entry",
        means: "A host, and what may be asked of it; a text alone is its `pattern`.",
        rules: &[],
        keys: &[
            key(
                "pattern",
                "The host, `[http://]host[:port]`: TLS to 443 unless it says otherwise; `*.` in front is every name below.",
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
                "Whether the agent's headers that override method, URL or origin (`X-HTTP-Method-Override` and kin) are left in.",
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
            key("method", "One method, a list, or `any`, which is all but TRACE and CONNECT.", "[GET, POST]").default("any"),
            key(
                "path",
                "The path: `*` is one segment or part of it, a final `/*` everything below, `**` anything, `{id}` one segment; without it, every path.",
                "\"/rest/api/2/issue/*\"",
            ),
        ],
    },
];

const AGENTS: &[Described] = &[
    Described {
        what: "an agent",
        means: "One who may call.",
        rules: &[],
        keys: &[
            key(
                "identity",
                "How the agent is known: any one of these names it, and all are taken out of what goes on.",
                "[{token: {env: RESEARCHER_PROXY_TOKEN}}]",
            )
            .default("[]"),
            key("allowedDomains", "What this agent may reach beside what every agent may.", "[api.arxiv.org]")
                .default("[]"),
            key(
                "blockedDomains",
                "What this agent may not reach, everything below these names included.",
                "[raw.githubusercontent.com]",
            )
            .default("[]"),
        ],
    },
    Described {
        what: "an identity",
        means: "One way by which an agent is known.",
        rules: &[Rule::One(&["token", "header"])],
        keys: &[
            key("token", "A secret that the agent presents to the proxy.", "{env: RESEARCHER_PROXY_TOKEN}"),
            key(
                "header",
                "A header that a trusted hop before the proxy sets.",
                "{name: X-Attache-Agent, value: researcher, trusted: true}",
            ),
        ],
    },
    Described {
        what: "a token",
        means: "Where the token is, or what it is compared with.",
        rules: &[Rule::One(&["env", "file", "sha256"])],
        keys: &[
            key("env", "The environment variable that holds it.", "RESEARCHER_PROXY_TOKEN"),
            key(
                "file",
                "The file that holds it; a relative path counts from the policy's folder.",
                "/run/secrets/researcher",
            ),
            key(
                "sha256",
                "Its SHA-256, in 64 hexadecimal digits.",
                "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            ),
        ],
    },
    Described {
        what: "a header identity",
        means: "A header that names an agent by its value.",
        rules: &[],
        keys: &[
            key("name", "The header's name.", "X-Attache-Agent"),
            key("value", "What its value must be, exactly.", "researcher"),
            key("trusted", "Whether it counts: only where nothing but what you trust can reach the proxy.", "true"),
        ],
    },
];

const CREDENTIALS: &[Described] = &[
    Described {
        what: "a credential",
        means: "A secret, and where it may go.",
        rules: &[Rule::One(&["envVarKey", "file"])],
        keys: &[
            key("name", "Its name, in logs and records.", "jira"),
            key("envVarKey", "The environment variable that holds it.", "JIRA_API_TOKEN"),
            key(
                "file",
                "The file that holds it, read again when it changes; a relative path counts from the policy's folder.",
                "/run/secrets/jira",
            ),
            key(
                "injections",
                "The places it may go to.",
                "[{domain: jira.example.com, headerName: Authorization, headerFormat: \"Bearer {value}\"}]",
            )
            .default("[]"),
            key("agents", "Who may use it.", "[researcher]").default("all"),
            key("placeholder", "What the agent may hold in its place, to satisfy its SDK.", "sk-agent-placeholder"),
        ],
    },
    Described {
        what: "an injection",
        means: "One place a credential may go to.",
        rules: &[
            Rule::One(&["headerName", "queryParam"]),
            Rule::AtMostOne(&["headerFormat", "queryParam"]),
            Rule::Needs("headerName", "headerFormat"),
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
];
