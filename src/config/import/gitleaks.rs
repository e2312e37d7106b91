//! The rules of gitleaks' TOML, as rules of a policy.
//!
//! Its patterns are RE2's, and so without look-around like ours. It looks for them in files, one line after the other;
//! here they are looked for in messages, around a keyword: what hangs on names of files and on commits has no
//! counterpart, and every match needs a longest length.

use std::collections::HashSet;

use regex_syntax::ast::{Ast, parse::Parser};
use serde::Deserialize;
use toml::Spanned as Located;

use super::super::error::{Problems, Span, quote};
use super::super::files::File;
use super::document::{List, Mapping, Value, text, texts};
use crate::pipeline::dlp::built_in;
use crate::pipeline::dlp::rule::{Confidences, Examples, MOST, Reach, Rule, RuleError, RuleSource, Severity};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    rules: Vec<Located<Gitleak>>,
    #[serde(default)]
    extend: Option<Located<toml::Table>>,
    #[serde(default)]
    allowlist: Option<Located<Allowlist>>,
    #[serde(default)]
    allowlists: Vec<Located<Allowlist>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gitleak {
    id: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    regex: Option<Located<String>>,
    #[serde(default)]
    secret_group: usize,
    #[serde(default)]
    entropy: f64,
    #[serde(default)]
    path: Option<Located<String>>,
    #[serde(default)]
    keywords: Vec<String>,
    #[serde(default)]
    allowlist: Option<Located<Allowlist>>,
    #[serde(default)]
    allowlists: Vec<Located<Allowlist>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Allowlist {
    #[serde(default)]
    condition: String,
    #[serde(default)]
    regexes: Vec<String>,
    #[serde(default)]
    regex_target: String,
    #[serde(default)]
    stopwords: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    commits: Vec<String>,
    #[serde(default)]
    target_rules: Vec<String>,
}

/// The policy that a configuration makes. `None` only where a problem says why.
pub(super) fn convert(name: &str, content: Vec<u8>, problems: &mut Problems) -> Option<Mapping> {
    let file = super::super::add_source(File::new(name.to_owned(), content), problems)?;
    let source = problems.sources().text(file).to_owned();
    let at = |range: std::ops::Range<usize>| span(file, &source, range.start);
    let config: Config = match toml::from_str(&source) {
        Ok(config) => config,
        Err(error) => {
            let span = error.span().map(at);
            problems.error(span, format!("this is no configuration of gitleaks: {}", error.message()));
            return None;
        }
    };
    if let Some(extend) = &config.extend {
        problems
            .warning(at(extend.span()), "`extend` is left out: what it names is not in this file")
            .fix("the default rules have counterparts that are built in; import other files by themselves");
    }
    let everywhere: Vec<_> = config.allowlist.iter().chain(&config.allowlists).collect();
    let everywhere: Vec<_> = everywhere
        .into_iter()
        .map(|list| (list.get_ref().target_rules.clone(), allowed(list.get_ref(), at(list.span()), problems)))
        .collect();
    let mut taken: HashSet<String> = match built_in() {
        Ok(detector) => detector.ids().map(|(id, _)| id.to_string()).collect(),
        Err(_) => HashSet::new(),
    };
    let mut rules = List::default();
    for located in &config.rules {
        let (rule, here) = (located.get_ref(), at(located.span()));
        let mut allow: Vec<String> = Vec::new();
        for (targets, patterns) in &everywhere {
            if targets.is_empty() || targets.contains(&rule.id) {
                allow.extend(patterns.iter().cloned());
            }
        }
        for list in rule.allowlist.iter().chain(&rule.allowlists) {
            allow.extend(allowed(list.get_ref(), at(list.span()), problems));
        }
        let pattern_at = rule.regex.as_ref().map(|regex| at(regex.span()));
        let path_at = rule.path.as_ref().map(|path| at(path.span()));
        let Some(source) = source_of(rule, allow, &mut taken, Places { here, pattern_at, path_at }, problems) else {
            continue;
        };
        if !rule.description.is_empty() {
            rules.note(rule.description.clone());
        }
        rules.add(Value::Mapping(entry(&source)));
    }
    if rules.is_empty() {
        problems.error(None, "no rule could be imported").fix("see the warnings for why");
        return None;
    }
    let (mut dlp, mut policy) = (Mapping::default(), Mapping::default());
    dlp.add("rules", Value::List(rules));
    policy.add("dlp", Value::Mapping(dlp));
    Some(policy)
}

struct Places {
    here: Span,
    pattern_at: Option<Span>,
    path_at: Option<Span>,
}

/// The rule of ours that says the same. `None` where there is none, and that has been reported.
fn source_of(
    rule: &Gitleak,
    allow: Vec<String>,
    taken: &mut HashSet<String>,
    places: Places,
    problems: &mut Problems,
) -> Option<RuleSource> {
    let Places { here, pattern_at, path_at } = places;
    let id = quote(&rule.id);
    let mut left_out = |at: Span, why: String, fix: &str| {
        problems.warning(at, format!("the rule {id} is left out: {why}")).fix(fix);
        None
    };
    let Some(pattern) = &rule.regex else {
        return left_out(here, "it is about names of files".to_owned(), "requests have none; nothing is to be done");
    };
    let pattern_at = pattern_at.unwrap_or(here);
    if let Some(at) = path_at {
        return left_out(
            at,
            "it is for files of some names alone, and requests have none".to_owned(),
            "without `path` it can be imported; it then holds for all that is sent",
        );
    }
    let pattern = pattern.get_ref().clone();
    let ast = match Parser::new().parse(&pattern) {
        Ok(ast) => ast,
        Err(error) => {
            return left_out(
                pattern_at,
                format!("its pattern cannot be read: {}", error.kind()),
                "correct the pattern",
            );
        }
    };
    let (keywords, reach) = match keywords(&rule.keywords, &pattern, &ast) {
        Some(found) => found,
        None => {
            return left_out(
                pattern_at,
                "it has no keyword of three characters, and its pattern has none that every match has".to_owned(),
                "give it `keywords`: without one it would have to be tried everywhere",
            );
        }
    };
    let groups = groups(&ast);
    let source = RuleSource {
        id: String::new(),
        category: "credentials".to_owned(),
        service: String::new(),
        severity: Severity::High,
        source: String::new(),
        keywords,
        reach,
        pattern,
        // There, the first group is the secret where nothing else is said.
        secret_group: if rule.secret_group == 0 { groups.min(1) } else { rule.secret_group },
        boundary: false,
        min_len: 0,
        max_len: None,
        entropy: rule.entropy as f32,
        validators: Vec::new(),
        confidence: Some(Confidences {
            base: crate::pipeline::dlp::finding::Confidence::Medium,
            on_valid: crate::pipeline::dlp::finding::Confidence::Confirmed,
            on_invalid: None,
        }),
        allow,
        documented: Vec::new(),
        examples: Examples::default(),
    };
    let checked = |source: &RuleSource| {
        let rule = Rule::new(RuleSource { id: "imported".to_owned(), ..source.clone() })?;
        match rule.pattern() {
            Some(_) => Ok(()),
            None => Err(RuleError::Pattern { pattern: String::new(), why: "it is too large".to_owned() }),
        }
    };
    let bounded = RuleSource { max_len: Some(MOST), ..source.clone() };
    let mut source = match checked(&source) {
        Err(RuleError::Unbounded) => bounded,
        _ => source,
    };
    if let Err(error) = checked(&source) {
        let why = match error {
            RuleError::Pattern { why, .. } => format!("its pattern cannot be used: {why}"),
            error => error.to_string(),
        };
        return left_out(pattern_at, why, "correct it, or write the rule anew in `dlp.rules`");
    }
    if reach == Reach::Nearby {
        problems
            .warning(
                here,
                format!(
                    "the keywords of {id} are not part of its pattern: here one has to stand within 96 bytes of a match"
                ),
            )
            .fix("see that the rule still finds what it is for");
    }
    source.id = name(&rule.id, taken);
    if source.id != rule.id {
        problems.hint(here, format!("the rule {id} is called `{}` here", source.id)).fix(
            "its own name is that of a built-in rule, or not of lower-case words joined by `-`; switch the built-in \
             one off in a profile where yours is to stand in for it",
        );
    }
    Some(source)
}

/// An id of ours that nothing else has.
fn name(theirs: &str, taken: &mut HashSet<String>) -> String {
    let lower = theirs.to_ascii_lowercase();
    let words: Vec<_> = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut id = words.join("-");
    if !id.starts_with(|c: char| c.is_ascii_lowercase()) || taken.contains(&id) {
        id = format!("gitleaks-{id}").trim_end_matches('-').to_owned();
    }
    let base = id.clone();
    let mut number = 2;
    while !taken.insert(id.clone()) {
        id = format!("{base}-{number}");
        number += 1;
    }
    id
}

/// The patterns of values that are to pass; what else a list says is reported.
fn allowed(list: &Allowlist, at: Span, problems: &mut Problems) -> Vec<String> {
    let about_files = !list.paths.is_empty() || !list.commits.is_empty();
    let about_values = !list.regexes.is_empty() || !list.stopwords.is_empty();
    let mut warn = |message: &str, fix: &str| {
        problems.warning(at, message).fix(fix);
    };
    if list.condition.eq_ignore_ascii_case("AND") && about_values {
        warn(
            "an allowlist of which everything has to hold is left out",
            "write what is to pass into `allow` of the rule, or `dlp.allow`",
        );
        return Vec::new();
    }
    if about_files {
        warn("`paths` and `commits` of an allowlist are left out: requests have none", "nothing is to be done");
    }
    let mut patterns = Vec::new();
    match list.regex_target.as_str() {
        "" | "secret" => patterns.extend(list.regexes.iter().cloned()),
        _ if list.regexes.is_empty() => {}
        _ => warn(
            "`regexes` of an allowlist about more than the secret are left out: here they are tried on the secret alone",
            "write what is to pass into `allow` of the rule",
        ),
    }
    patterns.extend(list.stopwords.iter().map(|word| format!("(?i){}", regex_syntax::escape(word))));
    let readable = |pattern: &String| {
        let read = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern);
        if read.is_err() {
            problems.warning(at, "a pattern of an allowlist is left out: it cannot be used").fix("correct it");
        }
        read.is_ok()
    };
    patterns.retain(readable);
    patterns
}

