//! Agents as they are written: nothing in them knows of the proxy but their environment.

use std::ffi::OsString;

use serde_json::Value;

use crate::support::attache::Setup;
use crate::support::{Attache, Upstream, script};

const POLICY: &str = r#"
allowedDomains:
  - pattern: api.example.com
    httpRestrictions: [{method: GET, path: "/ok/*"}, {method: POST, path: "/ok/*"}]
credentials:
  - {name: key, envVarKey: API_KEY, injections: [{domain: api.example.com, headerName: Authorization, headerFormat: "Bearer {value}"}]}
  - {name: unused, envVarKey: OTHER_KEY, injections: [{domain: api.example.com, path: /never, headerName: X-Key, headerFormat: "{value}"}]}
agents:
  ann: {identity: [{token: {env: ANN_TOKEN}}]}
"#;

struct Place {
    upstream: Upstream,
    local: Upstream,
}

impl Place {
    async fn new() -> Place {
        Place { upstream: Upstream::https(["api.example.com"]).await, local: Upstream::http().await }
    }

    fn setup(&self) -> Setup {
        Attache::up(POLICY)
            .agent("ann")
            .env("API_KEY", "s3cret-api-key")
            .env("OTHER_KEY", "s3cret-other-key")
            .env("ANN_TOKEN", "s3cret-ann-token-0123")
            .env("ALL_PROXY", "http://127.0.0.1:9")
            .env("all_proxy", "socks5://127.0.0.1:9")
            .env("HTTPS_PROXY", "http://127.0.0.1:9")
            .env("NO_PROXY", "api.example.com")
            .env("LOCAL", &format!("http://{}/local", self.local.address()))
            .env("KEPT", "as it was")
            .resolve("api.example.com", &self.upstream)
    }

    /// The paths that arrived, each with the credential.
    fn arrived(&self) -> Vec<String> {
        let seen = self.upstream.requests();
        assert!(seen.iter().all(|seen| seen.header("authorization") == Some("Bearer s3cret-api-key")), "{seen:?}");
        seen.into_iter().map(|seen| seen.path).collect()
    }
}

#[tokio::test]
async fn python_clients_work_unchanged() {
    let place = Place::new().await;
    let output = place
        .setup()
        .run(script::python(
            "
import os, requests, httpx, urllib.request, urllib.error
api = 'https://api.example.com'
print('requests', requests.get(api + '/ok/requests').json()['path'])
print('session', requests.Session().post(api + '/ok/session', json={'a': 1}, headers={'Authorization': 'Bearer placeholder'}).status_code)
print('plain', requests.get('http://api.example.com/ok/plain').status_code)
refused = requests.delete(api + '/ok/x')
print('refused', refused.status_code, refused.json()['reason'])
try:
    requests.get('https://unlisted.example/')
except requests.exceptions.ProxyError as error:
    print('unlisted', '403' in str(error))
print('httpx', httpx.get(api + '/ok/httpx').json()['path'])
with httpx.Client(http2=True) as client:
    answer = client.get(api + '/ok/httpx2')
    print(answer.http_version, answer.status_code)
try:
    httpx.get('https://unlisted.example/')
except httpx.ProxyError as error:
    print('unlisted', '403' in str(error))
print('urllib', urllib.request.urlopen(api + '/ok/urllib').status)
try:
    urllib.request.urlopen(api + '/refused')
except urllib.error.HTTPError as error:
    print('refused', error.code)
print('local', requests.get(os.environ['LOCAL']).status_code, httpx.get(os.environ['LOCAL']).status_code)
",
        ))
        .await;
    let expected = "requests /ok/requests\nsession 200\nplain 200\nrefused 403 route_not_allowed\nunlisted True\n\
        httpx /ok/httpx\nHTTP/2 200\nunlisted True\nurllib 200\nrefused 403\nlocal 200 200\n";
    assert_eq!(output.stdout, expected, "{}", output.stderr);
    assert_eq!(output.exit, 0);
    assert_eq!(place.arrived(), ["/ok/requests", "/ok/session", "/ok/plain", "/ok/httpx", "/ok/httpx2", "/ok/urllib"]);
    // The agent's own machine is reached without the proxy, whose policy does not list it.
    assert_eq!(place.local.requests().len(), 2);
}

