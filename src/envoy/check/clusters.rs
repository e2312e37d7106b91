//! Where requests may go: attaché, the internal listener, and the addresses that a verdict names.

use super::document::{Findings, Node};

const H2_LIMIT: u64 = 1 << 20;

/// The clusters of a bootstrap, by the part they may play.
pub(super) struct Clusters<'a> {
    all: Vec<(&'a str, Role, Node<'a>)>,
}

/// The part a cluster may play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The policy service: the cluster that verdicts come from.
    Attache,
    /// The way to an internal listener.
    Inside,
    /// The address of the verdict, over TLS.
    Upstream,
    /// The address of the verdict, in plain text.
    PlainUpstream,
    /// Anywhere else.
    Elsewhere,
}

impl<'a> Clusters<'a> {
    pub(super) fn of(bootstrap: &Node<'a>) -> Self {
        let service = ext_proc_cluster(bootstrap);
        let all = (bootstrap.at("static_resources.clusters").items().into_iter())
            .map(|cluster| {
                let name = cluster.get("name").str().unwrap_or_default();
                let role = if Some(name) == service {
                    Role::Attache
                } else if !internal_listeners_of(&cluster).is_empty() {
                    Role::Inside
                } else if !cluster.get("type").is("ORIGINAL_DST") {
                    Role::Elsewhere
                } else if cluster.get("transport_socket").is_present() {
                    Role::Upstream
                } else {
                    Role::PlainUpstream
                };
                (name, role, cluster)
            })
            .collect();
        Clusters { all }
    }

    /// The part of the cluster of this name; a name that is not in the file could be anything.
    pub(super) fn role(&self, name: &str) -> Role {
        let found = self.all.iter().find(|(cluster, ..)| *cluster == name);
        found.map_or(Role::Elsewhere, |(_, role, _)| *role)
    }

    /// Whether a gRPC service points at attaché.
    pub(super) fn serves(&self, grpc_service: &Node<'_>) -> bool {
        let name = grpc_service.at("envoy_grpc.cluster_name").str();
        name.is_some_and(|name| self.role(name) == Role::Attache)
    }
}

/// The cluster of the first ext_proc filter.
fn ext_proc_cluster<'a>(bootstrap: &Node<'a>) -> Option<&'a str> {
    let listeners = bootstrap.at("static_resources.listeners");
    listeners.descendants().into_iter().find_map(|node| {
        let is_ext_proc = node.get("@type").is_present() && node.is_type(super::verdict::EXT_PROC);
        let name = node.at("grpc_service.envoy_grpc.cluster_name").str();
        name.filter(|_| is_ext_proc)
    })
}

fn endpoints<'a>(cluster: &Node<'a>) -> Vec<Node<'a>> {
    (cluster.at("load_assignment.endpoints").items().iter())
        .flat_map(|locality| locality.get("lb_endpoints").items())
        .map(|endpoint| endpoint.at("endpoint.address"))
        .collect()
}

fn internal_listeners_of<'a>(cluster: &Node<'a>) -> Vec<Node<'a>> {
    (endpoints(cluster).into_iter())
        .map(|address| address.at("envoy_internal_address.server_listener_name"))
        .filter(Node::is_present)
        .collect()
}

pub(super) fn check(clusters: &Clusters<'_>, findings: &mut Findings) {
    for (index, (name, role, cluster)) in clusters.all.iter().enumerate() {
        if clusters.all.iter().take(index).any(|(other, ..)| other == name) {
            findings.error(cluster, format!("a second cluster is named `{name}`"), "give each cluster its own name");
        }
        match role {
            Role::Attache => service(cluster, findings),
            Role::Inside => inside(cluster, findings),
            Role::Upstream => {
                pinned(cluster, findings);
                verified_tls(cluster, findings);
            }
            Role::PlainUpstream => pinned(cluster, findings),
            Role::Elsewhere => {}
        }
    }
    let has = |wanted: Role| clusters.all.iter().any(|(_, role, _)| *role == wanted);
    if let Some((_, _, first)) = clusters.all.first() {
        findings.require(
            has(Role::Attache),
            first,
            "no cluster leads to attaché",
            "add the `attache` cluster that the ext_proc filters name",
        );
    }
}

