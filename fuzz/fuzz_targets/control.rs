//! What operators' programs send: questions for the record, and who answers an approval. First byte: which.
#![no_main]

use attache::control::api::{AnswerApprovalRequest, LoggedExchange, LogsRequest};
use attache::control::{record, signature};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|input: &[u8]| {
    let Some((which, message)) = input.split_first() else { return };
    match which % 3 {
        0 => {
            let Ok(request) = LogsRequest::decode(message) else { return };
            let Ok(query) = record::query(request) else { return };
            let again = record::query(record::request(&query)).expect("what was asked can be asked again");
            assert_eq!((again.filter, again.limit, again.follow), (query.filter, query.limit, query.follow));
        }
        1 => {
            let Ok(request) = AnswerApprovalRequest::decode(message) else { return };
            for user in [None, Some("ann")] {
                let Ok(signed) = signature(&request.by, 1000, user) else { continue };
                assert!(!signed.contains(char::is_control), "{signed:?} goes on record");
                // The kernel's word is the last, and the only one in parentheses.
                let word = match user {
                    None if !signed.contains('(') => signed.strip_prefix("uid 1000").expect("the kernel's word"),
                    _ => {
                        assert_eq!(signed.matches(['(', ')']).count(), 2, "{signed}");
                        signed.rsplit_once("uid 1000)").expect("the kernel's word").1
                    }
                };
                assert_eq!(word, "");
            }
        }
        _ => {
            let Ok(logged) = LoggedExchange::decode(message) else { return };
            let Ok(exchange) = record::exchange(&logged) else { return };
            // Times are written to the microsecond.
            let sent = record::logged(&exchange).expect("a record is JSON");
            let arrived = record::exchange(&sent).expect("what is sent is read");
            assert_eq!(record::logged(&arrived).ok(), Some(sent));
        }
    }
});
