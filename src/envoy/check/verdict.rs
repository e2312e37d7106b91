//! The ext_proc filter: every request is shown to attaché, and nothing passes when it cannot answer.

use super::clusters::Clusters;
use super::document::{Findings, Node};
use super::listeners::Door;

pub(super) const EXT_PROC: &str = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor";

/// The longest that attaché asks Envoy to wait for a person, in seconds.
pub(super) const LONGEST_HOLD_SECONDS: f64 = 3600.0;

pub(super) fn check(config: &Node<'_>, door: Door, clusters: &Clusters<'_>, findings: &mut Findings) {
    findings.known(
        config,
        &[
            "grpc_service",
            "failure_mode_allow",
            "status_on_error",
            "processing_mode",
            "allow_mode_override",
            "allow_content_length_header",
            "allowed_override_modes",
            "message_timeout",
            "max_message_timeout",
            "request_attributes",
            "response_attributes",
            "metadata_options",
            "mutation_rules",
            "observability_mode",
            "disable_immediate_response",
            "forward_rules",
            "disable_clear_route_cache",
            "route_cache_action",
            "stat_prefix",
        ],
    );
    for (field, message) in [
        ("failure_mode_allow", "requests pass unjudged when attaché fails"),
        ("observability_mode", "attaché only watches: requests do not wait for its verdict"),
        ("disable_immediate_response", "attaché cannot refuse a request"),
        ("forward_rules", "headers are kept from attaché, so policy cannot judge them"),
        ("disable_clear_route_cache", "attaché cannot choose between TLS and plain text"),
        ("route_cache_action", "attaché cannot choose between TLS and plain text"),
        ("allowed_override_modes", "attaché cannot ask for the bodies that policy has to see"),
    ] {
        let field = config.get(field);
        findings.require(field.is_false(), &field, message, "remove it");
    }
    findings.require(
        config.get("allow_mode_override").is_true(),
        &config.get("allow_mode_override"),
        "attaché cannot ask for the bodies that policy has to see",
        "set `allow_mode_override: true`",
    );
    findings.expect(
        config.get("allow_content_length_header").is_true(),
        &config.get("allow_content_length_header"),
        "a body out of which something was taken is refused for its length, and bodies that are looked into lose theirs",
        "set `allow_content_length_header: true`",
    );
    findings.expect(
        config.at("status_on_error.code").is("ServiceUnavailable"),
        &config.get("status_on_error"),
        "when attaché fails the agent sees 500, which tells it nothing",
        "set `status_on_error: {code: ServiceUnavailable}`",
    );
    service(&config.get("grpc_service"), door, clusters, findings);
    modes(&config.get("processing_mode"), findings);
    timeouts(config, findings);
    attributes(&config.get("request_attributes"), door, findings);

    let received = config.at("metadata_options.receiving_namespaces.untyped");
    findings.require(
        received.texts() == ["attache"],
        &received,
        "verdicts do not arrive in the metadata that the gate and the routes read, or more than verdicts does",
        "set `metadata_options: {receiving_namespaces: {untyped: [attache]}}`",
    );
    let rules = config.get("mutation_rules");
    findings.require(
        rules.get("disallow_is_error").is_true(),
        &rules.get("disallow_is_error"),
        "a change that Envoy does not carry out goes unnoticed",
        "set `mutation_rules: {disallow_is_error: true}`",
    );
    for (name, field) in rules.fields() {
        findings.require(
            name == "disallow_is_error" || field.is_false(),
            &field,
            "host, scheme or method can be changed after they were judged, or the credentials cannot be set",
            "keep `mutation_rules: {disallow_is_error: true}` alone",
        );
    }
}

fn service(service: &Node<'_>, door: Door, clusters: &Clusters<'_>, findings: &mut Findings) {
    findings.require(
        clusters.serves(service),
        service,
        "verdicts do not come from attaché's cluster",
        "name the same cluster in every ext_proc filter",
    );
    let metadata = service.get("initial_metadata");
    let doors: Vec<_> = (metadata.items().into_iter()).filter(|entry| entry.get("key").is("x-attache-door")).collect();
    findings.require(
        doors.len() == 1 && doors.iter().all(|entry| entry.get("value").is(door.name())),
        &metadata,
        "attaché is not told by which door a request came, or is told wrong",
        &format!("set `initial_metadata: [{{key: x-attache-door, value: {}}}]`", door.name()),
    );
}

fn modes(modes: &Node<'_>, findings: &mut Findings) {
    let head = modes.get("request_header_mode");
    findings.require(head.is("SEND"), &head, "requests are not shown to attaché", "set `request_header_mode: SEND`");
    for (part, off) in [
        ("response_header_mode", "SKIP"),
        ("request_body_mode", "NONE"),
        ("response_body_mode", "NONE"),
        ("request_trailer_mode", "SKIP"),
        ("response_trailer_mode", "SKIP"),
    ] {
        findings.expect(
            modes.get(part).is(off),
            &modes.get(part),
            "a part that attaché has not asked for is sent to it, or its `mode_override` is ignored",
            &format!("set `{part}: {off}`"),
        );
    }
}

fn timeouts(config: &Node<'_>, findings: &mut Findings) {
    let timeout = config.get("message_timeout");
    findings.require(
        timeout.seconds().is_some_and(|seconds| (0.5..=30.0).contains(&seconds)),
        &timeout,
        "requests fail when attaché is busy (the default is 0.2 s), or hang with it",
        "set `message_timeout: 5s`",
    );
    let longest = config.get("max_message_timeout");
    findings.require(
        longest.seconds().is_some_and(|seconds| seconds >= LONGEST_HOLD_SECONDS),
        &longest,
        "no request can wait for a person",
        "set `max_message_timeout: 3600s`",
    );
}

fn attributes(list: &Node<'_>, door: Door, findings: &mut Findings) {
    findings.require(
        list.texts().contains(&"request.time"),
        list,
        "attaché does not see `request.time`: under load it cannot tell how long a request has waited in Envoy",
        "add `request.time` to `request_attributes`",
    );
    let needed: &[&str] = match door {
        Door::Proxy => &["source.address"],
        Door::Tls => &["connection.requested_server_name", "filter_state['attache.session']"],
        Door::Plain => &["filter_state['attache.session']"],
        Door::TransparentTls => &["source.address", "destination.address", "connection.requested_server_name"],
        Door::TransparentPlain => &["source.address", "destination.address"],
    };
    for attribute in needed {
        findings.require(
            list.texts().contains(attribute),
            list,
            &format!("attaché does not see `{attribute}`: it cannot tell who calls, or for which host"),
            &format!("add `{attribute}` to `request_attributes`"),
        );
    }
}
