//! One HTTP connection manager: what it makes of a request before and after the verdict.

use std::sync::LazyLock;

use serde_json::Value;

use super::clusters::Clusters;
use super::document::{Findings, Node};
use super::listeners::Door;
use super::{client_tls, gate, records, routes, verdict};
use crate::envoy::bootstrap::SHIPPED;

const SET_FILTER_STATE: &str = "envoy.extensions.filters.http.set_filter_state.v3.Config";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";

pub(super) fn check(manager: &Node<'_>, door: Door, clusters: &Clusters<'_>, findings: &mut Findings) {
    let routes = routes::check(manager, clusters, findings);
    filters(manager, door, routes.connects, clusters, findings);
    stripped_early(manager, findings);
    one_reading(manager, findings);
    limits(manager, findings);
    source(manager, findings);
    upgrades(manager, routes.connects, findings);
    answers(manager, findings);
    records::check(manager, door, clusters, findings);
    findings.expect(
        manager.get("server_header_transformation").is("PASS_THROUGH"),
        &manager.get("server_header_transformation"),
        "the upstream's `server` header is replaced by Envoy's",
        "set `server_header_transformation: PASS_THROUGH`",
    );
    findings.require(
        manager.at("scheme_header_transformation.match_upstream").is_true(),
        &manager.get("scheme_header_transformation"),
        "an upstream that is reached over TLS is told `:scheme: http`",
        "set `scheme_header_transformation: {match_upstream: true}`",
    );
    let ids = manager.get("generate_request_id");
    findings.require(
        ids.is_absent() || ids.is_true(),
        &ids,
        "without ids a request goes to its second address at once, and its record cannot be found",
        "remove it",
    );
    findings.known(
        manager,
        &[
            "stat_prefix",
            "codec_type",
            "route_config",
            "rds",
            "scoped_routes",
            "http_filters",
            "early_header_mutation_extensions",
            "normalize_path",
            "merge_slashes",
            "path_with_escaped_slashes_action",
            "strip_trailing_host_dot",
            "max_request_headers_kb",
            "common_http_protocol_options",
            "http_protocol_options",
            "http2_protocol_options",
            "stream_idle_timeout",
            "request_headers_timeout",
            "request_timeout",
            "use_remote_address",
            "skip_xff_append",
            "xff_num_trusted_hops",
            "scheme_header_transformation",
            "server_header_transformation",
            "upgrade_configs",
            "local_reply_config",
            "access_log",
            "tracing",
            "drain_timeout",
            "delayed_close_timeout",
            "generate_request_id",
            "access_log_options",
        ],
    );
    findings.require(
        manager.get("stat_prefix").is_present(),
        &manager.get("stat_prefix"),
        "Envoy does not start without it",
        "set `stat_prefix`",
    );
}

