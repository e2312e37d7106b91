//! Where requests come in: every filter chain has to end in HTTP that is judged.

use serde_json::Value;

use super::clusters::{Clusters, tls_minimum};
use super::document::{Findings, Node};
use super::{client_tls, http, records};

const HTTP_CONNECTION_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const TLS_INSPECTOR: &str = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
const ORIGINAL_DST: &str = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst";
const ON_DEMAND: &str = "envoy.extensions.transport_sockets.tls.cert_selectors.on_demand_secret.v3.Config";

/// The way a request came in, as ext_proc has to tell attaché.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Straight from the agent.
    Proxy,
    /// TLS that Envoy terminated inside a CONNECT.
    Tls,
    /// Plain HTTP inside a CONNECT.
    Plain,
    /// TLS that Envoy terminated, on a connection that was redirected.
    TransparentTls,
    /// Plain HTTP on a connection that was redirected.
    TransparentPlain,
}

impl Door {
    pub(super) fn name(self) -> &'static str {
        match self {
            Door::Proxy => "proxy",
            Door::Tls => "tls",
            Door::Plain => "plain",
            Door::TransparentTls => "transparent-tls",
            Door::TransparentPlain => "transparent-plain",
        }
    }
}

pub(super) fn check(bootstrap: &Node<'_>, clusters: &Clusters<'_>, findings: &mut Findings) {
    let listeners = bootstrap.at("static_resources.listeners");
    findings.require(
        !listeners.items().is_empty(),
        &listeners,
        "there is no listener",
        "start from the file that `attache envoy render` prints",
    );
    for listener in listeners.items() {
        check_listener(&listener, clusters, findings);
    }
    findings.require(
        (listeners.items().iter()).any(|listener| listener.get("address").is_present()),
        &listeners,
        "there is no listener that an agent can reach",
        "start from the file that `attache envoy render` prints",
    );
    let internal = |listener: &Node<'_>| listener.get("internal_listener").is_present();
    let names: Vec<_> = (listeners.items().iter())
        .filter(|listener| internal(listener))
        .filter_map(|listener| listener.get("name").str())
        .collect();
    let inward = bootstrap.at("static_resources.clusters").descendants();
    for target in inward.iter().map(|node| node.get("server_listener_name")).filter(Node::is_present) {
        findings.require(
            target.str().is_some_and(|name| names.contains(&name)),
            &target,
            "no internal listener has this name, so no CONNECT can be served",
            "name the internal listener `mitm`",
        );
    }
}

