//! Private and metadata addresses, written in every way that some parser takes for them.

use futures_util::future::join_all;

use crate::support::{Ask, Attache, Dns, PROTOCOLS, Protocol, tunnel};

/// Everything is allowed by name, and the worst addresses even by themselves.
const POLICY: &str = "
allowedDomains:
  - '*'
  - 169.254.169.254
  - 127.0.0.1
  - 10.0.0.1
  - '[::1]'
  - '[::ffff:169.254.169.254]'
  - '[64:ff9b::a9fe:a9fe]'
  - '[2002:a9fe:a9fe::1]'
  - '[fd00:ec2::254]'
";

const NOTATIONS: [&str; 62] = [
    // Listed, and judged as a name's address would be.
    "169.254.169.254",
    "169.254.169.254.",
    "127.0.0.1",
    "10.0.0.1",
    "[::1]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "[fd00:ec2::254]",
    // Decimal, octal, hexadecimal, short, and mixtures.
    "2852039166",
    "2852039166.",
    "0xa9fea9fe",
    "0XA9FEA9FE",
    "0xa9.0xfe.0xa9.0xfe",
    "0xA9.254.169.0xfe",
    "0251.0376.0251.0376",
    "025177524776",
    "0251.254.169.254",
    "00000251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    "169.254.169.0254",
    "169.254.169.254.0",
    "169.254.169",
    "169.254.169.510",
    "425.510.425.510",
    "127.1",
    "127.0.1",
    "0177.1",
    "0x7f.1",
    "2130706433",
    "017700000001",
    "0",
    "0.0.0.0",
    "0x0",
    "10.1",
    // Mapped, translated, and with more zeros than it takes.
    "[::ffff:a9fe:a9fe]",
    "[0:0:0:0:0:ffff:169.254.169.254]",
    "[::ffff:0xa9fea9fe]",
    "[::169.254.169.254]",
    "[::a9fe:a9fe]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:0:0:1]",
    "[::01]",
    "[::1%25lo]",
    "[::1%lo]",
    "[fe80::1%25eth0]",
    "[fe80::1]",
    "[::]",
    "[::1].",
    "::1",
    // Digits and dots of other scripts, as they stand and encoded.
    "%31%36%39.254.169.254",
    "169%2e254%2e169%2e254",
    "169。254。169。254",
    "１６９.254.169.254",
    "①⑥⑨.②⑤④.①⑥⑨.②⑤④",
    "xn--169-254-169-254",
    "169.254.169.254@example.com",
    "example.com@169.254.169.254",
];

#[tokio::test]
async fn no_notation_of_an_address_leads_to_it() {
    let dns = Dns::start().await;
    // What is no address to attaché must not be one to a resolver either.
    let attache = Attache::up(POLICY).dns(&dns).start().await;
    let mut wrong = Vec::new();
    for notation in NOTATIONS {
        let mut found = Vec::new();
        for protocol in PROTOCOLS {
            let reply = Ask::get(protocol, &format!("http://{notation}/")).authority(notation).send_bytes(&attache);
            let reply = reply.await;
            found.push((reply.status, reply.reason()));
        }
        let inside = Ask::get(Protocol::Http1, "https://example.com/").authority(notation);
        let authority = format!("{notation}:443");
        let tunnelled = tunnel::connect(attache.proxy(), &authority, &[]);
        let (inside, tunnelled) = tokio::join!(inside.send_bytes(&attache), tunnelled);
        found.push((inside.status, inside.reason()));
        if let Err(answer) = tunnelled {
            let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
            found.push((status, String::new()));
        }
        // 503 is a name that does not exist: it was looked up as a name, and nowhere else.
        let refused = |(status, reason): &(u16, String)| {
            matches!(status, 0 | 400 | 403 | 421) || (*status == 503 && reason == "name_not_found")
        };
        if !found.iter().all(refused) {
            wrong.push(format!("{notation}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for record in attache.records() {
        assert!(record["upstream"].is_null() && record["decision"] != "allow", "{record}");
    }
}

/// All at once, as a resolver that answers differently each time would be asked.
#[tokio::test]
async fn an_answer_that_changes_under_load_is_judged_each_time() {
    use crate::support::dns::Reply;
    let dns = Dns::start().await;
    let attache = Attache::up("allowedDomains: ['*.example.com:8443']").dns(&dns).start().await;
    let answers = ["169.254.169.254", "127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "100.100.100.200"];
    let asks = (0..40).map(|number| {
        let host = format!("n{}.example.com", number % 8);
        dns.script(&host, answers.map(|address| Reply::for_seconds(0, [address])));
        let ask = Ask::get(PROTOCOLS[number % 2], &format!("https://{host}:8443/"));
        async { ask.send(&attache).await }
    });
    for reply in join_all(asks).await {
        assert_eq!((reply.status, reply.reason()), (403, "address_forbidden".to_owned()), "{reply:?}");
    }
}
