use std::io::Write;

use ::base64::Engine;
use ::base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE};
use data_encoding::BASE32;
use proptest::prelude::*;

use super::*;

const PLAIN: &str = "zq7_Kf93hTq2LmPx81VbRw";

/// Depth of what is derived, as the scan has it.
const DEPTH: usize = 4;

#[test]
fn what_is_encoded_is_found_where_it_stands() {
    let gz = gzip(&prose());
    for (name, encoded, steps) in [
        ("percent", percent(PLAIN), &[Step::Percent][..]),
        ("percent twice", percent(&percent(PLAIN)), &[Step::Percent, Step::Percent]),
        ("percent signs twice", percent(PLAIN).replace('%', "%25"), &[Step::Percent]),
        ("percent signs thrice", percent(PLAIN).replace('%', "%2525"), &[Step::Percent]),
        ("percent of JavaScript", each(PLAIN, |c| format!("%u{:04X}", u32::from(c))), &[Step::Percent]),
        ("json", each(PLAIN, |c| format!("\\u{:04x}", u32::from(c))), &[Step::Escapes]),
        ("json upper case", each(PLAIN, |c| format!("\\u{:04X}", u32::from(c))), &[Step::Escapes]),
        ("json twice", each(PLAIN, |c| format!("\\\\u{:04x}", u32::from(c))), &[Step::Escapes, Step::Escapes]),
        ("javascript x", each(PLAIN, |c| format!("\\x{:02x}", u32::from(c))), &[Step::Escapes]),
        ("javascript braces", each(PLAIN, |c| format!("\\u{{{:x}}}", u32::from(c))), &[Step::Escapes]),
        ("python U", each(PLAIN, |c| format!("\\U{:08x}", u32::from(c))), &[Step::Escapes]),
        ("octal", each(PLAIN, |c| format!("\\{:03o}", u32::from(c))), &[Step::Escapes]),
        ("decimal entities", each(PLAIN, |c| format!("&#{};", u32::from(c))), &[Step::Entities]),
        ("decimal entities, open", each(PLAIN, |c| format!("&#{}", u32::from(c))), &[Step::Entities]),
        ("hex entities", each(PLAIN, |c| format!("&#x{:X};", u32::from(c))), &[Step::Entities]),
        ("named entity", PLAIN.replace('_', "&lowbar;"), &[Step::Entities]),
        ("quoted-printable", each(PLAIN, |c| format!("={:02X}", u32::from(c))), &[Step::QuotedPrintable]),
        ("soft line break", format!("{}=\r\n{}", &PLAIN[..9], &PLAIN[9..]), &[Step::QuotedPrintable]),
        ("base64", BASE64_STANDARD.encode(PLAIN), &[Step::Base64]),
        ("base64 unpadded", BASE64_STANDARD_NO_PAD.encode(PLAIN), &[Step::Base64]),
        ("base64 url", BASE64_URL_SAFE.encode(PLAIN), &[Step::Base64]),
        ("base64 within", BASE64_STANDARD.encode(format!("some {PLAIN} ü text")), &[Step::Base64]),
        ("base64 of text with umlauts", BASE64_STANDARD.encode(format!("äöü {PLAIN} ßßß")), &[Step::Base64]),
        ("base64 twice", BASE64_STANDARD.encode(BASE64_STANDARD.encode(PLAIN)), &[Step::Base64, Step::Base64]),
        ("base64 wrapped at 64", wrapped(&prose(), 64, "\n"), &[Step::Base64]),
        ("base64 wrapped at 76", wrapped(&prose(), 76, "\r\n"), &[Step::Base64]),
        ("base64 indented", wrapped(&prose(), 76, "\n    "), &[Step::Base64]),
        ("base64 wrapped in JSON", wrapped(&prose(), 76, "\\n"), &[Step::Escapes, Step::Base64]),
        ("base64 wrapped by QP", wrapped(&prose(), 75, "=\r\n"), &[Step::QuotedPrintable, Step::Base64]),
        ("base64 spaced", spaced(&BASE64_STANDARD.encode(PLAIN)), &[Step::Split, Step::Base64]),
        ("spaced", spaced(PLAIN), &[Step::Split]),
        ("base64 in groups", grouped(&BASE64_STANDARD.encode(PLAIN), 5, " "), &[Step::Split, Step::Base64]),
        ("base64 in groups on lines", grouped(&BASE64_STANDARD.encode(PLAIN), 8, "\r\n"), &[Step::Split, Step::Base64]),
        ("in groups", grouped(PLAIN, 4, "\t"), &[Step::Split]),
        ("in groups with hyphens", grouped(PLAIN, 4, "-"), &[Step::Split]),
        ("character codes", codes(PLAIN, ","), &[Step::Escapes]),
        ("character codes in lines", codes(PLAIN, ",\n  "), &[Step::Escapes]),
        ("bits", each(PLAIN, |c| format!("{:08b}", u32::from(c))), &[Step::Escapes]),
        ("bits after others", format!("101{}", each(PLAIN, |c| format!("{:08b}", u32::from(c)))), &[Step::Escapes]),
        ("bits in groups", each(PLAIN, |c| format!("{:08b} ", u32::from(c))), &[Step::Escapes]),
        ("base64 of UTF-16", BASE64_STANDARD.encode(utf16(PLAIN, u16::to_le_bytes)), &[Step::Base64, Step::Utf16]),
        (
            "base64 in JSON with escaped slashes",
            BASE64_STANDARD.encode(format!("???{PLAIN}???")).replace('/', "\\/"),
            &[Step::Escapes, Step::Base64],
        ),
        ("hex", data_encoding::HEXLOWER.encode(PLAIN.as_bytes()), &[Step::Hex]),
        ("hex upper case", data_encoding::HEXUPPER.encode(PLAIN.as_bytes()), &[Step::Hex]),
        ("hex with 0x", format!("0x{}", data_encoding::HEXUPPER.encode(PLAIN.as_bytes())), &[Step::Hex]),
        ("hex with colons", pairs(PLAIN, "", ":"), &[Step::Hex]),
        ("hex with hyphens", pairs(PLAIN, "", "-"), &[Step::Hex]),
        ("hex with spaces", pairs(PLAIN, "", " "), &[Step::Hex]),
        ("hex with commas", pairs(PLAIN, "0x", ", "), &[Step::Hex]),
        ("hex of C", pairs(PLAIN, "\\x", ""), &[Step::Escapes]),
        ("base32", BASE32.encode(PLAIN.as_bytes()), &[Step::Base32]),
        ("base32 unpadded", data_encoding::BASE32_NOPAD.encode(PLAIN.as_bytes()), &[Step::Base32]),
        ("base32 lower case", BASE32.encode(PLAIN.as_bytes()).to_lowercase(), &[Step::Base32]),
        ("base58", bs58::encode(PLAIN).into_string(), &[Step::Base58]),
        ("ascii85", ascii85(PLAIN.as_bytes()), &[Step::Base85]),
        ("base64 of gzip", BASE64_STANDARD.encode(&gz), &[Step::Base64, Step::Gzip]),
        ("hex of gzip", data_encoding::HEXLOWER.encode(&gz), &[Step::Hex, Step::Gzip]),
        ("base64 of zlib", BASE64_STANDARD.encode(zlib(&prose())), &[Step::Base64, Step::Deflate]),
        ("percent of base64", percent(&BASE64_STANDARD.encode(PLAIN)), &[Step::Percent, Step::Base64]),
        (
            "base64 of hex",
            BASE64_STANDARD.encode(data_encoding::HEXLOWER.encode(PLAIN.as_bytes())),
            &[Step::Base64, Step::Hex],
        ),
        (
            "hex of base64",
            data_encoding::HEXLOWER.encode(BASE64_STANDARD.encode(PLAIN).as_bytes()),
            &[Step::Hex, Step::Base64],
        ),
        (
            "base64 of json",
            BASE64_STANDARD.encode(each(PLAIN, |c| format!("\\u{:04x}", u32::from(c)))),
            &[Step::Base64, Step::Escapes],
        ),
    ] {
        for (before, after) in [("", ""), ("x=\"", "\", next"), ("see ", " for more of it\nand on")] {
            let text = format!("{before}{encoded}{after}");
            let found = found(text.as_bytes(), PLAIN);
            let fitting = found.iter().find(|(chain, _)| chain.as_slice() == steps);
            let Some((_, range)) = fitting else { panic!("{name} in `{text}`: {found:?}") };
            let run = before.len()..before.len() + encoded.len();
            assert!(run.start <= range.start && range.end <= run.end, "{name} in `{text}`: {range:?} of {run:?}");
            assert!(range.len() >= PLAIN.len(), "{name} in `{text}`: {range:?}");
        }
    }
}

