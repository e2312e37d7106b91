//! `notifications`: who is told of what.

use super::super::decode::{filled_list, named, parsed, quiet, word};
use super::credentials::file;
use super::names::variable;
use super::vault::address;
use super::*;
use crate::https::Url;
use crate::notify::{Channel, Kind};
use crate::secrets::Source;

/// One entry of `notifications`: a channel.
#[derive(Debug, Clone)]
pub struct Notification {
    /// Its name, by which rules refer to it.
    pub name: Spanned<Name>,
    /// Where it is called. It may itself be a secret, and is never shown beyond host and port.
    pub url: Spanned<Url>,
    /// What signs.
    pub secret: Spanned<Source>,
    /// What it is told of.
    pub events: Vec<Spanned<Kind>>,
}

impl Notification {
    /// As what delivers it takes it.
    pub fn channel(&self) -> Channel {
        Channel {
            name: self.name.as_str().into(),
            url: self.url.value.clone(),
            secret: self.secret.value.clone(),
            events: self.events.iter().map(|event| event.value).collect(),
        }
    }
}

const EVENTS: &[(&str, Kind)] = &[
    ("approvalRequested", Kind::ApprovalRequested),
    ("approvalDecided", Kind::ApprovalDecided),
    ("blocked", Kind::Blocked),
    ("findings", Kind::Findings),
    ("unreconciled", Kind::Unreconciled),
    ("outcomeUnknown", Kind::OutcomeUnknown),
    ("checkpoint", Kind::Checkpoint),
    ("reloadFailed", Kind::ReloadFailed),
    ("journalFailed", Kind::JournalFailed),
];

/// A mapping from name to channel.
pub(super) fn notifications(node: &Node, problems: &mut Problems) -> Option<Vec<Notification>> {
    named("a mapping from names to webhooks", notification)(node, problems)
}

fn notification(key: &Key, node: &Node, problems: &mut Problems) -> Option<Notification> {
    let name = names::key(key, problems);
    if matches!(node.value, Value::Scalar(_)) {
        // As likely as not it is a URL.
        problems.hide(node.span);
    }
    let mut fields = Fields::of(node, "a notification", problems)?.secretive();
    let webhook = fields.required("webhook", webhook);
    let event = word("an event", EVENTS);
    let fix = "write some of `approvalRequested`, `approvalDecided`, `blocked`, `findings`, `unreconciled`, `outcomeUnknown`, `checkpoint`, `reloadFailed` and `journalFailed`";
    let events = fields.required("events", filled_list("a list of events", fix, event));
    fields.finish()?;
    let (url, secret) = webhook?;
    Some(Notification { name: name?, url, secret, events: events? })
}

fn webhook(node: &Node, problems: &mut Problems) -> Option<(Spanned<Url>, Spanned<Source>)> {
    if matches!(node.value, Value::Scalar(_)) {
        problems.hide(node.span);
    }
    let mut fields = Fields::of(node, "a webhook", problems)?.secretive();
    let url = fields.required("url", quiet(parsed("the URL of a webhook", address)));
    let secret = fields.required("secret", secret);
    let plaintext = fields.optional("plaintext", boolean).unwrap_or_default();
    fields.finish()?;
    let (url, secret) = (url?, secret?);
    if url.is_plaintext() && !plaintext {
        problems
            .error(url.span, "what the webhook is told would travel without TLS")
            .fix("write `https://`, or add `plaintext: true` where nobody can listen");
        problems.hide(url.span);
        return None;
    }
    Some((url, secret))
}

fn secret(node: &Node, problems: &mut Problems) -> Option<Spanned<Source>> {
    const FIX: &str = "write where it is: `{env: NAME}` or `{file: /run/secrets/hook}`";
    if matches!(node.value, Value::Scalar(_)) {
        problems.error(node.span, "a secret is not written into the policy").fix(FIX);
        problems.hide(node.span);
        return None;
    }
    let mut fields = Fields::of(node, "a webhook's secret", problems)?.secretive();
    if fields.has("env") == fields.has("file") {
        fields.reject(node.span, "a webhook's secret has one of `env` and `file`", Some(FIX));
    }
    let env = fields.optional("env", quiet(parsed("the name of an environment variable", variable)));
    let file = fields.optional("file", file);
    fields.finish()?;
    let value = env.map(|env| Source::Variable(env.value)).or(file.map(|file| Source::File(file.value)))?;
    Some(Spanned { value, span: node.span })
}
