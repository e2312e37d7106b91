//! What is filed by agent, host and path, so that a request meets only what could be about it.

use std::sync::Arc;

use crate::pipeline::agent::AgentId;
use crate::pipeline::policy::matcher::{HostTable, Level, NamePattern};
use crate::pipeline::policy::path::{PathPattern, PathView};
use crate::pipeline::policy::tree::PathTree;

/// Values under the agents, hosts and paths that they are about.
#[derive(Debug)]
pub struct Places<T> {
    common: HostTable<PathTree<Arc<T>>>,
    own: Vec<HostTable<PathTree<Arc<T>>>>,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { common: HostTable::default(), own: Vec::new() }
    }
}

impl<T> Places<T> {
    /// Files a value; without agents, under every agent, without a path, under every path.
    pub fn add(&mut self, agents: Option<&[AgentId]>, host: &NamePattern, path: Option<&PathPattern>, value: T) {
        let value = Arc::new(value);
        let Some(agents) = agents else { return file(&mut self.common, host, path, value) };
        for agent in agents {
            if self.own.len() <= agent.0 {
                self.own.resize_with(agent.0 + 1, HostTable::default);
            }
            if let Some(own) = self.own.get_mut(agent.0) {
                file(own, host, path, value.clone());
            }
        }
    }

    /// Shows all that can be about a request of this agent to a host, at one level of the host's patterns: what does
    /// not fit the path among it, and some of it twice, as [`PathTree::find`] does.
    pub fn find<'a>(&'a self, agent: AgentId, level: Level<'_>, path: &PathView<'_>, mut take: impl FnMut(&'a Arc<T>)) {
        for table in std::iter::once(&self.common).chain(self.own.get(agent.0)) {
            for tree in table.at(level) {
                tree.find(path, |value| {
                    take(value);
                    false
                });
            }
        }
    }
}

fn file<T>(table: &mut HostTable<PathTree<T>>, host: &NamePattern, path: Option<&PathPattern>, value: T) {
    let trees = table.filed(host);
    if trees.is_empty() {
        trees.push(PathTree::default());
    }
    if let Some(tree) = trees.first_mut() {
        tree.insert(path, value);
    }
}