#[tokio::test]
async fn nodes_fetch_works_unchanged() {
    let place = Place::new().await;
    let output = place
        .setup()
        .run(script::node(
            "
const api = 'https://api.example.com';
console.log((await (await fetch(api + '/ok/fetch')).json()).path);
console.log((await fetch(api + '/ok/post', { method: 'POST', body: 'hello' })).status);
console.log((await fetch('http://api.example.com/ok/plain')).status);
const refused = await fetch(api + '/refused');
console.log(refused.status, (await refused.json()).reason);
try { await fetch('https://unlisted.example/'); } catch (error) { console.log('unlisted', error.name); }
console.log('local', (await fetch(process.env.LOCAL)).status);
process.exitCode = 4;",
        ))
        .await;
    let expected = "/ok/fetch\n200\n200\n403 route_not_allowed\nunlisted TypeError\nlocal 200\n";
    assert_eq!(output.stdout, expected, "{}", output.stderr);
    assert_eq!(output.exit, 4);
    assert_eq!(place.arrived(), ["/ok/fetch", "/ok/post", "/ok/plain"]);
    assert_eq!(place.upstream.requests()[1].text(), "hello");
    assert_eq!(place.local.requests().len(), 1);
}

#[tokio::test]
async fn curl_works_unchanged_over_both_protocols() {
    let place = Place::new().await;
    let output = place
        .setup()
        .run(shell(
            "set -e
for version in --http1.1 --http2; do
  curl -sS $version -o /dev/null -w '%{http_version} %{http_code}\\n' https://api.example.com/ok/curl
  curl -sS $version -o /dev/null -w '%{http_code}\\n' -X DELETE https://api.example.com/ok/curl
  curl -sS $version -o /dev/null -w '%{http_connect}\\n' https://unlisted.example/ || true
done
curl -sS -o /dev/null -w '%{http_code}\\n' http://api.example.com/ok/plain
curl -sS -o /dev/null -w '%{http_code}\\n' \"$LOCAL\"",
        ))
        .await;
    assert_eq!(output.stdout, "1.1 200\n403\n403\n2 200\n403\n403\n200\n200\n", "{}", output.stderr);
    assert_eq!(place.arrived(), ["/ok/curl", "/ok/curl", "/ok/plain"]);
    assert_eq!(place.local.requests().len(), 1);
}

#[tokio::test]
async fn the_environment_has_the_proxy_and_no_secret() {
    let place = Place::new().await;
    let output = place.setup().run(script::python("import json, os; print(json.dumps(dict(os.environ)))")).await;
    assert_eq!(output.exit, 0, "{output:?}");
    let environment: Value = serde_json::from_str(&output.stdout).unwrap();
    let get = |name: &str| environment[name].as_str();
    let proxy = get("HTTP_PROXY").unwrap();
    assert!(proxy.starts_with("http://127.0.0.1:") && !proxy.ends_with(":9"), "{proxy}");
    for name in ["HTTPS_PROXY", "http_proxy", "https_proxy"] {
        assert_eq!(get(name), Some(proxy), "{name}");
    }
    for name in ["NO_PROXY", "no_proxy"] {
        let hosts: Vec<_> = get(name).unwrap().split(',').collect();
        assert!(hosts.contains(&"localhost") && hosts.contains(&"127.0.0.1"), "{hosts:?}");
        assert!(!hosts.contains(&"api.example.com"), "{hosts:?}");
    }
    for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
        assert!(get(name).unwrap().ends_with(".pem"), "{name}");
    }
    assert_eq!(get("NODE_USE_ENV_PROXY"), Some("1"));
    assert_eq!(get("KEPT"), Some("as it was"));
    for name in ["ALL_PROXY", "all_proxy", "API_KEY", "OTHER_KEY", "ANN_TOKEN"] {
        assert_eq!(get(name), None, "{name}");
    }
    assert!(!output.stdout.contains("s3cret"), "{}", output.stdout);
    assert!(!output.stderr.contains("s3cret"), "{}", output.stderr);
    let first = output.stderr.lines().next().unwrap();
    assert!(first.contains("cooperative") && first.contains("--isolate"), "{first}");
}

#[tokio::test]
async fn the_commands_exit_code_is_that_of_run() {
    let place = Place::new().await;
    let run = |command: Vec<OsString>| place.setup().run(command);
    let missing = vec!["attache-test-no-such-program".into()];
    let not_a_program = vec!["/etc/passwd".into()];
    let (zero, three, killed, terminated, missing, refused) = tokio::join!(
        run(shell("exit 0")),
        run(shell("exit 3")),
        run(shell("kill -KILL $$")),
        run(shell("kill -TERM $$")),
        run(missing),
        run(not_a_program),
    );
    let found = [&zero, &three, &killed, &terminated, &missing, &refused].map(|output| output.exit);
    assert_eq!(found, [0, 3, 137, 143, 127, 126]);
    assert!(missing.stderr.contains("`attache-test-no-such-program`"), "{missing:?}");
}

fn shell(script: &str) -> Vec<OsString> {
    ["sh", "-c", script].map(OsString::from).to_vec()
}
