//! Lines of Envoy's own log file: any, and a whole one behind what Envoy left of another when it was killed.
#![no_main]

use attache::reconcile::Entry;
use libfuzzer_sys::fuzz_target;

/// A line as the bootstrap has it written.
const LINE: &[u8] = br#"{"start":"1763632800.123456789","id":"c0caff34-f28d-4b5a-9ef4-de21bb64a7a1","decision":"allow","method":"GET","scheme":"https","sni":"api.example.com:443","code":200,"details":"via_upstream","received":0,"sent":12,"duration":5,"upstream":"192.0.2.1:443","source":"127.0.0.1:40000"}"#;

fuzz_target!(|bytes: &[u8]| {
    if let Some(entry) = Entry::read(bytes) {
        let _ = (entry.start(), entry.has_upstream(), entry.was_refused());
        if let Some(id) = entry.request_id() {
            let report = entry.report(&id);
            assert_eq!(report.outcome.request_id.as_ref(), id);
        }
    }
    let whole = Entry::read(LINE).expect("it is as the bootstrap has it");
    let torn: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'\n').collect();
    assert_eq!(Entry::read(&[&torn, LINE].concat()), Some(whole), "a request is passed over");
});
