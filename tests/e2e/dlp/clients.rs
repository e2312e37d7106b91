//! Agents as they are written, of which one has a name and one a token: what they must not send they do not, by
//! whichever client, and what comes back tells them nothing.

use std::ffi::OsString;

use super::{HELD, INJECTED, KEY, RULE, assert_untold, finding};
use crate::support::upstream::Answer;
use crate::support::{Place, script, until};

const CODER: &str = "coder-token-0123456789";
const BESIDE: &str = r#"responseFilters:
  - {host: api.example.com, path: /users, includeFields: [id, name]}
agents:
  researcher: {identity: [{header: {name: X-Attache-Agent, value: researcher, trusted: true}}]}
  coder: {identity: [{token: {env: CODER_TOKEN}}]}
"#;
const USERS: &str = r#"[{"id":1,"name":"Alice","ssn":"536-22-8714"},{"id":2,"ssn":"536-22-8715","name":"Bob"}]"#;

/// What each client is to say.
const EXPECTED: &str = "query 403 dlp_blocked\nbody 403 dlp_blocked\nstream 403 dlp_blocked\nheader 403 dlp_blocked\n\
    echo 200 True\ngzip 200 True\nusers 200 id,name\nclean 200\n";

async fn place() -> Place {
    let policy = format!("{INJECTED}{BESIDE}");
    let setup = Place::with(&policy, ["api.example.com"], |setup| setup.env("KEY", HELD).env("CODER_TOKEN", CODER));
    let place = setup.await;
    place.upstream.tell("/users", Answer::new("application/json", USERS));
    place
}

/// Runs a client as each of the agents, and it must say what is expected, with so many requests refused.
async fn check(client: impl Fn() -> Vec<OsString>, expected: &str, blocked: usize) {
    let place = place().await;
    let bundle = place.attache.ready().bundle.to_str().unwrap().to_owned();
    for (agent, name, user) in [("researcher", "researcher", String::new()), ("coder", "", format!("coder:{CODER}@"))] {
        let proxy = format!("http://{user}{}", place.attache.proxy());
        let environment = [
            ("HTTP_PROXY", &*proxy),
            ("HTTPS_PROXY", &proxy),
            ("http_proxy", &proxy),
            ("https_proxy", &proxy),
            ("SSL_CERT_FILE", &bundle),
            ("REQUESTS_CA_BUNDLE", &bundle),
            ("CURL_CA_BUNDLE", &bundle),
            ("NODE_EXTRA_CA_CERTS", &bundle),
            ("NODE_USE_ENV_PROXY", "1"),
            ("AGENT", name),
            ("SECRET", KEY),
        ];
        let output = script::run(client(), &environment).await;
        assert_eq!(output.stdout, expected, "{agent}: {}", output.stderr);
        until("the records", async || {
            let found = place.attache.records();
            let by_agent = found.iter().filter(|record| record["agent"] == agent && record["reason"] == "dlp_blocked");
            (by_agent.filter(|record| finding(record, RULE)["category"] == "credentials").count() == blocked)
                .then_some(())
        })
        .await;
    }
    let seen = place.arrived();
    assert!(seen.iter().all(|seen| !seen.complete || !format!("{seen:?}").contains(KEY)));
    assert!(seen.iter().filter(|seen| seen.complete).all(|seen| seen.header("x-attache-agent").is_none()));
    assert_untold(&place, &[KEY, HELD, "536-22-8714"]);
}

