//! A DNS server whose answers a test writes, over UDP and TCP.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::within;

/// A name server on 127.0.0.1, the same port for UDP and TCP.
pub struct Dns {
    address: SocketAddr,
    shared: Arc<Shared>,
    servers: [AbortHandle; 2],
}

/// What the server says to one question.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Those of the addresses that are of the asked type, in this order; TTL in seconds.
    Addresses { addresses: Vec<IpAddr>, ttl: u32 },
    /// An alias, and behind it what the server says of that name.
    Alias { to: String, ttl: u32 },
    /// As [`Reply::Addresses`], but over UDP only the word that it does not fit (RFC 1035, TC).
    TruncatedOverUdp(Vec<IpAddr>),
    /// The name does not exist.
    NxDomain,
    /// The server failed.
    ServFail,
    /// Nothing at all, ever.
    Silence,
}

/// A question as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Lower case, without the dot at the end.
    pub name: String,
    /// `A`, `AAAA`, …
    pub kind: String,
    pub over_tcp: bool,
}

#[derive(Default)]
struct Shared {
    zone: Mutex<HashMap<String, Vec<Reply>>>,
    asked: watch::Sender<Vec<Asked>>,
}

impl Dns {
    /// A server that knows no name yet.
    pub async fn start() -> Dns {
        let (udp, tcp) = sockets().await;
        Dns::serve(udp, tcp)
    }

    fn serve(udp: UdpSocket, tcp: TcpListener) -> Dns {
        let address = udp.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let servers = [
            tokio::spawn(over_udp(udp, shared.clone())).abort_handle(),
            tokio::spawn(over_tcp(tcp, shared.clone())).abort_handle(),
        ];
        Dns { address, shared, servers }
    }

    /// The same at an address of the test's own network.
    pub async fn on(address: SocketAddr) -> Dns {
        let (udp, tcp) = (UdpSocket::bind(address).await.unwrap(), TcpListener::bind(address).await.unwrap());
        Dns::serve(udp, tcp)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `name` has these addresses (A and AAAA), for a minute each time.
    pub fn answer<const N: usize>(&self, name: &str, addresses: [&str; N]) {
        self.script(name, [Reply::addresses(addresses)]);
    }

    /// The same of any number of addresses.
    pub fn answer_all(&self, name: &str, addresses: Vec<IpAddr>) {
        self.shared.zone.lock().unwrap().insert(name.to_owned(), vec![Reply::Addresses { addresses, ttl: 60 }]);
    }

    /// From now on the first question of each type for `name` gets the first reply, the second the
    /// second, and so on; the last one stays. A name that rebinds is two replies.
    pub fn script<const N: usize>(&self, name: &str, replies: [Reply; N]) {
        assert!(N > 0, "a script says something");
        self.shared.zone.lock().unwrap().insert(name.to_owned(), replies.to_vec());
        self.shared.asked.send_modify(|asked| asked.retain(|question| question.name != name));
    }

    /// Every question since the name's script was written, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.borrow().clone()
    }

    /// How often this type of `name` was asked for.
    pub fn count(&self, name: &str, kind: &str) -> usize {
        count(&self.asked(), name, kind)
    }

    /// Waits until this type of `name` was asked for so often.
    pub async fn wait_for(&self, name: &str, kind: &str, times: usize) {
        let mut asked = self.shared.asked.subscribe();
        let enough = asked.wait_for(|asked| count(asked, name, kind) >= times);
        within(&format!("question {times} for {name} {kind}"), enough).await.unwrap();
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
    }
}

impl Reply {
    /// These addresses, for a minute.
    pub fn addresses<const N: usize>(addresses: [&str; N]) -> Reply {
        Reply::for_seconds(60, addresses)
    }

    /// These addresses, for `ttl` seconds.
    pub fn for_seconds<const N: usize>(ttl: u32, addresses: [&str; N]) -> Reply {
        Reply::Addresses { addresses: parse(addresses), ttl }
    }

    pub fn truncated_over_udp<const N: usize>(addresses: [&str; N]) -> Reply {
        Reply::TruncatedOverUdp(parse(addresses))
    }

    pub fn alias(to: &str) -> Reply {
        Reply::Alias { to: to.to_owned(), ttl: 60 }
    }
}

fn parse<const N: usize>(addresses: [&str; N]) -> Vec<IpAddr> {
    addresses.map(|address| address.parse().unwrap()).to_vec()
}

fn count(asked: &[Asked], name: &str, kind: &str) -> usize {
    asked.iter().filter(|question| question.name == name && question.kind == kind).count()
}

/// The kernel picks the UDP port; now and then somebody else has that TCP port.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

async fn over_udp(socket: UdpSocket, shared: Arc<Shared>) {
    let mut buffer = [0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        if let Some(answer) = shared.answer(&buffer[..length], false) {
            // A client that has gone is not an error of the server's.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn over_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(conversation(stream, shared.clone()));
    }
}

/// Messages with their length before them (RFC 1035, section 4.2.2), until the client leaves.
async fn conversation(mut stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    loop {
        let mut question = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut question).await?;
        if let Some(answer) = shared.answer(&question, true) {
            stream.write_u16(answer.len().try_into().unwrap()).await?;
            stream.write_all(&answer).await?;
        }
    }
}

