use proptest::prelude::*;

use super::*;

#[test]
fn a_value_is_found_wherever_a_name_can_have_one() {
    for text in [
        "KEY=VALUE",
        "KEY = VALUE",
        "KEY: VALUE",
        "\"KEY\": \"VALUE\"",
        "\\\"KEY\\\":\\\"VALUE\\\"",
        "'KEY' => 'VALUE'",
        "KEY_api_token := `VALUE`",
        "<KEY>VALUE</KEY>",
        "--KEY VALUE",
        "KEY API Token: Bearer VALUE",
        "KEY%3DVALUE",
        "{\"KEY\":{\"key\":\"VALUE\"}}",
        "env.get(\"KEY\", \"VALUE\")",
        "KEY || 'VALUE'",
        "KEY:\n  VALUE",
        "my KEY is VALUE",
        r"KEY:\nVALUE",
        r"KEY:\\nVALUE",
        r"KEY\tVALUE",
        r#"my \"KEY\" is \n\t\"VALUE\""#,
    ] {
        let from = text.find("KEY").unwrap() + 3;
        let found = told(&mut Values::default(), text.as_bytes(), from);
        let found = found.iter().any(|(at, ..)| text[*at..].starts_with("VALUE"));
        assert!(found, "{text}");
    }
}

#[test]
fn digests_and_identifiers_are_no_values() {
    for text in ["KEY@sha256:VALUE", "KEY commit VALUE", "KEY: {\"checksum\": \"VALUE\"}", "KEY request_id=VALUE"] {
        let told = told(&mut Values::default(), text.as_bytes(), 3);
        let secrets: Vec<_> = told.iter().filter(|(.., no_secret)| !no_secret).collect();
        assert!(!secrets.iter().any(|(at, ..)| text[*at..].starts_with("VALUE")), "{secrets:?}");
    }
}

#[test]
fn nothing_is_tried_far_away_or_without_end() {
    let tried = |text: &[u8], from| told(&mut Values::default(), text, from).len();
    assert_eq!(tried(&b"= a".repeat(100), 0), TRIES);
    assert_eq!(tried(b"KEYandaverylongnamethatgoesonandonandonandonandonandonandon=VALUE", 3), 0);
    assert_eq!(tried(b"KEY", 3), 0);
    assert_eq!(tried(b"KEY", 4), 0);
}

#[test]
fn no_word_that_names_no_secret_ends_with_another() {
    for word in NO_SECRETS {
        assert!(!NO_SECRETS.iter().any(|other| *other != word && word.ends_with(other)));
    }
}

proptest! {
    /// Names stand anywhere, and are mostly asked about in their order; twice, as two lists of keywords ask.
    #[test]
    fn what_was_read_for_other_names_is_what_stands_behind_this_one(
        parts in prop::collection::vec(prop_oneof![
            6 => prop::sample::select(vec![
                "key", "=", ":", " ", "  ", "\"", "\\\"", "\\n", "\\\\n", "\\t", "\\", "\\\\", "\n", ",", "(", "%3D", "%20", "%", "%2",
                "\\%3D", "sha256:", "request_id=", "commit ", "bearer ", "Bearer%20", "basic ", "is ", "key ", "bot ", "{", ">", "&", "é",
            ]).prop_map(str::to_owned),
            2 => "[a-z0-9=. ]{1,6}",
            2 => "[A-Za-z0-9+/_.-]{1,30}",
            1 => "[A-Za-z0-9]{40,120}",
        ], 0..60),
        froms in prop::collection::vec((0..2000_usize, 0..30_usize), 1..60),
        ordered in any::<bool>(),
    ) {
        let text = parts.concat().into_bytes();
        let mut froms: Vec<_> = froms.into_iter().map(|(from, _)| from % (text.len() + 2)).collect();
        if ordered {
            froms.sort_unstable();
            froms.extend(froms.clone());
        }
        let mut values = Values::default();
        for from in froms {
            prop_assert_eq!(told(&mut values, &text, from), one_by_one(&text, from), "{}", from);
        }
    }
}

#[test]
fn what_is_read_of_a_long_text_is_not_all_kept() {
    let text = b"okta=q8Zr3vTn5kLw, twitter \\n".repeat(2000);
    let mut values = Values::default();
    for from in (0..text.len()).step_by(7) {
        assert_eq!(told(&mut values, &text, from), one_by_one(&text, from));
        assert!(values.places.len() < 1500);
    }
}