/// Verdicts, certificates and records all travel here.
fn service(cluster: &Node<'_>, findings: &mut Findings) {
    findings.require(
        cluster.get("type").is("STATIC") && !endpoints(cluster).is_empty(),
        &cluster.get("type"),
        "attaché is not reached at a fixed address: a name service could hand its place to someone else",
        "use `type: STATIC` with one endpoint",
    );
    for address in endpoints(cluster) {
        let host = address.at("socket_address.address");
        let has_tls =
            cluster.at("transport_socket").is_type("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext");
        if address.at("pipe.path").str().is_some_and(|path| path.starts_with('/')) || has_tls {
            continue;
        }
        if address.get("pipe").is_present() {
            findings.error(&address.at("pipe.path"), "an abstract or relative socket is not guarded by the mode of its directory: anyone may pose as attaché", "give the socket an absolute path, in a directory that only attaché and Envoy can write to");
        } else if matches!(host.str(), Some("127.0.0.1" | "::1")) {
            findings.warn(
                &host,
                "attaché listens on loopback, which every process in this network namespace can reach",
                "use a Unix socket: `address: {pipe: {path: …}}`",
            );
        } else {
            findings.error(
                &address,
                "verdicts come over an open network connection, where they can be forged",
                "use a Unix socket: `address: {pipe: {path: …}}`, or TLS",
            );
        }
    }
    let options = http_options(cluster);
    findings.require(
        options.at("explicit_http_config.http2_protocol_options").is_present(),
        &options,
        "attaché is not spoken to in HTTP/2, so no verdict can come",
        "set `explicit_http_config: {http2_protocol_options: {…}}`",
    );
    let h2 = options.at("explicit_http_config.http2_protocol_options");
    for window in ["initial_stream_window_size", "initial_connection_window_size"] {
        findings.expect(
            h2.get(window).number().is_some_and(|size| size <= 64 * H2_LIMIT),
            &h2.get(window),
            "without a window Envoy buffers up to 256 MB of replies",
            "set it to a few MB at most",
        );
    }
    for frames in ["max_outbound_control_frames", "max_outbound_frames"] {
        findings.expect(
            h2.get(frames).number().is_some_and(|most| most >= 100_000),
            &h2.get(frames),
            "many agents at once look like a flood, and Envoy cuts off every verdict that is still awaited",
            "set it to 1000000",
        );
    }
    roomy(cluster, 10_000, findings);
    findings.expect(
        cluster.get("health_checks").items().iter().any(|check| check.get("grpc_health_check").is_present()),
        &cluster.get("health_checks"),
        "Envoy's statistics will not show whether attaché is well",
        "add a `grpc_health_check`",
    );
    findings.expect(
        cluster.get("connect_timeout").seconds().is_some_and(|seconds| seconds <= 5.0),
        &cluster.get("connect_timeout"),
        "a service that does not accept connections holds requests for long",
        "set `connect_timeout: 1s`",
    );
}

fn inside(cluster: &Node<'_>, findings: &mut Findings) {
    let socket = cluster.get("transport_socket");
    findings.require(
        socket.is_type("envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport"),
        &socket,
        "what attaché learnt at CONNECT does not travel inward, so the caller is not known there",
        "use the `internal_upstream` transport socket",
    );
    let passthrough = socket.at("typed_config.passthrough_metadata");
    findings.require(
        passthrough.is_absent(),
        &passthrough,
        "metadata of the CONNECT travels inward, where the gate would take it for a verdict",
        "remove `passthrough_metadata`; the filter state `attache.session` is all that may travel",
    );
    roomy(cluster, 1_000, findings);
}

/// The address comes from the verdict and from nowhere else.
fn pinned(cluster: &Node<'_>, findings: &mut Findings) {
    const FIX: &str =
        "set `original_dst_lb_config: {metadata_key: {key: attache, path: [{key: upstream}]}}` and nothing else";
    let choice = cluster.get("original_dst_lb_config");
    let key = choice.get("metadata_key");
    let path = key.get("path").items();
    let names_address = key.get("key").is("attache")
        && path.len() == 1
        && path.iter().all(|step| step.get("key").is("upstream") || step.get("key").is("upstream2"));
    findings.require(
        names_address,
        &key,
        "the address is not the one attaché approved: it falls back to the one that was dialled",
        FIX,
    );
    for (name, field) in choice.fields() {
        findings.require(
            name == "metadata_key",
            &field,
            "the address can come from somewhere other than the verdict",
            FIX,
        );
    }
    findings.require(
        cluster.get("lb_policy").is("CLUSTER_PROVIDED"),
        &cluster.get("lb_policy"),
        "an ORIGINAL_DST cluster needs its own way to pick the host",
        "set `lb_policy: CLUSTER_PROVIDED`",
    );
    findings.expect(
        cluster.get("cleanup_interval").seconds().is_some_and(|seconds| seconds <= 600.0),
        &cluster.get("cleanup_interval"),
        "addresses that are no longer used stay behind",
        "set `cleanup_interval: 60s`",
    );
    findings.expect(
        cluster.get("connect_timeout").seconds().is_some_and(|seconds| seconds <= 10.0),
        &cluster.get("connect_timeout"),
        "a dead address holds requests for long before the second one is tried",
        "set `connect_timeout: 5s`",
    );
    findings.expect(
        cluster.get("per_connection_buffer_limit_bytes").number().is_some_and(|bytes| bytes <= H2_LIMIT),
        &cluster.get("per_connection_buffer_limit_bytes"),
        "a fast upstream fills Envoy's memory for a slow agent",
        "set `per_connection_buffer_limit_bytes: 262144`",
    );
    roomy(cluster, 1_000, findings);
    for (name, field) in http_options(cluster).fields() {
        findings.require(
            name != "http_filters",
            &field,
            "a filter between the gate and the upstream changes what was judged",
            "remove `http_filters`",
        );
    }
    findings.known(
        cluster,
        &[
            "name",
            "type",
            "lb_policy",
            "original_dst_lb_config",
            "connect_timeout",
            "cleanup_interval",
            "per_connection_buffer_limit_bytes",
            "circuit_breakers",
            "transport_socket",
            "typed_extension_protocol_options",
            "alt_stat_name",
            "upstream_connection_options",
        ],
    );
}

