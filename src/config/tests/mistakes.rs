//! What is wrong is reported, all of it, where it is and with the fix.

use super::*;

#[test]
fn every_mistake_is_reported_with_its_place_and_the_fix() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "not YAML at all",
            "a: 1\n- b\n",
            &["2:3 this is not YAML: while parsing a block mapping, did not find expected key | -"],
        ),
        ("policy is a list", "- a\n", &["1:1 expected a policy, which is a mapping, found a list | -"]),
        ("policy is a text", "just text\n", &["1:1 expected a policy, which is a mapping, found a text | -"]),
        (
            "unknown version",
            "version: 2\n",
            &["1:10 version `2` of the policy language is not known | this version of attache reads `version: 1`"],
        ),
        ("quoted version", "version: \"1\"\n", &[]),
        ("version is a list", "version: [1]\n", &["1:10 expected the number 1, found a list | -"]),
        (
            "unknown keys",
            "allowDomains: []\n\
                 servces: x\n",
            &[
                "1:1 unknown key `allowDomains` in a policy | did you mean `allowedDomains`?",
                "2:1 unknown key `servces` in a policy | did you mean `services`?",
            ],
        ),
        (
            "response filters",
            "responseFilters:\n\
             - {host: a.example}\n\
             - {host: a.example, includeFields: [id], excludeFields: [id]}\n\
             - {host: a.example, includeFields: [\"$.id\", 'a[0]']}\n\
             - {host: a.example, excludeFields: [id], unparsableErrors: drop}\n\
             - {excludeFields: []}\n",
            &[
                "2:3 a response filter has either `includeFields` or `excludeFields` | write the fields that agents may see, or those that they may not",
                "3:3 a response filter has either `includeFields` or `excludeFields` | write the fields that agents may see, or those that they may not",
                "4:37 `$.id` is no way to a field: `$` as a name has to stand in quotes | write e.g. `id`, `customer.ssn`, `items[].id`, `*.id` or `\"a.b\".c`",
                "4:45 `a[0]` is no way to a field: brackets are for all elements of an array, `[]` | write e.g. `id`, `customer.ssn`, `items[].id`, `*.id` or `\"a.b\".c`",
                "5:60 `drop` is not a treatment of errors | write one of `refuse` and `pass`",
                "6:3 a response filter needs `host` | -",
                "6:19 expected a list of fields, found an empty one | name the fields",
            ],
        ),
        (
            "response filters of one name, and of nobody",
            "agents: {ann: {identity: [{sourceAddress: 192.0.2.1}]}}\n\
             responseFilters:\n\
             - {name: a, host: a.example, excludeFields: [id]}\n\
             - {name: a, host: a.example, excludeFields: [id], agents: [nobody]}\n",
            &[
                "4:10 the response filter `a` is given twice; first at policy.yaml:3:10 | give each response filter a name of its own, or none",
                "4:60 there is no agent `nobody` | add it under `agents`",
            ],
        ),
        (
            "domains are a text",
            "allowedDomains: a.example\n",
            &["1:17 expected a list of domains, found a text | write `[` and `]` around it"],
        ),
        (
            "domains are a mapping",
            "allowedDomains: {a: b}\n",
            &["1:17 expected a list of domains, found a mapping | -"],
        ),
        (
            "domains are nothing",
            "allowedDomains:\n",
            &["1:1 expected a list of domains, found nothing | an empty list is `[]`"],
        ),
        (
            "entries of wrong types",
            "allowedDomains: [1, true, ~, '', [a], {pattern: x, action: permit}]\n",
            &[
                "1:18 expected a domain, found a number | to write it as a text, put it in quotes",
                "1:21 expected a domain, found a boolean | to write it as a text, put it in quotes",
                "1:27 expected a domain, found nothing | give it a value, or remove it",
                "1:30 expected a domain, found an empty text | -",
                "1:34 expected a domain or an allow entry, found a list | -",
                "1:60 `permit` is not an action | write one of `allow`, `deny` and `block`",
            ],
        ),
        (
            "allow entries incomplete",
            "allowedDomains:\n\
                 \x20 - action: allow\n\
                 \x20 - {pattern: a, httpRestrictions: []}\n\
                 \x20 - {pattern: a, httpRestrictions: [{}]}\n\
                 \x20 - {pattern: a, httpRestrictions: [{methods: GET, path: /a}]}\n",
            &[
                "2:5 an allow entry needs `pattern` | -",
                "3:36 expected a list of methods and paths, found an empty one | to allow every method and path remove the key; to allow nothing remove the entry",
                "4:37 a restriction needs `method`, `path` or both | write `{method: GET, path: \"/v1/*\"}`",
                "5:38 unknown key `methods` in a restriction | did you mean `method`?",
            ],
        ),
        (
            "methods",
            "allowedDomains: [{pattern: a, httpRestrictions: [{method: [GET, any]}, {method: CONNECT}, {method: 'G T'}, {method: [TRACE, GTE]}]}]\n",
            &[
                "1:65 `any` stands alone | remove the other methods, or `any`",
                "1:81 CONNECT opens the tunnel to the proxy and is never forwarded | list the methods of the requests inside the tunnel",
                "1:100 `G T` is not a method | did you mean `GET`?",
                "1:118 warning: TRACE sends the request back to the agent, injected credentials included | remove TRACE",
                "1:125 warning: `GTE` is not a common method | did you mean `GET`?",
            ],
        ),
        (
            "upgrades and address ranges",
            "allowedDomains: [{pattern: a, upgrades: [websockets], allowPrivate: [10.0.0.1/8, 10.0.0.0/33, x], allowOverrideHeaders: yes}]\n",
            &[
                "1:42 `websockets` is not a protocol to switch to | did you mean `websocket`?",
                "1:70 `10.0.0.1/8` has bits set beyond its prefix | write 10.0.0.0/8, or 10.0.0.1 for the one address",
                "1:82 `10.0.0.0/33` is not an address range | write an address and a prefix length, such as 10.20.0.0/16",
                "1:95 `x` is not an address range | write an address and a prefix length, such as 10.20.0.0/16",
                "1:121 expected `true` or `false`, found the text `yes` | in YAML 1.2 only `true` and `false` are booleans",
            ],
        ),
        (
            "deny with grants",
            "allowedDomains: [{pattern: a, action: deny, upgrades: [websocket]}]\n",
            &[
                "1:18 warning: an entry that denies grants nothing | remove `upgrades`, `allowPrivate` and `allowOverrideHeaders` from it",
            ],
        ),
        (
            "block entry is a mapping",
            "blockedDomains: [{pattern: a}]\n",
            &["1:18 expected a domain, found a mapping | -"],
        ),
        (
            "no agents",
            "agents: {}\n",
            &[
                "1:9 `agents` names nobody, so every caller would be refused | name an agent, or remove the key: a policy without `agents` has exactly one",
            ],
        ),
        ("agents are a list", "agents: [a]\n", &["1:9 expected a mapping from names to agents, found a list | -"]),
        (
            "agent names and keys",
            "agents: {all: {}, 'a b': {}, -x: {}, ok: {rateLimit: {}, dlp: strict, identities: []}}\n",
            &[
                "1:10 `all` stands for every agent and cannot name one | choose another name",
                "1:19 `a b` cannot be a name | a name is 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first of them a letter or digit",
                "1:30 `-x` cannot be a name | a name is 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first of them a letter or digit",
                "1:54 a rate limit needs `requests` | -",
                "1:54 a rate limit needs `per` | -",
                "1:63 there is no profile `strict` in `dlp` | add it under `dlp.profiles`",
                "1:71 unknown key `identities` in an agent | did you mean `identity`?",
            ],
        ),
        (
            "identities of certificates, addresses and times",
            "agents:\n\
                 \x20 a:\n\
                 \x20   identity:\n\
                 \x20     - spiffe: https://a.example/b\n\
                 \x20     - spiffe: spiffe://A.example/b\n\
                 \x20     - spiffe: spiffe:///b\n\
                 \x20     - spiffe: spiffe://a.example/b/*\n\
                 \x20     - spiffe: spiffe://a.example/b/\n\
                 \x20     - spiffe: spiffe://a.example/../b\n\
                 \x20     - spiffe: spiffe://a.example/ok\n\
                 \x20     - sourceAddress: '::ffff:10.1.0.0/112'\n\
                 \x20     - sourceAddress: localhost\n\
                 \x20     - sourceAddress: 10.1.0.0/16\n\
                 \x20     - token: {env: A, expires: 2026-12-31}\n\
                 \x20 b: {identity: [{sourceAddress: 10.1.0.0/16}, {spiffe: spiffe://a.example/ok}, {sourceAddress: 10.1.0.0/24}]}\n",
            &[
                "4:17 `https://a.example/b` is no SPIFFE ID: it does not begin with `spiffe://` | write it as the certificate has it: `spiffe://trust.domain/path/of/workload`",
                "5:17 `spiffe://A.example/b` is no SPIFFE ID: a trust domain is 1 to 255 characters of `a-z 0-9 . - _` | write it as the certificate has it: `spiffe://trust.domain/path/of/workload`",
                "6:17 `spiffe:///b` is no SPIFFE ID: a trust domain is 1 to 255 characters of `a-z 0-9 . - _` | write it as the certificate has it: `spiffe://trust.domain/path/of/workload`",
                "7:17 `spiffe://a.example/b/*` is no SPIFFE ID: a path is segments of `A-Z a-z 0-9 . - _`, none of them empty or of dots alone; there are no wildcards | write it as the certificate has it: `spiffe://trust.domain/path/of/workload`",
                "8:17 `spiffe://a.example/b/` is no SPIFFE ID: a path is segments of `A-Z a-z 0-9 . - _`, none of them empty or of dots alone; there are no wildcards | write it as the certificate has it: `spiffe://trust.domain/path/of/workload`",
                "9:17 `spiffe://a.example/../b` is no SPIFFE ID: a path is segments of `A-Z a-z 0-9 . - _`, none of them empty or of dots alone; there are no wildcards | write it as the certificate has it: `spiffe://trust.domain/path/of/workload`",
                "11:24 `::ffff:10.1.0.0/112` is a range of IPv4 addresses in IPv6 notation | write it as IPv4, such as 10.1.0.0/16",
                "12:24 `localhost` is not an address range | write an address and a prefix length, such as 10.20.0.0/16",
                "14:34 `2026-12-31` is not a time with its zone | write it as 2026-12-31T00:00:00Z or 2026-12-31T01:00:00+01:00",
                "15:18 this identity is given twice; first at policy.yaml:13:9 | an identity names one agent: give each its own",
                "15:48 this identity is given twice; first at policy.yaml:10:9 | an identity names one agent: give each its own",
            ],
        ),
        (
            "pods",
            "agents:\n\
                 \x20 a:\n\
                 \x20   identity:\n\
                 \x20     - kubernetes: {}\n\
                 \x20     - kubernetes: {namespace: [], labels: {}}\n\
                 \x20     - kubernetes: {namespace: 'prod*', serviceAccount: system:serviceaccount:prod:coder}\n\
                 \x20     - kubernetes: {labels: {'/app': x, app: 'a b', tier: true}}\n\
                 \x20     - {kubernetes: {namespace: prod}, header: {name: X-A, value: a, trusted: true}}\n\
                 \x20 b: {identity: [{kubernetes: {namespace: [x, y]}}, {kubernetes: {namespace: [y, x]}}]}\n",
            &[
                "4:21 a Kubernetes identity needs one of `namespace`, `serviceAccount` and `labels` | write which pods are this agent: `kubernetes: {namespace: prod, serviceAccount: coder}`",
                "5:33 expected a namespace, or a list of them, found an empty one | name a value, or remove the key: without it all are meant",
                "5:45 `labels` names none | name a label with its value, or remove the key",
                "6:33 `prod*` cannot be a namespace | values are exact, without wildcards: where several are meant, list them",
                "6:58 `system:serviceaccount:prod:coder` cannot be a service account | write its name alone, such as `coder`; values are exact, without wildcards",
                "7:31 `/app` cannot be the key of a label | write it as the pod has it, such as `app.kubernetes.io/name`",
                "7:47 `a b` cannot be the value of a label | values are exact, without wildcards: where several are meant, list them",
                "7:60 expected the value of a label, found a boolean | to write it as a text, put it in quotes",
                "8:9 an identity is one of `spiffe`, `token`, `sourceAddress`, `header` and `kubernetes` | write each as an entry of its own: `- token: {env: NAME}`",
                "9:53 this identity is given twice; first at policy.yaml:9:18 | an identity names one agent: give each its own",
            ],
        ),
        (
            "identities",
            "agents:\n\
                 \x20 a:\n\
                 \x20   identity:\n\
                 \x20     - spiffe: spiffe://x\n\
                 \x20     - sourceAddress: 10.0.0.1/8\n\
                 \x20     - token: hunter2\n\
                 \x20     - token: {env: hunter-2, expires: x}\n\
                 \x20     - token: {sha256: abc}\n\
                 \x20     - token: {value: hunter2}\n\
                 \x20     - {token: {env: A}, header: {}}\n\
                 \x20     - header: {name: Authorization, value: x, trusted: true}\n\
                 \x20     - header: {name: X-A, value: \"a\\n\
                 b\"}\n\
                 \x20     - header: {name: X-Envoy-A, value: a, trusted: no}\n\
                 \x20     - password: hunter2\n",
            &[
                "4:17 `spiffe://x` is no SPIFFE ID: it names a trust domain, and no workload in it | write it as the certificate has it: `spiffe://trust.domain/path/of/workload`",
                "5:24 `10.0.0.1/8` has bits set beyond its prefix | write 10.0.0.0/8, or 10.0.0.1 for the one address",
                "6:16 a token is not written into the policy | write where it is: `{env: NAME}`, `{file: /run/secrets/token}` or `{sha256: …}`",
                "7:22 this is not the name of an environment variable | write the variable's name (letters, digits and `_`), not its value",
                "7:41 `x` is not a time with its zone | write it as 2026-12-31T00:00:00Z or 2026-12-31T01:00:00+01:00",
                "8:25 this is not a SHA-256 | write 64 hexadecimal digits, as `printf %s \"$TOKEN\" | sha256sum` prints them",
                "9:16 a token has one of `env`, `file` and `sha256` | write where it is: `{env: NAME}`, `{file: /run/secrets/token}` or `{sha256: …}`",
                "9:17 unknown key `value` in a token | the keys of a token are `env`, `file`, `sha256` and `expires`",
                "10:9 an identity is one of `spiffe`, `token`, `sourceAddress`, `header` and `kubernetes` | write each as an entry of its own: `- token: {env: NAME}`",
                "10:35 a header identity needs `name` | -",
                "10:35 a header identity needs `value` | -",
                "10:35 a header identity needs `trusted` | -",
                "11:24 the header `Authorization` cannot name an agent | for a token use `token: {env: …}`; otherwise a header of its own, such as `X-Attache-Agent`",
                "12:17 a header identity needs `trusted` | -",
                "12:36 `a\\nb` cannot be the value of a header | a header's value is printable ASCII without blanks around it",
                "13:24 the header `X-Envoy-A` is the proxy's own and cannot name an agent | use a header of its own, such as `X-Attache-Agent`",
                "13:54 expected `true` or `false`, found the text `no` | in YAML 1.2 only `true` and `false` are booleans",
                "14:9 an identity is one of `spiffe`, `token`, `sourceAddress`, `header` and `kubernetes` | write each as an entry of its own: `- token: {env: NAME}`",
                "14:9 unknown key `password` in an identity | the keys of an identity are `spiffe`, `token`, `sourceAddress`, `header` and `kubernetes`",
            ],
        ),
        (
            "identities shared",
            "agents:\n\
                 \x20 a: {identity: [{token: {env: T}}, {header: {name: X-Attache-Agent, value: a, trusted: true}}]}\n\
                 \x20 b: {identity: [{token: {env: T}}, {header: {name: x-attache-agent, value: a, trusted: false}}]}\n\
                 \x20 c: {}\n\
                 defaultAgent: d\n",
            &[
                "3:18 this identity is given twice; first at policy.yaml:2:18 | an identity names one agent: give each its own",
                "3:37 this identity is given twice; first at policy.yaml:2:37 | an identity names one agent: give each its own",
                "3:46 warning: a header that is not trusted names nobody | write `trusted: true` where only what you trust can reach the proxy; otherwise use a token",
                "5:15 there is no agent `d` | add it under `agents`",
            ],
        ),
        (
            "default agent without agents",
            "defaultAgent: a\nproxyChallenge: on\n",
            &[
                "1:15 `defaultAgent` chooses among `agents`, and the policy names none | remove it: a policy without `agents` has exactly one, named by `--agent`",
                "2:17 expected `true` or `false`, found the text `on` | in YAML 1.2 only `true` and `false` are booleans",
            ],
        ),
        (
            "credentials incomplete",
            "credentials:\n\
                 \x20 - name: a\n\
                 \x20 - {name: a b, envVarKey: sk-live, file: x}\n\
                 \x20 - {name: a, value: hunter2}\n\
                 \x20 - {name: b, vault: x, service: openai, endpoints: []}\n",
            &[
                "2:5 a credential has one of `envVarKey`, `file` and `vault` | write where the secret is: `envVarKey: NAME`, `file: /run/secrets/name` or `vault: {…}`",
                "3:5 a credential has one of `envVarKey`, `file` and `vault` | write where the secret is: `envVarKey: NAME`, `file: /run/secrets/name` or `vault: {…}`",
                "3:12 `a b` cannot be a name | a name is 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first of them a letter or digit",
                "3:28 this is not the name of an environment variable | write the variable's name (letters, digits and `_`), not its value",
                "4:5 a credential has one of `envVarKey`, `file` and `vault` | write where the secret is: `envVarKey: NAME`, `file: /run/secrets/name` or `vault: {…}`",
                "4:15 unknown key `value` in a credential | the keys of a credential are `name`, `envVarKey`, `file`, `vault`, `service`, `injections`, `endpoints`, `agents` and `placeholder`",
                "5:22 expected an entry in vault, found a text | -",
                "5:53 expected a list of endpoints, found an empty one | to let it go with every request remove the key; to let it go with none remove the credential",
            ],
        ),
        (
            "credentials together",
            "credentials: [{name: a, envVarKey: A}, {name: a, envVarKey: B, agents: [], injections: []}, {name: b, file: f, agents: all, injections: [{domain: x, queryParam: key}]},  {name: a, file: f, agents: [x]}]\n",
            &[
                "1:72 expected a list of agents, found an empty one | name the agents that may use it, or write `all`",
                "1:178 the credential `a` is given twice; first at policy.yaml:1:22 | a name stands for one credential: rename one, or list all its injections in one entry",
                "1:199 warning: the policy names no agents, so `x` can use this only when started with `--agent x` | add `agents`, or remove the list",
            ],
        ),
        (
            "injections",
            "credentials:\n\
                 - name: a\n\
                 \x20 envVarKey: A\n\
                 \x20 injections:\n\
                 \x20 - {}\n\
                 \x20 - {domain: x, headerName: Authorization}\n\
                 \x20 - {domain: x, headerName: Host, headerFormat: {value}}\n\
                 \x20 - {domain: x, headerName: 'A B', headerFormat: '{value}'}\n\
                 \x20 - {domain: x, headerName: A, headerFormat: x, queryParam: y}\n\
                 \x20 - {domain: x, queryParam: ';y', headerFormat: x}\n\
                 \x20 - {domain: x, queryParam: y, plaintext: 1}\n",
            &[
                "5:5 an injection has one of `headerName` and `queryParam` | write `headerName: Authorization` with `headerFormat: \"Bearer {value}\"`",
                "5:5 an injection needs `domain` | -",
                "6:5 an injection with `headerName` needs `headerFormat` | write `headerFormat: \"Bearer {value}\"`, or `\"{value}\"` for the credential alone",
                "7:29 the header `Host` is the proxy's own and cannot carry a credential | name the header that the API documents for its key",
                "7:49 expected a format with `{value}` in it, found a mapping | a text that begins with `{` goes in quotes",
                "8:29 `A B` cannot be the name of a header | a header's name is letters, digits and `-`, such as `Authorization`",
                "9:5 an injection has one of `headerName` and `queryParam` | write `headerName: Authorization` with `headerFormat: \"Bearer {value}\"`",
                "10:5 `headerFormat` has no meaning with `queryParam` | remove it: the parameter's value is the credential",
                "10:29 `;y` cannot be the name of a query parameter | write the name alone, without `?`, `&`, `;` or `=`",
                "11:43 expected `true` or `false`, found a number | to write it as a text, put it in quotes",
            ],
        ),
        (
            "injections beside a service",
            "credentials:\n\
                 - name: a\n\
                 \x20 envVarKey: A\n\
                 \x20 service: 'open ai'\n\
                 \x20 injections:\n\
                 \x20 - {domain: x}\n\
                 \x20 - {domain: x, headerFormat: '{value}'}\n\
                 \x20 - {domain: x, headerName: A, headerFormat: '{value}', queryParam: b}\n",
            &[
                "4:12 `open ai` cannot be a name | a name is 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first of them a letter or digit",
                "7:5 an injection has one of `headerName` and `queryParam` | write `headerName: Authorization` with `headerFormat: \"Bearer {value}\"`",
                "8:5 an injection has one of `headerName` and `queryParam` | write `headerName: Authorization` with `headerFormat: \"Bearer {value}\"`",
            ],
        ),
        (
            "endpoints",
            "credentials:\n\
                 - name: a\n\
                 \x20 envVarKey: A\n\
                 \x20 service: openai\n\
                 \x20 placeholder: short\n\
                 \x20 endpoints:\n\
                 \x20 - {}\n\
                 \x20 - {methods: [CONNECT], paths: []}\n\
                 \x20 - {method: GET, path: /x}\n\
                 \x20 - /v1/models\n\
                 - {name: b, envVarKey: B, service: openai, placeholder: ' x', endpoints: {paths: /x}}\n",
            &[
                "5:16 warning: the placeholder has fewer than 8 characters and will be found where nobody put it | write one that stands nowhere by chance, such as `sk-agent-placeholder`",
                "7:5 an endpoint needs `methods`, `paths` or both | write `{methods: [POST], paths: [/v1/chat/completions]}`",
                "8:16 CONNECT opens the tunnel to the proxy and is never forwarded | list the methods of the requests inside the tunnel",
                "8:33 expected a list of paths, found an empty one | to admit every path remove the key",
                "9:5 an endpoint needs `methods`, `paths` or both | write `{methods: [POST], paths: [/v1/chat/completions]}`",
                "9:6 unknown key `method` in an endpoint | did you mean `methods`?",
                "9:19 unknown key `path` in an endpoint | did you mean `paths`?",
                "10:5 expected an endpoint, found a text | -",
                "11:57 ` x` cannot be the value of a header | a header's value is printable ASCII without blanks around it",
                "11:74 expected a list of endpoints, found a mapping | -",
            ],
        ),
        (
            "services",
            "services:\n\
                 \x20 a b: {hosts: [x]}\n\
                 \x20 c: {}\n\
                 \x20 d: {hosts: x, headerName: A}\n\
                 \x20 e: {hosts: [x], host: y, queryParam: '?'}\n\
                 \x20 f: x\n",
            &[
                "2:3 `a b` cannot be a name | a name is 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first of them a letter or digit",
                "3:6 a service needs `hosts` | -",
                "4:6 a service with `headerName` needs `headerFormat` | write `headerFormat: \"Bearer {value}\"`, or `\"{value}\"` for the credential alone",
                "4:14 expected a list of hosts, found a text | write `[` and `]` around it",
                "5:19 unknown key `host` in a service | did you mean `hosts`?",
                "5:40 `?` cannot be the name of a query parameter | write the name alone, without `?`, `&`, `;` or `=`",
                "6:6 expected a service, found a text | -",
            ],
        ),
        (
            "services are a list",
            "services: [a]\n",
            &["1:11 expected a mapping from names to services, found a list | -"],
        ),
        (
            "a misspelt agent",
            "agents: {researcher: {identity: [{token: {env: T}}]}}\ncredentials: [{name: a, envVarKey: A, agents: [reseacher], injections: [{domain: x, queryParam: k}]}]\n",
            &["2:48 there is no agent `reseacher` | did you mean `researcher`?"],
        ),
    ];
    for (name, text, expected) in cases {
        assert_eq!(complaints(text), *expected, "{name}");
    }
}

