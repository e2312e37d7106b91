//! The policy itself, its outer bounds, and profiles.

use super::{Described, key};

pub const TABLE: &[Described] = &[
    Described {
        what: "a policy",
        means: "What agents may send out; whatever it does not name is refused.",
        rules: &[],
        keys: &[
            key("version", "The version of the policy language.", "1")
                .default("1")
                .also("{type: [integer, string], enum: [1, \"1\"]}"),
            key(
                "organization",
                "Outer bounds, which nothing else in the policy widens.",
                "{blockedDomains: [pastebin.com], allowedDomains: [\"*.example.com\"]}",
            ),
            key("allowedDomains", "What every agent may reach.", "[api.example.com]").default("[]"),
            key(
                "blockedDomains",
                "What no agent may reach, everything below these names included; wins over every allow entry.",
                "[pastebin.com]",
            )
            .default("[]"),
            key("profiles", "Lists that agents share by name.", "{packages: {allowedDomains: [packages.example.com]}}")
                .default("{}"),
            key(
                "agents",
                "Who may call. Without it there is exactly one agent, named by `--agent`, else `default`.",
                "{researcher: {identity: [{token: {env: RESEARCHER_PROXY_TOKEN}}]}}",
            )
            .also("{minProperties: 1, not: {required: [all]}}"),
            key(
                "defaultAgent",
                "Who callers are that present no identity at all; without it they are refused.",
                "researcher",
            ),
            key("proxyChallenge", "Whether a CONNECT without identity is asked for one (407).", "true")
                .default("false"),
            key(
                "rules",
                "What is done about requests that the lists let pass; their order means nothing.",
                "[{name: No deletes, host: mail.example.com, method: DELETE, action: block}]",
            )
            .default("[]"),
            key(
                "services",
                "APIs beside those of the catalogue, by the name that credentials call them.",
                "{billing: {hosts: [\"billing.example.com:8443\"]}}",
            )
            .default("{}"),
            key(
                "credentials",
                "What attaché adds to requests on the agents' behalf, and the agents never see.",
                "[{name: jira, envVarKey: JIRA_API_TOKEN, injections: [{domain: jira.example.com, \
             headerName: Authorization, headerFormat: \"Bearer {value}\"}]}]",
            )
            .default("[]"),
            key(
                "responseFilters",
                "Which fields of what comes back agents may see; all filters that match apply.",
                "[{host: api.example.com, path: /v1/users, method: GET, includeFields: [id, name, email]}]",
            )
            .default("[]"),
            key(
                "notifications",
                "Who is told of what, by the name that approvals call them.",
                "{ops: {webhook: {url: \"https://hooks.example.com/x\", secret: {file: /run/secrets/hook}}, events: [blocked]}}",
            )
            .default("{}"),
            key(
                "dlp",
                "What is done about secrets and personal data; without it, what `default` says below.",
                "{profiles: {strict: {responses: {credentials: redact}}}}",
            )
            .default("{}"),
        ],
    },
    Described {
        what: "an organization",
        means: "Outer bounds: nothing below widens them, and no mode of an agent lifts them.",
        rules: &[],
        keys: &[
            key("blockedDomains", "What nobody may reach, everything below these names included.", "[pastebin.com]")
                .default("[]"),
            key(
                "allowedDomains",
                "The most that anybody may reach; without it there is no such bound, `[]` is nothing. \
                 Its entries grant nothing beside hosts, methods and paths.",
                "[\"*.example.com\"]",
            )
            .also(
                "{not: {contains: {type: object, anyOf: [
                  {required: [upgrades], properties: {upgrades: {minItems: 1}}},
                  {required: [allowPrivate], properties: {allowPrivate: {minItems: 1}}},
                  {required: [allowOverrideHeaders], properties: {allowOverrideHeaders: {const: true}}}]}}}",
            ),
            key(
                "rules",
                "Rules that hold for everybody.",
                "[{name: No deletes, host: \"*.example.com\", method: DELETE, action: block}]",
            )
            .default("[]"),
        ],
    },
    Described {
        what: "a profile",
        means: "Lists that agents share by name.",
        rules: &[],
        keys: &[
            key("allowedDomains", "What agents with it may reach.", "[packages.example.com]").default("[]"),
            key(
                "blockedDomains",
                "What agents with it may not reach, everything below these names included.",
                "[files.packages.example.com]",
            )
            .default("[]"),
        ],
    },
];
