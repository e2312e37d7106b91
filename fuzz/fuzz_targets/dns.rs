//! Questions to the name server of a pod.
#![no_main]

use std::net::SocketAddr;

use attache::dns_stub::{Admission, Names, Question, Reach, answer};
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::RData;
use libfuzzer_sys::fuzz_target;

struct Few;

impl Names for Few {
    fn admit(&self, question: &Question<'_>) -> Admission {
        assert!(question.name.len() <= 255 && !question.name.bytes().any(|b| b.is_ascii_uppercase()));
        assert!(question.name.bytes().all(|b| b.is_ascii_graphic()), "{:?} goes on record", question.name);
        match question.name {
            "api.example.com" => Admission::Exists,
            "quiet.example.com" => Admission::Silence,
            _ => Admission::Unknown,
        }
    }
}

fuzz_target!(|message: &[u8]| {
    let source = SocketAddr::from(([127, 0, 0, 1], 5353));
    let Some(reply) = answer(message, source, &Few, || Reach { v4: true, v6: true }) else { return };
    assert_eq!(reply[..2], message[..2], "it answers this question");
    assert_eq!(message[2] & 0x80, 0, "an answer is answered");
    assert!(reply.len() <= 1232, "{} bytes", reply.len());
    let reply = Message::from_vec(&reply).expect("what is answered can be read");
    assert_eq!(reply.metadata.message_type, MessageType::Response);
    assert!(reply.answers.len() <= 1 && reply.authorities.is_empty());
    let Some(record) = reply.answers.first() else { return };
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    let asked = reply.queries.first().expect("an answer has its question");
    assert_eq!((record.name.to_ascii(), record.record_type()), (asked.name().to_ascii(), asked.query_type()));
    let name = asked.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let local = name == "localhost" || name.ends_with(".localhost");
    assert!(local || name == "api.example.com", "`{name}` does not exist");
    let loopback = match &record.data {
        RData::A(address) => address.0.is_loopback(),
        RData::AAAA(address) => address.0.is_loopback(),
        other => panic!("{other} is no address"),
    };
    assert_eq!(loopback, local);
});
