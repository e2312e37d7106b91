//! Requests that go out, and what goes with them or stays behind.

use super::*;

#[test]
fn an_allowed_request_goes_out_with_its_credential_and_on_record() {
    let outcome = World::new().run(tls("POST", "api.example/x?token=abc&v", &[("authorization", "Bearer own")]));
    assert_eq!(outcome.asked, ["resolve", "secrets", "record", "reply"]);
    assert_eq!(outcome.set("authorization").as_deref(), Some("Bearer s-api"));
    assert_eq!(outcome.set(":path"), None);
    assert!(!outcome.forward().plaintext && outcome.removed().is_empty());
    assert_eq!(outcome.forward().upstream.first.to_string(), format!("{PUBLIC}:443"));
    let record = outcome.record();
    assert_eq!((record.decision, &*record.request_id, record.status), (Verdict::Allow, "r1", None));
    assert_eq!((record.agent.as_deref(), record.identity.as_deref()), (Some("ann"), Some("token")));
    assert_eq!((&*record.host, record.port, record.scheme.as_deref()), ("api.example", Some(443), Some("https")));
    assert_eq!((&*record.path, record.query.as_deref()), ("/x", Some("token=***&v")));
    assert_eq!(record.rule.as_deref(), Some("allowedDomains[api.example]"));
    assert_eq!(record.credential, [std::sync::Arc::<str>::from("api")]);
    assert_eq!(record.source.as_deref(), Some("192.0.2.7:1234"));
    let line = serde_json::to_string(record).unwrap();
    assert!(!line.contains("s-api") && !line.contains("abc") && !line.contains(ANN), "{line}");
}

#[test]
fn every_slot_is_filled_by_the_closest_credential_its_caller_may_use() {
    let mut world = World::new();
    let two = world.run(tls("GET", "api.example/two/x", &[("x-key", "own"), ("x-key", "twice")]));
    assert_eq!(two.set("authorization").as_deref(), Some("Bearer s-api"));
    assert_eq!(two.set("x-key").as_deref(), Some("Bearer s-two"));
    let ann = world.run(tls("GET", "api.example/bob/x", &[]));
    assert_eq!(ann.set("authorization").as_deref(), Some("Bearer s-api"));
    let mut bobs = tls("GET", "api.example/bob/x", &[]);
    bobs.session = Some(session("api.example:443", Some(BOB)));
    let bob = world.run(bobs);
    assert_eq!(bob.set("authorization").as_deref(), Some("Bearer s-bob"));
    assert_eq!(bob.record().agent.as_deref(), Some("bob"));
}

#[test]
fn a_query_slot_keeps_the_path_as_it_was_sent_and_drops_the_agents_own_value() {
    let outcome = World::new().run(tls("GET", "query.example/%61;v=1?a=1&%6bey=own&KEY=own;b", &[]));
    assert_eq!(outcome.set(":path").as_deref(), Some("/%61;v=1?a=1&b&key=s%20query"));
    assert_eq!(outcome.record().query.as_deref(), Some("a=***&%6bey=***&KEY=***"));
    assert_eq!(&*outcome.record().path, "/a;v=1");
    let bare = World::new().run(tls("GET", "query.example/", &[]));
    assert_eq!(bare.set(":path").as_deref(), Some("/?key=s%20query"));
}

#[test]
fn identities_and_headers_of_other_requests_stay_behind() {
    let ann = basic("ann", ANN);
    let fields = [
        ("proxy-authorization", &*ann),
        ("proxy-connection", "keep-alive"),
        ("x-agent", "ann"),
        ("x-untrusted", "bob"),
        ("x-attache-agent", "bob"),
        ("x-http-method-override", "DELETE"),
        ("x-forwarded-host", "other.example"),
        ("x-forwarded-proto", "http"),
        ("x-original-url", "/admin"),
        ("accept", "*/*"),
    ];
    let outcome = World::new().run(proxy("GET", "ws.example/", &fields));
    let gone = [
        "proxy-authorization",
        "proxy-connection",
        "x-agent",
        "x-attache-agent",
        "x-forwarded-host",
        "x-http-method-override",
        "x-original-url",
        "x-untrusted",
    ];
    assert_eq!(outcome.removed(), gone);
    let kept = World::new().run(proxy("GET", "override.example/", &fields));
    assert!(!kept.removed().contains(&"x-http-method-override") && kept.removed().contains(&"x-agent"));
}