/// A verdict, then the gate, then the router; nothing on the way that could do their work or undo it.
fn filters(manager: &Node<'_>, door: Door, connects: bool, clusters: &Clusters<'_>, findings: &mut Findings) {
    let list = manager.get("http_filters");
    let filters = list.items();
    let position = |message: &str| filters.iter().position(|filter| filter.is_type(message));
    let judged = position(verdict::EXT_PROC);
    let gated = filters.iter().rposition(|filter| filter.is_type(gate::RBAC));
    let routed = position(ROUTER);
    findings.require(
        judged.is_some(),
        &list,
        "requests are forwarded without asking attaché",
        "add `envoy.filters.http.ext_proc` before the gate",
    );
    findings.require(
        gated.is_some() && judged < gated,
        &list,
        "there is no gate after ext_proc: a stream that ends early lets its request pass unjudged",
        "add `envoy.filters.http.rbac` after ext_proc, as in the shipped file",
    );
    findings.require(
        routed.is_some() && gated < routed,
        &list,
        "the router does not come after the gate",
        "put `envoy.filters.http.router` last",
    );

    let mut carries_session = false;
    for (index, filter) in filters.iter().enumerate() {
        findings.known(filter, &["name", "typed_config", "disabled", "is_optional", "config_discovery"]);
        for (switch, message) in [
            ("disabled", "the filter is switched off"),
            ("config_discovery", "the filter comes from elsewhere, where this check does not see it"),
        ] {
            findings.require(filter.get(switch).is_false(), &filter.get(switch), message, "remove it");
        }
        findings.require(
            filter.get("name").is_present(),
            filter,
            "a filter needs a name",
            "give it the name of the shipped file",
        );
        let config = filter.get("typed_config");
        if filter.is_type(verdict::EXT_PROC) {
            verdict::check(&config, door, clusters, findings);
        } else if filter.is_type(gate::RBAC) {
            gate::check(&config, connects, findings);
        } else if filter.is_type(SET_FILTER_STATE) {
            let before = door == Door::Proxy && Some(index) < judged;
            carries_session |= filter_state(&config, connects && judged < Some(index), before, findings);
        } else if filter.is_type(ROUTER) {
            findings.expect(
                config.get("suppress_envoy_headers").is_true(),
                &config.get("suppress_envoy_headers"),
                "Envoy tells agent and upstream about itself in x-envoy-* headers",
                "set `suppress_envoy_headers: true`",
            );
            findings.known(&config, &["suppress_envoy_headers", "dynamic_stats"]);
        } else {
            findings.error(
                filter,
                "this filter is not known to be harmless: it may answer, route, rewrite what was judged, or forge a verdict in metadata",
                "remove it",
            );
        }
    }
    if connects {
        findings.require(
            carries_session,
            &list,
            "what attaché learnt at CONNECT does not reach the requests inside",
            "after ext_proc, set the filter state `attache.session` as an `envoy.hashable_string` from `%DYNAMIC_METADATA(attache:session)%`, shared_with_upstream: ONCE",
        );
    }
}

/// Whether this is the filter that carries the session inward; nobody else may write it, nor where a connection goes.
/// `may_show`: it stands where what the agent's certificate says may be kept.
fn filter_state(config: &Node<'_>, may_carry: bool, may_show: bool, findings: &mut Findings) -> bool {
    let mut carries = false;
    for (name, phase) in config.fields() {
        for entry in phase.items() {
            let key = entry.get("object_key");
            let value = entry.get("format_string");
            let is_session = name == "on_request_headers"
                && key.is("attache.session")
                && entry.get("shared_with_upstream").is("ONCE")
                && value.at("text_format_source.inline_string").is("%DYNAMIC_METADATA(attache:session)%");
            if name == "on_request_headers" && may_show && client_tls::is_peer(&entry) {
                continue;
            }
            if is_session && may_carry {
                carries = true;
                // Only what is hashable is part of the key under which Envoy pools the connections inward.
                findings.require(
                    entry.get("factory_key").is("envoy.hashable_string"),
                    &entry.get("factory_key"),
                    "tunnels opened at the same time can get each other's session, and with it each other's agent",
                    "set `factory_key: envoy.hashable_string`",
                );
                findings.expect(
                    entry.get("skip_if_empty").is_true() || value.get("omit_empty_values").is_true(),
                    &entry,
                    "a request without a session carries `-` as one",
                    "set `omit_empty_values: true` and `skip_if_empty: true`",
                );
            } else {
                findings.error(
                    &entry,
                    "this filter state can forge the session of a request, mix it up with another's, or say where it goes",
                    "set `attache.session` only (and `attache.peer`, as rendered with --client-ca), as an `envoy.hashable_string`, on the listener that takes CONNECT, after ext_proc, from `%DYNAMIC_METADATA(attache:session)%`",
                );
            }
        }
    }
    carries
}

