//! Response filters.

use std::sync::Arc;

use super::super::schema::{self, FilteredFields};
use super::domains::methods;
use super::{Work, host, path};
use crate::pipeline::policy::{ResponseFilter, RuleId};
use crate::pipeline::response_filter::{FieldPath, Filter};

impl Work<'_> {
    /// Files response filters.
    pub(super) fn add_response_filters(&mut self, filters: &[schema::ResponseFilter]) {
        for (at, filter) in filters.iter().enumerate() {
            let id = id(at, filter);
            self.places.entry(id.clone()).or_insert(filter.span);
            let pattern = host(&filter.host, self.problems);
            let path = filter.path.as_ref().map(|text| path(text, self.problems));
            let agents = filter
                .agents
                .as_ref()
                .map(|names| names.iter().filter_map(|name| self.rules.agents.find(name.as_str())).collect());
            let (Some(pattern), None | Some(Some(_))) = (pattern, &path) else { continue };
            self.rules.add_response_filter(ResponseFilter {
                id,
                pattern,
                path: path.flatten(),
                methods: methods(&filter.methods),
                agents,
                fields: Arc::new(fields(&filter.fields)),
                passes_unparsable_errors: filter.passes_unparsable_errors,
                words: words(&filter.fields, filter.passes_unparsable_errors).into(),
            });
        }
    }
}

/// What records call a filter: by its name, or else by its place in the list.
pub(in super::super) fn id(at: usize, filter: &schema::ResponseFilter) -> RuleId {
    match &filter.name {
        Some(name) => format!("responseFilters[{}]", name.value).into(),
        None => format!("responseFilters[{at}]").into(),
    }
}

/// What a filter does.
pub(in super::super) fn words(fields: &FilteredFields, passes_unparsable_errors: bool) -> String {
    let (verb, paths) = match fields {
        FilteredFields::Include(paths) => ("only", paths),
        FilteredFields::Exclude(paths) => ("without", paths),
    };
    let paths: Vec<_> = paths.iter().map(|path| format!("`{}`", path.value)).collect();
    let errors = if passes_unparsable_errors { "; errors that are no JSON pass" } else { "" };
    format!("{verb} {}{errors}", paths.join(", "))
}

fn fields(written: &FilteredFields) -> Filter {
    let paths = |paths: &[super::Spanned<FieldPath>]| paths.iter().map(|path| path.value.clone()).collect::<Vec<_>>();
    match written {
        FilteredFields::Include(included) => Filter::include(paths(included)),
        FilteredFields::Exclude(excluded) => Filter::exclude(paths(excluded)),
    }
}
