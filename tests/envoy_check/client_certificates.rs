//! TLS between agents and the proxy, and the certificates that agents show.

use super::*;

/// For agents on other machines, which show certificates.
fn for_certificates() -> Bootstrap {
    let tls = ProxyTls {
        certificate: "/tmp/proxy.pem".into(),
        key: "/tmp/proxy.key".into(),
        client_ca: Some("/tmp/agents.pem".into()),
    };
    Bootstrap { listen: "0.0.0.0:10080".parse().unwrap(), proxy_tls: Some(tls), ..Bootstrap::default() }
}

#[test]
fn a_file_rendered_for_tls_has_no_finding() {
    let found = check(&for_certificates().render().unwrap()).unwrap();
    assert!(found.is_empty(), "{}", show(&found));
    let mut without = Bootstrap { listen: Bootstrap::default().listen, ..for_certificates() };
    without.proxy_tls.as_mut().unwrap().client_ca = None;
    let found = check(&without.render().unwrap()).unwrap();
    assert!(found.is_empty(), "{}", show(&found));
    // Without certificates, whoever reaches the port is let in.
    let found = check(&Bootstrap { listen: for_certificates().listen, ..without }.render().unwrap()).unwrap();
    assert_eq!(found.len(), 1, "{}", show(&found));
    assert!(found[0].message.contains("other machines"), "{}", show(&found));
}

/// What only agents with certificates meet.
#[test]
fn each_weakening_of_client_certificates_is_found() {
    let socket = "/static_resources/listeners/0/filter_chains/0/transport_socket";
    let tls = format!("{socket}/typed_config");
    let common = format!("{tls}/common_tls_context");
    let validation = format!("{common}/validation_context");
    let kept = format!("{PROXY}/http_filters/0/typed_config/on_request_headers/0");
    let forged = json!({"name": "s", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
        "on_request_headers": [{"object_key": "attache.peer", "factory_key": "envoy.string", "format_string": {"text_format_source": {"inline_string": "%REQ(x-me)%"}}}]}});
    let kept_as_shipped = rendered(&for_certificates()).pointer(&format!("{PROXY}/http_filters/0")).unwrap().clone();
    for (pointer, value, says) in [
        (format!("{tls}/require_client_certificate"), json!(false), "leave their certificate out"),
        (validation.clone(), json!({}), "not checked"),
        (validation.clone(), Value::Null, "not checked"),
        (format!("{validation}/trust_chain_verification"), json!("ACCEPT_UNTRUSTED"), "any CA"),
        (format!("{validation}/allow_expired_certificate"), json!(true), "expired"),
        (format!("{validation}/custom_validator_config"), json!({}), "not known"),
        (format!("{common}/combined_validation_context"), json!({}), "not known"),
        (format!("{common}/custom_handshaker"), json!({}), "not known"),
        (format!("{tls}/session_timeout"), json!("9s"), "not known"),
        (format!("{tls}/disable_stateless_session_resumption"), json!(false), "resumed"),
        (format!("{tls}/disable_stateful_session_resumption"), json!(false), "resumed"),
        (format!("{common}/tls_params/tls_minimum_protocol_version"), json!("TLSv1_0"), "TLS version"),
        (format!("{common}/tls_certificates"), json!([]), "no certificate"),
        (
            format!("{socket}/typed_config/@type"),
            json!("type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"),
            "not TLS",
        ),
        (format!("{PROXY}/http_filters/1/typed_config/request_attributes"), json!(["source.address"]), "does not see"),
        (
            format!("{kept}/format_string/text_format_source/inline_string"),
            json!("1;%DOWNSTREAM_PEER_URI_SAN%"),
            "not kept",
        ),
        (
            format!("{kept}/format_string/text_format_source/inline_string"),
            json!("%REQ(x-forwarded-client-cert)%"),
            "forge the session",
        ),
        (format!("{kept}/factory_key"), json!("envoy.hashable_string"), "not kept"),
        (format!("{kept}/shared_with_upstream"), json!("TRANSITIVE"), "not kept"),
        (format!("{PROXY}/http_filters/^0"), forged.clone(), "forge the session"),
        // After ext_proc it comes too late; inside a tunnel there is nothing of the kind to keep.
        (format!("{PROXY}/http_filters/^2"), kept_as_shipped.clone(), "forge the session"),
        (format!("{TLS}/http_filters/^0"), kept_as_shipped.clone(), "forge the session"),
    ] {
        let mut document = rendered(&for_certificates());
        set(&mut document, &pointer, value.clone());
        let found = findings(&document);
        assert!(
            found.iter().any(|finding| finding.message.contains(says)),
            "{pointer} = {value}: nothing says `{says}`\n{}",
            show(&found)
        );
    }
}

#[test]
fn nothing_of_client_certificates_can_be_removed_unnoticed() {
    let harmless = [
        "/transport_socket/typed_config/common_tls_context/tls_certificates/0/certificate_chain",
        "/transport_socket/typed_config/common_tls_context/tls_certificates/0/certificate_chain/filename",
        "/transport_socket/typed_config/common_tls_context/tls_certificates/0/private_key",
        "/transport_socket/typed_config/common_tls_context/tls_certificates/0/private_key/filename",
        // Clients then choose HTTP/1.1.
        "/transport_socket/typed_config/common_tls_context/alpn_protocols",
        "/transport_socket/typed_config/common_tls_context/alpn_protocols/0",
        "/transport_socket/typed_config/common_tls_context/alpn_protocols/1",
    ];
    let chain = "/static_resources/listeners/0/filter_chains/0";
    let document = rendered(&for_certificates());
    let mut all = Vec::new();
    for part in ["/transport_socket", "/filters/0/typed_config/http_filters/0"] {
        let at = format!("{chain}{part}");
        pointers(document.pointer(&at).unwrap(), at.clone(), &mut all);
        all.push(at);
    }
    assert!(all.len() > 20, "{all:?}");
    for pointer in &all {
        let mut document = document.clone();
        remove(&mut document, pointer);
        let noticed = !findings(&document).is_empty();
        let is_harmless = harmless.iter().any(|harmless| format!("{chain}{harmless}") == *pointer);
        assert_eq!(noticed, !is_harmless, "{pointer}");
    }
}
