//! What belongs to the whole Envoy: its admin interface, where its resources come from, its limits.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::clusters::Clusters;
use super::document::{Findings, Node};
use crate::envoy::bootstrap::SHIPPED;

pub(super) fn check(bootstrap: &Node<'_>, clusters: &Clusters<'_>, findings: &mut Findings) {
    admin(&bootstrap.get("admin"), findings);
    discovery(bootstrap, clusters, findings);
    runtime(bootstrap, findings);
    limits(bootstrap, findings);
    findings.known(
        bootstrap,
        &[
            "node",
            "admin",
            "bootstrap_extensions",
            "static_resources",
            "dynamic_resources",
            "layered_runtime",
            "overload_manager",
            "stats_config",
            "stats_sinks",
            "stats_flush_interval",
            "watchdogs",
            "application_log_config",
        ],
    );
    findings.known(&bootstrap.get("static_resources"), &["listeners", "clusters", "secrets"]);
    let id = bootstrap.at("node.id");
    findings.require(
        id.is_present(),
        &id,
        "without an id Envoy does not start with discovery",
        "set `node: {id: attache, cluster: attache}`",
    );
    let cluster = bootstrap.at("node.cluster");
    findings.require(
        cluster.is_present(),
        &cluster,
        "without a cluster name Envoy does not start with discovery",
        "set `node: {id: attache, cluster: attache}`",
    );
    let extensions = bootstrap.get("bootstrap_extensions");
    findings.require(
        extensions.items().iter().any(|extension| {
            extension.get("name").is_present()
                && extension.is_type("envoy.extensions.bootstrap.internal_listener.v3.InternalListener")
        }),
        &extensions,
        "Envoy cannot open the internal listener",
        "add `envoy.bootstrap.internal_listener`",
    );
}

/// The agent shares the network namespace: the admin interface must not be on the network.
fn admin(admin: &Node<'_>, findings: &mut Findings) {
    const PATHS: [&str; 6] =
        ["/ready", "/stats", "/stats/prometheus", "/drain_listeners?graceful", "/quitquitquit", "/server_info"];
    let address = admin.get("address");
    if address.is_absent() {
        findings.warn(
            admin,
            "there is no admin interface: attaché can neither see whether Envoy is ready nor drain it",
            "set `admin.address.pipe`",
        );
        return;
    }
    let pipe = address.get("pipe");
    findings.require(
        pipe.get("path").str().is_some_and(|path| path.starts_with('/')),
        &address,
        "the agent can reach the admin interface and reconfigure Envoy",
        "put it on a Unix socket: `address: {pipe: {path: /run/attache/admin.sock, mode: 384}}`",
    );
    // 0600 is 384 to a reader of YAML 1.1, which Envoy is. The group may be attaché's, where it is another user.
    findings.require(
        [json!(0o600), json!("0600"), json!(0o400), json!(0o660)].contains(pipe.get("mode").value()),
        &pipe.get("mode"),
        "the admin socket is open to other users",
        "set `mode: 384` (0600), or `mode: 432` (0660) where attaché is another user of the same group",
    );
    let allowed = admin.get("allow_paths");
    findings.require(
        !allowed.items().is_empty(),
        &allowed,
        "every admin path is open, those that show secrets and change Envoy included",
        "list what is needed: `allow_paths: [{exact: /ready}, {exact: /stats}]`",
    );
    for path in allowed.items() {
        findings.require(
            path.get("exact").str().is_some_and(|exact| PATHS.contains(&exact)),
            &path,
            "this admin path is not needed, and may show secrets or change Envoy",
            "allow `exact` paths only, among /ready, /stats, /stats/prometheus, /drain_listeners?graceful, /quitquitquit",
        );
    }
    for path in ["/ready", "/stats", "/stats/prometheus", "/drain_listeners?graceful", "/quitquitquit"] {
        findings.expect(
            allowed.items().iter().any(|allow| allow.get("exact").is(path)),
            &allowed,
            &format!("attaché cannot ask for `{path}`, which it needs to watch, drain or stop Envoy"),
            "allow it by `exact`",
        );
    }
}

