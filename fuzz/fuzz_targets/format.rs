//! How secrets are written into headers and queries. First line: a format; second: a query; third: a parameter's name.
#![no_main]

use attache::pipeline::credential::{Format, Secret, with_query};
use attache::pipeline::message::decoded;
use libfuzzer_sys::fuzz_target;
use zeroize::Zeroizing;

const SECRET: &[u8] = b"s&cr=t;+%/#";

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let [format, query, name] = [(); 3].map(|()| lines.next().unwrap_or_default());
    if let (Ok(format), Ok(secret)) = (Format::parse(format), Secret::new(Zeroizing::new(SECRET.to_vec()))) {
        let written = format.render(&secret);
        assert!(written.iter().all(|byte| *byte == b'\t' || (0x20..0x7f).contains(byte)), "it fits into a header");
    }
    // The names that policy lets through are tokens.
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)) {
        return;
    }
    let query = with_query(Some(query), name, SECRET);
    let is_slot =
        |pair: &&str| decoded(pair.split('=').next().unwrap_or_default()).eq_ignore_ascii_case(name.as_bytes());
    let filled: Vec<_> = query.split(['&', ';']).filter(is_slot).collect();
    let [pair] = filled.as_slice() else { panic!("the slot is filled {} times", filled.len()) };
    assert_eq!(decoded(pair.split_once('=').map_or("", |(_, value)| value)).as_slice(), SECRET);
});
