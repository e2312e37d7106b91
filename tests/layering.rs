//! Who may import whom. The table is the flow: a module imports only what stands above it, and only what it names.
//!
//! Tests are left out (they may use anything), and so is what a module imports of itself.

#![cfg(test)]

use std::fs;
use std::path::Path;

/// What stands for everything in `src/pipeline`.
const CORE: &str = "pipeline";

/// Each module and what it may import. A longer name takes its files out of a shorter one's.
const TABLE: &[(&str, &[&str])] = &[
    // The core, from what was asked to what is answered.
    ("pipeline::address", &[]),
    ("pipeline::dlp::finding", &[]),
    ("pipeline::message", &[]),
    ("pipeline::policy::decision", &["pipeline::message"]),
    ("pipeline::policy::matcher", &["pipeline::message"]),
    ("pipeline::policy::path", &["pipeline::message"]),
    ("pipeline::session", &["pipeline::message"]),
    ("pipeline::guesses", &[]),
    ("pipeline::agent", &["pipeline::message", "pipeline::policy::decision", "pipeline::session", "pipeline::guesses"]),
    ("pipeline::limit", &["pipeline::policy::decision"]),
    ("pipeline::approval", &["pipeline::policy::decision", "pipeline::limit"]),
    ("pipeline::credential", &["pipeline::message", "pipeline::policy::decision", "pipeline::policy::path"]),
    ("pipeline::response_filter", &[]),
    (
        "pipeline::dlp",
        &[
            "pipeline::dlp::finding",
            "pipeline::message",
            "pipeline::policy::decision",
            "pipeline::policy::matcher",
            "pipeline::policy::path",
            "pipeline::agent",
            "pipeline::credential",
        ],
    ),
    (
        "pipeline::policy",
        &[
            "pipeline::message",
            "pipeline::policy::decision",
            "pipeline::policy::matcher",
            "pipeline::policy::path",
            "pipeline::agent",
            "pipeline::limit",
            "pipeline::approval",
            "pipeline::credential",
            "pipeline::dlp",
            "pipeline::response_filter",
        ],
    ),
    (
        "pipeline::guard",
        &[
            "pipeline::message",
            "pipeline::policy::decision",
            "pipeline::agent",
            "pipeline::credential",
            "pipeline::dlp",
            "pipeline::response_filter",
            "pipeline::policy",
        ],
    ),
    ("pipeline::answer", &["pipeline::policy::decision"]),
    ("pipeline::audit", &[]),
    ("pipeline::untold", &["pipeline::message", "pipeline::approval", "pipeline::audit"]),
    (
        "pipeline::exchange",
        &[
            "pipeline::address",
            "pipeline::message",
            "pipeline::policy::decision",
            "pipeline::policy::matcher",
            "pipeline::session",
            "pipeline::agent",
            "pipeline::limit",
            "pipeline::approval",
            "pipeline::credential",
            "pipeline::dlp",
            "pipeline::policy",
            "pipeline::answer",
            "pipeline::audit",
            "pipeline::untold",
        ],
    ),
    // What would become of a request that nobody sends.
    ("rehearsal", &[CORE]),
    // What the core is told.
    ("https", &[]),
    ("secrets", &["pipeline::credential", "pipeline::dlp", "https"]),
    // Where it is written down, shown, and taken.
    ("journal", &["pipeline::audit"]),
    ("telemetry", &["pipeline::message", "pipeline::audit"]),
    ("sinks", &["journal", "telemetry"]),
    ("notify", &["pipeline::approval", "pipeline::audit", "pipeline::policy::decision", "https", "secrets", "sinks"]),
    // Where it runs.
    ("pod", &[]),
    ("config", &[CORE, "rehearsal", "https", "secrets", "notify", "pod"]),
    ("live", &["pipeline::policy", "secrets"]),
    ("resolver", &["pipeline::address", "pipeline::message"]),
    // What is counted and asked for, longer than a policy lives.
    ("store", &["pipeline::limit", "pipeline::approval"]),
    // Who asks.
    ("peer", &[]),
    ("certificates", &[]),
    ("dns_stub", &[]),
    ("grpc", &[]),
    ("protobuf", &[]),
    ("ext_proc", &[CORE, "secrets", "live", "store", "telemetry", "grpc", "protobuf"]),
    ("reconcile", &[CORE, "live", "journal", "telemetry"]),
    ("access_log", &[CORE, "live", "resolver", "journal", "telemetry", "grpc", "protobuf", "reconcile"]),
    (
        "control",
        &["pipeline::agent", "pipeline::policy", "pipeline::approval", "config", "live", "store", "journal", "peer"],
    ),
    // What holds it together, and what a person starts.
    ("harden", &[]),
    ("envoy", &[]),
    ("net", &[]),
    ("kubernetes", &[]),
    (
        "server",
        &[
            CORE,
            "https",
            "secrets",
            "journal",
            "telemetry",
            "sinks",
            "notify",
            "pod",
            "config",
            "live",
            "resolver",
            "store",
            "peer",
            "certificates",
            "dns_stub",
            "ext_proc",
            "reconcile",
            "access_log",
            "control",
        ],
    ),
    ("supervisor", &["secrets", "certificates", "reconcile", "harden", "envoy"]),
    (
        "cli",
        &[
            CORE,
            "secrets",
            "pod",
            "config",
            "live",
            "rehearsal",
            "resolver",
            "store",
            "journal",
            "peer",
            "certificates",
            "reconcile",
            "control",
            "harden",
            "envoy",
            "net",
            "kubernetes",
            "server",
            "supervisor",
        ],
    ),
];

