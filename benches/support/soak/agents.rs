//! The agents: what they ask, and what policy says to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::books::Books;
use super::place::{AGENTS, Force, Key, Policy, token};
use crate::support::{Attache, tunnel, within};

/// Requests over one tunnel before the agent opens another.
const A_TUNNEL: usize = 200;
/// As a key of AWS's looks.
const SECRET: &str = "AKIAQ3EGRLTXZ5WPN2VK";

/// Everything they share.
pub struct World {
    pub attache: Attache,
    pub proxy: SocketAddr,
    pub ca: String,
    pub force: Force,
    pub key: Arc<Key>,
    pub books: Books,
    /// How many requests may be begun.
    pub due: Semaphore,
}

type Client = SendRequest<Full<Bytes>>;
type Expected = Vec<(u16, &'static str)>;

/// One of many: opens tunnels and asks over them, a request whenever one is due.
pub async fn worker(world: Arc<World>, place: usize) {
    let agent = format!("worker-{}", place % AGENTS);
    loop {
        let mut client = over_tunnel(&world, &agent, "api.example.com").await;
        for _ in 0..A_TUNNEL {
            world.due.acquire().await.unwrap().forget();
            ask_something(&world, &mut client).await;
        }
    }
}

/// What most of the traffic is.
async fn ask_something(world: &World, client: &mut Client) {
    let number = world.books.number();
    let (kind, method, path, body) = match number % 20 {
        0 | 1 => ("refused route", "GET", format!("/other/{number}"), String::new()),
        2 => ("sometimes", "GET", format!("/sometimes/{number}"), String::new()),
        3 | 4 => ("post", "POST", format!("/post/{number}"), format!("{{\"text\": \"{}\"}}", "hello ".repeat(300))),
        5 => ("secret", "POST", format!("/post/{number}"), format!("{{\"key\": \"{SECRET}\"}}")),
        _ => ("get", "GET", format!("/ok/{number}"), String::new()),
    };
    let request = Request::builder().method(method).uri(path).header("host", "api.example.com");
    let request = request.header("content-type", "application/json").body(Full::new(body.into())).unwrap();
    let before = world.force.now();
    let answer = send(client, request).await;
    let expected = match (kind, settled(world, before)) {
        ("refused route", _) | ("sometimes", Policy::Second) => vec![(403, "route_not_allowed")],
        ("secret", _) => vec![(403, "dlp_blocked")],
        ("sometimes", Policy::Between) => vec![(200, ""), (403, "route_not_allowed")],
        _ => vec![(200, "")],
    };
    world.books.answered(kind, number, &answer, &expected);
}

/// The policy under which a request was decided that was sent then, if there was one all the time.
fn settled(world: &World, before: (u64, Policy)) -> Policy {
    if world.force.now().0 == before.0 { before.1 } else { Policy::Between }
}

/// Asks for more than it may.
pub async fn limited(world: Arc<World>) {
    let mut client = plain(&world).await;
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let number = world.books.number();
        let before = world.force.now();
        let answer = send(&mut client, get(&format!("/limited/{number}"), "limited")).await;
        let mut expected: Expected = vec![(200, ""), (429, "rate_limited")];
        if settled(&world, before) == Policy::Between {
            // Charged, and then the policy was another: the agent is told to come again.
            expected.push((503, "policy_changed"));
        }
        world.books.answered("limited", number, &answer, &expected);
    }
}

/// Comes and goes with the policy that knows it, each time over a connection of its own.
pub async fn visitor(world: Arc<World>) {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let number = world.books.number();
        let before = world.force.now();
        let answer = send(&mut plain(&world).await, get(&format!("/ok/{number}"), "visitor")).await;
        let expected: Expected = match settled(&world, before) {
            Policy::First => vec![(407, "invalid_token")],
            Policy::Second => vec![(200, "")],
            Policy::Between => vec![(200, ""), (407, "invalid_token")],
        };
        world.books.answered("visitor", number, &answer, &expected);
    }
}

