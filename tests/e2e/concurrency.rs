//! A verdict belongs to the request it was asked for, however many agents ask at once.

use std::fmt::Write;
use std::net::SocketAddr;

use futures_util::future::join_all;
use hyper::body::Bytes;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{Attache, Upstream, tunnel, within};

const AGENTS: usize = 100;
const ROUNDS: usize = 4;

/// Agent N may GET below `/N/` only, and its requests, no others, get `key-N`. Every second agent asks for
/// what is another's. So an answer, a path or a key that comes to the wrong request shows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_agents_at_once_get_each_its_own_verdict() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let mut setup = Attache::up(&policy()).resolve("api.example.com", &upstream);
    for agent in 0..AGENTS {
        setup = setup.env(&format!("TOKEN_{agent}"), &token(agent)).env(&format!("KEY_{agent}"), &key(agent));
    }
    let attache = setup.start().await;
    let (proxy, ca) = (attache.proxy(), attache.ca_pem());

    let own = (0..AGENTS).map(|agent| {
        let ca = ca.clone();
        tokio::spawn(async move {
            match agent % 4 {
                0 | 1 => own_tunnel_http1(proxy, &ca, agent).await,
                _ => own_tunnel_http2(proxy, &ca, agent).await,
            }
        })
    });
    let shared = (0..8).map(|connection| tokio::spawn(shared_connection(proxy, connection)));
    for ended in join_all(own.chain(shared)).await {
        ended.unwrap();
    }

    let mut expected: Vec<String> = (0..AGENTS)
        .filter(|agent| allowed(*agent))
        .flat_map(|agent| {
            let own = (0..ROUNDS).map(move |round| format!("/{agent}/own-{round}"));
            own.chain([format!("/{agent}/shared")])
        })
        .collect();
    let seen = upstream.requests();
    let mut paths: Vec<String> = seen.iter().map(|request| request.path.clone()).collect();
    expected.sort();
    paths.sort();
    assert_eq!(paths, expected);
    for request in &seen {
        let agent = request.path.split('/').nth(1).unwrap();
        assert_eq!(request.header("x-key"), Some(format!("key-of-agent-{agent}").as_str()), "{}", request.path);
        assert_eq!(request.header("proxy-authorization"), None);
    }
    for record in attache.records() {
        let agent = record["agent"].as_str().unwrap().trim_start_matches("agent-").parse().unwrap();
        let path = path(agent, record["path"].as_str().unwrap().rsplit('/').next().unwrap());
        assert_eq!(record["path"], path, "{record}");
        let decision = if allowed(agent) { "allow" } else { "deny" };
        assert_eq!(record["decision"], decision, "{record}");
    }
    assert_eq!(attache.records().len(), AGENTS * (ROUNDS + 1));
}

/// Envoy pools the connections to its inner listener, and the session of a tunnel goes inward with one. Tunnels
/// that are opened together, some given up at once, must not get each other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_opened_together_keep_their_own_session() {
    let upstream = Upstream::https(["api.example.com"]).await;
    let mut setup = Attache::up(&policy()).resolve("api.example.com", &upstream);
    for agent in 0..AGENTS {
        setup = setup.env(&format!("TOKEN_{agent}"), &token(agent)).env(&format!("KEY_{agent}"), &key(agent));
    }
    let attache = setup.start().await;
    let (proxy, ca) = (attache.proxy(), attache.ca_pem());
    for round in 0..3 {
        let abandoned = (0..AGENTS).map(async |agent| {
            let mut stream = TcpStream::connect(proxy).await.unwrap();
            let authorization = format!("Proxy-Authorization: Bearer {}", token(agent));
            let connect =
                format!("CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\n{authorization}");
            stream.write_all(format!("{connect}\r\n\r\n").as_bytes()).await.unwrap();
        });
        let whoami = (0..AGENTS).map(|agent| {
            let ca = ca.clone();
            async move {
                let (status, body) = whose(proxy, &ca, agent).await;
                (agent, status, body)
            }
        });
        let (_, answers) = tokio::join!(join_all(abandoned), join_all(whoami));
        for (agent, status, body) in answers {
            // Everyone asks for what agent 0 may have: the verdict tells whose session the tunnel has.
            let expected = if agent == 0 { 200 } else { 403 };
            assert_eq!(status, expected, "round {round}, agent {agent}: {body}");
        }
    }
    assert_eq!(upstream.requests().len(), 3);
    // What was given up is on record too, as refused.
    let records: Vec<_> = attache.records().into_iter().filter(|record| record["method"] == "GET").collect();
    assert_eq!(records.len(), 3 * AGENTS);
    for record in records {
        assert_eq!(record["decision"], if record["agent"] == "agent-0" { "allow" } else { "deny" }, "{record}");
    }
}

