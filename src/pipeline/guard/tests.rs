use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::pipeline::dlp::detector::Detector;
use crate::pipeline::dlp::profile::{Actions, Profile, Selector};
use crate::pipeline::dlp::rule::Rule;
use crate::pipeline::message::Fields;
use crate::pipeline::policy::inspect::Inspect;
use crate::pipeline::policy::matcher::{HostTable, NamePattern};

static HOST: Host = Host::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
const TOKEN: &str = "vnd_q8Zr3vTn5kLw0pXyC7dE1fGh";
const OTHER: &str = "alt_m4Xs9wQe2rTy7uIo1pAs5dFg";

#[test]
fn each_finding_is_told_once_wherever_it_was_made() {
    let guard = guard(dlp(&["vnd_", "alt_"], doing("credentials", Action::Monitor)));
    let mut body = body(&guard, &request("1", &[], false));
    body.push(format!("{TOKEN}\n").as_bytes(), &mut Vec::new()).unwrap();
    assert_eq!(rules(&body.findings()), ["vnd-token"]);
    let trailers = Fields::new(vec![("x-more".to_owned(), OTHER.into())]);
    body.finish(Some(&trailers), &mut Vec::new()).unwrap();
    assert_eq!(rules(&body.findings()), ["alt-token"]);
    assert_eq!(rules(&body.findings()), [""; 0]);
}