/// What has to stand in a text so that the pattern is tried, and where.
fn keywords(given: &[String], pattern: &str, ast: &Ast) -> Option<(Vec<String>, Reach)> {
    let given: Vec<String> = given.iter().filter(|word| word.len() >= 3).cloned().collect();
    if given.is_empty() {
        return Some((literals(ast).filter(|words| words.iter().all(|word| word.len() >= 3))?, Reach::Within));
    }
    // A class or an escape may stand for what the keyword says, so that this errs on the side of `nearby`.
    let lower = pattern.to_ascii_lowercase().replace('\\', "");
    let within = given.iter().all(|word| lower.contains(&word.to_ascii_lowercase()));
    Some((given, if within { Reach::Within } else { Reach::Nearby }))
}

/// Texts of which every match has one: the longest that there are.
fn literals(ast: &Ast) -> Option<Vec<String>> {
    let shortest = |words: &[String]| words.iter().map(String::len).min().unwrap_or_default();
    match ast {
        Ast::Literal(literal) if literal.c.is_ascii() => Some(vec![literal.c.to_string()]),
        Ast::Group(group) => literals(&group.ast),
        Ast::Alternation(choice) => {
            let each: Option<Vec<_>> = choice.asts.iter().map(literals).collect();
            Some(each?.concat())
        }
        Ast::Concat(parts) => {
            let mut found: Vec<Vec<String>> = Vec::new();
            let mut run = String::new();
            for part in &parts.asts {
                match part {
                    Ast::Literal(literal) if literal.c.is_ascii() => run.push(literal.c),
                    // What has no width does not part what stands around it.
                    Ast::Assertion(_) | Ast::Flags(_) | Ast::Empty(_) => {}
                    other => {
                        found.push(vec![std::mem::take(&mut run)]);
                        found.extend(literals(other));
                    }
                }
            }
            found.push(vec![run]);
            found.into_iter().filter(|words| shortest(words) > 0).max_by_key(|words| shortest(words))
        }
        _ => None,
    }
}

