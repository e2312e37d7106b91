//! What an agent's processes cannot do, even those that try: go round the proxy, speak to what is not theirs, read
//! the secrets of the processes beside them.

use std::path::Path;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::attache::{Setup, attache};
use crate::support::{Attache, Upstream, script, until, within};

const POLICY: &str = r#"
allowedDomains: [api.example.com]
credentials:
  - {name: key, envVarKey: API_KEY, injections: [{domain: api.example.com, headerName: X-Key, headerFormat: "{value}"}]}
"#;

fn setup(upstream: &Upstream) -> Setup {
    Attache::up(POLICY).env("API_KEY", "s3cret-api-key").resolve("api.example.com", upstream)
}

/// Tries every way out that does not ask the proxy, then the proxy.
const WAYS_OUT: &str = "
import os, socket, requests
target = (os.environ['TARGET_HOST'], int(os.environ['TARGET_PORT']))

def attempt(name, act):
    try:
        act()
        print(name, 'open')
    except OSError as error:
        print(name, 'closed')

def tcp(address, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(3)
        s.connect(address)

def udp(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(3)
        s.sendto(b'ask', address)
        s.recv(10)

attempt('upstream', lambda: tcp(target))
attempt('udp', lambda: udp((os.environ['TARGET_HOST'], int(os.environ['UDP_PORT']))))
if 'BEYOND' in os.environ:
    attempt('elsewhere', lambda: tcp(('192.0.2.1', 443)))
    attempt('ipv6', lambda: tcp(('2001:db8::1', 443), socket.AF_INET6))
    attempt('dns', lambda: socket.getaddrinfo('example.com', 443))
answer = requests.get('https://api.example.com/through')
print('proxy', answer.status_code)
raise SystemExit(5)
";

#[tokio::test]
async fn isolated_there_is_no_way_out_but_the_proxy() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let udp_port = udp.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let mut buffer = [0; 16];
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            let _ = udp.send_to(&buffer[..length], from).await;
        }
    });
    let run = |flags: &[&str], beyond: &[&str]| {
        let setup = beyond.iter().fold(setup(&upstream), |setup, name| setup.env(name, "1"));
        setup
            .env("TARGET_HOST", "127.0.0.1")
            .env("TARGET_PORT", &upstream.port().to_string())
            .env("UDP_PORT", &udp_port.to_string())
            .env("RES_OPTIONS", "timeout:1 attempts:1")
            .flags(flags)
            .run(script::python(WAYS_OUT))
    };
    let isolated = run(&["--isolate"], &["BEYOND"]).await;
    let expected = "upstream closed\nudp closed\nelsewhere closed\nipv6 closed\ndns closed\nproxy 200\n";
    assert_eq!(isolated.stdout, expected, "{}", isolated.stderr);
    assert_eq!(isolated.exit, 5);
    assert!(!isolated.stderr.contains("cooperative"), "{}", isolated.stderr);
    let seen = upstream.requests();
    assert_eq!((seen.len(), seen[0].header("x-key")), (1, Some("s3cret-api-key")));
    assert_eq!(upstream.connections().len(), 1, "only the proxy has been here");

    // The same script where nothing holds it: these ways do lead out, and the first line says so.
    let cooperative = run(&[], &[]).await;
    assert!(cooperative.stdout.starts_with("upstream open\nudp open\n"), "{cooperative:?}");
    assert!(cooperative.stderr.lines().next().unwrap().contains("cooperative"), "{cooperative:?}");
    echo.abort();
}

/// From the command itself, a child, a grandchild, and a daemon whose parents have gone: connects to each socket,
/// begins HTTP/2, and reports what comes back. Then tries to read its neighbours, and waits to be let go.
const NEIGHBOURS: &str = "
import json, os, socket, sys, time
state = os.path.dirname(os.environ['CURL_CA_BUNDLE'])
supervisor = os.getppid()
results = {}

def ask(name):
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(10)
            s.connect(os.path.join(state, name))
            s.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            return 'answered' if s.recv(1) else 'closed'
    except ConnectionError:
        return 'closed'
    except OSError as error:
        return repr(error)

def both():
    return {name: ask(name) for name in ['service.sock', 'control.sock']}

def forked(act):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            act(write)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(text)

def say(write):
    os.write(write, json.dumps(both()).encode())

def grandchild(write):
    if os.fork() == 0:
        say(write)
        os._exit(0)
    os.wait()

def daemon(write):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            deadline = time.time() + 10
            while os.getppid() != supervisor and time.time() < deadline:
                time.sleep(0.01)
            say(write)
        os._exit(0)

results['command'] = both()
results['child'] = forked(say)
results['grandchild'] = forked(grandchild)
results['daemon'] = forked(daemon)