/// Certificates come from attaché; listeners and clusters from this file alone.
fn discovery(bootstrap: &Node<'_>, clusters: &Clusters<'_>, findings: &mut Findings) {
    let dynamic = bootstrap.get("dynamic_resources");
    for (name, source) in dynamic.fields() {
        findings.require(
            name == "ads_config",
            &source,
            "resources from elsewhere can open ways that this check does not see",
            "remove it, and keep listeners and clusters in this file",
        );
    }
    let ads = dynamic.get("ads_config");
    findings.require(
        ads.get("api_type").is("DELTA_GRPC"),
        &ads.get("api_type"),
        "attaché serves certificates over delta ADS only",
        "set `api_type: DELTA_GRPC`",
    );
    findings.require(
        ads.get("transport_api_version").is("V3"),
        &ads.get("transport_api_version"),
        "attaché speaks version 3 of the discovery protocol",
        "set `transport_api_version: V3`",
    );
    let services = ads.get("grpc_services");
    findings.require(
        services.items().len() == 1 && services.items().iter().all(|service| clusters.serves(service)),
        &services,
        "certificates do not come from attaché",
        "name attaché's cluster as the one `grpc_services` entry",
    );
    for service in services.items() {
        let most = service.at("envoy_grpc.retry_policy.retry_back_off.max_interval");
        findings.expect(
            most.seconds().is_some_and(|seconds| seconds <= 5.0),
            &most,
            "after a restart of attaché new names can wait half a minute for their certificate",
            "set `retry_policy: {retry_back_off: {base_interval: 0.1s, max_interval: 1s}}`",
        );
    }
    findings.expect(
        ads.get("set_node_on_first_message_only").is_true(),
        &ads.get("set_node_on_first_message_only"),
        "every request for a certificate repeats tens of KB about this Envoy",
        "set `set_node_on_first_message_only: true`",
    );
}

fn runtime(bootstrap: &Node<'_>, findings: &mut Findings) {
    let layers = bootstrap.at("layered_runtime.layers");
    let mut has_ours = false;
    for layer in layers.items() {
        let rtds = layer.get("rtds_layer");
        let wait = rtds.at("rtds_config.initial_fetch_timeout");
        if rtds.get("name").is("attache") && rtds.at("rtds_config.ads").is_present() {
            has_ours = rtds.at("rtds_config.resource_api_version").is("V3") && layer.get("name").is_present();
            findings.expect(
                wait.seconds().is_some_and(|seconds| seconds > 0.0 && seconds <= 2.0),
                &wait,
                "Envoy waits for attaché before it listens",
                "set `initial_fetch_timeout: 0.5s`",
            );
        } else {
            findings.warn(
                &layer,
                "runtime values can switch protections of Envoy off",
                "keep only the RTDS layer `attache`",
            );
        }
    }
    findings.expect(
        has_ours,
        &layers,
        "attaché cannot switch tracing on",
        "add the RTDS layer `attache` over ADS, as in the shipped file",
    );
}

/// What is done when memory runs out.
static SHIPPED_ACTIONS: LazyLock<Option<Value>> = LazyLock::new(|| {
    let shipped = super::document::parse(SHIPPED).ok()?;
    shipped.pointer("/overload_manager/actions").cloned()
});

fn limits(bootstrap: &Node<'_>, findings: &mut Findings) {
    let monitors = bootstrap.at("overload_manager.resource_monitors");
    let limit = monitors.items().into_iter().find(|monitor| {
        monitor.get("name").is("envoy.resource_monitors.global_downstream_max_connections")
            && monitor
                .is_type("envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig")
    });
    findings.expect(
        limit.is_some_and(|monitor| {
            monitor.at("typed_config.max_active_downstream_connections").number().is_some_and(|most| most <= 1_000_000)
        }),
        &monitors,
        "an agent can open connections until Envoy runs out of memory",
        "add the monitor `envoy.resource_monitors.global_downstream_max_connections`",
    );
    let heap = monitors.items().into_iter().find(|monitor| {
        monitor.get("name").is("envoy.resource_monitors.fixed_heap")
            && monitor.is_type("envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig")
    });
    findings.expect(
        heap.is_some_and(|monitor| {
            monitor.at("typed_config.max_heap_size_bytes").number().is_some_and(|most| most > 0)
        }),
        &monitors,
        "agents can make Envoy keep more than there is memory",
        "add the monitor `envoy.resource_monitors.fixed_heap`; `attache envoy render --max-heap …` writes it",
    );
    let actions = bootstrap.at("overload_manager.actions");
    findings.expect(
        SHIPPED_ACTIONS.as_ref() == Some(actions.value()),
        &actions,
        "when memory runs out, not all is done that the shipped file does",
        "take `overload_manager.actions` from the shipped file",
    );
    let excluded = bootstrap.at("stats_config.stats_matcher.exclusion_list.patterns");
    for pattern in [json!({"prefix": "sds."}), json!({"contains": ".ssl.certificate."})] {
        findings.expect(
            excluded.items().iter().any(|item| item.value() == &pattern),
            &excluded,
            &format!("each name an agent asks for leaves counters behind for good (`{pattern}` is not excluded)"),
            "exclude `prefix: \"sds.\"` and `contains: \".ssl.certificate.\"`",
        );
    }
}