fn check_listener(listener: &Node<'_>, clusters: &Clusters<'_>, findings: &mut Findings) {
    let is_internal = listener.get("internal_listener").is_present();
    let filters = listener.get("listener_filters");
    let redirects = filters.items().iter().any(|filter| filter.is_type(ORIGINAL_DST));
    let mut known = vec![
        "name",
        "address",
        "internal_listener",
        "filter_chains",
        "listener_filters",
        "listener_filters_timeout",
        "per_connection_buffer_limit_bytes",
        "access_log",
        "stat_prefix",
        "tcp_backlog_size",
        "metadata",
        "enable_reuse_port",
        "max_connections_to_accept_per_socket_event",
        "connection_balance_config",
    ];
    if redirects {
        known.extend(["additional_addresses", "freebind"]);
    }
    findings.known(listener, &known);
    findings.expect(
        listener.get("per_connection_buffer_limit_bytes").number().is_some_and(|bytes| bytes <= 16 << 20),
        &listener.get("per_connection_buffer_limit_bytes"),
        "it is not stated how large a body can be held back until it is judged, and how much memory an agent may fill",
        "set `per_connection_buffer_limit_bytes: 1048576`",
    );
    let socket = listener.at("address.socket_address");
    findings.require(
        is_internal || socket.get("address").is_present(),
        &listener.get("address"),
        "a listener without an address is no door the check knows",
        "give it a `socket_address`, or make it an `internal_listener`",
    );
    if !is_internal {
        findings.require(
            listener.get("enable_reuse_port").value() == &Value::Bool(false),
            &listener.get("enable_reuse_port"),
            "another process of this user can listen on the same port and take a share of the connections",
            "set `enable_reuse_port: false`",
        );
        let accepted = listener.get("max_connections_to_accept_per_socket_event");
        findings.expect(
            accepted.number().is_some_and(|connections| (1..=64).contains(&connections)),
            &accepted,
            "a crowd of new connections keeps every request waiting that is under way",
            "set `max_connections_to_accept_per_socket_event: 4`",
        );
    }
    if redirects {
        let others = listener.get("additional_addresses").items();
        for place in others.iter().map(|other| other.at("address.socket_address")).chain([socket.clone()]) {
            findings.require(
                place.get("port_value").number().is_some(),
                &place.get("port_value"),
                "there is no fixed port that a firewall could redirect to",
                "set `port_value: 10443`",
            );
            let address = place.get("address");
            findings.expect(
                matches!(address.str(), Some("127.0.0.1" | "::1")),
                &address,
                "other machines can use this listener, with this agent's rights",
                "listen on 127.0.0.1 and ::1, where a redirect leads to",
            );
        }
    }
    if !is_internal && !redirects {
        let chains = listener.get("filter_chains").items();
        let asks_for_certificates = !chains.is_empty() && chains.iter().all(client_tls::asks);
        findings.expect(
            asks_for_certificates || matches!(socket.get("address").str(), Some("127.0.0.1" | "::1")),
            &socket.get("address"),
            "other machines can use this proxy, with this agent's rights",
            "listen on 127.0.0.1, which an agent in the same pod or machine reaches, or take only agents with a certificate (`--client-ca`)",
        );
        findings.require(
            socket.get("port_value").number().is_some(),
            &socket.get("port_value"),
            "there is no fixed port to reach the proxy by",
            "set `port_value`",
        );
        findings.require(
            matches!(socket.get("protocol").str(), None | Some("TCP")),
            &socket.get("protocol"),
            "HTTP/3 does not pass through the filters as this check knows them",
            "remove `protocol`",
        );
    }

    let chains = listener.get("filter_chains").items();
    findings.require(
        !chains.is_empty(),
        &listener.get("filter_chains"),
        "nothing is served here",
        "add the filter chains of the shipped file",
    );
    let picks_tls = chains.iter().any(|chain| chain.at("filter_chain_match.transport_protocol").is("tls"));
    if is_internal || redirects {
        findings.require(
            picks_tls,
            &listener.get("filter_chains"),
            "TLS is not told from plain HTTP",
            "match the chains by `transport_protocol: tls` and `raw_buffer`",
        );
    }
    if picks_tls {
        findings.require(
            filters.items().iter().any(|filter| filter.get("name").is_present() && filter.is_type(TLS_INSPECTOR)),
            &filters,
            "TLS is not told from plain HTTP, so no chain fits it",
            "add `envoy.filters.listener.tls_inspector`",
        );
        findings.expect(
            listener.get("listener_filters_timeout").seconds().is_some_and(|seconds| seconds > 0.0),
            &listener.get("listener_filters_timeout"),
            "a connection on which nothing is said stays for long",
            "set `listener_filters_timeout: 15s`",
        );
        handshake_log(listener, clusters, findings);
    }
    for filter in filters.items() {
        findings.expect(
            filter.is_type(TLS_INSPECTOR) || filter.is_type(ORIGINAL_DST),
            &filter,
            "this listener filter is not known to this check: it may change where a connection comes from or goes",
            "keep `tls_inspector`, and `original_dst` on a transparent listener",
        );
    }
    for chain in chains {
        let way = match (is_internal, redirects) {
            (_, true) => Way::Redirect,
            (true, false) => Way::Tunnel,
            (false, false) => Way::Proxy,
        };
        check_chain(&chain, way, clusters, findings);
    }
}

/// A failed handshake never becomes a request, so no other log has it.
fn handshake_log(listener: &Node<'_>, clusters: &Clusters<'_>, findings: &mut Findings) {
    let logs = listener.get("access_log");
    let log = logs
        .items()
        .into_iter()
        .find(|log| log.is_type("envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig"));
    let Some(log) = log else {
        findings.warn(
            &logs,
            "handshakes that fail, as those for refused names do, are on no record",
            "add the `tcp_grpc` access log `handshake` of the shipped file",
        );
        return;
    };
    let common = log.at("typed_config.common_config");
    records::log_to_attache(&log, "handshake", clusters, findings);
    findings.expect(
        common.get("filter_state_objects_to_log").texts().contains(&"attache.session"),
        &common.get("filter_state_objects_to_log"),
        "the record of a failed handshake does not say whose it was",
        "log the filter state `attache.session`",
    );
    let filter = log.at("filter.extension_filter");
    findings.expect(
        filter.is_type("envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter")
            && filter.get("name").is_present()
            && filter.at("typed_config.expression").is("connection.transport_failure_reason != ''"),
        &log.get("filter"),
        "connections are logged that are no failed handshakes, or none are",
        "filter by the CEL expression `connection.transport_failure_reason != ''`",
    );
}

/// How connections come to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The agent speaks to the proxy.
    Proxy,
    /// It opened a tunnel through it.
    Tunnel,
    /// A firewall sent them here.
    Redirect,
}