/// What is told of a name: for each of its values where it is, how long, and whether it is none of a secret.
fn told(values: &mut Values, text: &[u8], from: usize) -> Vec<(usize, usize, bool)> {
    values.find(text, from, 0);
    let all: Vec<_> = values.found.iter().map(|(value, _)| (value.at, value.solid)).collect();
    let most = all.iter().map(|(_, solid)| *solid).max().unwrap_or_default();
    assert!(values.find(text, from, most) && (most == usize::MAX || !values.find(text, from, most + 1)));
    for solid in [0, 1, 16, usize::MAX] {
        let long: Vec<_> = all.iter().map(|(at, of)| (*at, *of >= solid)).enumerate().collect();
        let expected: Vec<_> =
            long.iter().filter(|(_, (_, long))| *long).map(|(index, (at, _))| (*index, *at)).collect();
        let next = |before: &(usize, usize)| values.next(before.0 + 1, solid);
        assert_eq!(std::iter::successors(values.next(0, solid), next).collect::<Vec<_>>(), expected);
    }
    let told = all.into_iter().enumerate();
    told.map(|(index, (at, solid))| (at, solid, values.is_no_secret(index, text))).collect()
}

/// The same as one would write it for one name.
fn one_by_one(text: &[u8], from: usize) -> Vec<(usize, usize, bool)> {
    let mut told = Vec::new();
    each(text, from, |at| {
        let solid = text[at..].iter().take(64).take_while(|byte| is_token(**byte)).count();
        let name = &text[from..at];
        let end = name.iter().rposition(u8::is_ascii_alphanumeric).map_or(0, |last| last + 1);
        let name = name[..end].to_ascii_lowercase();
        let no_secret = NO_SECRETS.iter().any(|word| name.ends_with(word));
        told.push((at, if solid == 64 { usize::MAX } else { solid }, no_secret));
    });
    told
}

/// Tells each place after `from` where a value may begin, the nearest first.
fn each(text: &[u8], from: usize, mut tell: impl FnMut(usize)) {
    let end = text.len().min(from + REACH);
    let Some(after) = text.get(from..end) else { return };
    let mut tries = 0;
    let mut assigned = false;
    let mut lines = 0;
    let mut before = b'k';
    let mut escaped = None;
    let mut next = 0;
    while let Some(mut byte) = after.get(next).copied() {
        let at = next;
        next += 1;
        // What is escaped parts as what it stands for.
        if escaped == Some(at) {
            byte = parting(byte).unwrap_or(byte);
        } else if byte == b'\\' {
            let more = after.iter().skip(at).take_while(|byte| **byte == b'\\').count();
            escaped = Some(at + more);
        }
        let begins = assigned && is_value(byte) && !is_value(before) && after.get(at..).and_then(scheme).is_none();
        if begins {
            tries += 1;
            tell(from + at);
            if tries == TRIES {
                return;
            }
        }
        match byte {
            b'=' | b':' | b'>' | b',' | b'(' | b'|' | b'[' => assigned = true,
            b' ' | b'\t' | b'"' | b'\'' | b'`' => assigned |= at < NAME,
            b'\n' => lines += 1,
            _ => {}
        }
        // Percent-encoded `=`, `:`, space and quotes.
        if before == b'%' && matches!(after.get(at..at + 2), Some(b"3D" | b"3d" | b"3A" | b"3a" | b"20" | b"22")) {
            assigned = true;
            tries += 1;
            tell(from + at + 2);
            if tries == TRIES {
                return;
            }
        }
        if lines == 3 || (!assigned && at >= NAME) {
            return;
        }
        before = byte;
    }
}

#[test]
fn a_name_that_ends_within_a_sign_has_none_of_it() {
    // What was read for the first name ends where the second does.
    let text = [&b"KEY="[..], &[b'a'; REACH - 2], b"%3D= &"].concat();
    let (mut values, from) = (Values::default(), 3 + REACH);
    told(&mut values, &text, 3);
    assert_eq!(text.get(from - 1), Some(&b'%'));
    assert_eq!(told(&mut values, &text, from), one_by_one(&text, from));
}