/// Asks under another name each time, for which there has to be a certificate.
pub async fn names(world: Arc<World>) {
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let number = world.books.number();
        let host = format!("n{number}.many.example.com");
        let mut client = over_tunnel(&world, "worker-0", &host).await;
        let request = Request::get(format!("/name/{number}")).header("host", host).body(Full::default()).unwrap();
        let answer = send(&mut client, request).await;
        world.books.answered("new name", number, &answer, &[(403, "route_not_allowed")]);
    }
}

/// Wants tunnels to where it may not.
pub async fn refused_tunnels(world: Arc<World>) {
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let number = world.books.number();
        let authorization = format!("Bearer {}", token("worker-1"));
        let fields = [("proxy-authorization", authorization.as_str())];
        let answer = match tunnel::connect(world.proxy, &format!("n{number}.elsewhere.example:443"), &fields).await {
            Ok(_) => (200, String::new()),
            Err(answer) => {
                let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
                (status, reason(answer.split("\r\n\r\n").nth(1).unwrap_or_default().as_bytes()))
            }
        };
        world.books.answered("refused tunnel", number, &answer, &[(403, "domain_not_allowed")]);
    }
}

/// Asks people, and does what they say.
pub async fn asker(world: Arc<World>, kind: &'static str) {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let number = world.books.number();
        let word = if kind == "approved" { "yes" } else { "no" };
        let mut request = get(&format!("/held/{word}/{number}"), "asker");
        *request.method_mut() = hyper::Method::POST;
        let before = world.force.now();
        let answer = send(&mut plain(&world).await, request).await;
        let mut expected: Expected = vec![if kind == "approved" { (200, "") } else { (403, "approval_refused") }];
        if settled(&world, before) == Policy::Between && kind == "approved" {
            expected.push((503, "policy_changed"));
        }
        world.books.answered(kind, number, &answer, &expected);
    }
}

/// Asks, and is gone before there is an answer.
pub async fn vanishing(world: Arc<World>) {
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let number = world.books.number();
        let mut stream = TcpStream::connect(world.proxy).await.unwrap();
        let token = token("worker-2");
        let head = format!(
            "GET http://api.example.com/ok/{number} HTTP/1.1\r\nHost: api.example.com\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        world.books.gone(number);
    }
}

fn get(path: &str, agent: &str) -> Request<Full<Bytes>> {
    let request = Request::get(format!("http://api.example.com{path}")).header("host", "api.example.com");
    let request = request.header("proxy-authorization", format!("Bearer {}", token(agent)));
    request.body(Full::default()).unwrap()
}

async fn plain(world: &World) -> Client {
    let stream = TcpStream::connect(world.proxy).await.unwrap();
    stream.set_nodelay(true).unwrap();
    http1(stream).await
}

async fn over_tunnel(world: &World, agent: &str, host: &str) -> Client {
    let authorization = format!("Bearer {}", token(agent));
    let fields = [("proxy-authorization", authorization.as_str())];
    let stream = loop {
        match tunnel::connect(world.proxy, &format!("{host}:443"), &fields).await {
            Ok(stream) => break stream,
            Err(answer) => world.books.fault(format!("a tunnel was refused: {answer}")),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    http1(tunnel::tls(stream, Some(host), &world.ca, &["http/1.1"]).await.unwrap()).await
}

async fn http1(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Client {
    let (client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(async move {
        // Whoever asks over it sees how it ends.
        let _ = connection.await;
    });
    client
}

/// The status, and of a refusal the reason.
async fn send(client: &mut Client, request: Request<Full<Bytes>>) -> (u16, String) {
    let answer = async {
        client.ready().await?;
        let answer = client.send_request(request).await?;
        let status = answer.status().as_u16();
        Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
    };
    match within("an answer", answer).await {
        Ok((200, _)) => (200, String::new()),
        Ok((status, body)) => (status, reason(&body)),
        Err(error) => (0, error.to_string()),
    }
}

fn reason(body: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let reason = json.and_then(|json| Some(json.get("reason")?.as_str()?.to_owned()));
    reason.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}
