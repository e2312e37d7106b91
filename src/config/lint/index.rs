//! What stands under which hosts, so that nothing is compared with all there is.

use std::collections::HashMap;

use crate::config::facts::{Block, Grant, RuleFact};
use crate::pipeline::message::Host;
use crate::pipeline::policy::matcher::{HostPattern, NamePattern};

/// How many candidates are looked at for one entry: beyond it nothing is said of it.
pub const MOST: usize = 256;

/// What has a pattern of hosts.
pub trait Filed {
    /// The pattern.
    fn pattern(&self) -> &HostPattern;

    /// What it covers, as patterns: names in block lists cover what is below them too.
    fn names(&self) -> Vec<NamePattern> {
        vec![self.pattern().name.clone()]
    }
}

impl Filed for Grant {
    fn pattern(&self) -> &HostPattern {
        &self.pattern
    }
}

impl Filed for RuleFact {
    fn pattern(&self) -> &HostPattern {
        &self.pattern
    }
}

impl Filed for Block {
    fn pattern(&self) -> &HostPattern {
        &self.pattern
    }

    fn names(&self) -> Vec<NamePattern> {
        let below = match &self.pattern.name {
            NamePattern::Exact(Host::Name(name)) => Some(NamePattern::Below(name.clone())),
            _ => None,
        };
        [self.pattern.name.clone()].into_iter().chain(below).collect()
    }
}

/// Things by their hosts.
pub struct Index<'a, T> {
    at: HashMap<NamePattern, Vec<&'a T>>,
    /// Those below a name, without those at it.
    below: HashMap<Box<str>, Vec<&'a T>>,
    all: Vec<&'a T>,
}

impl<'a, T: Filed> Index<'a, T> {
    /// Files them.
    pub fn of(things: impl IntoIterator<Item = &'a T>) -> Self {
        let mut index = Self { at: HashMap::new(), below: HashMap::new(), all: Vec::new() };
        for thing in things {
            index.all.push(thing);
            for parent in thing.pattern().name.parents() {
                index.below.entry(parent.into()).or_default().push(thing);
            }
            for name in thing.names() {
                index.at.entry(name).or_default().push(thing);
            }
        }
        index
    }

    /// Those that cover every host of a pattern.
    pub fn covering(&self, name: &NamePattern) -> impl Iterator<Item = &'a T> {
        let is_address = matches!(name, NamePattern::Exact(Host::Address(_)));
        let any = (!is_address && *name != NamePattern::Any).then_some(NamePattern::Any);
        let levels = std::iter::once(name.clone())
            .chain(name.parents().map(|parent| NamePattern::Below(parent.into())))
            .chain(any)
            .collect::<Vec<_>>();
        levels.into_iter().flat_map(|level| self.filed(&level).iter().copied()).inspect(|_| count())
    }

    /// Those that have a host in common with a pattern.
    pub fn meeting(&self, name: &NamePattern) -> impl Iterator<Item = &'a T> {
        let within = match name {
            NamePattern::Below(name) => self.below.get(name).map(Vec::as_slice).unwrap_or_default(),
            NamePattern::Any => self.all.as_slice(),
            NamePattern::Exact(_) => &[],
        };
        self.covering(name).chain(within.iter().copied().inspect(|_| count()))
    }

    /// Those filed under exactly this pattern.
    pub fn filed(&self, name: &NamePattern) -> &[&'a T] {
        self.at.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Notes that something was compared.
#[inline]
pub fn count() {
    #[cfg(test)]
    COMPARED.with(|compared| compared.set(compared.get() + 1));
}

#[cfg(test)]
thread_local! {
    /// How often this thread compared two entries.
    pub static COMPARED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
