//! The resolver against a name server of our own on loopback.

use std::collections::HashMap;
use std::io::Write;
use std::net::Ipv4Addr;

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use super::*;

/// What the name server says to one (name, type).
#[derive(Clone)]
enum Says {
    /// Records (name, TTL, data).
    Records(Vec<(&'static str, u32, RData)>),
    /// An empty answer with this code.
    Code(ResponseCode),
    /// Nothing.
    Silence,
    /// Over UDP that the answer is too long for it; over TCP these records.
    OverTcp(Vec<(&'static str, u32, RData)>),
}

/// A name server, and how often it was asked. A pair it does not hold is answered NOERROR without records, so that a
/// test states only what it is about. Answers wait while the gate is shut.
struct NameServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, RecordType)>>>,
    zone: Arc<Mutex<HashMap<(&'static str, RecordType), Says>>>,
    gate: watch::Sender<bool>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl NameServer {
    async fn start(zone: Vec<(&'static str, RecordType, Says)>) -> NameServer {
        let (socket, tcp) = same_port().await;
        let address = socket.local_addr().unwrap();
        let zone = zone.into_iter().map(|(name, kind, says)| ((name, kind), says)).collect();
        let zone: Arc<Mutex<HashMap<_, Says>>> = Arc::new(Mutex::new(zone));
        let asked: Arc<Mutex<Vec<_>>> = Arc::default();
        let (gate, open) = watch::channel(true);
        let tcp_task = tokio::spawn({
            let zone = Arc::clone(&zone);
            async move {
                loop {
                    let (mut connection, _) = tcp.accept().await.unwrap();
                    let mut buffer = vec![0; usize::from(connection.read_u16().await.unwrap())];
                    connection.read_exact(&mut buffer).await.unwrap();
                    let request = Message::from_vec(&buffer).unwrap();
                    let key = (request.queries[0].name().to_ascii(), request.queries[0].query_type());
                    let says = zone.lock().unwrap().get(&(key.0.as_str(), key.1)).cloned();
                    let answer = response(&request, says, true).unwrap();
                    connection.write_u16(answer.len().try_into().unwrap()).await.unwrap();
                    connection.write_all(&answer).await.unwrap();
                }
            }
        });
        let task = tokio::spawn({
            let (zone, asked) = (Arc::clone(&zone), Arc::clone(&asked));
            async move {
                let mut buffer = [0; 1500];
                loop {
                    let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                    let request = Message::from_vec(&buffer[..length]).unwrap();
                    let question = request.queries[0].clone();
                    let name = question.name().to_ascii();
                    asked.lock().unwrap().push((name.clone(), question.query_type()));
                    let says = zone.lock().unwrap().get(&(name.as_str(), question.query_type())).cloned();
                    let Some(response) = response(&request, says, false) else {
                        continue;
                    };
                    let (socket, mut open) = (Arc::clone(&socket), open.clone());
                    tokio::spawn(async move {
                        open.wait_for(|open| *open).await.unwrap();
                        socket.send_to(&response, from).await.unwrap();
                    });
                }
            }
        });
        NameServer { address, asked, zone, gate, tasks: [task, tcp_task] }
    }

    fn asked(&self, kind: RecordType) -> usize {
        self.asked.lock().unwrap().iter().filter(|(_, asked)| *asked == kind).count()
    }

    fn now_says(&self, name: &'static str, kind: RecordType, says: Says) {
        self.zone.lock().unwrap().insert((name, kind), says);
    }

    fn resolver(&self) -> Resolver {
        Resolver::new(self.options()).unwrap()
    }

    fn options(&self) -> Options {
        Options {
            name_servers: vec![self.address],
            hosts_file: PathBuf::from("/nonexistent"),
            resolv_conf: PathBuf::from("/nonexistent"),
            has_route: |_| true,
            ..Options::default()
        }
    }
}

/// A UDP and a TCP socket on one port: what is free for one may be taken for the other.
async fn same_port() -> (Arc<UdpSocket>, TcpListener) {
    loop {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(tcp) = TcpListener::bind(socket.local_addr().unwrap()).await {
            return (Arc::new(socket), tcp);
        }
    }
}

/// The bytes to answer `request` with, if it is answered.
fn response(request: &Message, says: Option<Says>, tcp: bool) -> Option<Vec<u8>> {
    let mut response = Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    response.metadata.recursion_desired = true;
    response.metadata.recursion_available = true;
    response.add_query(request.queries[0].clone());
    let records = match says {
        Some(Says::Silence) => return None,
        Some(Says::OverTcp(_)) if !tcp => {
            response.metadata.truncation = true;
            vec![]
        }
        Some(Says::Records(records) | Says::OverTcp(records)) => records,
        Some(Says::Code(code)) => {
            response.metadata.response_code = code;
            vec![]
        }
        None => vec![],
    };
    for (owner, ttl, data) in records {
        response.add_answer(Record::from_rdata(Name::from_ascii(owner).unwrap(), ttl, data));
    }
    Some(response.to_vec().unwrap())
}

fn a(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

fn aaaa(last: u16) -> RData {
    RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn records(list: &[(&'static str, u32, RData)]) -> Says {
    Says::Records(list.to_vec())
}

#[tokio::test]
async fn an_answer_of_many_addresses_alternates_its_families() {
    let server = NameServer::start(vec![
        (
            "many.example.",
            RecordType::A,
            records(&[("many.example.", 60, a(1)), ("many.example.", 60, a(2)), ("many.example.", 60, a(3))]),
        ),
        ("many.example.", RecordType::AAAA, records(&[("many.example.", 60, aaaa(1))])),
    ])
    .await;
    let answer = server.resolver().resolve("many.example", 443, Instant::now()).await.unwrap();
    assert_eq!(answer.addresses, [ip("192.0.2.1"), ip("2001:db8::1"), ip("192.0.2.2"), ip("192.0.2.3")]);
    assert_eq!(answer.stated_by_operator, None);
}

#[tokio::test]
async fn a_family_without_a_route_comes_last_where_there_is_a_choice() {
    let server = NameServer::start(vec![
        ("both.example.", RecordType::A, records(&[("both.example.", 60, a(1))])),
        ("both.example.", RecordType::AAAA, records(&[("both.example.", 60, aaaa(1))])),
        ("six.example.", RecordType::AAAA, records(&[("six.example.", 60, aaaa(1))])),
    ])
    .await;
    let resolver = Resolver::new(Options { has_route: |address| address.is_ipv6(), ..server.options() }).unwrap();
    let both = resolver.resolve("both.example", 443, Instant::now()).await.unwrap();
    assert_eq!(both.addresses, [ip("2001:db8::1"), ip("192.0.2.1")]);
    let resolver = Resolver::new(Options { has_route: |address| address.is_ipv4(), ..server.options() }).unwrap();
    let six = resolver.resolve("six.example", 443, Instant::now()).await.unwrap();
    assert_eq!(six.addresses, [ip("2001:db8::1")]);
}

#[tokio::test]
async fn aliases_are_followed_and_the_shortest_lived_link_decides() {
    let alias = RData::CNAME(CNAME(Name::from_ascii("real.example.").unwrap()));
    let server = NameServer::start(vec![(
        "alias.example.",
        RecordType::A,
        records(&[("alias.example.", 7, alias), ("real.example.", 300, a(9))]),
    )])
    .await;
    let resolver = server.resolver();
    let start = Instant::now();
    let answer = resolver.resolve("alias.example", 443, start).await.unwrap();
    assert_eq!(answer.addresses, [ip("192.0.2.9")]);
    let stands = answer.expires.unwrap() - start;
    assert!(stands >= Duration::from_secs(7) && stands < Duration::from_secs(11), "{stands:?}");
}

#[tokio::test]
async fn an_alias_whose_target_comes_separately_is_followed() {
    let alias = RData::CNAME(CNAME(Name::from_ascii("target.example.").unwrap()));
    let server = NameServer::start(vec![
        ("far.example.", RecordType::A, records(&[("far.example.", 60, alias)])),
        ("target.example.", RecordType::A, records(&[("target.example.", 60, a(4))])),
    ])
    .await;
    let answer = server.resolver().resolve("far.example", 443, Instant::now()).await.unwrap();
    assert_eq!(answer.addresses, [ip("192.0.2.4")]);
}

#[tokio::test]
async fn failures_keep_their_kind_and_are_remembered_briefly() {
    let refused = Says::Code(ResponseCode::Refused);
    let broken = Says::Code(ResponseCode::ServFail);
    let server = NameServer::start(vec![
        ("gone.example.", RecordType::A, Says::Code(ResponseCode::NXDomain)),
        ("gone.example.", RecordType::AAAA, Says::Code(ResponseCode::NXDomain)),
        ("broken.example.", RecordType::A, broken.clone()),
        ("broken.example.", RecordType::AAAA, broken),
        ("refused.example.", RecordType::A, refused.clone()),
        ("refused.example.", RecordType::AAAA, refused),
    ])
    .await;
    let resolver = server.resolver();
    let table = [
        ("gone.example", "dns_nxdomain"),
        ("empty.example", "dns_no_address"),
        ("broken.example", "dns_server_failure"),
        ("refused.example", "dns_server_failure"),
    ];
    for (host, reason) in table {
        let now = Instant::now();
        let error = resolver.resolve(host, 443, now).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{host}");
        let Lookup::Known(Err(remembered)) = resolver.lookup(host, 443, now) else {
            panic!("{host}: not remembered");
        };
        assert_eq!(remembered, error);
        let later = Instant::now() + Duration::from_secs(6);
        assert!(matches!(resolver.lookup(host, 443, later), Lookup::Unknown), "{host}");
    }
}

#[tokio::test]
async fn a_silent_name_server_costs_the_deadline_and_no_more() {
    let server = NameServer::start(vec![
        ("slow.example.", RecordType::A, Says::Silence),
        ("slow.example.", RecordType::AAAA, Says::Silence),
    ])
    .await;
    let deadline = Duration::from_millis(300);
    let resolver = Resolver::new(Options { deadline, ..server.options() }).unwrap();
    let start = Instant::now();
    let error = resolver.resolve("slow.example", 443, start).await.unwrap_err();
    assert_eq!(error, ResolveError::Timeout);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(server.asked(RecordType::A) > 1, "asked again within the deadline");
}

#[tokio::test]
async fn one_silent_family_does_not_hold_up_the_other() {
    let server = NameServer::start(vec![
        ("half.example.", RecordType::A, records(&[("half.example.", 3000, a(1))])),
        ("half.example.", RecordType::AAAA, Says::Silence),
    ])
    .await;
    let start = Instant::now();
    let answer = server.resolver().resolve("half.example", 443, start).await.unwrap();
    assert_eq!(answer.addresses, [ip("192.0.2.1")]);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(answer.expires.unwrap() < start + Duration::from_secs(8), "half an answer is not kept long");
}

#[tokio::test]
async fn an_answer_stands_for_its_ttl_and_is_then_asked_for_again() {
    let server = NameServer::start(vec![("ttl.example.", RecordType::A, records(&[("ttl.example.", 60, a(1))]))]).await;
    let resolver = server.resolver();
    let start = Instant::now();
    resolver.resolve("ttl.example", 443, start).await.unwrap();
    server.now_says("ttl.example.", RecordType::A, records(&[("ttl.example.", 60, a(2))]));
    let within = start + Duration::from_secs(59);
    let kept = resolver.resolve("ttl.example", 443, within).await.unwrap();
    assert_eq!(kept.addresses, [ip("192.0.2.1")]);
    assert_eq!(server.asked(RecordType::A), 1);
    let after = Instant::now() + Duration::from_secs(61);
    assert!(matches!(resolver.lookup("ttl.example", 443, after), Lookup::Unknown));
    let anew = resolver.resolve("ttl.example", 443, after).await.unwrap();
    assert_eq!(anew.addresses, [ip("192.0.2.2")]);
}

#[tokio::test]
async fn extreme_ttls_are_bounded() {
    let server = NameServer::start(vec![
        ("zero.example.", RecordType::A, records(&[("zero.example.", 0, a(1))])),
        ("day.example.", RecordType::A, records(&[("day.example.", 86_400, a(1))])),
    ])
    .await;
    let resolver = server.resolver();
    let start = Instant::now();
    for (host, least, most) in [("zero.example", 1, 4), ("day.example", 3600, 3604)] {
        let answer = resolver.resolve(host, 443, start).await.unwrap();
        let stands = answer.expires.unwrap() - start;
        assert!(stands >= Duration::from_secs(least) && stands < Duration::from_secs(most), "{host}: {stands:?}");
    }
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_question() {
    let server =
        NameServer::start(vec![("flight.example.", RecordType::A, records(&[("flight.example.", 60, a(1))]))]).await;
    let resolver = server.resolver();
    server.gate.send_replace(false);
    let now = Instant::now();
    let all = futures_util::future::join_all((0..50).map(|_| resolver.resolve("flight.example", 443, now)));
    let opened = async {
        // The first question has arrived, and all fifty were polled before it could be answered.
        while server.asked(RecordType::A) == 0 {
            tokio::task::yield_now().await;
        }
        server.gate.send_replace(true);
    };
    let (answers, ()) = tokio::join!(all, opened);
    let first = answers[0].as_ref().unwrap();
    assert_eq!(first.addresses, [ip("192.0.2.1")]);
    // The very same answer: the library underneath joins equal questions too, so counting those proves nothing.
    assert!(answers.iter().all(|answer| Arc::ptr_eq(answer.as_ref().unwrap(), first)));
    assert_eq!(server.asked(RecordType::A), 1);
}

#[tokio::test]
async fn a_lookup_whose_first_caller_leaves_goes_on_for_the_others() {
    let server =
        NameServer::start(vec![("left.example.", RecordType::A, records(&[("left.example.", 60, a(1))]))]).await;
    let resolver = server.resolver();
    server.gate.send_replace(false);
    let now = Instant::now();
    let mut first = Box::pin(resolver.resolve("left.example", 443, now));
    assert!(futures_util::poll!(&mut first).is_pending());
    let mut second = Box::pin(resolver.resolve("left.example", 443, now));
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(first);
    server.gate.send_replace(true);
    assert_eq!(second.await.unwrap().addresses, [ip("192.0.2.1")]);
    assert_eq!(server.asked(RecordType::A), 1);
    // With nobody left there is no lookup, and the next caller starts one.
    let mut third = Box::pin(resolver.resolve("other.example", 443, now));
    assert!(futures_util::poll!(&mut third).is_pending());
    drop(third);
    assert_eq!(resolver.resolve("other.example", 443, now).await, Err(ResolveError::NoAddress));
}

#[tokio::test]
async fn a_short_name_is_asked_for_as_it_stands() {
    let nothing = Says::Code(ResponseCode::NXDomain);
    let server =
        NameServer::start(vec![("api.", RecordType::A, nothing.clone()), ("api.", RecordType::AAAA, nothing)]).await;
    assert!(absolute("api").unwrap().is_fqdn());
    let answer = server.resolver().resolve("api", 443, Instant::now()).await;
    assert_eq!(answer, Err(ResolveError::NxDomain));
    let asked = server.asked.lock().unwrap();
    assert!(asked.iter().all(|(name, _)| name == "api."), "{asked:?}");
}

#[tokio::test]
async fn the_hosts_file_answers_before_dns_and_is_read_again_when_it_changes() {
    let server = NameServer::start(vec![
        ("local.example.", RecordType::A, records(&[("local.example.", 60, a(1))])),
        ("local.example.", RecordType::AAAA, records(&[("local.example.", 60, aaaa(1))])),
    ])
    .await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "192.0.2.77 local.example").unwrap();
    let resolver = Resolver::new(Options { hosts_file: file.path().into(), ..server.options() }).unwrap();
    let answer = resolver.resolve("local.example", 443, Instant::now()).await.unwrap();
    assert_eq!(answer.addresses, [ip("192.0.2.77")]);
    assert_eq!(server.asked(RecordType::A) + server.asked(RecordType::AAAA), 0);
    writeln!(file, "192.0.2.78 local.example").unwrap();
    assert!(resolver.inner.system.refresh(&resolver.inner.options, Instant::now() + Duration::from_secs(6)));
    let anew = resolver.resolve("local.example", 443, Instant::now() + Duration::from_secs(6)).await.unwrap();
    assert_eq!(anew.addresses, [ip("192.0.2.77"), ip("192.0.2.78")]);
}

#[tokio::test]
async fn stated_addresses_and_literals_need_no_name_server() {
    let stated = vec!["api.example:443:127.0.0.1:8443,[::1]:9443".parse().unwrap()];
    let server = NameServer::start(vec![]).await;
    let resolver = Resolver::new(Options { stated, name_servers: vec![], ..server.options() }).unwrap();
    let now = Instant::now();
    let Lookup::Known(Ok(answer)) = resolver.lookup("api.example", 443, now) else { panic!("not known") };
    assert_eq!(answer.stated_by_operator, Some(vec!["127.0.0.1:8443".parse().unwrap(), "[::1]:9443".parse().unwrap()]));
    for literal in ["192.0.2.5", "2001:db8::5", "[2001:db8::5]"] {
        let answer = resolver.resolve(literal, 443, now).await.unwrap();
        assert_eq!(answer.addresses, [ip(literal.trim_matches(['[', ']']))]);
    }
    // Another port of the same host was not stated.
    assert_eq!(resolver.resolve("api.example", 80, now).await, Err(ResolveError::NoServer));
}

#[tokio::test]
async fn an_address_that_refused_comes_last_for_a_while() {
    let server = NameServer::start(vec![(
        "two.example.",
        RecordType::A,
        records(&[("two.example.", 3000, a(1)), ("two.example.", 3000, a(2))]),
    )])
    .await;
    let resolver = server.resolver();
    let now = Instant::now();
    let fresh = resolver.resolve("two.example", 443, now).await.unwrap();
    assert_eq!(fresh.addresses, [ip("192.0.2.1"), ip("192.0.2.2")]);
    resolver.failed("192.0.2.1:443".parse().unwrap(), now);
    let order = |port, now| match resolver.lookup("two.example", port, now) {
        Lookup::Known(Ok(answer)) => answer.addresses.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(order(443, now), [ip("192.0.2.2"), ip("192.0.2.1")]);
    assert_eq!(order(8443, now), [ip("192.0.2.1"), ip("192.0.2.2")], "another port is another service");
    assert_eq!(order(443, now + Duration::from_secs(31)), [ip("192.0.2.1"), ip("192.0.2.2")]);
}

#[test]
fn failures_are_bounded_and_live_ones_outlast_a_flood_of_older_ones() {
    let resolver =
        Resolver::new(Options { name_servers: vec!["127.0.0.1:1".parse().unwrap()], ..Options::default() }).unwrap();
    let now = Instant::now();
    for port in 1..=1000 {
        resolver.failed(SocketAddr::new(ip("192.0.2.1"), port), now);
    }
    let failures = resolver.inner.failures.load();
    assert_eq!(failures.len(), MAX_FAILURES);
    assert_eq!(failures.last().map(|failure| failure.0.port()), Some(1000));
}

#[tokio::test]
async fn what_is_no_name_is_not_asked_for() {
    let server = NameServer::start(vec![]).await;
    let resolver = server.resolver();
    let long = format!("{}.example", "a".repeat(64));
    let endless = vec!["abcdefgh"; 30].join(".");
    for host in [
        "",
        ".",
        "a..example",
        "a.example.",
        "127.1",
        "0x7f.0x1",
        "2130706433",
        "a b.example",
        "a\\046b.example",
        "bücher.example",
        &long,
        &endless,
    ] {
        let error = resolver.resolve(host, 443, Instant::now()).await.unwrap_err();
        assert_eq!(error.reason(), "dns_invalid_name", "{host}");
    }
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_answer_too_long_for_udp_is_fetched_over_tcp() {
    let long: Vec<_> = (1..=60).map(|last| ("long.example.", 60, a(last))).collect();
    let server = NameServer::start(vec![("long.example.", RecordType::A, Says::OverTcp(long))]).await;
    let answer = server.resolver().resolve("long.example", 443, Instant::now()).await.unwrap();
    assert_eq!(answer.addresses.len(), 60);
}

#[test]
fn workers_share_one_resolver_and_one_that_ends_does_not_harm_the_others() {
    let worker = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let servers = worker();
    let server = servers.block_on(NameServer::start(vec![
        ("one.example.", RecordType::A, records(&[("one.example.", 60, a(1))])),
        ("two.example.", RecordType::A, records(&[("two.example.", 60, a(2))])),
    ]));
    let resolver = server.resolver();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = std::thread::spawn(move || servers.block_on(stopped));
    let first = worker();
    let answer = first.block_on(resolver.resolve("one.example", 443, Instant::now())).unwrap();
    assert_eq!(answer.addresses, [ip("192.0.2.1")]);
    // What the first worker's runtime held for the resolver goes with it.
    drop(first);
    let second = worker();
    let answer = second.block_on(resolver.resolve("two.example", 443, Instant::now())).unwrap();
    assert_eq!(answer.addresses, [ip("192.0.2.2")]);
    assert!(matches!(resolver.lookup("one.example", 443, Instant::now()), Lookup::Known(Ok(_))));
    drop(stop);
    serving.join().unwrap().unwrap_err();
}
