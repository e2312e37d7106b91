use proptest::prelude::*;

use super::*;

const PLAIN: &str = "zq7_Kf93hTq2LmPx81VbRwAIo";

#[test]
fn what_is_written_otherwise_is_read_as_it_looks() {
    let between = |sign: &str| PLAIN.chars().map(|c| format!("{c}{sign}")).collect::<String>();
    let mapped = |letters: &dyn Fn(char) -> char| PLAIN.chars().map(letters).collect::<String>();
    let shift = |c: char, from: char, to: u32| char::from_u32(u32::from(c) - u32::from(from) + to).unwrap();
    for (name, written) in [
        ("zero-width spaces", between("\u{200b}")),
        ("zero-width joiners", between("\u{200d}")),
        ("word joiners", between("\u{2060}")),
        ("one soft hyphen", PLAIN.replace("3h", "3\u{ad}h")),
        ("bidi", format!("\u{202e}{}\u{202c}", between("\u{200e}"))),
        ("variation selectors", between("\u{fe0f}")),
        ("supplementary variation selectors", between("\u{e0101}")),
        ("combining marks", between("\u{336}")),
        ("two combining marks", between("\u{301}\u{325}")),
        ("composed marks", PLAIN.replace('o', "ö").replace('R', "Ŕ").replace('K', "Ḱ")),
        ("backspaces", between("\u{8}")),
        ("zeros", between("\0")),
        ("delete", PLAIN.replace("Lm", "L\u{7f}m")),
        ("tags", mapped(&|c| shift(c, '\0', 0xe_0000))),
        ("fullwidth", mapped(&|c| shift(c, '!', 0xff01))),
        (
            "bold",
            mapped(&|c| match c {
                'A'..='Z' => shift(c, 'A', 0x1d400),
                'a'..='z' => shift(c, 'a', 0x1d41a),
                '0'..='9' => shift(c, '0', 0x1d7ce),
                c => c,
            }),
        ),
        (
            "circled",
            mapped(&|c| match c {
                'A'..='Z' => shift(c, 'A', 0x24b6),
                'a'..='z' => shift(c, 'a', 0x24d0),
                c => c,
            }),
        ),
        ("one Cyrillic letter", PLAIN.replace('R', "\u{440}").replace('\u{440}', "R").replace('o', "о")),
        (
            "Cyrillic letters",
            PLAIN.replace('o', "о").replace('x', "х").replace('A', "А").replace('K', "К").replace('I', "І"),
        ),
        ("Greek letters", PLAIN.replace('A', "Α").replace('K', "Κ").replace('I', "Ι").replace('o', "ο")),
        ("Armenian letters", PLAIN.replace('o', "օ").replace('h', "հ")),
        ("Cherokee letters", PLAIN.replace('K', "Ꮶ").replace('P', "Ꮲ").replace('A', "Ꭺ")),
        ("digits of Arabic", PLAIN.replace('7', "٧").replace('9', "٩").replace('3', "۳")),
        ("digits of Devanagari", PLAIN.replace('7', "७").replace('8', "८")),
    ] {
        for (before, after) in [("", ""), ("key=\"", "\","), ("см. ключ ", " — ещё ")] {
            let text = format!("{before}{written}{after}");
            let raw = View::raw(text.as_bytes());
            let Some(view) = normalise(&raw) else { panic!("{name}: {text:?}") };
            let shown = String::from_utf8_lossy(&view.bytes);
            let Some(at) = shown.find(PLAIN) else { panic!("{name}: {text:?} reads {shown:?}") };
            let range = view.surface(at..at + PLAIN.len());
            assert!(range.start >= before.len() && range.end <= before.len() + written.len(), "{name}: {range:?}");
            assert!(range.len() + 8 >= written.len(), "{name}: {range:?} of {}", written.len());
            assert_eq!(view.chain.as_slice(), [Step::Unicode]);
        }
    }
}

#[test]
fn what_is_not_shown_is_no_part_of_the_words_that_are() {
    let hidden: String = PLAIN.chars().map(|c| char::from_u32(0xe_0000 + u32::from(c)).unwrap()).collect();
    let text = format!("hi{hidden}there");
    let view = View::raw(text.as_bytes());
    let view = normalise(&view).unwrap();
    assert_eq!(String::from_utf8_lossy(&view.bytes).lines().next().unwrap(), format!("hi {PLAIN} there"));
    assert_eq!(view.surface(3..3 + PLAIN.len()), 2..2 + hidden.len());
}

