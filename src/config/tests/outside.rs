//! What a policy names outside attaché: entries in Vault, and webhooks.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::https::Url;
use crate::notify::Kind;
use crate::secrets::{Auth, Source, VaultSource};

fn vault(text: &str) -> VaultSource {
    let injections = "injections: [{domain: x, queryParam: k}]";
    let policy = accepted(&format!("credentials: [{{name: a, vault: {text}, {injections}}}]\n")).value;
    match &policy.credentials[0].source.value {
        SecretSource::Vault(source) => (**source).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_entry_in_vault_is_read_with_the_defaults_of_its_clients() {
    let least = vault("{path: /agents/jira/, field: token}");
    let expected = VaultSource {
        address: None,
        plaintext: false,
        namespace: None,
        mount: "secret".to_owned(),
        path: "agents/jira".to_owned(),
        field: "token".to_owned(),
        auth: Auth::Token(Source::Variable("VAULT_TOKEN".to_owned())),
        ca_file: None,
        refresh: Duration::from_secs(300),
    };
    assert_eq!(least, expected);
    assert_eq!(least.token_variable(), Some("VAULT_TOKEN"));
    let most = vault(
        "{address: 'http://127.0.0.1:8200', plaintext: true, namespace: team/a, mount: kv/prod, path: a b, field: f, \
         auth: {kubernetes: {role: attache, mount: k8s, tokenFile: sa}}, caFile: /etc/ca.pem, refresh: 90s}",
    );
    let expected = VaultSource {
        address: Some(Url::parse("http://127.0.0.1:8200").unwrap()),
        plaintext: true,
        namespace: Some("team/a".to_owned()),
        mount: "kv/prod".to_owned(),
        path: "a b".to_owned(),
        field: "f".to_owned(),
        auth: Auth::Kubernetes { role: "attache".to_owned(), mount: "k8s".to_owned(), token_file: PathBuf::from("sa") },
        ca_file: Some(PathBuf::from("/etc/ca.pem")),
        refresh: Duration::from_secs(90),
    };
    assert_eq!(most, expected);
    let file = vault("{path: a, field: f, auth: {tokenFile: token}, refresh: 24h}");
    assert_eq!(file.auth, Auth::Token(Source::File(PathBuf::from("token"))));
    assert_eq!((file.token_variable(), file.refresh), (None, Duration::from_secs(86_400)));
}

#[test]
fn a_channel_is_read_with_its_events() {
    let policy = accepted(
        "notifications:\n\
         \x20 ops: {webhook: {url: 'https://hooks.example.com/x?y', secret: {file: hook}}, events: [approvalRequested, blocked]}\n\
         \x20 dev: {webhook: {url: 'http://127.0.0.1:9', secret: {env: HOOK}, plaintext: true}, events: [approvalDecided]}\n",
    );
    assert!(policy.warnings.is_empty());
    let channels: Vec<_> = policy.value.notifications.iter().map(|n| n.channel()).collect();
    assert_eq!((&*channels[0].name, &*channels[1].name), ("ops", "dev"));
    assert_eq!(channels[0].url, Url::parse("https://hooks.example.com/x?y").unwrap());
    assert_eq!(channels[0].secret, Source::File(PathBuf::from("hook")));
    assert_eq!(channels[1].secret, Source::Variable("HOOK".to_owned()));
    assert_eq!(channels[0].events, [Kind::ApprovalRequested, Kind::Blocked]);
    assert_eq!(channels[1].events, [Kind::ApprovalDecided]);
}

#[test]
fn every_mistake_is_reported_with_its_place_and_the_fix() {
    for (name, text, expected) in [
        (
            "vault",
            "credentials:\n\
             - {name: a, vault: {}}\n\
             - {name: b, vault: {address: 'http://v:8200', path: /a/../b, field: '', refresh: 2d}}\n\
             - {name: c, vault: {address: 'v:8200', path: data/a, field: f, auth: {}, mount: '/'}}\n\
             - {name: d, vault: {path: a, field: f, auth: {kubernetes: {mount: k}}, role: x}}\n\
             - {name: e, vault: {path: a, field: f, auth: {tokenFile: t, tokenEnv: 'A B'}, refresh: 0s}}\n",
            &[
                "2:20 an entry in vault needs `path` | -",
                "2:20 an entry in vault needs `field` | -",
                "3:30 the token and the secret would travel without TLS | write `https://`, or add `plaintext: true` where nobody can listen",
                "3:53 `/a/../b` is no path in vault | write it like `agents/jira`",
                "3:69 expected the name of a field, found an empty text | -",
                "3:82 `2d` is out of range: how long a value is used is 1s to 1d | write a number and its unit, such as `500ms`, `20s`, `15m`, `1h` or `7d`",
                "4:30 a URL here begins with `https://` | -",
                "4:46 warning: `data/` is put before the path by itself | write the path as `vault kv get` takes it",
                "4:70 `auth` has one of `tokenFile`, `tokenEnv` and `kubernetes` | write `{tokenFile: …}`, `{tokenEnv: VAULT_TOKEN}` or `{kubernetes: {role: …}}`",
                "4:81 `/` is no path in vault | write it like `agents/jira`",
                "5:59 a login by Kubernetes needs `role` | -",
                "5:72 unknown key `role` in an entry in vault | the keys of an entry in vault are `address`, `plaintext`, `namespace`, `mount`, `path`, `field`, `auth`, `caFile` and `refresh`",
                "6:46 `auth` has one of `tokenFile`, `tokenEnv` and `kubernetes` | write `{tokenFile: …}`, `{tokenEnv: VAULT_TOKEN}` or `{kubernetes: {role: …}}`",
                "6:71 this is not the name of an environment variable | write the variable's name (letters, digits and `_`), not its value",
                "6:88 `0s` is out of range: how long a value is used is 1s to 1d | write a number and its unit, such as `500ms`, `20s`, `15m`, `1h` or `7d`",
            ][..],
        ),
        (
            "notifications",
            "notifications:\n\
             \x20 a b: {}\n\
             \x20 c: {webhook: {url: 'hooks.example.com', secret: {}}, events: []}\n\
             \x20 d: {webhook: {url: 'http://hooks.example.com', secret: {env: A, file: b}}, events: [block]}\n\
             \x20 e: {webhook: {url: 'http://hooks.example.com', secret: {env: A}}, events: [blocked], email: x}\n",
            &[
                "2:3 `a b` cannot be a name | a name is 1 to 64 characters of `A-Z a-z 0-9 . _ -`, the first of them a letter or digit",
                "2:8 a notification needs `webhook` | -",
                "2:8 a notification needs `events` | -",
                "3:22 a URL here begins with `https://` | -",
                "3:51 a webhook's secret has one of `env` and `file` | write where it is: `{env: NAME}` or `{file: /run/secrets/hook}`",
                "3:64 expected a list of events, found an empty one | write some of `approvalRequested`, `approvalDecided`, `blocked`, `findings`, `unreconciled`, `outcomeUnknown`, `checkpoint`, `reloadFailed` and `journalFailed`",
                "4:58 a webhook's secret has one of `env` and `file` | write where it is: `{env: NAME}` or `{file: /run/secrets/hook}`",
                "4:87 `block` is not an event | did you mean `blocked`?",
                "5:22 what the webhook is told would travel without TLS | write `https://`, or add `plaintext: true` where nobody can listen",
                "5:88 unknown key `email` in a notification | the keys of a notification are `webhook` and `events`",
            ],
        ),
        (
            "channels of rules",
            "notifications:\n\
             \x20 ops: {webhook: {url: 'https://h/', secret: {env: A}}, events: [approvalRequested]}\n\
             \x20 log: {webhook: {url: 'https://h/', secret: {env: A}}, events: [blocked]}\n\
             rules:\n\
             - {name: a, host: a.example, action: {approval: {notify: [ops, opps, log]}}}\n\
             organization:\n\
             \x20 rules: [{name: b, host: a.example, action: {approval: {notify: nobody}}}]\n",
            &[
                "5:64 there is no channel `opps` to notify | did you mean `ops`?",
                "5:70 warning: the channel `log` is not told of requests that wait | add `approvalRequested` to its `events`",
                "7:66 there is no channel `nobody` to notify | add it under `notifications`, or remove it",
            ],
        ),
        ("channels", "notifications: [ops]\n", &["1:16 expected a mapping from names to webhooks, found a list | -"]),
    ] {
        assert_eq!(complaints(text), *expected, "{name}");
    }
}

#[test]
fn a_secret_written_into_the_policy_is_not_printed() {
    for (name, text) in [
        ("token of vault", "credentials: [{name: a, vault: {path: a, field: f, auth: hunter2}}]\n"),
        (
            "token of vault as a variable",
            "credentials: [{name: a, vault: {path: a, field: f, auth: {tokenEnv: hunter-hunter2}}}]\n",
        ),
        (
            "token of vault under an unknown key",
            "credentials:\n- {name: a, vault: {path: a, field: f, token: hunter2}}\n",
        ),
        (
            "password in the address",
            "credentials: [{name: a, vault: {address: 'https://u:hunter2@v', path: a, field: f}}]\n",
        ),
        (
            "secret of a webhook",
            "notifications: {a: {webhook: {url: 'https://h/', secret: hunter2}, events: [blocked]}}\n",
        ),
        (
            "secret of a webhook as a variable",
            "notifications: {a: {webhook: {url: 'https://h/', secret: {env: hunter-hunter2}}, events: [blocked]}}\n",
        ),
        (
            "secret URL",
            "notifications: {a: {webhook: {url: 'hooks.example/hunter2', secret: {env: A}}, events: [blocked]}}\n",
        ),
        (
            "secret URL without TLS",
            "notifications: {a: {webhook: {url: 'http://h/hunter2', secret: {env: A}}, events: [blocked]}}\n",
        ),
        ("webhook as text", "notifications: {a: {webhook: 'https://h/hunter2', events: [blocked]}}\n"),
        ("channel as text", "notifications: {a: 'https://h/hunter2'}\n"),
    ] {
        let report = problems(parse("policy.yaml", text)).to_string();
        assert!(report.contains("error") && !report.contains("hunter2"), "{name}: {report}");
    }
}
