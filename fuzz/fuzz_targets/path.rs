//! Paths as agents write them, and patterns of paths. First line: a pattern; second: a path.
#![no_main]

use attache::pipeline::message::parse_path;
use attache::pipeline::policy::path::{PathPattern, PathView};
use attache::pipeline::policy::tree::PathTree;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (pattern, path) = text.split_once('\n').unwrap_or(("/**", text));
    let Ok(path) = parse_path(path) else { return };
    assert_eq!(parse_path(&path).as_ref(), Ok(&path), "a path has one normal form");
    let Ok(pattern) = PathPattern::parse(pattern) else { return };
    let view = PathView::of(&path);
    let restricts = pattern.restricts(&view);
    assert!(!pattern.permits(&path) || restricts, "what permits also restricts");
    let mut tree = PathTree::default();
    tree.insert(Some(&pattern), ());
    assert!(!restricts || tree.find(&view, |()| true), "what fits is found");
    // A server drops segments of parameters and blanks alone, or keeps them: what drops one of them and keeps another is
    // nobody's path. And what fits only the digits of an escape fits nothing that a server sees.
    let unescaped = unescape(&unescape(&path));
    let is_nobodys = unescaped.contains("/;") || unescaped.contains("/ ");
    if !restricts || is_nobodys || !pattern.restricts(&PathView::of(&unescaped)) {
        return;
    }
    // What some server takes for the same path. Upper case would change the escapes of what is no letter.
    let bare = path.trim_end_matches('/');
    // Neither does any server keep some parameters and drop others.
    let parameter = if unescaped.contains(';') { "" } else { ";x=1" };
    for spelled in [format!("{bare}/"), format!("{bare}{parameter}"), format!("{bare}%20"), lower(&path), upper(&path)]
    {
        if let Ok(spelled) = parse_path(&spelled) {
            assert!(pattern.restricts(&PathView::of(&spelled)), "`{path}` is restricted, `{spelled}` is not");
        }
    }
});

/// One layer of escapes undone, but for signs that patterns or paths give a meaning.
fn unescape(path: &str) -> String {
    let mut parts = path.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte @ 0x20..0x7f) if !b"/\\*{}".contains(&byte) => {
                out.push(byte.into());
                out.push_str(&part[2..]);
            }
            _ => out.extend(["%", part]),
        }
    }
    out
}

fn lower(path: &str) -> String {
    path.to_ascii_lowercase()
}

fn upper(path: &str) -> String {
    path.to_ascii_uppercase()
}