#[test]
fn what_has_no_width_may_follow_a_sign() {
    let text = "https://user:\u{fe0f}q8Zr3@\u{fe0f}db.example:\u{200b}5432/app";
    let view = View::raw(text.as_bytes());
    let shown = normalise(&view).map(|view| String::from_utf8_lossy(&view.bytes).lines().next().unwrap().to_owned());
    assert_eq!(shown.as_deref(), Some("https://user:q8Zr3@db.example:5432/app"));
}

#[test]
fn a_word_of_letters_that_all_look_like_others_is_read() {
    for (written, plain) in
        [("раѕѕԝоrԁ", "password"), ("рaѕѕwоrd", "password"), ("АРІ_КЕУ", "API_KEY"), ("ѕесrеt", "secret")]
    {
        let view = normalise(&View::raw(written.as_bytes())).unwrap();
        assert!(String::from_utf8_lossy(&view.bytes).contains(plain), "{written}");
    }
}

#[test]
fn spaces_between_groups_are_spaces() {
    for space in ["\u{a0}", "\u{2003}", "\u{202f}", "\u{3000}", "\u{2009}"] {
        let text = ["4111", "1111", "1111", "1111"].join(space);
        let view = normalise(&View::raw(text.as_bytes())).unwrap();
        assert!(view.bytes.starts_with(b"4111 1111 1111 1111"), "{space:?}");
        assert_eq!(view.surface(0..19), 0..text.len());
    }
}

#[test]
fn prose_in_any_language_stays_as_it_is() {
    for text in [
        "Только ASCII не хватит: он сказал, что пароль у соседа, а ключ под ковриком.",
        "Le garçon a déjà mangé l'œuf; où est l'élève ? À bientôt, Noël.",
        "Größe, Straße, Übermut und Äpfel — “alles” in Ordnung…",
        "Ὁ ἄνθρωπος τὸ σπίτι, και το παιδί.",
        "他说：“钥匙在门下面。”然后就走了。",
        "これは日本語の文章です。カタカナもあります。",
        "안녕하세요, 반갑습니다.",
        "Tiếng Việt có nhiều dấu.",
        "हिन्दी में लिखा हुआ एक वाक्य।",
        "👩‍👩‍👧 ❤️ 🎉 ok 👍🏽",
    ] {
        let view = normalise(&View::raw(text.as_bytes()));
        assert!(
            view.is_none(),
            "{text} reads {:?}",
            view.map(|view| String::from_utf8_lossy(&view.bytes).into_owned())
        );
    }
}

#[test]
fn plain_text_has_no_other_view() {
    assert!(normalise(&View::raw(b"plain\ttext\r\nwith lines, and ~ signs")).is_none());
    assert!(normalise(&View::raw(b"")).is_none());
    // Not UTF-8: left alone.
    assert!(normalise(&View::raw(b"\xff\xfe\xe2\x80 abc \xc3")).is_none());
}

proptest! {
    #[test]
    fn nothing_makes_it_panic_and_all_is_within(text in prop::collection::vec(prop_oneof![
        prop::collection::vec(any::<u8>(), 0..6),
        "\\PC{0,6}".prop_map(String::into_bytes),
        "[a-zA-Z0-9_ \u{200b}\u{301}оеаА٣\u{a0}]{0,9}".prop_map(String::into_bytes),
    ], 0..30)) {
        let text = text.concat();
        if let Some(view) = normalise(&View::raw(&text)) {
            let length = view.bytes.len();
            for range in [0..length, 0..1, length / 3..length / 2] {
                let place = view.surface(range);
                prop_assert!(place.start <= place.end && place.end <= text.len());
            }
        }
    }

    #[test]
    fn a_token_is_read_whatever_is_hidden_in_it(plain in "[a-zA-Z0-9_]{20,40}", hidden in prop::collection::vec((0..40_usize, prop::sample::select(vec!['\u{200b}', '\u{ad}', '\u{2066}', '\u{fe0e}', '\u{e0001}', '\u{8}'])), 1..9)) {
        let mut written: Vec<char> = plain.chars().collect();
        for (at, sign) in hidden {
            written.insert(1 + at % (written.len() - 1), sign);
        }
        let text: String = written.into_iter().collect();
        let view = normalise(&View::raw(text.as_bytes())).unwrap();
        prop_assert!(String::from_utf8_lossy(&view.bytes).contains(&plain));
    }
}