/// No header of ours and none of Envoy's comes from an agent; its trace context is kept aside.
fn stripped_early(manager: &Node<'_>, findings: &mut Findings) {
    let extensions = manager.get("early_header_mutation_extensions");
    let mutations: Vec<_> = (extensions.items().iter())
        .filter(|extension| {
            extension.get("name").is_present()
                && extension.is_type("envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation")
        })
        .flat_map(|extension| extension.at("typed_config.mutations").items())
        .collect();
    let removal = |header: &str| {
        mutations.iter().rposition(|mutation| {
            mutation.get("remove").is(header)
                || mutation
                    .at("remove_on_match.key_matcher.prefix")
                    .str()
                    .is_some_and(|prefix| header.starts_with(prefix))
        })
    };
    for (header, forges) in [
        ("x-attache-int-", "attaché's own choice of a route"),
        ("x-envoy-", "Envoy's retries, timeouts and addresses"),
        ("x-agent-trace", "the trace context that is kept aside"),
        ("x-request-id", "the id that Envoy gives"),
        ("traceparent", "our traces, or switch them off"),
        ("tracestate", "our traces, or switch them off"),
    ] {
        findings.require(
            removal(header).is_some(),
            &extensions,
            &format!("an agent can send `{header}` headers and so set {forges}"),
            "remove them in `early_header_mutation_extensions`, as in the shipped file",
        );
    }
    for (mutation_index, mutation) in mutations.iter().enumerate() {
        let header = mutation.at("append.header");
        if mutation.get("append").is_absent() {
            continue;
        }
        let key = header.get("key").str().unwrap_or_default();
        let from = match key {
            "x-agent-traceparent" => "traceparent",
            "x-agent-tracestate" => "tracestate",
            _ => {
                findings.error(&header, "a header is added to every request before it is judged", "remove it");
                continue;
            }
        };
        findings.require(
            header.get("value").is(&format!("%REQ({from})%"))
                && mutation.at("append.append_action").is("OVERWRITE_IF_EXISTS_OR_ADD")
                && removal("x-agent-trace") < Some(mutation_index)
                && removal(from) > Some(mutation_index),
            mutation,
            "the agent's trace context is not kept aside as it came",
            "first remove x-agent-trace*, then copy it, then remove the original",
        );
    }
    for key in ["x-agent-traceparent", "x-agent-tracestate"] {
        findings.expect(
            mutations.iter().any(|mutation| mutation.at("append.header.key").is(key)),
            &extensions,
            "our traces do not link to the agent's",
            "copy traceparent and tracestate to x-agent-traceparent and x-agent-tracestate",
        );
    }
}

/// Policy and upstream read the same request.
fn one_reading(manager: &Node<'_>, findings: &mut Findings) {
    for switch in ["normalize_path", "merge_slashes", "strip_trailing_host_dot"] {
        findings.require(
            manager.get(switch).is_true(),
            &manager.get(switch),
            "policy and upstream can read different paths or hosts in the same request",
            &format!("set `{switch}: true`"),
        );
    }
    let slashes = manager.get("path_with_escaped_slashes_action");
    findings.require(
        slashes.is("REJECT_REQUEST"),
        &slashes,
        "an encoded slash hides a path from policy",
        "set `path_with_escaped_slashes_action: REJECT_REQUEST`",
    );
    let underscores = manager.at("common_http_protocol_options.headers_with_underscores_action");
    findings.require(
        underscores.is("REJECT_REQUEST"),
        &underscores,
        "`x_api_key` passes where policy looks for `x-api-key`, and upstreams take one for the other",
        "set `headers_with_underscores_action: REJECT_REQUEST`",
    );
    let http1 = manager.get("http_protocol_options");
    findings.known(&http1, &["accept_http_10", "allow_absolute_url"]);
    findings.require(
        http1.get("allow_absolute_url").is_absent() || http1.get("allow_absolute_url").is_true(),
        &http1.get("allow_absolute_url"),
        "`GET http://…` requests are not read as a proxy must",
        "remove it",
    );
    findings.expect(
        http1.get("accept_http_10").is_true(),
        &http1.get("accept_http_10"),
        "clients that send CONNECT over HTTP/1.0 are refused",
        "set `accept_http_10: true`",
    );
}

