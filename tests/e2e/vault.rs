//! A secret in Vault is fetched for a request that policy has allowed, and for no other; where it cannot be had,
//! nothing goes out without it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::attache::https::Url;
use ::attache::pipeline::credential::{CredentialId, Format, Secret};
use ::attache::secrets::{Auth, Environment, Fetch, Origin, Secrets, Source, VaultSource};
use tempfile::TempDir;

use crate::support::vault::Ill;
use crate::support::{Attache, Ca, Upstream, Vault, free_address, records, until};

const TOKEN: &str = "hvs.s3cr3t-token";
/// Longer than any test.
const LONG: Duration = Duration::from_secs(300);

fn policy(vault: &str, refresh: &str) -> String {
    format!(
        r#"
allowedDomains:
  - pattern: api.example.com
    httpRestrictions: [{{method: GET, path: "/v1/**"}}]
credentials:
  - name: api
    vault: {{address: "{vault}", path: agents/api, field: token, refresh: {refresh}, auth: {{tokenEnv: MY_TOKEN}}}}
    injections: [{{domain: api.example.com, headerName: Authorization, headerFormat: "Bearer {{value}}"}}]
"#
    )
}

#[tokio::test]
async fn only_an_allowed_request_reaches_vault_and_it_gets_the_header() {
    let (upstream, desk) = (Upstream::https(["api.example.com"]).await, Desk::with("from-vault-1").await);
    let vault = &desk.vault;
    let mut attache = start(&policy(&vault.url(), "1s"), &upstream, &desk.files).await;

    for url in ["https://api.example.com/v2", "https://other.example.com/v1/"] {
        let refused = attache.curl([url]).await;
        assert!(refused.status == 403 || refused.connect_status == 403, "{refused:?}");
    }
    assert_eq!(attache.curl(["-X", "POST", "https://api.example.com/v1/x"]).await.status, 403);
    assert!(vault.requests().is_empty(), "a denied request has reached vault: {:?}", vault.requests());

    let allowed = attache.curl(["-H", "Authorization: Bearer agents-own", "https://api.example.com/v1/x"]).await;
    assert_eq!(allowed.status, 200, "{allowed:?} {}", attache.stderr());
    assert_eq!(upstream.requests().pop().unwrap().header("authorization"), Some("Bearer from-vault-1"));
    let asked = vault.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!((&*asked[0].method, &*asked[0].path), ("GET", "/v1/secret/data/agents/api"));
    assert_eq!((asked[0].header("x-vault-token"), asked[0].header("x-vault-request")), (TOKEN, "true"));

    // A rotated secret takes over within `refresh`.
    desk.put("from-vault-2");
    until("the rotated secret", async || {
        let answer = attache.curl(["https://api.example.com/v1/x"]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let seen = upstream.requests().pop().unwrap();
        (seen.header("authorization") == Some("Bearer from-vault-2")).then_some(())
    })
    .await;

    // A token that is taken back takes the credential with it, also where the value is still at hand.
    vault.change(|state| state.tokens.clear());
    let refused = until("a refusal", async || {
        let answer = attache.curl(["https://api.example.com/v1/x"]).await;
        (answer.status != 200).then_some(answer)
    });
    let refused = refused.await;
    assert_eq!((refused.status, &refused.json()["reason"]), (503, &"secret_unavailable".into()), "{refused:?}");
    let record = records(&attache).into_iter().rfind(|r| r["reason"] == "secret_unavailable").unwrap();
    assert_eq!(record["decision"], "error", "{record}");
    attache.wait_stderr("403 Forbidden for `secret/agents/api`").await;
    attache.stop().await;
    for secret in [TOKEN, "from-vault-1", "from-vault-2"] {
        assert!(!attache.stderr().contains(secret), "{secret} is in the log");
        assert!(!records(&attache).iter().any(|r| r.to_string().contains(secret)), "{secret} is on record");
    }
}

#[tokio::test]
async fn a_vault_that_is_down_refuses_what_needs_it_and_nothing_else() {
    let upstream = Upstream::https(["api.example.com", "free.example.com"]).await;
    let (address, files) = (free_address(), files());
    let policy = policy(&format!("https://{address}"), "1h") + "# more\n";
    let policy = policy.replace("allowedDomains:\n", "allowedDomains:\n  - free.example.com\n");
    let attache = start(&policy, &upstream, &files).await;
    let refused = attache.curl(["https://api.example.com/v1/x"]).await;
    assert_eq!((refused.status, &refused.json()["reason"]), (503, &"secret_unavailable".into()), "{refused:?}");
    assert_eq!(attache.curl(["https://free.example.com/"]).await.status, 200);
    assert_eq!(upstream.requests().len(), 1, "nothing goes out without its credential");

    let vault = Vault::start_at(address, true, TOKEN).await;
    vault.put("agents/api", "token", "from-vault");
    until("vault to be asked again", async || {
        (attache.curl(["https://api.example.com/v1/x"]).await.status == 200).then_some(())
    })
    .await;

    // What was fetched outlives a reload, and a Vault that is gone.
    drop(vault);
    let before = upstream.requests().len();
    attache.replace_policy(&policy.replace("# more", "blockedDomains: [blocked.example.com]"));
    attache.wait_stderr("the policy has been loaded again").await;
    assert_eq!(attache.curl(["https://api.example.com/v1/x"]).await.status, 200);
    assert_eq!(upstream.requests()[before].header("authorization"), Some("Bearer from-vault"));
}

#[tokio::test]
async fn a_mute_vault_costs_its_deadline_and_the_agent_gets_an_answer() {
    let (upstream, desk) = (Upstream::https(["api.example.com"]).await, Desk::with("late").await);
    desk.vault.change(|state| state.ill = Some(Ill::Mute));
    let attache = start(&policy(&desk.vault.url(), "5m"), &upstream, &desk.files).await;
    let started = Instant::now();
    let refused = attache.curl(["https://api.example.com/v1/x"]).await;
    assert_eq!((refused.status, &refused.json()["reason"]), (503, &"secret_unavailable".into()), "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "Envoy's own deadline would have come first");
    attache.wait_stderr("did not answer within").await;
}

#[tokio::test]
async fn a_request_that_waited_for_vault_is_decided_again() {
    let (upstream, desk) = (Upstream::https(["api.example.com"]).await, Desk::with("late").await);
    desk.vault.change(|state| state.ill = Some(Ill::Mute));
    let open = policy(&desk.vault.url(), "5m");
    let closed = open.clone() + "blockedDomains: [api.example.com]\n";
    let attache = start(&open, &upstream, &desk.files).await;
    until("a refusal by the newer policy", async || {
        let (before, ended) = (desk.vault.requests().len(), Cell::new(false));
        let asked = || desk.vault.requests().len() > before;
        let request = async {
            let answer = attache.curl(["https://api.example.com/v1/x"]).await;
            ended.set(true);
            answer
        };
        let reload = async {
            until("vault to be asked", async || (asked() || ended.get()).then_some(())).await;
            attache.replace_policy(if asked() { &closed } else { &open });
        };
        let (answer, ()) = tokio::join!(request, reload);
        if answer.status == 503 {
            // The reload has taken longer than vault's deadline, or vault is not asked so soon again.
            attache.replace_policy(&open);
            return None;
        }
        // Had it not been allowed at first, vault would not have been asked.
        assert_eq!((answer.status, &answer.json()["reason"]), (403, &"domain_blocked".into()), "{answer:?}");
        asked().then_some(())
    })
    .await;
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn the_agent_inherits_no_variable_that_opens_vault_or_signs_webhooks() {
    let policy = policy("https://127.0.0.1:1", "5m")
        + "notifications: {ops: {webhook: {url: 'https://127.0.0.1:1/', secret: {env: MY_HOOK}}, events: [blocked]}}\n";
    let ran = Attache::up(&policy).env("MY_TOKEN", TOKEN).env("MY_HOOK", TOKEN).env("MY_OWN", "kept");
    let ran = ran.run(vec!["env".into()]).await;
    assert!(ran.stdout.contains("MY_OWN=kept"), "{ran:?}");
    assert!(!ran.stdout.contains(TOKEN), "{ran:?}");
}

#[tokio::test]
async fn everyone_who_waits_shares_one_fetch() {
    let desk = Desk::with("shared").await;
    let secrets = load(desk.source(LONG));
    let waits: Vec<_> = (0..50)
        .map(|_| match secrets.fetch(&[CredentialId(0), CredentialId(0)]) {
            Fetch::Awaited(found) => found,
            Fetch::AtHand(_) => panic!("nothing has been fetched yet"),
        })
        .collect();
    for found in futures_util::future::join_all(waits).await {
        assert_eq!(
            found.iter().map(|s| shown(s.as_ref())).collect::<Vec<_>>(),
            [Some("shared".into()), Some("shared".into())]
        );
    }
    assert_eq!(desk.vault.requests().len(), 1);
    assert!(matches!(secrets.fetch(&[CredentialId(0)]), Fetch::AtHand(_)), "it is at hand now");
}

#[tokio::test]
async fn a_failure_is_not_asked_about_by_every_request() {
    let desk = Desk::with("healed").await;
    desk.vault.change(|state| state.ill = Some(Ill::Sealed));
    let secrets = load(desk.source(LONG));
    assert_eq!(fetch(&secrets).await, None);
    let Fetch::AtHand(found) = secrets.fetch(&[CredentialId(0)]) else { panic!("the failure stands for a second") };
    assert!(found[0].is_none());
    assert_eq!(desk.vault.requests().len(), 1);
    desk.vault.change(|state| state.ill = None);
    until("another attempt", async || fetch(&secrets).await.filter(|value| value == "healed")).await;
}

#[tokio::test]
async fn a_value_serves_its_time_through_an_outage_and_no_longer() {
    let desk = Desk::with("bounded").await;
    let refresh = Duration::from_secs(3);
    let secrets = load(desk.source(refresh));
    let asked = Instant::now();
    assert_eq!(fetch(&secrets).await.as_deref(), Some("bounded"));
    desk.vault.change(|state| state.ill = Some(Ill::Sealed));
    // In the second half of its time it is asked for again, and still serves.
    until("another attempt", async || {
        assert_eq!(fetch(&secrets).await.as_deref(), Some("bounded"), "after {:?}", asked.elapsed());
        (desk.vault.requests().len() > 1).then_some(())
    })
    .await;
    assert!(asked.elapsed() >= refresh / 2);
    let gone = until("its end", async || fetch(&secrets).await.is_none().then(|| asked.elapsed())).await;
    assert!(gone >= refresh && gone < refresh * 3, "{gone:?}");
}

#[tokio::test]
async fn what_is_handed_out_is_searched_for_before_it_leaves() {
    let desk = Desk::with("vaulted-9aF3kLm20Q").await;
    let secrets = load(desk.source(Duration::from_millis(400)));
    let finds = |value: &str| {
        let mut found = false;
        secrets.known().find(value.as_bytes(), &mut |_| found = true);
        found
    };
    assert!(!finds("vaulted-9aF3kLm20Q"), "nobody has asked for it");
    assert_eq!(fetch(&secrets).await.as_deref(), Some("vaulted-9aF3kLm20Q"));
    assert!(finds("vaulted-9aF3kLm20Q"));
    desk.put("vaulted-zX7vB1nT5w");
    until("the rotated secret", async || fetch(&secrets).await.filter(|value| value == "vaulted-zX7vB1nT5w")).await;
    assert!(finds("vaulted-zX7vB1nT5w") && finds("vaulted-9aF3kLm20Q"));
}

#[tokio::test]
async fn a_no_of_vault_ends_a_value_before_its_time() {
    let refresh = Duration::from_secs(6);
    let cases: [(&str, Change); 4] = [
        ("deleted", |desk| desk.vault.change(|state| state.entries.clear())),
        ("forbidden", |desk| desk.vault.change(|state| state.tokens.clear())),
        ("another field", |desk| desk.vault.put("agents/api", "other", "x")),
        ("no header could hold it", |desk| desk.put("two\nlines")),
    ];
    let ends = cases.map(async |(case, change)| {
        let desk = Desk::with("early").await;
        let secrets = load(desk.source(refresh));
        assert_eq!(fetch(&secrets).await.as_deref(), Some("early"), "{case}");
        let had = Instant::now();
        change(&desk);
        until(case, async || fetch(&secrets).await.is_none().then_some(())).await;
        assert!(had.elapsed() < refresh - Duration::from_secs(1), "{case}: {:?}", had.elapsed());
    });
    futures_util::future::join_all(ends).await;
}

#[tokio::test]
async fn a_token_file_is_read_for_every_fetch() {
    let desk = Desk::with("one").await;
    let secrets = load(desk.source(Duration::from_secs(1)));
    assert_eq!(fetch(&secrets).await.as_deref(), Some("one"));
    std::fs::write(desk.file("token"), "hvs.renewed").unwrap();
    desk.vault.change(|state| state.tokens = ["hvs.renewed".to_owned()].into());
    desk.put("two");
    until("the next fetch", async || fetch(&secrets).await.filter(|value| value == "two")).await;
    assert_eq!(desk.vault.requests().last().unwrap().header("x-vault-token"), "hvs.renewed");
}

#[tokio::test]
async fn a_service_account_logs_in_and_again_when_its_login_is_taken_back() {
    let desk = Desk::with("for-pods").await;
    std::fs::write(desk.file("token"), "eyJh.eyJz.c2ln\n").unwrap();
    desk.vault.change(|state| {
        state.roles.insert("at\"tache".to_owned(), "eyJh.eyJz.c2ln".to_owned());
        state.lease = 3600;
        state.namespace = "team/a".to_owned();
    });
    let auth = Auth::Kubernetes {
        role: "at\"tache".to_owned(),
        mount: "kubernetes".to_owned(),
        token_file: desk.file("token"),
    };
    let namespace = Some("team/a".to_owned());
    let secrets = load(VaultSource { namespace, auth, ..desk.source(Duration::from_secs(1)) });
    assert_eq!(fetch(&secrets).await.as_deref(), Some("for-pods"));
    desk.put("second");
    until("a fetch with the same login", async || fetch(&secrets).await.filter(|value| value == "second")).await;
    assert_eq!(desk.vault.change(|state| state.logins), 1);
    desk.vault.change(|state| state.tokens.clear());
    desk.put("third");
    until("a fetch with another login", async || fetch(&secrets).await.filter(|value| value == "third")).await;
    assert_eq!(desk.vault.change(|state| state.logins), 2);
    desk.vault.change(|state| {
        state.tokens.clear();
        state.roles.clear();
    });
    until("the role's end", async || fetch(&secrets).await.is_none().then_some(())).await;
}

#[tokio::test]
async fn what_is_wrong_is_said_without_token_and_secret() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let cases: [(&str, Change, &str); 7] = [
        ("a secret of two lines", |_| {}, "the field `token` of `secret/agents/api` in vault has"),
        ("an unknown token", |desk| desk.vault.change(|s| s.tokens.clear()), "403 Forbidden for `secret/agents/api`;"),
        ("nothing there", |desk| desk.vault.change(|s| s.entries.clear()), "404 Not Found for `secret/agents/api`; is"),
        ("sealed", |desk| desk.vault.change(|s| s.ill = Some(Ill::Sealed)), "Vault is sealed; is it sealed?"),
        ("a standby", |desk| desk.vault.change(|s| s.ill = Some(Ill::Standby)), "redirects are not followed"),
        ("a web page", |desk| desk.vault.change(|s| s.ill = Some(Ill::Page)), "not that of a key-value engine"),
        (
            "another CA",
            |desk| std::fs::write(desk.file("ca.pem"), Ca::new("somebody else").pem()).unwrap(),
            "no TLS with `127.0.0.1:",
        ),
    ];
    for (case, change, expected) in cases {
        let desk = Desk::with("hidden-secret\n\n").await;
        change(&desk);
        let attache = start(&policy(&desk.vault.url(), "5m"), &upstream, &desk.files).await;
        assert_eq!(attache.curl(["https://api.example.com/v1/x"]).await.status, 503, "{case}");
        attache.wait_stderr("requests that need this credential are answered 503").await;
        let said = attache.stderr();
        assert!(said.contains(expected), "{case}: {said}");
        assert!(!said.contains(TOKEN) && !said.contains("hidden-secret"), "{case}: {said}");
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn no_token_travels_without_tls_unless_policy_says_so() {
    let desk = Desk::at(([127, 0, 0, 1], 0).into(), false, "plain").await;
    let environment = Environment::from_iter([("VAULT_ADDR".to_owned(), desk.vault.url().into_bytes())]);
    for (plaintext, expected) in [(false, None), (true, Some("plain"))] {
        let entry = VaultSource { address: None, plaintext, ..desk.source(LONG) };
        let (secrets, missing) = Secrets::load(vec![("api".to_owned(), Origin::Vault(Box::new(entry)))], &environment);
        assert_eq!(missing.is_empty(), plaintext, "{missing:?}");
        assert_eq!(fetch(&secrets).await.as_deref(), expected);
    }
}

async fn start(policy: &str, upstream: &Upstream, files: &TempDir) -> Attache {
    Attache::up(policy)
        .env("MY_TOKEN", TOKEN)
        .env("SSL_CERT_FILE", files.path().join("ca.pem").to_str().unwrap())
        // The agent's proxy is not attaché's.
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .env("ALL_PROXY", "http://127.0.0.1:1")
        .resolve("api.example.com", upstream)
        .resolve("free.example.com", upstream)
        .start()
        .await
}

/// What happens at a desk.
type Change = fn(&Desk);

/// A vault, and the files by which attaché gets at it.
struct Desk {
    vault: Vault,
    files: TempDir,
}

impl Desk {
    /// With one entry, whose field `token` is this.
    async fn with(value: &str) -> Desk {
        Desk::at(([127, 0, 0, 1], 0).into(), true, value).await
    }

    async fn at(address: SocketAddr, tls: bool, value: &str) -> Desk {
        let vault = Vault::start_at(address, tls, TOKEN).await;
        vault.put("agents/api", "token", value);
        Desk { vault, files: files() }
    }

    fn put(&self, value: &str) {
        self.vault.put("agents/api", "token", value);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// The entry, by the token in the file.
    fn source(&self, refresh: Duration) -> VaultSource {
        VaultSource {
            address: Some(Url::parse(&self.vault.url()).unwrap()),
            plaintext: false,
            namespace: None,
            mount: "secret".to_owned(),
            path: "agents/api".to_owned(),
            field: "token".to_owned(),
            auth: Auth::Token(Source::File(self.file("token"))),
            ca_file: Some(self.file("ca.pem")),
            refresh,
        }
    }
}

/// The CA that vault's certificate comes from, and its token.
fn files() -> TempDir {
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("ca.pem"), Ca::shared().pem()).unwrap();
    std::fs::write(files.path().join("token"), format!("{TOKEN}\n")).unwrap();
    files
}

fn load(source: VaultSource) -> Secrets {
    let origins = vec![("api".to_owned(), Origin::Vault(Box::new(source)))];
    let (secrets, missing) = Secrets::load(origins, &Environment::default());
    assert!(missing.is_empty(), "{missing:?}");
    secrets
}

async fn fetch(secrets: &Secrets) -> Option<String> {
    let found = match secrets.fetch(&[CredentialId(0)]) {
        Fetch::AtHand(found) => found,
        Fetch::Awaited(found) => found.await,
    };
    shown(found[0].as_ref())
}

fn shown(secret: Option<&Arc<Secret>>) -> Option<String> {
    let rendered = Format::parse("{value}").unwrap().render(secret?);
    Some(String::from_utf8_lossy(&rendered).into_owned())
}
