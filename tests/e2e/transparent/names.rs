//! Names that an agent asks for.

use super::{Internet, pod};

#[tokio::test(flavor = "current_thread")]
async fn names_are_answered_without_asking_anybody() {
    let pod = pod().start().await;
    let _internet = Internet::start().await;
    let program = "
import socket
for name in ['api.example.com', 'deep.wild.example.com', 'evil.example']:
    try:
        print(name, sorted({a[4][0] for a in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)}))
    except socket.gaierror as error:
        print(name, error.errno == socket.EAI_NONAME)
";
    let output = pod.python(program).await;
    let lines: Vec<_> = output.stdout.lines().collect();
    assert!(lines[0].contains("'198.1") && lines[0].contains("'2001:2:"), "{output:?}");
    assert!(lines[1].contains("'198.1"), "{output:?}");
    assert_eq!(lines[2], "evil.example True", "{output:?}");
    assert!(pod.dns.asked().is_empty(), "{:?}", pod.dns.asked());
    let record = pod.record("the refused name", |record| record["method"] == "DNS").await;
    assert!(record["host"].as_str().unwrap().starts_with("evil.example"), "{record}");
    assert_eq!((record["agent"].as_str(), record["decision"].as_str()), (Some("default"), Some("deny")), "{record}");
}
