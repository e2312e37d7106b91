//! A credential's value that is more than a value: what it would add to a request is not added.

use std::path::Path;

use crate::support::{Ask, Attache, Ca, PROTOCOLS, Upstream, Vault};

const EVIL: [&str; 6] = [
    "xyz-\r\nX-Evil: 1",
    "xyz-\nX-Evil: 1",
    "xyz-\rX-Evil: 1",
    "xyz-\r\n\r\nGET /evil HTTP/1.1\r\nHost: api.example.com",
    "xyz-\0",
    "xyz-\u{7f}\u{1b}[31m",
];

fn policy(file: &Path, format: &str) -> String {
    let file = file.display();
    format!(
        "
allowedDomains: [api.example.com]
credentials:
  - name: key
    file: {file}
    injections:
      - {{domain: api.example.com, headerName: X-Key, headerFormat: '{format}'}}
      - {{domain: api.example.com, queryParam: key}}
"
    )
}

async fn refused(attache: &Attache, upstream: &Upstream, case: &str) {
    for protocol in PROTOCOLS {
        let reply = Ask::get(protocol, "https://api.example.com/x").send(attache).await;
        assert_eq!((reply.status, reply.reason()), (503, "secret_unavailable".into()), "{case:?}: {reply:?}");
        assert!(!reply.body.contains("xyz-"), "{case:?}: {reply:?}");
    }
    assert!(upstream.connections().is_empty(), "{case:?}");
}

#[tokio::test]
async fn a_value_that_would_be_more_than_one_field_is_none() {
    let folder = tempfile::tempdir().unwrap();
    for (format, number) in [("{value}", 0), ("Bearer {value}", 1), ("Basic {base64:user:{value}}", 2)] {
        let file = folder.path().join(format!("key-{number}"));
        let upstream = Upstream::https(["api.example.com"]).await;
        std::fs::write(&file, EVIL[number * 2]).unwrap();
        let attache = Attache::up(&policy(&file, format)).resolve("api.example.com", &upstream).start().await;
        refused(&attache, &upstream, EVIL[number * 2]).await;
        for evil in EVIL {
            std::fs::write(&file, evil).unwrap();
            refused(&attache, &upstream, evil).await;
        }
        // What needs to be encoded where it goes is, and is one value there.
        std::fs::write(&file, "a&b=c#d%2F e\n").unwrap();
        let answered = crate::support::until("the next value", async || {
            let answer = attache.curl(["https://api.example.com/x?a=b"]).await;
            (answer.status == 200).then_some(answer)
        });
        answered.await;
        let seen = upstream.requests().pop().unwrap();
        assert_eq!(seen.path, "/x?a=b&key=a%26b%3Dc%23d%252F%20e");
        assert_eq!(seen.header_values("x-key").len(), 1);
        assert_eq!(seen.header("x-evil"), None);
    }
}

#[tokio::test]
async fn nor_is_one_that_vault_gives() {
    let folder = tempfile::tempdir().unwrap();
    let trust = folder.path().join("ca.pem");
    std::fs::write(&trust, Ca::shared().pem()).unwrap();
    let vault = Vault::start_at(([127, 0, 0, 1], 0).into(), true, "hvs.t0ken").await;
    for evil in [EVIL[0], EVIL[2], EVIL[4]] {
        vault.put("agents/api", "token", evil);
        let upstream = Upstream::https(["api.example.com"]).await;
        let policy = format!(
            "
allowedDomains: [api.example.com]
credentials:
  - name: api
    vault: {{address: '{}', path: agents/api, field: token, refresh: 1s, auth: {{tokenEnv: MY_TOKEN}}}}
    injections: [{{domain: api.example.com, headerName: Authorization, headerFormat: 'Bearer {{value}}'}}]
",
            vault.url()
        );
        let attache = Attache::up(&policy)
            .env("MY_TOKEN", "hvs.t0ken")
            .env("SSL_CERT_FILE", trust.to_str().unwrap())
            .resolve("api.example.com", &upstream)
            .start()
            .await;
        refused(&attache, &upstream, evil).await;
    }
}

/// A format is the policy's, and a policy whose format would end its line is none.
#[tokio::test]
async fn nor_is_a_format_that_ends_its_line() {
    for format in ["Bearer {value}\\r\\nX-Evil: 1", "a\\n{value}", "\\0{value}"] {
        let policy = format!(
            "allowedDomains: [api.example.com]\ncredentials: [{{name: k, envVarKey: K, injections: \
             [{{domain: api.example.com, headerName: X-Key, headerFormat: \"{format}\"}}]}}]\n"
        );
        let refused = Attache::up(&policy).env("K", "s3cret").refused().await;
        assert_eq!(refused.exit, 2, "{format}: {refused:?}");
    }
    for name in ["X-Key\\r\\nX-Evil", "X Key", "Content-Length", "Transfer-Encoding", "Host", ":path"] {
        let policy = format!(
            "allowedDomains: [api.example.com]\ncredentials: [{{name: k, envVarKey: K, injections: \
             [{{domain: api.example.com, headerName: \"{name}\", headerFormat: \"{{value}}\"}}]}}]\n"
        );
        let refused = Attache::up(&policy).env("K", "s3cret").refused().await;
        assert_eq!(refused.exit, 2, "{name}: {refused:?}");
    }
}