#[test]
fn binary_codings_are_found_wherever_they_begin() {
    let archive = zip(&prose());
    for (name, body, steps) in [
        ("gzip", gzip(&prose()), &[Step::Gzip][..]),
        ("zlib", zlib(&prose()), &[Step::Deflate]),
        ("zstd", zstd::encode_all(prose().as_bytes(), 3).unwrap(), &[Step::Zstd]),
        ("zip", archive, &[Step::Zip]),
        ("gzip of base64", gzip(&BASE64_STANDARD.encode(PLAIN)), &[Step::Gzip, Step::Base64]),
        ("UTF-16 LE", utf16(PLAIN, u16::to_le_bytes), &[Step::Utf16]),
        ("UTF-16 BE", utf16(PLAIN, u16::to_be_bytes), &[Step::Utf16]),
        ("UTF-32 LE", PLAIN.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect(), &[Step::Utf16]),
        ("UTF-32 BE", PLAIN.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect(), &[Step::Utf16]),
    ] {
        for before in [&b""[..], b"--boundary\r\nname: x\r\n\r\n"] {
            if name == "zlib" && !before.is_empty() {
                continue;
            }
            let text = [before, &body, b"\r\n--boundary"].concat();
            let found = found(&text, PLAIN);
            assert!(found.iter().any(|(chain, _)| chain.as_slice() == steps), "{name}: {found:?}");
        }
    }
    let marked: Vec<u8> =
        [0xff, 0xfe].into_iter().chain(utf16(&format!("жжжжжжж {PLAIN}"), u16::to_le_bytes)).collect();
    assert!(!found(&marked, PLAIN).is_empty());
}

