//! What is filed under patterns of paths, found by walking along a path: the cost is that of the path's segments and
//! of the patterns that lead there, not of all there are.

use std::collections::HashMap;

use crate::pipeline::policy::path::{PathPattern, PathView, Step};

/// Values under patterns of paths. What it finds is all that can match, and some that does not: the finder asks the
/// pattern itself.
#[derive(Debug, Clone)]
pub struct PathTree<T> {
    root: Node<T>,
}

#[derive(Debug, Clone)]
struct Node<T> {
    here: Vec<T>,
    named: HashMap<Box<str>, Node<T>>,
    any: Option<Box<Node<T>>>,
}

impl<T> Default for PathTree<T> {
    fn default() -> Self {
        Self { root: Node::default() }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { here: Vec::new(), named: HashMap::new(), any: None }
    }
}

impl<T> PathTree<T> {
    /// Files a value; without a pattern, under every path.
    pub fn insert(&mut self, pattern: Option<&PathPattern>, value: T) {
        let mut node = &mut self.root;
        for step in pattern.map(PathPattern::trail).unwrap_or_default() {
            node = match step {
                Step::Named(name) => node.named.entry(name.clone()).or_default(),
                Step::Any => node.any.get_or_insert_default(),
            };
        }
        node.here.push(value);
    }

    /// Shows every value that can match, some of them twice, until one is taken.
    pub fn find<'a>(&'a self, path: &PathView<'_>, mut take: impl FnMut(&'a T) -> bool) -> bool {
        path.trails().any(|trail| self.root.walk(trail, &mut take))
    }

    /// Shows every value whose pattern could have a path in common with this one, and some besides.
    pub fn meeting<'a>(&'a self, pattern: Option<&PathPattern>, mut take: impl FnMut(&'a T)) {
        self.root.meet(pattern.map(PathPattern::trail).unwrap_or_default(), &mut take);
    }

    /// Every value with nothing said of its order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let mut nodes = vec![&self.root];
        std::iter::from_fn(move || {
            let node = nodes.pop()?;
            nodes.extend(node.named.values().chain(node.any.as_deref()));
            Some(&node.here)
        })
        .flatten()
    }
}

impl<T> Node<T> {
    fn meet<'a>(&'a self, trail: &[Step], take: &mut impl FnMut(&'a T)) {
        self.here.iter().for_each(&mut *take);
        let any = self.any.as_deref();
        match trail.split_first() {
            Some((Step::Named(name), rest)) => {
                self.named.get(name).into_iter().chain(any).for_each(|node| node.meet(rest, take));
            }
            Some((Step::Any, rest)) => self.named.values().chain(any).for_each(|node| node.meet(rest, take)),
            None => self.named.values().chain(any).for_each(|node| node.meet(&[], take)),
        }
    }

    fn walk<'a>(&'a self, rest: &str, take: &mut impl FnMut(&'a T) -> bool) -> bool {
        if self.here.iter().any(&mut *take) {
            return true;
        }
        if self.named.is_empty() && self.any.is_none() {
            return false;
        }
        let Some(rest) = rest.strip_prefix('/') else { return false };
        let end = rest.find('/').unwrap_or(rest.len());
        let (segment, after) = rest.split_at(end);
        let mut next = self.named.get(segment).into_iter().chain(self.any.as_deref());
        next.any(|node| node.walk(after, take))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_a_pattern_fits_is_found(
            patterns in proptest::collection::vec("(/(a|B|\\*|\\*\\*|\\{i\\}|a\\*|;x|a;x|%41|%2A)){1,4}/?", 1..8),
            path in "(/(a|b|A|;x|a;y|;%20|%61|\\*|%2a)){1,5}/?",
        ) {
            let patterns: Vec<_> = patterns.iter().filter_map(|p| PathPattern::parse(p).ok()).collect();
            let Ok(path) = crate::pipeline::message::parse_path(&path) else { return Ok(()) };
            let view = PathView::of(&path);
            let mut tree = PathTree::default();
            for (at, pattern) in patterns.iter().enumerate() {
                tree.insert(Some(pattern), at);
            }
            let mut found = Vec::new();
            tree.find(&view, |at| { found.push(*at); false });
            for (at, pattern) in patterns.iter().enumerate() {
                let fits = pattern.permits(&path) || pattern.restricts(&view);
                prop_assert!(!fits || found.contains(&at), "{pattern:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_shares_a_path_with_a_pattern_is_found(
            patterns in proptest::collection::vec("(/(a|B|\\*|\\*\\*|\\{i\\}|a\\*|;x|a;x|%41|%2A)){1,4}/?", 2..8),
        ) {
            let patterns: Vec<_> = patterns.iter().filter_map(|p| PathPattern::parse(p).ok()).collect();
            let mut tree = PathTree::default();
            for (at, pattern) in patterns.iter().enumerate() {
                tree.insert(Some(pattern), at);
            }
            for one in &patterns {
                let mut found = Vec::new();
                tree.meeting(Some(one), |at| found.push(*at));
                for (at, other) in patterns.iter().enumerate() {
                    prop_assert!(!one.may_overlap(other) || found.contains(&at), "{one:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn what_leads_elsewhere_is_not_looked_at() {
        let mut tree = PathTree::default();
        for at in 0..1000 {
            let pattern = PathPattern::parse(&format!("/v1/{{id}}/r{at}")).unwrap();
            tree.insert(Some(&pattern), at);
        }
        tree.insert(None, 1000);
        let mut found = Vec::new();
        tree.find(&PathView::of("/v1/x/R7"), |at| {
            found.push(*at);
            false
        });
        assert_eq!(found, [1000, 7]);
        assert_eq!(tree.iter().count(), 1001);
    }
}
