//! `responseFilters`.

use super::{Described, Rule, key};

pub const TABLE: &[Described] = &[Described {
    what: "a response filter",
    means: "Which fields of a JSON answer agents may see: of a document, of each line, of each server-sent event.",
    rules: &[Rule::One(&["includeFields", "excludeFields"])],
    keys: &[
        key(
            "name",
            "What records know it by: 1 to 80 characters; without it, its place in the list.",
            "Users without PII",
        ),
        key("host", "The host, `[http://]host[:port]`; without a port, every port.", "api.example.com"),
        key("path", "The path, as in restrictions; without it, every path.", "/v1/users"),
        key("method", "One method, a list, or `any`, which is all but TRACE and CONNECT.", "GET").default("any"),
        key("agents", "Whom it is about.", "[researcher]").default("all"),
        key(
            "includeFields",
            "The ways to the fields that pass, whole; `[]` is every element of an array, `*` any name.",
            "[id, name, \"items[].id\"]",
        ),
        key("excludeFields", "The ways to the fields that do not pass.", "[\"[].card.number\", customer.ssn]"),
        key(
            "unparsableErrors",
            "What becomes of an answer that is no success (2xx) and no JSON: 502, or it passes as it is.",
            "pass",
        )
        .default("refuse"),
    ],
}];