#[test]
fn base64_is_found_though_it_is_glued_to_something() {
    for plain in [PLAIN.to_owned(), format!("{PLAIN}{PLAIN}{PLAIN}!")] {
        let encoded = BASE64_URL_SAFE.encode(&plain);
        for glue in ["k", "to", "abc", "token", "/v1/items/", "/upload/files/of/somebody/", "data-", "X_Y_"] {
            for text in [format!("{glue}{encoded}"), format!("{glue}{}/tail/of/it", encoded.trim_end_matches('='))] {
                let views = derived(text.as_bytes());
                // The token stands at a boundary: what is glued may read as letters.
                let is_bare = |view: &View<'_>| {
                    let at = memchr::memmem::find(&view.bytes, plain.as_bytes())?;
                    Some(at == 0 || !view.bytes[at - 1].is_ascii_alphanumeric())
                };
                assert!(views.iter().any(|view| is_bare(view) == Some(true)), "{text}");
            }
        }
    }
}

#[test]
fn what_only_shifts_base64_is_no_part_of_a_number() {
    for (before, after) in [("x", ""), ("xy", ""), ("x", "z"), ("", "zz")] {
        let views = derived(BASE64_STANDARD.encode(format!("{before}4012888888881881{after}")).as_bytes());
        let alone = |view: &View<'_>| view.bytes.split(|byte| *byte == b'\n').any(|line| line == b"4012888888881881");
        assert!(views.iter().any(alone), "{before} {after}");
    }
}

#[test]
fn words_and_lines_of_one_length_are_no_groups() {
    for text in [
        "when they have been here, they want more than that",
        "550e8400-e29b-41d4-a716-446655440000 and 2024-05-06-07",
        "SELECT Name FROM Customers WHERE CustomerId IN (SELECT Id FROM Old)",
    ] {
        assert!(derived(text.as_bytes()).iter().all(|view| !view.chain.contains(&Step::Split)), "{text}");
    }
}

#[test]
fn dumps_are_read() {
    for (name, dump) in [
        ("xxd", dump(PLAIN, 2, ":", "  ")),
        ("xxd in a string", format!("{{\"id\": 7, \"data\": \"{}\"}}", dump(&prose(), 2, ":", " ").trim_end())),
        ("xxd with more", format!("$ xxd f\n{}done\n", dump(&prose(), 2, ":", "  "))),
        ("hexdump -C", dump(PLAIN, 1, " ", "  |")),
    ] {
        assert!(
            found(dump.as_bytes(), PLAIN).iter().any(|(chain, _)| chain.as_slice() == [Step::Hex]),
            "{name}:\n{dump}"
        );
    }
}

#[test]
fn plain_text_costs_nothing() {
    for text in [
        "Nothing is hidden in this. A sentence, and another one (with brackets), 50% of it; a & b, 1 + 1 = 2.\n"
            .repeat(50),
        "{\"model\": \"m\", \"messages\": [{\"role\": \"user\", \"content\": \"Hello there\"}], \"n\": 1.5}".repeat(20),
        format!("{}\n", "        indented\n\n    code();\n".repeat(30)),
    ] {
        let mut budget = Budget::of(0);
        let mut found = Vec::new();
        derive(&View::raw(text.as_bytes()), &[], &mut budget, &mut found);
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(budget.left, Budget::of(0).left);
    }
}