/// How many groups a pattern has.
fn groups(ast: &Ast) -> usize {
    match ast {
        Ast::Group(group) => usize::from(group.is_capturing()) + groups(&group.ast),
        Ast::Repetition(repeated) => groups(&repeated.ast),
        Ast::Concat(parts) => parts.asts.iter().map(groups).sum(),
        Ast::Alternation(choice) => choice.asts.iter().map(groups).sum(),
        _ => 0,
    }
}

fn entry(source: &RuleSource) -> Mapping {
    let mut entry = Mapping::default();
    entry.add("id", text(&source.id)).add("keywords", texts(&source.keywords));
    if source.reach == Reach::Nearby {
        entry.add("reach", text("nearby"));
    }
    entry.add("pattern", text(&source.pattern));
    if source.secret_group > 0 {
        entry.add("secretGroup", Value::Number(source.secret_group as u64));
    }
    entry.add("boundary", Value::Boolean(false));
    if let Some(longest) = source.max_len {
        entry.add("maxLen", Value::Number(longest as u64));
    }
    if source.entropy > 0.0 {
        entry.add("entropy", Value::Decimal(source.entropy));
    }
    entry.add("confidence", Value::Inline(vec![("base", text("medium"))]));
    if !source.allow.is_empty() {
        entry.add("allow", texts(&source.allow));
    }
    entry
}

fn span(file: u32, text: &str, at: usize) -> Span {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Span { file, line: number(line), column: number(column), length: 1 }
}
