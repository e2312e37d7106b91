//! What requests show of who is calling: a line each, `name: value`; and the labels of a pod. Nobody becomes an agent whose
//! secret is not there.
#![no_main]

use std::sync::LazyLock;
use std::time::SystemTime;

use attache::pipeline::agent::{Agents, Origin, TokenHash};
use attache::pipeline::message::Fields;
use attache::pod::labels;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;

const TOKENS: [(&str, &str); 2] = [("ann", "t0ken-0f-ann"), ("ben", "t0ken-0f-ben")];

static AGENTS: LazyLock<Agents> = LazyLock::new(|| {
    let mut agents = Agents::default();
    for (name, token) in TOKENS {
        let agent = agents.add(name);
        agents.add_token(TokenHash::of(token.as_bytes()), agent, None);
        agents.add_header("x-agent", name, agent);
    }
    agents
});

fuzz_target!(|text: &[u8]| {
    if let Ok(text) = std::str::from_utf8(text)
        && let Ok(labels) = labels(text)
    {
        let again: String = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"\n")).collect();
        let mut lines: Vec<_> = text.lines().collect();
        lines.sort_unstable();
        let mut expected: Vec<_> = again.lines().collect();
        expected.sort_unstable();
        assert_eq!(lines, expected, "a label is what the kubelet wrote");
    }
    let fields: Vec<(String, Vec<u8>)> = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = std::str::from_utf8(&line[..colon]).ok()?.to_ascii_lowercase();
            Some((name, line[colon + 1..].trim_ascii().to_vec()))
        })
        .collect();
    for in_front in [false, true] {
        let origin = Origin::unknown(SystemTime::UNIX_EPOCH);
        let Ok(Some(caller)) = AGENTS.identify_fields(&Fields::new(fields.clone()), in_front, &origin) else {
            continue;
        };
        let name = AGENTS.name(caller.agent);
        let shown = |name: &str, token: &str| {
            fields.iter().any(|(field, value)| match field.as_str() {
                "x-agent" => value == name.as_bytes(),
                "authorization" | "proxy-authorization" => carries(value, token),
                _ => false,
            })
        };
        for (other, token) in TOKENS {
            assert!(&**name != other || shown(other, token), "`{name}` was not shown");
            // A password in `Authorization` is the agent's own.
            let header = fields.iter().any(|(field, value)| field == "x-agent" && value == other.as_bytes());
            assert!(&**name == other || !header, "`{other}` was shown too");
        }
    }
});

/// Whether a field's value has a token in it, in the open or in Base64.
fn carries(value: &[u8], token: &str) -> bool {
    let has = |text: &[u8]| text.windows(token.len()).any(|window| window == token.as_bytes());
    let encoded = value.split(u8::is_ascii_whitespace).filter_map(|word| STANDARD.decode(word).ok());
    has(value) || encoded.into_iter().any(|text| has(&text))
}
