//! `agents`, and how they are known.

use super::{Described, Rule, key};

pub const TABLE: &[Described] = &[
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
            key("profiles", "Profiles whose lists are this agent's too.", "[packages]").default("[]"),
            key("rateLimit", "How much the agent may send, all its requests together.", "{requests: 200, per: 60s}"),
            key(
                "mode",
                "`monitor`: what would be refused or held passes, without credentials, and is put on \
                 record as that; never for what the organization, identity or the form of a request refuse.",
                "monitor",
            )
            .default("enforce"),
            key(
                "dlp",
                "The profile of `dlp.profiles` that says what is done about secrets and personal data in what it sends \
                 and is sent; `off`: known secrets alone are looked for.",
                "strict",
            )
            .default("default"),
        ],
    },
    Described {
        what: "an identity",
        means: "One way by which an agent is known.",
        rules: &[Rule::One(&["spiffe", "token", "sourceAddress", "header", "kubernetes"])],
        keys: &[
            key(
                "spiffe",
                "The SPIFFE ID in the certificate that the agent shows the proxy.",
                "\"spiffe://prod.example/ns/agents/sa/researcher\"",
            ),
            key("sourceAddress", "The range of addresses that the agent calls from.", "10.1.0.0/16"),
            key("token", "A secret that the agent presents to the proxy.", "{env: RESEARCHER_PROXY_TOKEN}"),
            key(
                "header",
                "A header that a trusted hop before the proxy sets.",
                "{name: X-Attache-Agent, value: researcher, trusted: true}",
            ),
            key(
                "kubernetes",
                "The pods that the agent runs in, as the kubelet tells the sidecar of its own. It names every caller of that \
                 sidecar.",
                "{namespace: prod, serviceAccount: researcher}",
            ),
        ],
    },
    Described {
        what: "a Kubernetes identity",
        means: "Pods: all that is given must hold. Values are exact; of several, one must.",
        rules: &[Rule::Some(&["namespace", "serviceAccount", "labels"])],
        keys: &[
            key("namespace", "The namespace the pod is in.", "prod"),
            key("serviceAccount", "The service account it runs under.", "researcher"),
            key(
                "labels",
                "Labels it has. Whoever may write a pod chooses its labels: a namespace or a service account should stand \
                 beside them.",
                "{app.kubernetes.io/name: researcher}",
            )
            .also(
                "{minProperties: 1, propertyNames: {pattern: '^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$'}}",
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
            key("expires", "The instant from which on it is refused.", "\"2026-12-31T00:00:00Z\""),
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