#[test]
fn the_report_shows_each_line_and_points_at_the_mistake() {
    let text = "\
version: 1
allowDomains: [api.example.com]
allowedDomains:
  - pattern: api.example.com
    action: alow
    httpRestrictions: GET
credentials:
  - {name: jira, envVarKey: JIRA, injections: [{domain: x, headerName: Host, headerFormat: y}]}
";
    let expected = "\
policy.yaml:2:1: error: unknown key `allowDomains` in a policy
  |
2 | allowDomains: [api.example.com]
  | ^^^^^^^^^^^^
  fix: did you mean `allowedDomains`?
policy.yaml:5:13: error: `alow` is not an action
  |
5 |     action: alow
  |             ^^^^
  fix: did you mean `allow`?
policy.yaml:6:23: error: expected a list of methods and paths, found a text
  |
6 |     httpRestrictions: GET
  |                       ^^^
  fix: write `[` and `]` around it
policy.yaml:8:72: error: the header `Host` is the proxy's own and cannot carry a credential
  |
8 |   - {name: jira, envVarKey: JIRA, injections: [{domain: x, headerName: Host, headerFormat: y}]}
  |                                                                        ^^^^
  fix: name the header that the API documents for its key";
    assert_eq!(problems(parse("policy.yaml", text)).to_string(), expected);
}

#[test]
fn a_secret_written_into_the_policy_is_not_printed() {
    for (name, text) in [
        ("token as text", "agents: {a: {identity: [{token: hunter2}]}}\n"),
        ("token under an unknown key", "agents: {a: {identity: [{token: {value: hunter2}}]}}\n"),
        ("token instead of its hash", "agents: {a: {identity: [{token: {sha256: hunter2}}]}}\n"),
        ("secret instead of a variable", "credentials: [{name: a, envVarKey: hunter-hunter2}]\n"),
        ("secret under an unknown key", "credentials:\n  - {name: a, value: hunter2}\n"),
    ] {
        let report = problems(parse("policy.yaml", text)).to_string();
        assert!(report.contains("error") && !report.contains("hunter2"), "{name}: {report}");
    }
}