#[test]
fn ordinary_messages_are_within_the_budget() {
    let page: String = (0..400)
        .map(|at| {
            format!(
                "<a href=\\\"https://example.com/path?q=a%20b&amp;n={at}\\\">It&#39;s one\\u2026</a>\\n\\tx = y\\\\z; id={:x}=20 \
                 sha256-{} {at:08}-aaaa-bbbb-cccc-0123456789ab\\r\\n",
                at * 7919,
                BASE64_STANDARD.encode((at * 48271_u32).to_le_bytes().repeat(8)),
            )
        })
        .collect();
    let mut budget = Budget::of(page.len());
    let mut views = vec![View::raw(page.as_bytes())];
    for _ in 0..DEPTH {
        views = next(&views, &mut budget);
    }
    assert!(!budget.is_exhausted());
    assert!(budget.left * 2 > Budget::of(page.len()).left, "{} left", budget.left);
}

#[test]
fn decoys_do_not_hide_what_is_behind_them() {
    let decoy = BASE64_STANDARD.encode("nothing at all is to be seen in this one, nor in the next. ".repeat(60));
    let text = format!(
        "{} {} {}",
        format!("{decoy} ").repeat(90),
        BASE64_STANDARD.encode(PLAIN),
        format!("{decoy} ").repeat(9)
    );
    let mut budget = Budget { left: 100 << 10, exhausted: false };
    let mut found = Vec::new();
    derive(&View::raw(text.as_bytes()), &[], &mut budget, &mut found);
    assert!(budget.is_exhausted());
    assert!(found.iter().any(|view| view.bytes.starts_with(PLAIN.as_bytes())));
}

#[test]
fn a_bomb_exhausts_the_budget() {
    let bomb = gzip(&"0".repeat(8 << 20));
    let mut budget = Budget::of(bomb.len());
    let mut found = Vec::new();
    derive(&View::raw(&bomb), &[], &mut budget, &mut found);
    assert!(budget.is_exhausted());
    assert!(found.iter().all(|view| view.bytes.len() <= 256 << 10));
}

#[test]
fn an_image_in_base64_is_not_text() {
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(300_000)
    .collect();
    let text = BASE64_STANDARD.encode(&noise);
    let views = derived(text.as_bytes());
    let all: usize = views.iter().map(|view| view.bytes.len()).sum();
    assert!(all * 100 < text.len(), "{all} bytes of {}", text.len());
    // But a text in its midst is found.
    let with = [&noise[..100_001], PLAIN.as_bytes(), &noise[100_001..]].concat();
    assert!(!found(BASE64_STANDARD.encode(&with).as_bytes(), PLAIN).is_empty());
}

#[test]
fn forms_have_plus_for_a_space() {
    let found = found(b"name=some+words&n=4111+1111+1111+1111", "4111 1111 1111 1111");
    assert_eq!(found.first().map(|(_, range)| range.clone()), Some(18..37));
    assert!(derived(b"1 + 1 = 2 and a+b").is_empty());
}

proptest! {
    #[test]
    fn what_is_encoded_twice_is_found(plain in "[A-Za-z0-9_]{20,60}", first in 0..ENCODERS.len(), second in 0..ENCODERS.len(), before in "[g-z]{1,8}[ =:\"]", after in "[ ,\"][g-z]{0,9}") {
        let encoded = ENCODERS[second](&ENCODERS[first](&plain));
        let text = format!("{before}{encoded}{after}");
        let found = found(text.as_bytes(), &plain);
        prop_assert!(!found.is_empty(), "{}", text);
        for (chain, range) in found {
            prop_assert!(range.start >= before.len() && range.end <= before.len() + encoded.len(), "{:?} {:?} in {}", chain, range, text);
        }
    }

    #[test]
    fn nothing_makes_it_panic_and_all_is_within(text in prop::collection::vec(prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        "[%\\\\&=]{1,2}(u|x|#|#x|U|u\\{)?[0-9a-fA-F]{0,8};?".prop_map(String::into_bytes),
        "[A-Za-z0-9+/=]{0,70}".prop_map(String::into_bytes),
        "([0-9a-f]{2}[: ,-]){0,30}".prop_map(String::into_bytes),
        Just(gzip("some text")), Just(zip("some text")), Just(b"\xff\xfea\0b\0".to_vec()), Just(b"<~9jqo^~>\n".to_vec()),
    ], 0..12)) {
        let text = text.concat();
        for view in derived(&text) {
            let length = view.bytes.len();
            for range in [0..length, 0..0, length..length, length / 3..length / 2] {
                let place = view.surface(range);
                prop_assert!(place.start <= place.end && place.end <= text.len(), "{:?} of {}", place, text.len());
            }
        }
    }
}

