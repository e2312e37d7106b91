//! mitmproxy as a peer: installed beside the build, with an addon that does what attaché's policy says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::load::{KEY, TOKEN};
use super::python;
use super::stand::{HOST, Policy};

/// The program, which is installed first if it has to be.
pub fn program() -> PathBuf {
    python::environment().join("bin/mitmdump")
}

/// What it is told.
pub fn tell(command: &mut Command, policy: Policy, directory: &Path, proxy: SocketAddr, upstream: SocketAddr) {
    let file = directory.join("policy.json");
    let text = written(policy, directory, upstream).to_string();
    std::fs::write(&file, text).expect("a policy can be written");
    command.env("BENCHMARK_POLICY", file).env("PYTHONDONTWRITEBYTECODE", "1");
    command.args(["--quiet", "--listen-host"]).arg(proxy.ip().to_string());
    // When it is ended, it tells of every connection that was open.
    command.stderr(Stdio::null());
    command.arg("--listen-port").arg(proxy.port().to_string());
    command.arg("--scripts").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/support/mitmproxy.py"));
    command.arg("--set").arg(format!("confdir={}", directory.display()));
    // What it would print about each request, and the upstream's address, which it would look up before it asks the addon.
    command.args(["--set", "flow_detail=0", "--set", "connection_strategy=lazy"]);
}

/// The same policy that attaché gets, as tables.
fn written(Policy { rules, credential }: Policy, directory: &Path, upstream: SocketAddr) -> serde_json::Value {
    let digest = |token: &str| Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut agents = BTreeMap::from([(digest(TOKEN), "agent-0".to_owned())]);
    agents.extend((1..10).map(|number| (format!("{number:064x}"), format!("agent-{number}"))));
    let (mut allow, mut forbidden) = (BTreeMap::new(), BTreeMap::new());
    let any: [&str; 0] = [];
    for number in 1..rules {
        let (host, entry) = match number % 3 {
            0 => (format!("api-{number}.example.com"), json!({"name": number, "methods": any, "prefix": "/"})),
            1 => (format!("*.zone-{number}.example.com"), json!({"name": number, "methods": any, "prefix": "/"})),
            _ => (
                format!("svc-{number}.example.com"),
                json!({"name": number, "methods": ["GET", "POST"], "prefix": "/v1/items/"}),
            ),
        };
        forbidden.insert(host.clone(), json!([{"name": number, "methods": ["DELETE"], "prefix": "/"}]));
        allow.insert(host, entry);
    }
    allow.insert(HOST.to_owned(), json!({"name": rules, "methods": ["GET", "POST"], "prefix": "/v1/items/"}));
    forbidden.insert(HOST.to_owned(), json!([{"name": rules, "methods": ["DELETE"], "prefix": "/"}]));
    json!({
        "agents": agents,
        "allow": allow,
        "rules": forbidden,
        "upstream": [upstream.ip().to_string(), upstream.port()],
        "credential": credential.then_some(KEY),
        "record": directory.join("record.jsonl"),
    })
}