fn check_chain(chain: &Node<'_>, way: Way, clusters: &Clusters<'_>, findings: &mut Findings) {
    findings.known(
        chain,
        &["name", "filter_chain_match", "filters", "transport_socket", "transport_socket_connect_timeout", "metadata"],
    );
    let socket = chain.get("transport_socket");
    let matched = chain.at("filter_chain_match.transport_protocol");
    let is_tls = socket.is_present() || matched.is("tls");
    let door = match (way, is_tls) {
        (Way::Proxy, _) => Door::Proxy,
        (Way::Tunnel, true) => Door::Tls,
        (Way::Tunnel, false) => Door::Plain,
        (Way::Redirect, true) => Door::TransparentTls,
        (Way::Redirect, false) => Door::TransparentPlain,
    };
    let is_inside = way != Way::Proxy;
    if is_inside && is_tls {
        intercepted_tls(chain, findings);
    }
    if door == Door::Proxy && socket.is_present() {
        client_tls::check(chain, findings);
    }
    if is_inside {
        let protocol = if is_tls { "tls" } else { "raw_buffer" };
        findings.require(
            matched.is(protocol),
            &matched,
            "TLS and plain HTTP reach the same chain, so attaché is told the wrong door",
            "match the chains by `transport_protocol: tls` and `raw_buffer`",
        );
    }
    let filters = chain.get("filters");
    findings.require(
        filters.items().iter().any(|filter| filter.is_type(HTTP_CONNECTION_MANAGER)),
        &filters,
        "what comes in here is not taken as HTTP, so nothing can be judged",
        "end the chain in `envoy.filters.network.http_connection_manager`",
    );
    for filter in filters.items() {
        if filter.is_type(HTTP_CONNECTION_MANAGER) {
            findings.require(
                filter.get("name").is_present(),
                &filter,
                "a filter needs a name",
                "name it `envoy.filters.network.http_connection_manager`",
            );
            let manager = filter.get("typed_config");
            http::check(&manager, door, clusters, findings);
            if door == Door::Proxy && client_tls::asks(chain) {
                client_tls::check_shown(&manager, findings);
            }
        } else {
            findings.error(
                &filter,
                "this network filter is not HTTP: bytes can pass it without a verdict",
                "remove it, and end the chain in `envoy.filters.network.http_connection_manager`",
            );
        }
    }
}

fn intercepted_tls(chain: &Node<'_>, findings: &mut Findings) {
    let socket = chain.get("transport_socket");
    let tls = socket.get("typed_config");
    let common = tls.get("common_tls_context");
    findings.require(
        socket.get("name").is_present()
            && socket.is_type("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
        &socket,
        "TLS is not terminated, so nothing in it can be judged",
        "terminate it with a `DownstreamTlsContext`",
    );
    tls_minimum(&common, findings);
    let alpn = common.get("alpn_protocols").texts();
    findings.expect(
        alpn == ["h2", "http/1.1"],
        &common.get("alpn_protocols"),
        "clients cannot choose between HTTP/2 and HTTP/1.1",
        "set `alpn_protocols: [h2, http/1.1]`",
    );
    let selector = common.get("custom_tls_certificate_selector");
    let config = selector.get("typed_config");
    let mapper = config.get("certificate_mapper");
    findings.require(
        selector.get("name").is_present()
            && selector.is_type(ON_DEMAND)
            && config.at("config_source.ads").is_present()
            && config.at("config_source.resource_api_version").is("V3"),
        &selector,
        "certificates do not come from attaché for each name",
        "use the `on_demand_secret` selector with `config_source: {resource_api_version: V3, ads: {}}`",
    );
    findings.require(
        mapper.get("name").is_present()
            && mapper.is_type("envoy.extensions.transport_sockets.tls.cert_mappers.sni.v3.SNI")
            && mapper.at("typed_config.default_value").is("__nosni__"),
        &mapper,
        "a certificate is not asked for by the name in the handshake",
        "map by `sni`, with `default_value: __nosni__`",
    );
    for switch in ["disable_stateless_session_resumption", "disable_stateful_session_resumption"] {
        findings.require(
            tls.get(switch).is_true(),
            &tls.get(switch),
            "a resumed session skips the certificate, and with it the refusal of a name that policy has closed since",
            "set it to `true`",
        );
    }
    findings.expect(
        chain.get("transport_socket_connect_timeout").seconds().is_some_and(|seconds| seconds > 0.0),
        &chain.get("transport_socket_connect_timeout"),
        "a handshake whose certificate never comes waits for ever",
        "set `transport_socket_connect_timeout: 10s`",
    );
}