def readable(pid, name):
    try:
        with open(f'/proc/{pid}/{name}', 'rb') as file:
            if name == 'environ':
                return file.read().decode(errors='replace')
            return 'readable'
    except PermissionError:
        return 'refused'

ready = json.load(open(os.path.join(state, 'state.json')))
pids = {'supervisor': supervisor, 'service': ready['servicePid'], 'envoy': ready['envoyPid'], 'self': os.getpid()}
results['environ'] = {who: readable(pid, 'environ') for who, pid in pids.items()}
results['mem'] = {who: readable(pid, 'mem') for who, pid in pids.items()}
draft = os.environ['RESULT'] + '.draft'
json.dump(results, open(draft, 'w'))
os.rename(draft, os.environ['RESULT'])
deadline = time.time() + 20
while not os.path.exists(os.environ['GO']) and time.time() < deadline:
    time.sleep(0.02)
";

/// Runs [`NEIGHBOURS`], and meanwhile `attache health` from outside. What the script saw, and health's exit code.
async fn neighbours(flags: &[&str]) -> (Value, i32) {
    let upstream = Upstream::https(["api.example.com"]).await;
    let place = tempfile::tempdir().unwrap();
    let (state, result, go) = (place.path().join("state"), place.path().join("result"), place.path().join("go"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    // Root as other users are, since its capabilities let it read any process; one is left, without which it cannot
    // make a user namespace (user_namespaces(7): to map the id 0).
    let wrapper = ["setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all"];
    let run = setup(&upstream)
        .env("RESULT", &text(&result))
        .env("GO", &text(&go))
        .state_dir(&state)
        .flags(flags)
        .through(if rustix::process::geteuid().is_root() { wrapper.to_vec() } else { Vec::new() })
        .run(script::python(NEIGHBOURS));
    let outside = async {
        until("the script's result", async || result.exists().then_some(())).await;
        let health = script::output(attache(place.path()).arg("health").arg("--state-dir").arg(&state)).await;
        std::fs::write(&go, "").unwrap();
        health
    };
    let mut run = std::pin::pin!(run);
    let health = tokio::select! {
        early = &mut run => panic!("it ended before it was let go: {early:?}"),
        health = outside => health,
    };
    let run = run.await;
    assert_eq!(run.exit, 0, "{run:?}");
    let seen = std::fs::read_to_string(&result).unwrap();
    (serde_json::from_str(&seen).unwrap(), health.exit)
}

#[tokio::test]
async fn no_process_of_the_agent_is_answered_on_our_sockets() {
    let (seen, health) = neighbours(&[]).await;
    for who in ["command", "child", "grandchild", "daemon"] {
        for socket in ["service.sock", "control.sock"] {
            assert_eq!(seen[who][socket], "closed", "{who} {socket}");
        }
    }
    assert_eq!(health, 0, "an operator is answered while the agent is not");
}

#[tokio::test]
async fn the_agent_cannot_read_the_secrets_of_the_processes_beside_it() {
    for flags in [&[][..], &["--isolate"]] {
        let (seen, _) = neighbours(flags).await;
        for who in ["supervisor", "service"] {
            assert_eq!(seen["environ"][who], "refused", "{who} {flags:?}");
            assert_eq!(seen["mem"][who], "refused", "{who} {flags:?}");
        }
        // What can be read at all, so that the refusals above mean something, has no secret.
        assert!(seen["environ"]["self"].as_str().unwrap().contains("HTTPS_PROXY"), "{seen}");
        assert!(!seen.to_string().contains("s3cret"), "{seen}");
    }
}

/// Envoy holds a credential while it sends the request: its memory is as good as the secret.
#[tokio::test]
async fn the_isolated_agent_cannot_read_envoys_memory() {
    let (seen, _) = neighbours(&["--isolate"]).await;
    assert_eq!(seen["mem"]["envoy"], "refused", "{}", seen["mem"]);
    assert_eq!(seen["mem"]["self"], "readable", "{}", seen["mem"]);
}

#[tokio::test]
async fn the_services_socket_is_envoys_alone() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let attache = setup(&upstream).start().await;
    let ask = async |name: &str| {
        let mut stream = UnixStream::connect(attache.ready().state_dir.join(name)).await.unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        if stream.write_all(preface).await.is_err() {
            return 0;
        }
        within(name, stream.read(&mut [0; 64])).await.unwrap_or(0)
    };
    assert_eq!(ask("service.sock").await, 0, "a process that is not Envoy was answered");
    assert!(ask("control.sock").await > 0, "an operator is answered");
    let health = attache.command("health", &[]).await;
    assert_eq!(health.exit, 0, "{health:?}");
}
