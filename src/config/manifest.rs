//! The policy in a rendered Kubernetes manifest: the ConfigMaps that are mounted as its directory.
//!
//! `kubectl kustomize overlay` prints documents of many kinds. Those ConfigMaps among them that hold the policy are read as
//! the kubelet would mount them, each key that ends in `.yaml` or `.yml` a file, and every message has its place in the
//! manifest. Other kinds are passed over.

mod documents;

use std::collections::BTreeMap;

use super::code::Code;
use super::error::{Offset, Problems, Span, quote};
use super::files::{File, is_policy_name};
use documents::{ConfigMap, Entry};

/// Most that a ConfigMap may hold, in bytes: the API server refuses more than 1 MiB.
const MOST_BYTES: usize = 1024 * 1024;

/// From here on, in bytes, it is time to think about it.
const MANY_BYTES: usize = 800 * 1024;

/// What the name of a ConfigMap begins with that holds a policy, unless it is named.
const NAME: &str = "attache-policy";

/// Whether a text is a manifest, at all, by a glance: a policy has neither key.
fn may_be_one(text: &str) -> bool {
    text.contains("apiVersion") && text.contains("kind")
}

/// The policy's files, if `file` is a manifest; otherwise `file` itself. `wanted` are the ConfigMaps to take, as `NAME` or
/// `NAMESPACE/NAME`; none: those whose name begins with `attache-policy`.
pub(super) fn unpacked(file: File, wanted: &[String], problems: &mut Problems) -> Vec<File> {
    let is_asked_for = !wanted.is_empty();
    let text = std::str::from_utf8(&file.content).ok().filter(|text| may_be_one(text)).map(str::to_owned);
    let read = text.and_then(|text| {
        let mut sources = problems.sources().clone();
        let index = sources.add(file.name.as_str(), text.strip_prefix('\u{feff}').unwrap_or(&text));
        let read = documents::read(index, sources.text(index))?;
        *problems.sources_mut() = sources;
        Some((index, read))
    });
    let Some((index, read)) = read else {
        if is_asked_for {
            problems
                .error(None, format!("{} is no Kubernetes manifest", quote(&file.name)))
                .fix("`--configmap` chooses among the ConfigMaps of a manifest: leave it out for a policy itself");
            return Vec::new();
        }
        return vec![file];
    };
    match read {
        Err((at, message)) => {
            problems.error(at, format!("this is not YAML: {message}"));
            Vec::new()
        }
        Ok(configmaps) => {
            let chosen = chosen(&configmaps, wanted, &file.name, problems);
            chosen.iter().for_each(|configmap| check(configmap, problems));
            files(&file.name, index, &chosen, problems)
        }
    }
}

fn chosen<'a>(all: &'a [ConfigMap], wanted: &[String], file: &str, problems: &mut Problems) -> Vec<&'a ConfigMap> {
    let is_named = |configmap: &ConfigMap, wanted: &str| match wanted.split_once('/') {
        Some((namespace, name)) => configmap.namespace == namespace && configmap.name == name,
        None => configmap.name == wanted,
    };
    let there = || match all.is_empty() {
        true => "it has no ConfigMap".to_owned(),
        false => {
            let names: Vec<_> = all.iter().map(|configmap| quote(&configmap.full_name())).collect();
            format!("it has {}", names.join(", "))
        }
    };
    let mut chosen: Vec<&ConfigMap> = Vec::new();
    for wanted in wanted {
        let named: Vec<_> = all.iter().filter(|configmap| is_named(configmap, wanted)).collect();
        if named.is_empty() {
            let message = format!("there is no ConfigMap {} in {}; {}", quote(wanted), quote(file), there());
            problems.error(None, message).fix("correct `--configmap`");
        }
        let is_new = |configmap: &&ConfigMap| !chosen.iter().any(|other| std::ptr::eq(*other, *configmap));
        let more: Vec<_> = named.into_iter().filter(is_new).collect();
        chosen.extend(more);
    }
    if wanted.is_empty() {
        chosen = all.iter().filter(|configmap| configmap.name.starts_with(NAME)).collect();
        if chosen.is_empty() {
            let message =
                format!("{} is a Kubernetes manifest without a ConfigMap `{NAME}…`; {}", quote(file), there());
            problems.error(None, message).fix("name the ConfigMap that holds the policy: `--configmap NAME`");
        }
    }
    let mut seen: BTreeMap<&str, &ConfigMap> = BTreeMap::new();
    for configmap in &chosen {
        if let Some(first) = seen.insert(&configmap.name, configmap) {
            let names = [first, configmap].map(|configmap| quote(&configmap.full_name()));
            let [first, second] = names;
            problems
                .error(configmap.at, format!("{first} and {second} are two policies, of which one is meant"))
                .fix("name one of them: `--configmap NAMESPACE/NAME`");
            return Vec::new();
        }
    }
    chosen
}

