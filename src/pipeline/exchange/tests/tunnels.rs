//! CONNECT, and what is inside of it.

use super::*;

#[test]
fn a_tunnel_carries_what_was_shown_and_is_not_on_record() {
    let ann = basic("ann", ANN);
    let outcome = World::new().run(proxy("CONNECT", "API.example.:443", &[("proxy-authorization", &ann)]));
    assert_eq!(outcome.asked, ["reply"]);
    let Some(Reply::Tunnel { session }) = outcome.reply else { panic!("{:?}", outcome.reply) };
    assert!(!session.contains(ANN));
    let mut inner = tls("GET", "api.example/", &[]);
    inner.session = Some(session);
    inner.sni = Some("API.EXAMPLE.".to_owned());
    let outcome = World::new().run(inner);
    assert_eq!(outcome.set("authorization").as_deref(), Some("Bearer s-api"));
    assert_eq!(outcome.record().source.as_deref(), Some("192.0.2.7:1234"));
}

#[test]
fn who_shows_nothing_at_connect_may_still_show_something_inside() {
    let opens = |outcome: Outcome| matches!(outcome.reply, Some(Reply::Tunnel { .. }));
    let mut world = World::new();
    assert!(opens(world.run(proxy("CONNECT", "bob.example:443", &[]))));
    world.rules = policy("default", |rules| rules.agents.set_default(AgentId(0)));
    assert!(opens(world.run(proxy("CONNECT", "bob.example:443", &[]))));
    let inside = |token: &str, mut incoming: Incoming| {
        incoming.session = Some(session("bob.example:443", None));
        let fields = incoming.fields.iter().map(|(n, v)| (n.to_owned(), v.to_vec()));
        let shown = (!token.is_empty()).then(|| ("authorization".to_owned(), format!("Bearer {token}").into_bytes()));
        incoming.fields = Fields::new(fields.chain(shown).collect());
        incoming
    };
    let bob = world.run(inside(BOB, tls("GET", "bob.example/", &[])));
    assert_eq!(bob.removed(), ["authorization"]);
    assert_eq!(world.run(inside("", tls("GET", "bob.example/", &[]))).reason(), "domain_not_allowed");
    world.rules = policy("challenge", |rules| rules.agents.set_challenge(true));
    let asked = world.run(proxy("CONNECT", "bob.example:443", &[]));
    assert_eq!((asked.reason(), asked.answer().status), ("no_identity", 407));
    assert!(asked.answer().fields.iter().any(|(name, _)| *name == "proxy-authenticate"));
}
