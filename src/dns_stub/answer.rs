//! What is said to one question (RFC 1035; RFC 6891 for EDNS). No I/O but a look at the routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use super::synthetic;
use super::{Admission, How, Names};

/// How long an answer may be remembered, in seconds. Nothing is decided by it.
const TTL: u32 = 60;
/// The largest answer over UDP that needs no fragments (DNS flag day 2020), in bytes.
const PAYLOAD: u16 = 1232;
/// What is read of a name, in bytes: RFC 1035 has 255.
const LONGEST_NAME: usize = 255;

/// A question for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// The name in lower case, without the dot at its end; what is no letter, digit, hyphen or underscore is escaped.
    pub name: &'a str,
    /// The type that is asked for, as `AAAA`.
    pub kind: &'a str,
    /// Who asks.
    pub source: SocketAddr,
}

/// To which addresses there is a way.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// To one of IPv4.
    pub v4: bool,
    /// To one of IPv6.
    pub v6: bool,
}

impl Reach {
    /// As the routes are now. A client that is given an address of a family without a route would fail, or lose time.
    pub fn now() -> Self {
        let leads = |from: IpAddr| {
            let socket = UdpSocket::bind((from, 0));
            socket.and_then(|socket| socket.connect((synthetic::any(from), 53))).is_ok()
        };
        Self { v4: leads(Ipv4Addr::UNSPECIFIED.into()), v6: leads(Ipv6Addr::UNSPECIFIED.into()) }
    }
}

/// The answer to a message; none for what is no question at all, and where there is to be none.
pub fn answer(message: &[u8], source: SocketAddr, names: &dyn Names, reach: impl FnOnce() -> Reach) -> Option<Vec<u8>> {
    let (how, reply) = reply(message, source, names, reach);
    names.answered(how);
    reply?.to_vec().ok()
}

fn reply(
    message: &[u8],
    source: SocketAddr,
    names: &dyn Names,
    reach: impl FnOnce() -> Reach,
) -> (How, Option<Message>) {
    let Ok(request) = Message::from_vec(message) else { return (How::Malformed, unreadable(message)) };
    if request.metadata.message_type != MessageType::Query {
        return (How::Malformed, None);
    }
    let mut reply = Message::response(request.metadata.id, request.metadata.op_code);
    reply.metadata.recursion_desired = request.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        reply.set_edns(edns);
    }
    let refuse = |mut reply: Message, code| {
        reply.metadata.response_code = code;
        (How::Malformed, Some(reply))
    };
    if request.metadata.op_code != OpCode::Query {
        return refuse(reply, ResponseCode::NotImp);
    }
    let [query] = request.queries.as_slice() else { return refuse(reply, ResponseCode::FormErr) };
    // As it was spelt: some resolvers look whether the spelling comes back.
    reply.add_query(Query::query(query.name().clone(), query.query_type()));
    if query.query_class() != DNSClass::IN {
        return refuse(reply, ResponseCode::Refused);
    }
    let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    if name.len() > LONGEST_NAME {
        return refuse(reply, ResponseCode::FormErr);
    }
    let kind = query.query_type();
    let addresses = if is_localhost(&name) {
        // RFC 6761, 6.3.
        (Some(Ipv4Addr::LOCALHOST), Some(Ipv6Addr::LOCALHOST))
    } else {
        match names.admit(&Question { name: &name, kind: &kind.to_string(), source }) {
            Admission::Exists => {
                let reach = reach();
                (reach.v4.then(|| synthetic::v4(&name)), reach.v6.then(|| synthetic::v6(&name)))
            }
            Admission::Unknown => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                return (How::Unknown, Some(reply));
            }
            Admission::Silence => return (How::Silence, None),
        }
    };
    let data = match kind {
        RecordType::A => addresses.0.map(|address| RData::A(address.into())),
        RecordType::AAAA => addresses.1.map(|address| RData::AAAA(address.into())),
        // HTTPS and SVCB would lead to HTTP/3 and to encrypted names; of all else there is nothing either.
        _ => None,
    };
    let how = if data.is_some() { How::Address } else { How::Empty };
    reply.add_answers(data.map(|data| Record::from_rdata(query.name().clone(), TTL, data)));
    (how, Some(reply))
}