impl Shared {
    fn answer(&self, question: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        let request = Message::from_vec(question).unwrap();
        let query = request.queries.first().unwrap();
        let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let kind = query.query_type();

        let reply = self.next_reply(&name, kind);
        self.asked.send_modify(|asked| {
            asked.push(Asked { name: name.clone(), kind: kind.to_string(), over_tcp });
        });

        let mut answer = Message::response(request.metadata.id, OpCode::Query);
        answer.metadata.recursion_desired = request.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.add_query(Query::query(query.name().clone(), kind));
        match self.fill(&mut answer, query.name().clone(), kind, reply, over_tcp) {
            true => Some(answer.to_vec().unwrap()),
            false => None,
        }
    }

    fn next_reply(&self, name: &str, kind: RecordType) -> Reply {
        let turn = count(&self.asked.borrow(), name, &kind.to_string());
        let zone = self.zone.lock().unwrap();
        let Some(script) = zone.get(name) else {
            return Reply::NxDomain;
        };
        script.get(turn).or(script.last()).cloned().unwrap()
    }

    /// Puts `reply` into `answer`; `false` if there is to be none.
    fn fill(&self, answer: &mut Message, name: Name, kind: RecordType, reply: Reply, over_tcp: bool) -> bool {
        match reply {
            Reply::Addresses { addresses, ttl } => {
                answer.add_answers(addresses.into_iter().filter_map(|address| {
                    let data = match address {
                        IpAddr::V4(address) => RData::A(address.into()),
                        IpAddr::V6(address) => RData::AAAA(address.into()),
                    };
                    let wanted = data.record_type() == kind;
                    wanted.then(|| Record::from_rdata(name.clone(), ttl, data))
                }));
            }
            Reply::Alias { to, ttl } => {
                assert!(answer.answers.len() < 16, "the aliases of {name} run in a circle");
                let target = Name::from_ascii(format!("{to}.")).unwrap();
                let alias = RData::CNAME(CNAME(target.clone()));
                answer.add_answer(Record::from_rdata(name, ttl, alias));
                let next = self.next_reply(&to, kind);
                return self.fill(answer, target, kind, next, over_tcp);
            }
            Reply::TruncatedOverUdp(_) if !over_tcp => answer.metadata.truncation = true,
            Reply::TruncatedOverUdp(addresses) => {
                let whole = Reply::Addresses { addresses, ttl: 60 };
                return self.fill(answer, name, kind, whole, over_tcp);
            }
            Reply::NxDomain => answer.metadata.response_code = ResponseCode::NXDomain,
            Reply::ServFail => answer.metadata.response_code = ResponseCode::ServFail,
            Reply::Silence => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::TokioResolver;
    use hickory_resolver::config::{NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use std::time::Duration;

    #[tokio::test]
    async fn a_real_resolver_reads_every_kind_of_answer() {
        let dns = Dns::start().await;
        dns.answer("many.example.com", ["192.0.2.1", "2001:db8::1", "192.0.2.2"]);
        dns.script("alias.example.com", [Reply::alias("many.example.com")]);
        let first = Reply::for_seconds(0, ["192.0.2.1"]);
        dns.script("rebinding.example.com", [first, Reply::addresses(["127.0.0.1"])]);
        dns.script("large.example.com", [Reply::truncated_over_udp(["192.0.2.9"])]);
        dns.script("failing.example.com", [Reply::ServFail]);
        dns.script("silent.example.com", [Reply::Silence]);

        assert_eq!(ask(&dns, "many").await.unwrap(), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(ask(&dns, "alias").await.unwrap(), ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(ask(&dns, "rebinding").await.unwrap(), ["192.0.2.1"]);
        assert_eq!(ask(&dns, "rebinding").await.unwrap(), ["127.0.0.1"]);
        assert_eq!(dns.count("rebinding.example.com", "A"), 2);

        assert_eq!(ask(&dns, "large").await.unwrap(), ["192.0.2.9"]);
        let over_tcp = |asked: Asked| asked.name == "large.example.com" && asked.over_tcp;
        assert!(dns.asked().into_iter().any(over_tcp));

        assert!(ask(&dns, "failing").await.unwrap_err().contains("Failure"));
        assert!(ask(&dns, "unknown").await.unwrap_err().contains("no records"));
        assert!(ask(&dns, "silent").await.unwrap_err().contains("timed out"));
        dns.wait_for("silent.example.com", "A", 1).await;
    }

    async fn ask(dns: &Dns, host: &str) -> Result<Vec<String>, String> {
        let mut server = NameServerConfig::udp_and_tcp(dns.address().ip());
        for connection in &mut server.connections {
            connection.port = dns.address().port();
        }
        let config = ResolverConfig::from_parts(None, vec![], vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().timeout = Duration::from_millis(200);
        builder.options_mut().attempts = 0;
        let resolver = builder.build().unwrap();
        let answer = resolver.ipv4_lookup(format!("{host}.example.com.")).await;
        let answer = answer.map_err(|error| error.to_string())?;
        Ok(answer.answers().iter().filter(|r| r.record_type() == RecordType::A).map(|r| r.data.to_string()).collect())
    }
}