/// The certificate is checked, against the name that was judged.
fn verified_tls(cluster: &Node<'_>, findings: &mut Findings) {
    let socket = cluster.get("transport_socket");
    let tls = socket.get("typed_config");
    findings.require(
        socket.is_type("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
        &socket,
        "this is not TLS as the check knows it",
        "use `envoy.transport_sockets.tls` with an `UpstreamTlsContext`",
    );
    let common = tls.get("common_tls_context");
    let validation = common.get("validation_context");
    findings.require(
        validation.get("trusted_ca").value().as_object().is_some_and(|source| !source.is_empty())
            || validation.get("system_root_certs").is_present(),
        &validation.get("trusted_ca"),
        "the upstream's certificate is not checked: anyone on the way can read the credentials",
        "set `validation_context: {trusted_ca: {filename: …}}`",
    );
    findings.known(
        &validation,
        &["trusted_ca", "system_root_certs", "crl", "only_verify_leaf_cert_crl", "match_typed_subject_alt_names"],
    );
    findings.known(&tls, &["common_tls_context"]);
    findings.known(&common, &["tls_params", "validation_context", "alpn_protocols"]);
    tls_minimum(&common, findings);
    let for_host = http_options(cluster).get("upstream_http_protocol_options");
    findings.require(
        for_host.get("auto_sni").is_true(),
        &for_host.get("auto_sni"),
        "the upstream is not told which host was meant",
        "set `upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true}`",
    );
    findings.require(
        for_host.get("auto_san_validation").is_true(),
        &for_host.get("auto_san_validation"),
        "any valid certificate passes for the host that was judged",
        "set `upstream_http_protocol_options: {auto_sni: true, auto_san_validation: true}`",
    );
    let auto = http_options(cluster).get("auto_config");
    let explicit = http_options(cluster).get("explicit_http_config");
    findings.expect(
        auto.is_present() || explicit.is_present(),
        &http_options(cluster),
        "without `auto_config` every upstream is spoken to in HTTP/1.1",
        "set `auto_config: {http_protocol_options: {}, http2_protocol_options: {…}}`",
    );
    if auto.is_present() {
        for window in ["initial_stream_window_size", "initial_connection_window_size"] {
            let size = auto.get("http2_protocol_options").get(window);
            findings.expect(
                size.number().is_some_and(|size| size <= 16 * H2_LIMIT),
                &size,
                "without a window a fast upstream fills Envoy's memory",
                "set `initial_stream_window_size: 65536` and `initial_connection_window_size: 1048576`",
            );
        }
    }
}

/// TLS 1.2 or later, on either side.
pub(super) fn tls_minimum(common_tls_context: &Node<'_>, findings: &mut Findings) {
    let minimum = common_tls_context.at("tls_params.tls_minimum_protocol_version");
    findings.require(
        minimum.is("TLSv1_2") || minimum.is("TLSv1_3"),
        &minimum,
        "the oldest TLS version that is accepted is not stated",
        "set `tls_params: {tls_minimum_protocol_version: TLSv1_2}`",
    );
}

fn http_options<'a>(cluster: &Node<'a>) -> Node<'a> {
    (cluster.get("typed_extension_protocol_options")).get("envoy.extensions.upstreams.http.v3.HttpProtocolOptions")
}

fn roomy(cluster: &Node<'_>, requests: u64, findings: &mut Findings) {
    let thresholds = cluster.at("circuit_breakers.thresholds");
    let limit = |name: &str| thresholds.items().iter().find_map(|threshold| threshold.get(name).number());
    for name in ["max_requests", "max_pending_requests"] {
        findings.expect(
            limit(name).is_some_and(|limit| limit >= requests),
            &thresholds,
            &format!(
                "`{name}` is low: a request that waits for a person, or for a slow upstream, takes a place from others"
            ),
            "set `max_requests` and `max_pending_requests` to 10000 or more (100000 for attaché)",
        );
    }
    findings.expect(
        limit("max_connections").is_some_and(|limit| limit >= requests.min(1_000)),
        &thresholds,
        "`max_connections` is low",
        "set `max_connections: 10000` (1024 for attaché)",
    );
    findings.expect(
        limit("max_retries").is_some() || requests >= 10_000,
        &thresholds,
        "only three requests at a time may try their second address",
        "set `max_retries: 1000`",
    );
}