#[tokio::test]
async fn python_clients() {
    let script = r#"
import os, requests, httpx
api, secret, name = 'https://api.example.com', os.environ['SECRET'], os.environ['AGENT']
own = {'X-Attache-Agent': name} if name else {}
def parts():
    yield b'it is '
    yield secret.encode()
    yield b' and more of it'
def tell(what, answer):
    print(what, answer.status_code, answer.json()['reason'])
def fields(answer):
    return ','.join(sorted({key for user in answer.json() for key in user}))
def clean(text):
    return 'REDACTED' in text and 'held-' not in text
def all_of(client):
    tell('query', client.get(api + '/x', params={'key': secret}, headers=own))
    tell('body', client.post(api + '/x', json={'messages': [{'role': 'user', 'content': 'it is ' + secret}]}, headers=own))
    body = {'data': parts()} if client is requests else {'content': parts()}
    tell('stream', client.post(api + '/x', headers=own, **body))
    tell('header', client.get(api + '/x', headers={'X-Note': secret, **own}))
    for path in ('echo', 'gzip'):
        answer = client.get(api + '/' + path, headers=own)
        print(path, answer.status_code, clean(answer.text))
    answer = client.get(api + '/users', headers=own)
    print('users', answer.status_code, fields(answer))
    print('clean', client.post(api + '/x', json={'a': 1}, headers=own).status_code)
all_of(requests)
with httpx.Client() as client: all_of(client)
with httpx.Client(http1=False, http2=True) as client: all_of(client)
"#;
    check(|| script::python(script), &EXPECTED.repeat(3), 12).await;
}

#[tokio::test]
async fn nodes_fetch() {
    let script = r#"
const api = 'https://api.example.com', secret = process.env.SECRET, name = process.env.AGENT;
const own = name ? { 'X-Attache-Agent': name } : {};
const go = (path, options = {}) => fetch(api + path, { ...options, headers: { ...own, ...options.headers } });
const tell = async (what, answer) => console.log(what, answer.status, (await answer.json()).reason);
const parts = new ReadableStream({
  pull(out) { ['it is ', secret, ' and more of it'].forEach((part) => out.enqueue(new TextEncoder().encode(part))); out.close(); },
});
const messages = JSON.stringify({ messages: [{ role: 'user', content: 'it is ' + secret }] });
await tell('query', await go('/x?key=' + secret));
await tell('body', await go('/x', { method: 'POST', body: messages }));
await tell('stream', await go('/x', { method: 'POST', body: parts, duplex: 'half' }));
await tell('header', await go('/x', { headers: { 'X-Note': secret } }));
for (const path of ['echo', 'gzip']) {
  const answer = await go('/' + path), text = await answer.text();
  console.log(path, answer.status, text.includes('REDACTED') && !text.includes('held-') ? 'True' : text);
}
const users = await go('/users');
console.log('users', users.status, [...new Set((await users.json()).flatMap(Object.keys))].sort().join());
console.log('clean', (await go('/x', { method: 'POST', body: '{"a":1}' })).status);
"#;
    check(|| script::node(script), EXPECTED, 4).await;
}

#[tokio::test]
async fn curl_over_both_protocols() {
    let script = r#"
reason() { sed 's/.*"reason":"\([a-z_]*\)".*/\1/'; }
for version in --http1.1 --http2; do
  go() { to=$1; shift; curl -sS $version ${AGENT:+-H "X-Attache-Agent: $AGENT"} "$@" "https://api.example.com$to"; }
  tell() { what=$1; shift; echo "$what $(go "$@" -w ' %{http_code}' -o answer) $(reason <answer)" | tr -s ' '; }
  tell query "/x?key=$SECRET"
  tell body /x --json "{\"messages\": [{\"role\": \"user\", \"content\": \"it is $SECRET\"}]}"
  printf 'it is %s and more of it' "$SECRET" >body
  tell stream /x -X POST -H 'Transfer-Encoding: chunked' -T body
  tell header /x -H "X-Note: $SECRET"
  for path in echo gzip; do
    go /$path --compressed -o answer
    grep -q REDACTED answer && ! grep -q held- answer && echo "$path 200 True"
  done
  echo "users 200 $(go /users | grep -o '"[a-z]*":' | tr -d '":' | sort -u | paste -sd,)"
  echo "clean$(go /x --json '{"a": 1}' -w ' %{http_code}' -o answer)"
done
"#;
    let command = || {
        let within = "cd \"$(mktemp -d)\" || exit; trap 'rm -rf \"$PWD\"' EXIT\n".to_owned() + script;
        ["sh", "-c", &within].map(OsString::from).to_vec()
    };
    check(command, &EXPECTED.repeat(2), 8).await;
}