const ENCODERS: [fn(&str) -> String; 9] = [
    percent,
    |plain| BASE64_STANDARD.encode(plain),
    |plain| BASE64_URL_SAFE.encode(plain).replace('=', ""),
    |plain| data_encoding::HEXLOWER.encode(plain.as_bytes()),
    |plain| BASE32.encode(plain.as_bytes()),
    |plain| each(plain, |c| format!("\\u{:04x}", u32::from(c))),
    |plain| each(plain, |c| format!("&#{};", u32::from(c))),
    |plain| pairs(plain, "", ":"),
    |plain| BASE64_STANDARD.encode(gzip(plain)),
];

/// Where a text is found in what is derived, and through which steps.
fn found(text: &[u8], plain: &str) -> Vec<(Vec<Step>, Range<usize>)> {
    let views = derived(text);
    let at = |view: &View<'_>| memchr::memmem::find(&view.bytes, plain.as_bytes());
    let place = |view: &View<'_>| Some((view.chain.to_vec(), view.surface(at(view)?..at(view)? + plain.len())));
    views.iter().filter_map(place).collect()
}

/// All that is derived.
fn derived(text: &[u8]) -> Vec<View<'static>> {
    let mut budget = Budget::of(text.len());
    let mut all = Vec::new();
    let mut views = vec![View::raw(text)];
    for _ in 0..DEPTH {
        let more = next(&views, &mut budget);
        all.extend(more.iter().cloned());
        views = more;
    }
    all
}

fn next(views: &[View<'_>], budget: &mut Budget) -> Vec<View<'static>> {
    let mut more = Vec::new();
    for view in views {
        derive(view, &[], budget, &mut more);
    }
    more
}

fn prose() -> String {
    format!("It was late when somebody wrote down the key, and the key was {PLAIN}, as they said. Nobody saw it again.")
}

fn each(plain: &str, encode: impl Fn(char) -> String) -> String {
    plain.chars().map(encode).collect()
}

fn percent(plain: &str) -> String {
    each(plain, |c| format!("%{:02X}", u32::from(c)))
}

fn pairs(plain: &str, before: &str, between: &str) -> String {
    plain.bytes().map(|byte| format!("{before}{byte:02x}")).collect::<Vec<_>>().join(between)
}

fn spaced(plain: &str) -> String {
    plain.chars().map(String::from).collect::<Vec<_>>().join(" ")
}

fn grouped(plain: &str, length: usize, between: &str) -> String {
    let groups = plain.as_bytes().chunks(length).map(|group| std::str::from_utf8(group).unwrap());
    groups.collect::<Vec<_>>().join(between)
}

fn codes(plain: &str, between: &str) -> String {
    plain.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(between)
}

fn wrapped(plain: &str, width: usize, with: &str) -> String {
    let encoded = BASE64_STANDARD.encode(plain);
    encoded.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect::<Vec<_>>().join(with)
}

fn utf16<const N: usize>(plain: &str, unit: fn(u16) -> [u8; N]) -> Vec<u8> {
    plain.encode_utf16().flat_map(unit).collect()
}

fn dump(plain: &str, group: usize, mark: &str, column: &str) -> String {
    let lines = plain.as_bytes().chunks(16).enumerate().map(|(at, line)| {
        let groups: Vec<_> = line.chunks(group).map(|group| data_encoding::HEXLOWER.encode(group)).collect();
        format!("{:08x}{mark} {:<39}{column}{}\n", at * 16, groups.join(" "), String::from_utf8_lossy(line))
    });
    lines.collect()
}

fn gzip(plain: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zlib(plain: &str) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// An archive's first entry, `a.txt`, with its lengths behind it.
fn zip(plain: &str) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain.as_bytes()).unwrap();
    let head = b"PK\x03\x04\x14\0\x08\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0a.txt";
    [&head[..], &encoder.finish().unwrap(), b"PK\x07\x08\0\0\0\0\0\0\0\0\0\0\0\0"].concat()
}

fn ascii85(plain: &[u8]) -> String {
    let mut out = String::from("<~");
    for chunk in plain.chunks(4) {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        let mut rest = u32::from_be_bytes(word);
        let mut digits = [0; 5];
        for digit in digits.iter_mut().rev() {
            *digit = (rest % 85) as u8 + b'!';
            rest /= 85;
        }
        out.extend(digits[..=chunk.len()].iter().map(|digit| char::from(*digit)));
    }
    out + "~>"
}
