//! What attaché and the operator learn of a request afterwards, and what must not be in it.

use std::sync::LazyLock;

use serde_json::Value;

use super::clusters::Clusters;
use super::document::{Findings, Node, parse};
use super::listeners::Door;
use crate::envoy::bootstrap::SHIPPED;

const FILE: &str = "envoy.extensions.access_loggers.file.v3.FileAccessLog";

pub(super) fn check(manager: &Node<'_>, door: Door, clusters: &Clusters<'_>, findings: &mut Findings) {
    access_log(manager, door, clusters, findings);
    tracing(manager, clusters, findings);
}

fn access_log(manager: &Node<'_>, door: Door, clusters: &Clusters<'_>, findings: &mut Findings) {
    let logs = manager.get("access_log");
    let ours = logs.items().into_iter().find(|log| {
        log.is_type("envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig")
            && clusters.serves(&log.at("typed_config.common_config.grpc_service"))
    });
    match ours {
        None => findings.error(
            &logs,
            "attaché is not told what became of its decisions, so a request that passed without one goes unnoticed",
            "add the `http_grpc` access log of the shipped file",
        ),
        Some(log) => {
            log_to_attache(&log, door.name(), clusters, findings);
            findings.require(
                log.get("filter").is_absent(),
                &log.get("filter"),
                "attaché is told of some outcomes only",
                "remove the filter",
            );
        }
    }
    for shipped in SHIPPED_FILES.iter() {
        let is_same = |log: &Node<'_>| {
            let same = |name| log.value().pointer(name) == shipped.pointer(name);
            let has_place = log.get("name").is_present() && log.at("typed_config.path").is_present();
            has_place && log.is_type(FILE) && same("/filter") && same("/typed_config/log_format")
        };
        findings.expect(
            logs.items().iter().any(is_same),
            &logs,
            "what the stream of outcomes loses is lost, and a request that was never decided may go unnoticed",
            "add both `file` access logs of the shipped file, in its format and with its filters",
        );
    }
    for log in logs.items() {
        for text in log.descendants().iter().filter(|node| shows_query(node)) {
            findings.warn(text, "queries are logged, and a query may hold an injected credential", "use `%PATH(NQ)%`");
        }
    }
}

/// The access logs of the shipped file that attaché reads as a file.
static SHIPPED_FILES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let shipped = parse(SHIPPED).unwrap_or_default();
    let logs = shipped.pointer("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/access_log");
    let root = logs.map(Node::root);
    let logs = root.iter().flat_map(Node::items).filter(|log| log.is_type(FILE));
    logs.map(|log| log.value().clone()).collect()
});

fn shows_query(format: &Node<'_>) -> bool {
    format.str().is_some_and(|text| {
        let text = text.to_ascii_uppercase();
        text.contains("%REQ(:PATH")
            || text.contains("%PATH(WQ")
            || text.contains("%PATH%")
            || text.contains("ENVOY-ORIGINAL-PATH")
    })
}

/// A gRPC access log that attaché can use.
pub(super) fn log_to_attache(log: &Node<'_>, name: &str, clusters: &Clusters<'_>, findings: &mut Findings) {
    let common = log.at("typed_config.common_config");
    findings.require(
        log.get("name").is_present(),
        log,
        "an access log needs a name",
        "give it the name of the shipped file",
    );
    findings.require(
        clusters.serves(&common.get("grpc_service")),
        &common.get("grpc_service"),
        "the record does not go to attaché",
        "name attaché's cluster",
    );
    findings.require(
        common.get("log_name").is(name),
        &common.get("log_name"),
        "attaché cannot tell which door a record is of",
        &format!("set `log_name: {name}`"),
    );
    findings.require(
        common.get("transport_api_version").is("V3"),
        &common.get("transport_api_version"),
        "attaché speaks version 3 of the protocol",
        "set `transport_api_version: V3`",
    );
    findings.expect(
        common.get("buffer_size_bytes").number() == Some(0),
        &common.get("buffer_size_bytes"),
        "records that wait in a buffer are lost without a trace when Envoy stops",
        "set `buffer_size_bytes: 0`",
    );
}

fn tracing(manager: &Node<'_>, clusters: &Clusters<'_>, findings: &mut Findings) {
    let tracing = manager.get("tracing");
    if tracing.is_absent() {
        findings.warn(&tracing, "attaché cannot switch tracing on", "take `tracing` from the shipped file");
        return;
    }
    findings.require(
        tracing.get("no_context_propagation").is_true(),
        &tracing.get("no_context_propagation"),
        "upstreams receive our trace ids",
        "set `no_context_propagation: true`",
    );
    findings.expect(
        tracing.get("spawn_upstream_span").is_true(),
        &tracing.get("spawn_upstream_span"),
        "attaché's span and the upstream's have no span of their own to hang on",
        "set `spawn_upstream_span: true`",
    );
    findings.expect(
        tracing.at("random_sampling.value").number() == Some(0),
        &tracing.get("random_sampling"),
        "every request is traced until attaché says otherwise",
        "set `random_sampling: {value: 0}`",
    );
    let provider = tracing.get("provider");
    let config = provider.get("typed_config");
    findings.expect(
        provider.is_type("envoy.config.trace.v3.OpenTelemetryConfig")
            && provider.get("name").is_present()
            && config.get("service_name").is_present()
            && clusters.serves(&config.get("grpc_service")),
        &provider,
        "spans do not go where attaché relays them from",
        "export them with `envoy.tracers.opentelemetry` to attaché's cluster",
    );
    let tags = tracing.get("custom_tags");
    findings.require(
        tags.items().iter().any(|tag| {
            tag.get("tag").is("http.url") && tag.get("value").str().is_some_and(|value| value.contains("%PATH(NQ)%"))
        }),
        &tags,
        "Envoy's tag `http.url` has the query, and a query may hold an injected credential",
        "override it: `{tag: http.url, value: \"%REQ(:SCHEME)%://%REQ(:AUTHORITY)%%PATH(NQ)%\"}`",
    );
    for text in tags.descendants().iter().filter(|node| shows_query(node)) {
        findings.error(text, "spans carry queries, and a query may hold an injected credential", "use `%PATH(NQ)%`");
    }
}