#[test]
fn a_block_that_was_clean_is_looked_at_again_under_other_rules() {
    let memory = Arc::new(Memory::new(&Default::default()));
    let text = format!(r#"{{"messages": ["{} {TOKEN}"]}}"#, "so they said ".repeat(60));
    let outcome = |keywords: &[&str]| {
        let mut dlp = dlp(keywords, Profile::default_profile().requests);
        dlp.examples_pass.insert(&NamePattern::Exact(HOST.clone()), ());
        let guard = Guard::new(Arc::new(dlp), vec!["a".into()], nothing(), memory.clone());
        let mut body = body(&guard, &request("1", &[("content-type", b"application/json")], false));
        body.whole(text.as_bytes(), &mut Vec::new())
    };
    for _ in 0..20 {
        outcome(&["alt_"]).unwrap();
        assert_eq!(outcome(&["vnd_"]).unwrap_err().reason, Reason::DlpBlocked);
    }
}

#[test]
fn a_head_that_was_clean_is_looked_at_again_under_other_rules_and_wherever_it_differs() {
    let memory = Arc::new(Memory::new(&Default::default()));
    let outcome = |keywords: &[&str], fields: &[(&str, &[u8])]| {
        let dlp = Arc::new(dlp(keywords, Profile::default_profile().requests));
        let guard = Guard::new(dlp, vec!["a".into()], nothing(), memory.clone());
        guard.look(&request("1", fields, true)).map(|looked| looked.findings.len())
    };
    let said: [(&str, &[u8]); 2] = [("user-agent", b"curl/8"), ("x-note", TOKEN.as_bytes())];
    let other: [(&str, &[u8]); 2] = [("user-agent", b"curl/8"), ("x-note", OTHER.as_bytes())];
    for _ in 0..20 {
        assert_eq!(outcome(&["alt_"], &said).unwrap(), 0);
        assert_eq!(outcome(&["vnd_"], &said).unwrap_err().denial.reason, Reason::DlpBlocked);
        assert_eq!(outcome(&["alt_"], &other).unwrap_err().denial.reason, Reason::DlpBlocked);
    }
}

#[test]
fn what_is_found_in_a_head_is_found_each_time() {
    let guard = guard(dlp(&["vnd_"], doing("credentials", Action::Monitor)));
    for _ in 0..3 {
        let looked = guard.look(&request("1", &[("x-note", TOKEN.as_bytes())], true)).unwrap();
        assert_eq!(rules(&looked.findings), ["vnd-token"]);
    }
}

#[test]
fn two_heads_are_one_only_where_everything_stands_at_the_same_place() {
    let text = |fields: &[(&str, &[u8])], path, query| {
        head::Text::of(&Outgoing { path, query, ..request("1", fields, true) }).identity()
    };
    let heads = [
        text(&[], "/a", None),
        text(&[], "/a", Some("")),
        text(&[], "/a", Some("b")),
        text(&[("b", b"")], "/a", None),
        text(&[("b", b"c: d")], "/a", None),
        text(&[("b", b"c"), ("d", b"")], "/a", None),
        text(&[("b: c", b"d")], "/a", None),
        text(&[("b", b"c")], "/a", Some("b: c")),
    ];
    for (at, head) in heads.iter().enumerate() {
        assert!(heads.iter().skip(at + 1).all(|other| other != head), "{at}");
    }
}

#[test]
fn a_head_that_comes_again_and_again_hides_nothing_that_comes_between_or_after() {
    let name = |label: &str| Host::Name(format!("{label}.example.com").into());
    let token = TOKEN.to_lowercase();
    let (first, second) = token.split_at(14);
    let api = name("api");
    let in_fields = [(&api, first), (&api, first), (&api, first), (&api, first), (&api, second)];
    // The head is the same to the byte, and the labels are the pieces.
    let (one, two) = (name(first), name(second));
    let in_labels = [(&api, "a"), (&api, "a"), (&api, "a"), (&one, "a"), (&two, "a")];
    for requests in [in_fields, in_labels] {
        let guard = guard(dlp(&["vnd_"], Profile::default_profile().requests));
        let passes = requests.iter().enumerate().map(|(at, (host, part))| {
            let (id, fields): (_, [(&str, &[u8]); 1]) = (at.to_string(), [("x-part", part.as_bytes())]);
            guard.look(&Outgoing { host, ..request(&id, &fields, true) }).is_ok()
        });
        assert_eq!(passes.collect::<Vec<_>>(), [true, true, true, true, false], "{requests:?}");
    }
}

#[test]
fn a_head_is_not_clean_because_something_else_was_that_reads_like_it() {
    let memory = Arc::new(Memory::new(&Default::default()));
    let dlp = dlp(&["vnd_"], Profile::default_profile().requests);
    let version = dlp.requests(AgentId(0), &HOST, 443, "/", Arc::default()).version();
    let guard = Guard::new(Arc::new(dlp), vec!["a".into()], nothing(), memory.clone());
    let fields: [(&str, &[u8]); 1] = [("x-note", TOKEN.as_bytes())];
    let request = request("1", &fields, true);
    let text = head::Text::of(&request);
    for like in [text.identity().as_slice(), text.host()] {
        memory.verdicts.note(memory.verdicts.block(version, like));
    }
    assert_eq!(guard.look(&request).unwrap_err().denial.reason, Reason::DlpBlocked);
}

#[test]
fn no_two_sets_of_rules_have_one_version() {
    let version = || {
        let dlp = dlp(&["vnd_"], Profile::default_profile().requests);
        dlp.requests(AgentId(0), &HOST, 443, "/", Arc::default()).version()
    };
    // One after the other: what replaces something may well stand at its address.
    let versions: std::collections::HashSet<_> = (0..50).map(|_| version()).collect();
    assert_eq!(versions.len(), 50);
}

#[test]
fn a_large_message_is_looked_at_as_it_comes() {
    let guard = guard(dlp(&["vnd_"], Profile::default_profile().requests));
    let fields: [(&str, &[u8]); 2] = [("content-type", b"application/grpc"), ("grpc-encoding", b"gzip")];
    let mut body = body(&guard, &request("1", &fields, false));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    gzip.write_all(format!("{TOKEN} \n").as_bytes()).unwrap();
    gzip.write_all(&b"nothing at all\n".repeat(10_000)).unwrap();
    let mut message = gzip.finish().unwrap();
    // What comes after it cannot be read: whoever reads all of it first knows of nothing else.
    let end = message.len() - 1000;
    message[end..].fill(0xff);
    let prefix = [&[1][..], &u32::try_from(message.len()).unwrap().to_be_bytes()].concat();
    let denial = body.push(&[prefix, message].concat(), &mut Vec::new()).unwrap_err();
    assert_eq!(denial.reason, Reason::DlpBlocked, "{denial:?}");
}

#[test]
fn a_body_in_which_known_secrets_are_replaced_may_change_its_length() {
    for (actions, unheld) in [
        (doing("knownSecret", Action::Monitor), Unheld::StreamOfAnyLength),
        (doing("canary", Action::Monitor), Unheld::StreamOfAnyLength),
        (doing("credentials", Action::Redact), Unheld::StreamOfAnyLength),
        (doing("credentials", Action::Monitor), Unheld::Stream),
    ] {
        let looked = guard(dlp(&["vnd_"], actions)).look(&request("1", &[], false)).unwrap();
        assert_eq!(looked.unheld, unheld);
    }
}

#[test]
fn the_head_of_an_empty_body_is_a_piece_too() {
    let guard = guard(dlp(&["vnd_"], Profile::default_profile().requests));
    let (first, second) = TOKEN.split_at(14);
    for (id, piece, passes) in [("1", first, true), ("2", second, false)] {
        let mut body = body(&guard, &request(id, &[("x-part", piece.as_bytes())], false));
        let outcome = body.finish(None, &mut Vec::new());
        assert_eq!(outcome.err().map(|denial| denial.reason), (!passes).then_some(Reason::DlpBlocked), "{id}");
    }
}

#[test]
fn a_token_may_begin_in_a_field_s_name() {
    let guard = guard(dlp(&["vnd_"], Profile::default_profile().requests));
    for (name, value, passes) in [
        ("x-vnd-q8zr", "3vTn5kLw0pXyC7dE1fGh", false),
        ("x-vnd-q8zr", "3vTn5kLw0pXyC7dE1", true),
        ("x-other", "3vTn5kLw0pXyC7dE1fGh", true),
    ] {
        assert_eq!(guard.look(&request("1", &[(name, value.as_bytes())], true)).is_ok(), passes, "{name}: {value}");
    }
}

#[test]
fn numbers_beyond_doubt_are_found_in_pieces_and_no_others() {
    let guard = guard(dlp(&["vnd_"], Profile::default_profile().requests));
    // The first is the example of the IBAN registry for Germany, the second a card of a test account.
    for (query, passes) in [
        ("a=DE8937&b=040044&c=053201&d=3000", false),
        ("a=DE8937&b=040044&c=053201&d=3001", true),
        ("a=40128888&b=88881881", true),
    ] {
        let request = Outgoing { query: Some(query), ..request("1", &[], true) };
        assert_eq!(guard.look(&request).is_ok(), passes, "{query}");
    }
}

fn dlp(keywords: &[&str], actions: Actions) -> Dlp {
    let rule = |keyword: &&str| {
        let id = keyword.trim_end_matches('_');
        let source = format!("{{id: {id}-token, keywords: [{keyword}], pattern: '{keyword}[A-Za-z0-9]{{24}}'}}");
        Arc::new(Rule::new(serde_yaml::from_str(&source).unwrap()).unwrap())
    };
    Dlp {
        detector: Arc::new(Detector::new(keywords.iter().map(rule).collect()).unwrap()),
        default: Arc::new(Profile { requests: actions, ..Profile::default_profile() }),
        profiles: Vec::new(),
        exemptions: Vec::new(),
        examples_pass: HostTable::default(),
        key: Arc::new([0; 32]),
    }
}

fn doing(category: &str, action: Action) -> Actions {
    Actions::new([(Selector::Category(category.into()), action)])
}

fn guard(dlp: Dlp) -> Guard {
    Guard::new(Arc::new(dlp), vec!["a".into()], nothing(), Arc::new(Memory::new(&Default::default())))
}

fn nothing() -> Held {
    Arc::new(Arc::default)
}

fn body(guard: &Guard, request: &Outgoing<'_>) -> RequestBody {
    guard.look(request).unwrap().body.unwrap()
}

fn request<'a>(id: &'a str, fields: &'a [(&'a str, &'a [u8])], ends: bool) -> Outgoing<'a> {
    let (agent, now) = (AgentId(0), Instant::now());
    Outgoing { id, agent, host: &HOST, port: 443, method: "GET", path: "/", query: None, fields, ends, now }
}

fn rules(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| &*finding.rule).collect()
}