/// What the core may not touch: it has no runtime, no protobuf, no I/O, no clock and no dice.
const FORBIDDEN_CRATES: &[&str] =
    &["tokio", "tokio_stream", "tonic", "prost", "prost_types", "envoy_types", "hyper", "hyper_util", "rustix", "rand"];
const FORBIDDEN_PATHS: &[&[&str]] = &[
    &["std", "fs"],
    &["std", "env"],
    &["std", "io"],
    &["std", "os"],
    &["std", "process"],
    &["std", "thread"],
    &["TcpStream"],
    &["TcpListener"],
    &["UdpSocket"],
    &["UnixStream"],
    &["UnixListener"],
    &["UnixDatagram"],
    &["ToSocketAddrs"],
    &["SystemTime", "now"],
    &["Instant", "now"],
    &["Timestamp", "now"],
    &["Zoned", "now"],
    &["elapsed"],
];

#[test]
fn every_module_imports_only_what_stands_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    gather(&root.join("src"), root, &mut sources);
    assert!(sources.len() > 30, "only {} files were found", sources.len());
    let found = breaches(&sources);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn the_table_has_no_way_back() {
    for (at, (name, imports)) in TABLE.iter().enumerate() {
        for import in *imports {
            let mut named = TABLE.iter().enumerate().filter(|(_, (other, _))| is_within(other, import)).peekable();
            assert!(named.peek().is_some(), "`{name}` may import `{import}`, which there is not");
            assert!(named.all(|(above, _)| above < at), "`{name}` may import `{import}`, which stands below it");
        }
    }
}

#[test]
fn the_core_declares_its_modules_in_the_order_of_the_table() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline/mod.rs")).unwrap();
    let declared: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let listed = TABLE.iter().filter_map(|(name, _)| name.strip_prefix("pipeline::"));
    assert_eq!(declared, listed.filter(|name| !name.contains("::")).collect::<Vec<_>>());
}

