//! `responseFilters`: which fields of what comes back agents may see.

use super::super::decode::{filled_list, parsed, word};
use super::super::error::{Span, quote};
use super::*;
use crate::pipeline::response_filter::FieldPath;

/// One entry of `responseFilters`.
#[derive(Debug, Clone)]
pub struct ResponseFilter {
    /// Where the entry stands.
    pub span: Span,
    /// Its name, if it has one.
    pub name: Option<Spanned<String>>,
    /// The host pattern.
    pub host: Spanned<String>,
    /// The path pattern; `None`: every path.
    pub path: Option<Spanned<String>>,
    /// The methods.
    pub methods: Methods,
    /// Whom it is about; `None`: every agent.
    pub agents: Option<Vec<Spanned<Name>>>,
    /// The fields.
    pub fields: FilteredFields,
    /// Whether an answer that is no success passes as it is where it is not JSON.
    pub passes_unparsable_errors: bool,
}

/// Which fields may be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilteredFields {
    /// These and no others.
    Include(Vec<Spanned<FieldPath>>),
    /// All but these.
    Exclude(Vec<Spanned<FieldPath>>),
}

pub(super) fn response_filters(node: &Node, problems: &mut Problems) -> Option<Vec<ResponseFilter>> {
    list("a list of response filters", response_filter)(node, problems)
}

fn response_filter(node: &Node, problems: &mut Problems) -> Option<ResponseFilter> {
    let mut fields = Fields::of(node, "a response filter", problems)?;
    let name = fields.optional("name", parsed("the name of the response filter", rules::line));
    let host = fields.required("host", text("a host"));
    let path = fields.optional("path", text("a path"));
    let methods = fields.optional("method", domains::methods);
    let agents = fields.optional("agents", credentials::users);
    if fields.has("includeFields") == fields.has("excludeFields") {
        let span = fields.span();
        fields.reject(
            span,
            "a response filter has either `includeFields` or `excludeFields`",
            Some("write the fields that agents may see, or those that they may not"),
        );
    }
    let include = fields.optional("includeFields", paths).map(FilteredFields::Include);
    let exclude = fields.optional("excludeFields", paths).map(FilteredFields::Exclude);
    let errors =
        fields.optional("unparsableErrors", word("a treatment of errors", &[("refuse", false), ("pass", true)]));
    fields.finish()?;
    Some(ResponseFilter {
        span: node.span,
        name,
        host: host?,
        path,
        methods: methods.unwrap_or(Methods::Any),
        agents: agents.flatten(),
        fields: include.or(exclude)?,
        passes_unparsable_errors: errors.is_some_and(|passes| passes.value),
    })
}

fn paths(node: &Node, problems: &mut Problems) -> Option<Vec<Spanned<FieldPath>>> {
    let path = parsed("the way to a field", |written| {
        FieldPath::parse(written).map_err(|error| {
            Rejection::new(
                format!("{} is no way to a field: {error}", quote(written)),
                "write e.g. `id`, `customer.ssn`, `items[].id`, `*.id` or `\"a.b\".c`",
            )
        })
    });
    let read = filled_list("a list of fields", "name the fields", path)(node, problems)?;
    // What was wrong has been reported, and the filter must not hold without it.
    let whole = matches!(&node.value, Value::Sequence(items) if items.len() == read.len());
    whole.then_some(read)
}
