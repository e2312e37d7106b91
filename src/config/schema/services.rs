//! `services`: which hosts an API has, and where it takes its key.

use super::super::decode::{named, word};
use super::credentials::{check_slot, slot};
use super::*;

/// One entry of `services`, of a policy or of the catalogue that comes with attaché.
#[derive(Debug, Clone)]
pub struct Service {
    /// What credentials call it.
    pub name: Spanned<Name>,
    /// What it is; `None` where that has a mistake in it, so that what refers to the name is not reported as well.
    pub api: Option<Api>,
}

/// Where an API takes its key.
#[derive(Debug, Clone)]
pub struct Api {
    /// The hosts that get the key, as host patterns. None: every customer has a host of its own.
    pub hosts: Vec<Spanned<String>>,
    /// The paths of those hosts that get it, as a pattern; `None`: every path.
    pub path: Option<Spanned<String>>,
    /// The part of the request that carries the key; `None`: `Authorization: Bearer {value}`.
    pub slot: Option<Slot>,
    /// Where the vendor says so.
    pub documentation: Option<Spanned<String>>,
    /// What its user has to know beyond that.
    pub note: Option<Spanned<String>>,
    /// Whether it is meant to stand in for the catalogue's service of that name.
    pub replaces: bool,
    /// Whether it is a language model: what vendors print in their documentation may be told to it.
    pub is_language_model: bool,
}

/// A mapping from name to service.
pub(in crate::config) fn services(node: &Node, problems: &mut Problems) -> Option<Vec<Service>> {
    named("a mapping from names to services", service)(node, problems)
}

fn service(key: &Key, node: &Node, problems: &mut Problems) -> Option<Service> {
    let name = names::key(key, problems);
    let api = api(node, problems);
    Some(Service { name: name?, api })
}

fn api(node: &Node, problems: &mut Problems) -> Option<Api> {
    let mut fields = Fields::of(node, "a service", problems)?;
    check_slot(&mut fields, "a service", true);
    let hosts = fields.required("hosts", list("a list of hosts", text("a host")));
    let path = fields.optional("path", text("a path"));
    let slot = slot(&mut fields);
    let documentation = fields.optional("documentation", text("the address of the vendor's documentation"));
    let note = fields.optional("note", text("a note"));
    let replaces = fields.optional("override", boolean).unwrap_or_default();
    let is_language_model = fields.optional("kind", word("a kind of service", &[("llm", ())])).is_some();
    fields.finish()?;
    Some(Api { hosts: hosts?, path, slot, documentation, note, replaces, is_language_model })
}