/// The answer to what has the head of a question and cannot be read.
fn unreadable(message: &[u8]) -> Option<Message> {
    let (Some(&[first, second, flags]), true) = (message.first_chunk::<3>(), message.len() >= 12) else { return None };
    // QR: an answer is never answered.
    if flags & 0x80 != 0 {
        return None;
    }
    let mut reply = Message::response(u16::from_be_bytes([first, second]), OpCode::Query);
    reply.metadata.response_code = ResponseCode::FormErr;
    Some(reply)
}

fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use hickory_proto::rr::Name;
    use proptest::prelude::*;

    use super::*;

    /// Knows `*.example.com`, and keeps what it was asked.
    #[derive(Default)]
    struct Zone {
        asked: Mutex<Vec<String>>,
        how: Mutex<Vec<How>>,
    }

    impl Names for Zone {
        fn admit(&self, question: &Question<'_>) -> Admission {
            self.asked.lock().unwrap().push(format!("{} {}", question.name, question.kind));
            match question.name {
                name if name.ends_with(".example.com") => Admission::Exists,
                "flood.example" => Admission::Silence,
                _ => Admission::Unknown,
            }
        }

        fn answered(&self, how: How) {
            self.how.lock().unwrap().push(how);
        }
    }

    const SOURCE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5);
    const BOTH: Reach = Reach { v4: true, v6: true };

    fn question(name: &str, kind: RecordType) -> Message {
        let mut message = Message::query();
        message.metadata.id = 4711;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        message
    }

    fn ask(zone: &Zone, message: &Message, reach: Reach) -> Option<Message> {
        let reply = answer(&message.to_vec().unwrap(), SOURCE, zone, || reach)?;
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!((reply.metadata.id, reply.metadata.message_type), (4711, MessageType::Response));
        Some(reply)
    }

    fn addresses(reply: &Message) -> Vec<String> {
        reply.answers.iter().map(|record| record.data.to_string()).collect()
    }

    #[test]
    fn a_name_that_could_be_allowed_has_an_address_that_leads_nowhere() {
        let zone = Zone::default();
        let reply = ask(&zone, &question("API.example.com.", RecordType::A), BOTH).unwrap();
        assert_eq!(addresses(&reply), [synthetic::v4("api.example.com").to_string()]);
        assert_eq!(reply.queries[0].name().to_ascii(), "API.example.com.", "as it was spelt");
        assert!(reply.metadata.recursion_available && reply.metadata.recursion_desired);
        let reply = ask(&zone, &question("api.example.com.", RecordType::AAAA), BOTH).unwrap();
        assert_eq!(addresses(&reply), [synthetic::v6("api.example.com").to_string()]);
        assert_eq!(*zone.asked.lock().unwrap(), ["api.example.com A", "api.example.com AAAA"]);
    }

    #[test]
    fn no_address_is_given_to_which_there_is_no_route() {
        let zone = Zone::default();
        let none = Reach { v4: false, v6: false };
        for kind in [RecordType::A, RecordType::AAAA] {
            let reply = ask(&zone, &question("api.example.com.", kind), none).unwrap();
            assert_eq!((addresses(&reply).len(), reply.metadata.response_code), (0, ResponseCode::NoError));
        }
    }

    #[test]
    fn nothing_but_addresses_is_known_of_a_name() {
        let zone = Zone::default();
        let kinds = [RecordType::HTTPS, RecordType::SVCB, RecordType::TXT, RecordType::MX, RecordType::ANY];
        for kind in kinds {
            let reply = ask(&zone, &question("api.example.com.", kind), BOTH).unwrap();
            assert_eq!((addresses(&reply).len(), reply.metadata.response_code), (0, ResponseCode::NoError), "{kind}");
            let reply = ask(&zone, &question("evil.example.", kind), BOTH).unwrap();
            assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{kind}");
        }
        assert_eq!(*zone.how.lock().unwrap(), [How::Empty, How::Unknown].repeat(kinds.len()));
    }

    #[test]
    fn localhost_is_this_machine_and_no_attempt() {
        let zone = Zone::default();
        let reply = ask(&zone, &question("LocalHost.", RecordType::A), BOTH).unwrap();
        assert_eq!(addresses(&reply), ["127.0.0.1"]);
        let reply = ask(&zone, &question("a.localhost.", RecordType::AAAA), BOTH).unwrap();
        assert_eq!(addresses(&reply), ["::1"]);
        assert!(zone.asked.lock().unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_put_on_record_is_not_answered() {
        let zone = Zone::default();
        assert!(ask(&zone, &question("flood.example.", RecordType::A), BOTH).is_none());
        assert_eq!(*zone.how.lock().unwrap(), [How::Silence]);
    }

    #[test]
    fn what_is_no_question_for_a_name_is_refused_by_its_own_code() {
        let zone = Zone::default();
        let mut two = question("a.example.com.", RecordType::A);
        two.add_query(Query::query(Name::from_ascii("b.example.com.").unwrap(), RecordType::A));
        let mut chaos = question("version.bind.", RecordType::TXT);
        chaos.queries[0].set_query_class(DNSClass::CH);
        let mut update = question("example.com.", RecordType::SOA);
        update.metadata.op_code = OpCode::Update;
        for (message, code) in
            [(two, ResponseCode::FormErr), (chaos, ResponseCode::Refused), (update, ResponseCode::NotImp)]
        {
            assert_eq!(ask(&zone, &message, BOTH).unwrap().metadata.response_code, code);
        }
        let mut answer = question("a.example.com.", RecordType::A);
        answer.metadata.message_type = MessageType::Response;
        assert!(ask(&zone, &answer, BOTH).is_none(), "or two of them would talk for ever");
        let mut cut = question("a.example.com.", RecordType::A).to_vec().unwrap();
        cut.truncate(20);
        let reply = super::answer(&cut, SOURCE, &zone, || BOTH).unwrap();
        assert_eq!(Message::from_vec(&reply).unwrap().metadata.response_code, ResponseCode::FormErr);
        assert!(super::answer(&cut[..11], SOURCE, &zone, || BOTH).is_none());
        assert!(zone.asked.lock().unwrap().is_empty());
    }

    #[test]
    fn edns_is_answered_in_kind() {
        let zone = Zone::default();
        let mut message = question("a.example.com.", RecordType::A);
        let mut edns = Edns::new();
        edns.set_max_payload(4096);
        message.set_edns(edns);
        assert_eq!(ask(&zone, &message, BOTH).unwrap().edns.unwrap().max_payload(), PAYLOAD);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_answered_or_not_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = answer(&bytes, SOURCE, &Zone::default(), || BOTH);
        }

        #[test]
        fn a_question_with_a_byte_changed_never_gets_the_address_of_another_name(at in 0_usize..40, byte: u8) {
            let zone = Zone::default();
            let mut message = question("api.example.com.", RecordType::A).to_vec().unwrap();
            if let Some(slot) = message.get_mut(at) {
                *slot = byte;
            }
            if let Some(reply) = answer(&message, SOURCE, &zone, || BOTH)
                && let Ok(reply) = Message::from_vec(&reply)
                && let [record] = reply.answers.as_slice()
                && record.record_type() == RecordType::A
            {
                let name = record.name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
                prop_assert_eq!(record.data.to_string(), synthetic::v4(&name).to_string());
            }
        }
    }
}
