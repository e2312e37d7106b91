//! Whatever the bytes, the reader returns.

use proptest::prelude::*;

use super::super::error::disguises;
use super::*;

/// Pieces of policies, so that random texts get past the first line.
fn policy_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "allowedDomains",
            "agents",
            "credentials",
            "identity",
            "token",
            "pattern",
            "method",
            "version",
            "x",
            "a.example",
            ": ",
            ":\n",
            "\n",
            "\n  ",
            "\n    ",
            "- ",
            "\n- ",
            "\n  - ",
            "{",
            "}",
            "[",
            "]",
            ", ",
            "\"",
            "'",
            "&a ",
            "*a",
            "!t ",
            "<<: ",
            "? ",
            "|\n",
            ">-\n",
            "#",
            "---\n",
            "...\n",
            "\t",
            "%YAML 1.2\n",
            "\r",
            "é",
            "\u{feff}",
            "null",
            "1",
            "true",
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,4}",
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let file = File::new("p".to_owned(), bytes);
        let _ = problems(draft(vec![file], Problems::default())).to_string();
    }

    #[test]
    fn no_text_makes_the_reader_panic_and_every_refusal_has_a_place(first in policy_like(), second in policy_like()) {
        let file = |name: &str, text: &str| File::of_text(name, text);
        let outcome = compiled(draft(vec![file("p", &first), file("q", &second)], Problems::default()));
        if let Err(problems) = outcome {
            prop_assert!(problems.has_errors());
            for problem in problems.iter() {
                let at = problem.at.unwrap();
                prop_assert!(at.line >= 1 && at.column >= 1, "{problem:?}");
            }
            let report = problems.to_string();
            let drives = report.chars().any(|character| disguises(character) || character == '\u{1b}');
            prop_assert!(!drives, "a terminal would obey this report");
        }
    }
}