/// What the API server would refuse, and what a reader of the manifest may want to know.
fn check(configmap: &ConfigMap, problems: &mut Problems) {
    let name = quote(&configmap.name);
    if let Some(at) = configmap.binary {
        problems
            .error(at, format!("the ConfigMap {name} has `binaryData`, in which no policy can be read"))
            .fix("put the policy under `data`, as UTF-8");
    }
    let size: usize = configmap.data.iter().map(|entry| entry.key.len() + entry.text.len()).sum();
    let message = format!("the ConfigMap {name} has {size} bytes, of {MOST_BYTES} that there may be");
    let fix = "put the policy's files into several ConfigMaps, and mount them as one projected volume";
    if size > MOST_BYTES {
        problems.error(configmap.at, message).fix(fix);
    } else if size > MANY_BYTES {
        problems.warning(configmap.at, message).code(Code::LargeConfigmap).fix(fix);
    }
    if let Some(at) = configmap.immutable {
        problems
            .hint(
                at,
                format!("the ConfigMap {name} is immutable: running pods keep this policy for as long as they live"),
            )
            .code(Code::ImmutableConfigmap)
            .fix("change the policy by a ConfigMap of another name, to which the pods are rolled over");
    }
}

/// The files as they would be mounted, in the order of their names.
fn files(manifest: &str, index: u32, chosen: &[&ConfigMap], problems: &mut Problems) -> Vec<File> {
    let mut all: BTreeMap<&str, (&ConfigMap, &Entry)> = BTreeMap::new();
    for configmap in chosen {
        let entries: Vec<_> = configmap.data.iter().filter(|entry| is_policy_name(&entry.key)).collect();
        if entries.is_empty() {
            problems
                .error(configmap.at, format!("the ConfigMap {} has no policy in it", quote(&configmap.name)))
                .fix("give the policy a key under `data` that ends in `.yaml` or `.yml`");
        }
        for entry in entries {
            if let Some((other, _)) = all.insert(&entry.key, (configmap, entry)) {
                let (key, other) = (quote(&entry.key), quote(&other.name));
                problems
                    .error(entry.at, format!("the key {key} is also in the ConfigMap {other}"))
                    .fix("rename one: mounted together, only one of them would be there");
            }
        }
    }
    let text = problems.sources().text(index).to_owned();
    let lines: Vec<&str> = text.lines().collect();
    let file = |(configmap, entry): (&ConfigMap, &Entry)| {
        let offset = offset(&lines, entry);
        let name = match offset {
            Some(_) => manifest.to_owned(),
            None => format!("{manifest}#{}/{}", configmap.name, entry.key),
        };
        let content = entry.text.as_bytes().to_vec();
        File { name, content, bounds: false, key: Some(entry.key.clone()), offset: offset.unwrap_or_default() }
    };
    all.into_values().map(file).collect()
}

/// Where an entry's text stands in the manifest, if it stands there line by line, as after `|`.
fn offset(lines: &[&str], entry: &Entry) -> Option<Offset> {
    let Span { line, .. } = entry.value;
    let first = usize::try_from(line).ok()?.checked_sub(1)?;
    let text: Vec<&str> = entry.text.lines().collect();
    let filled = text.iter().position(|line| !line.trim().is_empty())?;
    let stands_at = |start: usize| -> Option<Offset> {
        let stretch = lines.get(start..start + text.len())?;
        let indent = stretch.get(filled)?.strip_suffix(text.get(filled)?)?;
        let fits = |(raw, line): (&&str, &&str)| match raw.strip_prefix(indent) {
            Some(rest) => rest == *line,
            None => line.is_empty() && raw.trim().is_empty(),
        };
        let blank = indent.bytes().all(|byte| byte == b' ');
        let offset = Offset { line: u32::try_from(start).ok()?, column: u32::try_from(indent.len()).ok()? };
        (blank && stretch.iter().zip(&text).all(fits)).then_some(offset)
    };
    // The header of the block, with a comment, stands before it.
    (first..first + 3).find_map(stands_at)
}