fn limits(manager: &Node<'_>, findings: &mut Findings) {
    let h2 = manager.get("http2_protocol_options");
    for (name, most) in [
        ("max_concurrent_streams", 1_000),
        ("initial_stream_window_size", 1 << 20),
        ("initial_connection_window_size", 16 << 20),
    ] {
        findings.require(
            h2.get(name).number().is_some_and(|value| value <= most),
            &h2.get(name),
            "an agent can make Envoy hold hundreds of MB, and send 16 MB to attaché in one message",
            "set `max_concurrent_streams: 100`, `initial_stream_window_size: 1048576`, `initial_connection_window_size: 16777216`",
        );
    }
    findings.known(
        &h2,
        &[
            "max_concurrent_streams",
            "initial_stream_window_size",
            "initial_connection_window_size",
            "connection_keepalive",
        ],
    );
    let common = manager.get("common_http_protocol_options");
    let headers = common.get("max_headers_count");
    findings.expect(
        headers.number().is_some_and(|count| count <= 1_000),
        &headers,
        "the number of headers is not limited here",
        "set `max_headers_count: 100`",
    );
    let size = manager.get("max_request_headers_kb");
    findings.expect(
        size.number().is_some_and(|size| size <= 1_024),
        &size,
        "the size of the headers is not limited here",
        "set `max_request_headers_kb: 64`",
    );
    let idle = common.get("idle_timeout");
    findings.expect(
        idle.seconds().is_some_and(|seconds| seconds > 0.0),
        &idle,
        "connections that are not used stay for an hour",
        "set `idle_timeout: 900s`",
    );
    let slow = manager.get("request_headers_timeout");
    findings.expect(
        slow.seconds().is_some_and(|seconds| seconds > 0.0),
        &slow,
        "headers may come one byte an hour",
        "set `request_headers_timeout: 30s`",
    );
    let stream = manager.get("stream_idle_timeout");
    findings.expect(
        stream.seconds().is_some_and(|seconds| seconds > verdict::LONGEST_HOLD_SECONDS || seconds == 0.0),
        &stream,
        "Envoy ends a request that waits for a person",
        "set it above `max_message_timeout`: `stream_idle_timeout: 3900s`",
    );
    findings.expect(
        matches!(manager.get("request_timeout").seconds(), None | Some(0.0)),
        &manager.get("request_timeout"),
        "Envoy ends a request that waits for a person",
        "remove it",
    );
    findings.known(
        &common,
        &["headers_with_underscores_action", "max_headers_count", "idle_timeout", "max_connection_duration"],
    );
}

fn source(manager: &Node<'_>, findings: &mut Findings) {
    findings.require(
        manager.get("use_remote_address").is_true()
            && matches!(manager.get("xff_num_trusted_hops").number(), None | Some(0)),
        &manager.get("use_remote_address"),
        "an agent can choose its source address by X-Forwarded-For",
        "set `use_remote_address: true` and no `xff_num_trusted_hops`",
    );
    findings.expect(
        manager.get("skip_xff_append").is_true(),
        &manager.get("skip_xff_append"),
        "the upstream learns the agent's address",
        "set `skip_xff_append: true`",
    );
}

fn upgrades(manager: &Node<'_>, connects: bool, findings: &mut Findings) {
    let list = manager.get("upgrade_configs");
    for upgrade in list.items() {
        let kind = upgrade.get("upgrade_type");
        let is_known = kind.is("websocket") || (kind.is("CONNECT") && connects);
        findings.require(
            is_known,
            &kind,
            "this upgrade is not one that policy knows",
            "keep `websocket`, and `CONNECT` where the agent connects",
        );
        findings.require(
            upgrade.get("filters").is_absent(),
            &upgrade.get("filters"),
            "upgraded requests go through filters of their own, without a verdict",
            "remove `filters`",
        );
    }
    let has = |kind: &str| list.items().iter().any(|upgrade| upgrade.get("upgrade_type").is(kind));
    findings.expect(
        has("websocket"),
        &list,
        "no WebSocket can pass, whatever policy says",
        "add `{upgrade_type: websocket}`",
    );
    findings.expect(!connects || has("CONNECT"), &list, "no CONNECT can pass", "add `{upgrade_type: CONNECT}`");
}

static SHIPPED_ANSWERS: LazyLock<Option<Value>> = LazyLock::new(|| {
    let shipped = super::document::parse(SHIPPED).ok()?;
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    (shipped.pointer(&format!("{manager}/local_reply_config"))).cloned()
});

/// Compared with the shipped ones: agents are told to rely on them.
fn answers(manager: &Node<'_>, findings: &mut Findings) {
    let answers = manager.get("local_reply_config");
    let expected = SHIPPED_ANSWERS.as_ref();
    findings.expect(
        expected == Some(answers.value()),
        &answers,
        "Envoy's own failures are not answered as documented, or attaché's refusals are changed on their way",
        "take `local_reply_config` from the shipped file",
    );
}