#[test]
fn a_planted_breach_is_found() {
    for (file, text, place) in [
        ("src/pipeline/message.rs", "\nuse crate::pipeline::exchange::Event;", "src/pipeline/message.rs:2"),
        ("src/pipeline/agent.rs", "use super::exchange::Event;", "src/pipeline/agent.rs:1"),
        ("src/pipeline/policy/decision.rs", "use super::{matcher::Level};", "src/pipeline/policy/decision.rs:1"),
        ("src/pipeline/policy/decision.rs", "fn f() -> super::Ruleset {}", "src/pipeline/policy/decision.rs:1"),
        ("src/pipeline/policy/mod.rs", "use super::super::live::Live;", "src/pipeline/policy/mod.rs:1"),
        ("src/resolver/mod.rs", "use crate::{\n    pipeline::{address, audit::Record},\n};", "src/resolver/mod.rs:2"),
        ("src/journal/mod.rs", "fn f() { let s = \"//\"; crate::server::run() }", "src/journal/mod.rs:1"),
        ("src/journal/mod.rs", "use crate::*;", "src/journal/mod.rs:1"),
        ("src/lib.rs", "use crate::server::run;", "src/lib.rs:1"),
        ("src/novel.rs", "", "src/novel.rs"),
        ("src/pipeline/novel/deep.rs", "", "src/pipeline/novel/deep.rs"),
        ("src/pipeline/answer.rs", "use std::{collections::HashMap,\n fs};", "src/pipeline/answer.rs:2"),
        ("src/pipeline/answer.rs", "let t = std::time::Instant::now();", "src/pipeline/answer.rs:1"),
        ("src/pipeline/answer.rs", "/* x\n */ tokio::spawn(f);", "src/pipeline/answer.rs:2"),
        ("src/pipeline/answer.rs", "use std::net::{IpAddr, TcpStream};", "src/pipeline/answer.rs:1"),
        ("src/pipeline/answer.rs", "let c = '\"'; let x: &'static T = rand::random();", "src/pipeline/answer.rs:1"),
        ("src/pipeline/answer.rs", "#[cfg(test)]\nfn f() {}\nuse tonic::Status;", "src/pipeline/answer.rs:3"),
    ] {
        let found = breaches(&[(file.to_owned(), text.to_owned())]);
        assert!(found.len() == 1 && found[0].starts_with(place), "{file}: {text}\n{found:?}");
    }
}

#[test]
fn what_may_be_is_no_breach() {
    for (file, text) in [
        ("src/pipeline/agent.rs", "use crate::pipeline::{message::Door, policy::decision::Denial};"),
        ("src/pipeline/policy/mod.rs", "pub mod decision;\nuse matcher::Level;\nuse crate::pipeline::policy::matcher;"),
        ("src/pipeline/exchange/event.rs", "use super::Exchange; use std::net::SocketAddr; use std::time::Instant;"),
        (
            "src/pipeline/message.rs",
            "// crate::server\n/// crate::server /* \nfn f() { \"tokio::spawn\"; r#\"\"std::fs\"\"#; }",
        ),
        ("src/pipeline/message.rs", "pub(super) fn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::server::run;\n}"),
        ("src/pipeline/exchange/tests.rs", "use crate::server::run;"),
        ("src/pipeline/exchange/tests/arbitrary.rs", "use crate::server::run;"),
        ("src/server/workers.rs", "use super::listen::Connection;"),
        ("src/main.rs", "fn main() { attache::cli::main() }"),
    ] {
        let found = breaches(&[(file.to_owned(), text.to_owned())]);
        assert!(found.is_empty(), "{found:?}");
    }
}

fn gather(folder: &Path, root: &Path, sources: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, root, sources);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            sources.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    sources.sort();
}

/// Every import that the table does not allow, as `file:line: what`.
fn breaches(sources: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in sources {
        let module = module_of(file);
        if module.iter().any(|part| part == "tests") {
            continue;
        }
        let own = layer(&module);
        // These two only declare what there is.
        let declares = module.is_empty() || module == [CORE];
        if own.is_none() && !declares {
            found.push(format!("{file}: the module is not in the table"));
            continue;
        }
        let core = module.first().is_some_and(|first| first == CORE);
        for (line, path) in paths(&production(text)) {
            if core && is_forbidden(&path) {
                found.push(format!("{file}:{line}: the core may not use `{}`", path.join("::")));
            }
            let Some(target) = absolute(&module, &path) else { continue };
            let target_layer = layer(&target);
            let allowed = own.is_some_and(|(name, imports)| {
                target_layer.is_some_and(|(target, _)| target == name || imports.iter().any(|i| is_within(target, i)))
            });
            if !allowed {
                let name = own.map_or("the root", |(name, _)| name);
                found.push(format!("{file}:{line}: `{name}` may not import `{}`", target.join("::")));
            }
        }
    }
    found
}

fn module_of(file: &str) -> Vec<String> {
    let path = file.strip_prefix("src/").unwrap().strip_suffix(".rs").unwrap();
    let parts = path.split('/').filter(|part| !["mod", "lib", "main"].contains(part));
    parts.map(str::to_owned).collect()
}

