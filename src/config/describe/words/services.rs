//! `services`.

use super::{Described, Rule, key};

pub const TABLE: &[Described] = &[Described {
    what: "a service",
    means: "Which hosts an API has, and where it takes its key.",
    rules: &[
        Rule::AtMostOne(&["headerName", "queryParam"]),
        Rule::Needs("headerName", "headerFormat"),
        Rule::Needs("headerFormat", "headerName"),
    ],
    keys: &[
        key("hosts", "The hosts that get the key, `[http://]host[:port]`.", "[\"billing.example.com:8443\"]"),
        key("path", "The paths that get the key; without it, every path.", "\"/v1/**\""),
        key(
            "headerName",
            "The header that carries it; without it and `queryParam`, `Authorization` with `Bearer {value}`.",
            "X-Api-Key",
        ),
        key("headerFormat", "What the header becomes, as in injections.", "\"{value}\""),
        key("queryParam", "The query parameter that carries it, instead of a header.", "api_key"),
        key("documentation", "Where the vendor says so.", "\"https://docs.example.com/auth\""),
        key("note", "What its user has to know beyond that.", "Keys are made by the billing team."),
        key("override", "Whether it is meant to stand in for the catalogue's service of that name.", "true")
            .default("false"),
    ],
}];