#[test]
fn a_proxy_token_in_authorization_never_leaves() {
    let token = format!("Bearer {ANN}");
    let gone = World::new().run(proxy("GET", "ws.example/", &[("authorization", &token)]));
    assert_eq!(gone.removed(), ["authorization"]);
    let replaced = World::new().run(proxy("GET", "api.example/", &[("authorization", &token)]));
    assert!(replaced.removed().is_empty());
    assert_eq!(replaced.set("authorization").as_deref(), Some("Bearer s-api"));
    let own = World::new().run(tls("GET", "ws.example/", &[("authorization", "Bearer own")]));
    assert!(own.removed().is_empty() && own.forward().set.is_empty());
}

#[test]
fn schemes_ports_and_addresses_are_those_of_the_entry() {
    let token = ("proxy-authorization", &*format!("Bearer {ANN}"));
    for (incoming, first, second, plaintext) in [
        (proxy("GET", "api.example/", &[token]), "93.184.216.34:443", "93.184.216.34:443", false),
        (proxy("GET", "api.example:80/", &[token]), "93.184.216.34:443", "93.184.216.34:443", false),
        (proxy("GET", "api.example:443/", &[token]), "93.184.216.34:443", "93.184.216.34:443", false),
        (proxy("GET", "plain.example/", &[token]), "93.184.216.34:80", "93.184.216.34:80", true),
        (proxy("GET", "port.example:8443/", &[token]), "93.184.216.34:8443", "93.184.216.34:8443", false),
        (tls("GET", "port.example:8443/", &[]), "93.184.216.34:8443", "93.184.216.34:8443", false),
        (tls("GET", "93.184.216.34/", &[]), "93.184.216.34:443", "93.184.216.34:443", false),
        (tls("GET", "private.example/", &[]), "10.1.2.3:443", "10.1.2.4:443", false),
        (tls("GET", "get.example/v1/x", &[]), "93.184.216.34:443", "93.184.216.34:443", false),
        (tls("GET", "stated.example/", &[]), "127.0.0.1:4711", "127.0.0.1:4711", false),
        (tls("GET", "ws.example/", &[("upgrade", "WebSocket")]), "93.184.216.34:443", "93.184.216.34:443", false),
    ] {
        let name = format!("{incoming:?}");
        let outcome = World::new().run(incoming);
        let Forward { upstream, plaintext: plain, .. } = outcome.forward();
        let found = (upstream.first.to_string(), upstream.second.to_string(), *plain);
        assert_eq!(found, (first.to_owned(), second.to_owned(), plaintext), "{name}");
        assert_eq!(outcome.record().upstream.as_deref(), Some(first));
    }
    let plain = World::new().run(proxy("GET", "plain.example/", &[token]));
    assert_eq!(plain.set("x-key").as_deref(), Some("Bearer s-plain"));
}

#[test]
fn a_placeholder_that_nothing_replaces_is_left_alone_and_noted() {
    let mut world = World::new();
    world.rules = policy("one", |rules| {
        let bob = rules.agents.find("bob");
        for (credential, text, agents) in
            [("api", "sk-holder", None), ("bobs", "sk-bobs", bob.map(|bob| vec![bob])), ("query", "pk/holder", None)]
        {
            rules.hold(Placeholder { credential: credential.into(), text: text.into(), agents });
        }
    });
    for (url, field, value, noted) in [
        ("api.example/", "authorization", "Bearer sk-holder", &[][..]),
        ("api.example/", "x-other", "sk-holder", &["api"]),
        ("api.example/", "x-other", "pk/holder sk-holder", &["api", "query"]),
        ("api.example/", "x-other", "sk-holde", &[]),
        ("api.example/?q=sk-holder", "x", "y", &["api"]),
        ("api.example/?q=%73k-holder", "x", "y", &["api"]),
        ("api.example/sk-holder", "x", "y", &["api"]),
        // Another's, which means nothing here.
        ("api.example/?q=sk-bobs", "x", "y", &[]),
        // What is removed or replaced does not leave.
        ("api.example/", "x-attache-note", "sk-holder", &[]),
        ("query.example/?a=1&KEY=pk/holder", "x", "y", &[]),
        ("query.example/?other=pk/holder&key=pk/holder", "x", "y", &["query"]),
        ("query.example/?key=sk-holder", "authorization", "Bearer sk-holder", &["api"]),
    ] {
        let outcome = world.run(tls("GET", url, &[(field, value)]));
        assert_eq!(
            outcome.record().placeholders.iter().map(|name| &**name).collect::<Vec<_>>(),
            noted,
            "{url} {value}"
        );
        assert!(!outcome.removed().contains(&"x-other"), "it is left alone");
    }
}
