//! What is a number of a person, and what only looks like one.

use super::*;

fn all(text: &str) -> Vec<Match> {
    let mut found = Vec::new();
    find(text.as_bytes(), &mut |new| found.push(new));
    found
}

fn everything(text: &str) -> Vec<Match> {
    let mut found = all(text);
    contact::find(text.as_bytes(), &mut |new| found.push(new));
    super::super::mnemonic::find(text.as_bytes(), &mut |new| found.push(new));
    found
}

fn blocked(text: &str) -> Vec<&'static str> {
    all(text).into_iter().filter(|found| found.confidence >= Confidence::High).map(|found| found.rule).collect()
}

#[test]
fn every_rule_finds_its_examples_and_not_the_others() {
    let mut wrong = Vec::new();
    for rule in RULES.iter() {
        let least = rule.named.min(Confidence::High);
        let finds =
            |text: &str| everything(text).iter().any(|found| found.rule == rule.id && found.confidence >= least);
        assert!(!rule.matches.is_empty() && !rule.no_match.is_empty(), "{}", rule.id);
        wrong.extend(
            rule.matches
                .iter()
                .filter(|text| !finds(text))
                .map(|text| format!("{} not in `{text}`: {:?}", rule.id, all(text))),
        );
        wrong.extend(rule.no_match.iter().filter(|text| finds(text)).map(|text| format!("{} in `{text}`", rule.id)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn rules_are_few_enough_for_the_bits_of_a_context_and_have_one_name_each() {
    assert!(RULES.len() <= 128);
    let mut ids: Vec<_> = RULES.iter().map(|rule| rule.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), RULES.len());
    assert!(RULES.iter().all(|rule| rule.words.iter().all(|word| word.chars().count() >= 2)));
}

#[test]
fn what_looks_like_a_number_of_a_person_is_none() {
    let others = [
        "550e8400-e29b-41d4-a716-446655440000",
        "4539578763621487",
        "{\"id\":1234567890123456789,\"at\":1700000000123}",
        "2024-01-02T03:04:05.123456789Z",
        "version 10.15.7.1234 build 20240102030405",
        "0.45395787636214861",
        "192.168.100.200",
        "978-3-16-148410-0",
        "1Z999AA10123456784",
        "+1 (415) 555-2671",
        "pi is 3.14159265358979323846",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "DE76 4539 5787 6362 1486 00",
        "De75 5121 0800 1245 1261 99",
        "IMEI 490154203237518",
        "order 536-90-4399",
        "1234 5678 9012 3456 7890 1234",
        "lat 37.77490123 lng -122.41941550",
        "$1,234,567,890.00",
    ];
    for text in others {
        assert_eq!(blocked(text), Vec::<&str>::new(), "{text}: {:?}", all(text));
    }
}

#[test]
fn a_number_is_found_wherever_it_stands() {
    let around = [
        ("", ""),
        ("{\"a\":\"", "\"}"),
        ("a=", "&b=c"),
        ("/v1/", "/x"),
        ("row: 1,", ",2"),
        ("<a>", "</a>"),
        ("the number is ", "."),
        ("x ", " 12/27 123"),
        ("é", "é"),
        ("card-", " "),
        ("卡号：", "。"),
    ];
    for (before, after) in around {
        for (value, rule) in
            [("4539 5787 6362 1486", "pii-card"), ("536-90-4399", "pii-us-ssn"), ("4539578763621486", "pii-card")]
        {
            let text = format!("{before}{value}{after}");
            let found = all(&text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!((found[0].rule, &text[found[0].range.clone()]), (rule, value), "{text}");
        }
    }
}

#[test]
fn an_example_is_told_from_a_number() {
    let example = |text: &str| all(text).first().map(|found| found.example);
    assert_eq!(example("4242 4242 4242 4242"), Some(true));
    assert_eq!(example("078-05-1120"), Some(true));
    assert_eq!(example("DE89 3704 0044 0532 0130 00"), Some(true));
    assert_eq!(example("4539 5787 6362 1486"), Some(false));
}

#[test]
fn of_numbers_that_overlap_the_surest_is_told() {
    assert_eq!(blocked("BSN 242681384"), ["pii-netherlands-bsn"]);
    assert_eq!(
        blocked("536-90-4399 and 4539578763621486, DE75512108001245126199"),
        ["pii-us-ssn", "pii-card", "pii-iban"]
    );
}

#[test]
fn text_without_digits_costs_no_allocation() {
    find(b"4242424242424242", &mut |_| {});
    let text = "no digits in this at all, but the year 2024 and 17 of 42. ".repeat(100);
    let counted = allocation_counter::measure(|| find(text.as_bytes(), &mut |_| {}));
    assert_eq!(counted.count_total, 0);
}

#[test]
fn any_bytes_are_read_to_their_end() {
    let pieces: [&[u8]; 12] =
        [b"1", b"12", b"123", b"-", b" ", b".", b"A", b"<<", b"GB29", b"\xff", b"(", b"4242424242424242"];
    // Every pair and triple of pieces, so that each edge of a text is an edge of each piece.
    for a in pieces {
        for b in pieces {
            for c in pieces {
                let text = [a, b, c, a, b].concat();
                find(&text, &mut |found| assert!(text.get(found.range.clone()).is_some_and(|value| !value.is_empty())));
            }
        }
    }
}