async fn whose(proxy: SocketAddr, ca: &str, agent: usize) -> (u16, String) {
    let authorization = format!("Bearer {}", token(agent));
    let stream = tunnel::connect(proxy, "api.example.com:443", &[("proxy-authorization", &authorization)]).await;
    let mut stream = tunnel::tls(stream.unwrap(), Some("api.example.com"), ca, &["http/1.1"]).await.unwrap();
    let answer = tunnel::raw(&mut stream, b"GET /0/x HTTP/1.1\r\nHost: api.example.com\r\n\r\n").await;
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

async fn own_tunnel_http1(proxy: SocketAddr, ca: &str, agent: usize) {
    let authorization = format!("Bearer {}", token(agent));
    let stream = tunnel::connect(proxy, "api.example.com:443", &[("proxy-authorization", &authorization)]).await;
    let mut stream = tunnel::tls(stream.unwrap(), Some("api.example.com"), ca, &["http/1.1"]).await.unwrap();
    for round in 0..ROUNDS {
        let path = path(agent, &format!("own-{round}"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
        let answer = tunnel::raw(&mut stream, request.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_answer(agent, &path, head.split(' ').nth(1).unwrap().parse().unwrap(), body);
    }
}

/// All requests at once, over one connection.
async fn own_tunnel_http2(proxy: SocketAddr, ca: &str, agent: usize) {
    let authorization = format!("Bearer {}", token(agent));
    let stream = tunnel::connect(proxy, "api.example.com:443", &[("proxy-authorization", &authorization)]).await;
    let stream = tunnel::tls(stream.unwrap(), Some("api.example.com"), ca, &["h2"]).await.unwrap();
    let client = tunnel::h2(stream).await;
    join_all((0..ROUNDS).map(async |round| {
        let path = path(agent, &format!("own-{round}"));
        let (status, body) = over_http2(client.clone(), &format!("https://api.example.com{path}"), None).await;
        assert_answer(agent, &path, status, &body);
    }))
    .await;
}

/// One connection to the proxy for several agents, each request with its own token: as HTTP/1.1 one after
/// the other, as HTTP/2 together.
async fn shared_connection(proxy: SocketAddr, connection: usize) {
    let agents = (0..AGENTS).filter(|agent| agent % 8 == connection);
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    if connection.is_multiple_of(2) {
        for agent in agents {
            let (path, token) = (path(agent, "shared"), token(agent));
            let request = format!(
                "GET http://api.example.com{path} HTTP/1.1\r\nHost: api.example.com\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
            );
            let answer = tunnel::raw(&mut stream, request.as_bytes()).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert_answer(agent, &path, head.split(' ').nth(1).unwrap().parse().unwrap(), body);
        }
        return;
    }
    let client = tunnel::h2(stream).await;
    join_all(agents.map(async |agent| {
        let (path, token) = (path(agent, "shared"), token(agent));
        let (status, body) = over_http2(client.clone(), &format!("http://api.example.com{path}"), Some(&token)).await;
        assert_answer(agent, &path, status, &body);
    }))
    .await;
}

async fn over_http2(client: h2::client::SendRequest<Bytes>, url: &str, token: Option<&str>) -> (u16, String) {
    let mut request = http::Request::get(url);
    if let Some(token) = token {
        request = request.header("proxy-authorization", format!("Bearer {token}"));
    }
    let mut client = within("a stream", client.ready()).await.unwrap();
    let (response, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
    let (head, mut body) = within("an answer", response).await.unwrap().into_parts();
    let mut text = Vec::new();
    while let Some(data) = within("the body", body.data()).await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        text.extend_from_slice(&data);
    }
    (head.status.as_u16(), String::from_utf8(text).unwrap())
}

fn assert_answer(agent: usize, path: &str, status: u16, body: &str) {
    let json: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"));
    match allowed(agent) {
        true => assert_eq!((status, json["path"].as_str()), (200, Some(path)), "agent {agent}: {body}"),
        false => {
            assert_eq!((status, json["reason"].as_str()), (403, Some("route_not_allowed")), "agent {agent}: {body}")
        }
    }
}

fn allowed(agent: usize) -> bool {
    agent.is_multiple_of(2)
}

/// Where an agent asks: below its own path, or, every second one, below its neighbour's.
fn path(agent: usize, last: &str) -> String {
    format!("/{}/{last}", if allowed(agent) { agent } else { agent - 1 })
}

fn token(agent: usize) -> String {
    format!("the-proxy-token-of-agent-{agent}")
}

fn key(agent: usize) -> String {
    format!("key-of-agent-{agent}")
}

fn policy() -> String {
    let mut policy = "agents:\n".to_owned();
    for agent in 0..AGENTS {
        let entry = format!("{{pattern: api.example.com, httpRestrictions: [{{method: GET, path: '/{agent}/*'}}]}}");
        writeln!(
            policy,
            "  agent-{agent}: {{identity: [{{token: {{env: TOKEN_{agent}}}}}], allowedDomains: [{entry}]}}"
        )
        .unwrap();
    }
    policy.push_str("credentials:\n");
    for agent in 0..AGENTS {
        let slot = "{domain: api.example.com, headerName: X-Key, headerFormat: '{value}'}";
        writeln!(
            policy,
            "  - {{name: key-{agent}, envVarKey: KEY_{agent}, agents: [agent-{agent}], injections: [{slot}]}}"
        )
        .unwrap();
    }
    policy
}
