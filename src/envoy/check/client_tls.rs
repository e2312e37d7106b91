//! TLS between agents and the proxy: whose certificates are taken, and that attaché sees what they say.

use super::clusters::tls_minimum;
use super::document::{Findings, Node};
use super::verdict::EXT_PROC;

const SET_FILTER_STATE: &str = "envoy.extensions.filters.http.set_filter_state.v3.Config";
const PEER: &str = "%DOWNSTREAM_PEER_CERT_V_END(%s)%;%DOWNSTREAM_PEER_URI_SAN%";

/// Whether the chain takes only agents that show a certificate.
pub(super) fn asks(chain: &Node<'_>) -> bool {
    chain.at("transport_socket.typed_config.require_client_certificate").is_true()
}

pub(super) fn check(chain: &Node<'_>, findings: &mut Findings) {
    let socket = chain.get("transport_socket");
    let tls = socket.get("typed_config");
    let common = tls.get("common_tls_context");
    findings.require(
        socket.get("name").is_present()
            && socket.is_type("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
        &socket,
        "this is not TLS as the check knows it",
        "use `envoy.transport_sockets.tls` with a `DownstreamTlsContext`, or remove it",
    );
    findings.known(
        &tls,
        &[
            "common_tls_context",
            "require_client_certificate",
            "disable_stateless_session_resumption",
            "disable_stateful_session_resumption",
        ],
    );
    findings.known(&common, &["tls_params", "alpn_protocols", "tls_certificates", "validation_context"]);
    tls_minimum(&common, findings);
    findings.require(
        !common.get("tls_certificates").items().is_empty(),
        &common.get("tls_certificates"),
        "the proxy has no certificate",
        "set `tls_certificates: [{certificate_chain: …, private_key: …}]`",
    );
    findings.expect(
        chain.get("transport_socket_connect_timeout").seconds().is_some_and(|seconds| seconds > 0.0),
        &chain.get("transport_socket_connect_timeout"),
        "a handshake that does not end stays for ever",
        "set `transport_socket_connect_timeout: 10s`",
    );
    let validation = common.get("validation_context");
    let required = tls.get("require_client_certificate");
    if validation.is_absent() && required.is_false() {
        return;
    }
    findings.require(
        required.is_true(),
        &required,
        "agents may leave their certificate out, and are then whoever callers without identity are",
        "set `require_client_certificate: true`",
    );
    findings.require(
        validation.get("trusted_ca").value().as_object().is_some_and(|source| !source.is_empty()),
        &validation.get("trusted_ca"),
        "agents' certificates are not checked: anyone can make one, for any agent",
        "set `validation_context: {trusted_ca: {filename: …}}`",
    );
    let trust = validation.get("trust_chain_verification");
    findings.require(
        trust.is_absent() || trust.is("VERIFY_TRUST_CHAIN"),
        &trust,
        "agents' certificates are taken from any CA: anyone can make one, for any agent",
        "remove it",
    );
    let expired = validation.get("allow_expired_certificate");
    findings.require(
        expired.is_false(),
        &expired,
        "a certificate that has expired still opens a connection",
        "remove it",
    );
    findings.known(
        &validation,
        &[
            "trusted_ca",
            "crl",
            "only_verify_leaf_cert_crl",
            "match_typed_subject_alt_names",
            "max_verify_depth",
            "trust_chain_verification",
            "allow_expired_certificate",
        ],
    );
    for switch in ["disable_stateless_session_resumption", "disable_stateful_session_resumption"] {
        findings.require(
            tls.get(switch).is_true(),
            &tls.get(switch),
            "a resumed session is not asked for its certificate again: one that was revoked or has expired goes on",
            "set it to `true`",
        );
    }
}

/// That what the certificate says gets to attaché, which would otherwise take its holder for someone without identity.
pub(super) fn check_shown(manager: &Node<'_>, findings: &mut Findings) {
    let filters = manager.get("http_filters");
    let keeps = |filter: &Node<'_>| {
        let entries = filter.at("typed_config.on_request_headers").items();
        filter.is_type(SET_FILTER_STATE) && entries.iter().any(is_peer)
    };
    findings.require(
        filters.items().iter().any(keeps),
        &filters,
        "what an agent's certificate says is not kept for attaché: its holder is taken for someone without identity",
        "before ext_proc, set the filter state `attache.peer`, as `attache envoy render --client-ca …` prints it",
    );
    for filter in filters.items().iter().filter(|filter| filter.is_type(EXT_PROC)) {
        let attributes = filter.at("typed_config.request_attributes");
        findings.require(
            attributes.texts().contains(&"filter_state['attache.peer']"),
            &attributes,
            "attaché does not see the agent's certificate: its holder is taken for someone without identity",
            "add `filter_state['attache.peer']` to `request_attributes`",
        );
    }
}

/// Whether this entry of a `set_filter_state` keeps what the certificate says, and nothing else, for this hop alone.
pub(super) fn is_peer(entry: &Node<'_>) -> bool {
    let value = entry.get("format_string");
    entry.get("object_key").is("attache.peer")
        && entry.get("factory_key").is("envoy.string")
        && entry.get("shared_with_upstream").is_absent()
        && value.at("text_format_source.inline_string").is(PEER)
        && value.get("omit_empty_values").is_true()
}
