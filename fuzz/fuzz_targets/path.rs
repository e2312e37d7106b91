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
    // nobody's path.
    let unescaped = path.replace("%25", "%").replace("%20", " ").replace("%3B", ";");
    if !restricts || unescaped.contains("/;") || unescaped.contains("/ ") {
        return;
    }
    // What some server takes for the same path. Upper case would change the escapes of what is no letter.
    for spelled in [format!("{path}/"), format!("{path};x=1"), format!("{path}%20"), lower(&path), upper(&path)] {
        if let Ok(spelled) = parse_path(&spelled) {
            assert!(pattern.restricts(&PathView::of(&spelled)), "`{path}` is restricted, `{spelled}` is not");
        }
    }
});

fn lower(path: &str) -> String {
    path.to_ascii_lowercase()
}

fn upper(path: &str) -> String {
    path.to_ascii_uppercase()
}