/// The row that a path belongs to: the one with the longest name.
fn layer(path: &[String]) -> Option<(&'static str, &'static [&'static str])> {
    let path = path.join("::");
    let fitting = TABLE.iter().filter(|(name, _)| is_within(&path, name));
    fitting.max_by_key(|(name, _)| name.len()).copied()
}

fn is_within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn is_forbidden(path: &[String]) -> bool {
    let by_crate = path.len() > 1 && FORBIDDEN_CRATES.contains(&&*path[0]);
    by_crate || FORBIDDEN_PATHS.iter().any(|pattern| path.windows(pattern.len()).any(|window| window == *pattern))
}

/// A `crate::` or `super::` path as seen from the root; `None` for any other.
fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    if path.len() < 2 {
        return None;
    }
    if path[0] == "crate" {
        return Some(path[1..].to_vec());
    }
    let up = path.iter().take_while(|part| *part == "super").count();
    let kept = module.get(..module.len().saturating_sub(up))?;
    (up > 0).then(|| kept.iter().chain(&path[up..]).cloned().collect())
}

/// The code without comments, texts and the tests at the end, its lines where they were.
fn production(text: &str) -> String {
    let code = without_comments_and_texts(text);
    let tests = code.find("#[cfg(test)]\nmod ");
    code[..tests.unwrap_or(code.len())].to_owned()
}

fn without_comments_and_texts(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let hashes = rest.strip_prefix('r').map_or(0, |r| r.len() - r.trim_start_matches('#').len());
        let is_raw = rest.strip_prefix('r').is_some_and(|r| r[hashes..].starts_with('"'))
            && !out.ends_with(|before: char| before.is_alphanumeric() || before == '_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if is_raw {
            let end = format!("\"{}", "#".repeat(hashes));
            let opened = hashes + 2;
            rest[opened..].find(&end).map_or(rest.len(), |at| opened + at + end.len())
        } else if c == '"' {
            quoted(rest)
        } else if rest.starts_with("'\\") || (c == '\'' && rest.chars().nth(2) == Some('\'')) {
            // A character; a lifetime has no second quote.
            let second = rest.char_indices().skip(if rest.starts_with("'\\") { 3 } else { 2 });
            second.clone().find(|(_, c)| *c == '\'').map_or(rest.len(), |(at, _)| at + 1)
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.push(' ');
        out.extend(rest[..length].chars().filter(|c| *c == '\n'));
        rest = &rest[length..];
    }
    out
}

/// The length of a text in quotes, in bytes.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Every path in the code with the line its last part stands on; braces are multiplied out.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let begins = is_name(tokens[at].1) && (at == 0 || tokens[at - 1].1 != "::");
        at = if begins { tree(&tokens, at, &[], &mut found) } else { at + 1 };
    }
    found
}

/// Reads the paths that begin at a token, below a prefix; the place after them.
fn tree(tokens: &[(usize, &str)], mut at: usize, prefix: &[String], found: &mut Vec<(usize, Vec<String>)>) -> usize {
    let mut path = prefix.to_vec();
    let mut line = tokens[at].0;
    loop {
        match tokens.get(at) {
            Some((here, name)) if is_name(name) || *name == "*" => {
                line = *here;
                path.push((*name).to_owned());
                at += 1;
            }
            Some((_, "{")) if !path.is_empty() => {
                at += 1;
                while let Some((_, token)) = tokens.get(at).filter(|(_, token)| *token != "}") {
                    let inside = is_name(token) || *token == "*" || *token == "{";
                    at = if inside { tree(tokens, at, &path, found) } else { at + 1 };
                }
                return at + 1;
            }
            _ => break,
        }
        match tokens.get(at) {
            Some((_, "::")) => at += 1,
            _ => break,
        }
    }
    found.push((line, path));
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::` and single signs, each with its line.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut line = 1;
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = match c {
            _ if word > 0 => word,
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        if c == '\n' {
            line += 1;
        }
        if !c.is_whitespace() {
            found.push((line, &rest[..length]));
        }
        rest = &rest[length..];
    }
    found
}
