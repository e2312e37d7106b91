//! Pairs of methods and paths.

use crate::pipeline::policy::matcher::Methods;
use crate::pipeline::policy::path::{PathPattern, PathView};
use crate::pipeline::policy::tree::PathTree;

/// Pairs of methods and paths; a request that one of them fits is meant.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    pairs: PathTree<(Methods, PathPattern)>,
}

impl Routes {
    /// For lists that permit: whether a pair fits the request as it is.
    pub fn permit(&self, method: &str, path: &PathView<'_>) -> bool {
        self.pairs.find(path, |(methods, pattern)| methods.permits(method) && pattern.permits(path.exact()))
    }

    /// For lists that restrict: whether a pair fits the request as some server may take it.
    pub fn restrict(&self, method: &str, path: &PathView<'_>) -> bool {
        self.pairs.find(path, |(methods, pattern)| methods.restricts(method) && pattern.restricts(path))
    }

    /// False only where no request that both permit can be.
    pub fn may_overlap(&self, other: &Self) -> bool {
        let meets = |(methods, path): &(Methods, PathPattern)| {
            other.iter().any(|(others, pattern)| methods.may_overlap(others) && path.may_overlap(pattern))
        };
        self.iter().any(meets)
    }

    /// Every pair with nothing said of their order.
    pub fn iter(&self) -> impl Iterator<Item = &(Methods, PathPattern)> {
        self.pairs.iter()
    }

    /// True if there is no pair, so that nothing is meant.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl FromIterator<(Methods, PathPattern)> for Routes {
    fn from_iter<I: IntoIterator<Item = (Methods, PathPattern)>>(pairs: I) -> Self {
        let mut tree = PathTree::default();
        for (methods, path) in pairs {
            tree.insert(Some(&path.clone()), (methods, path));
        }
        Self { pairs: tree }
    }
}
