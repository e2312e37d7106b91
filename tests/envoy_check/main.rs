//! `attache envoy check` finds every protection of the shipped bootstrap that is taken away or weakened.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod client_certificates;
mod transparent;

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use attache::envoy::bootstrap::{Bootstrap, ProxyTls, SHIPPED};
use attache::envoy::check::{Finding, Severity, check, check_document};
use attache::envoy::install::Search;
use serde_json::{Value, json};

fn shipped() -> Value {
    static READ: LazyLock<Value> = LazyLock::new(|| serde_yaml::from_str(SHIPPED).unwrap());
    READ.clone()
}

fn findings(document: &Value) -> Vec<Finding> {
    check_document(document.clone()).unwrap()
}

fn show(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

#[test]
fn the_shipped_file_has_no_finding() {
    let found = check(SHIPPED).unwrap();
    assert!(found.is_empty(), "{}", show(&found));
}

#[test]
fn a_rendered_file_has_no_finding() {
    let bootstrap = Bootstrap {
        listen: "[::1]:4000".parse().unwrap(),
        service_socket: "/tmp/a b/service.sock".into(),
        admin_socket: "/tmp/a b/admin.sock".into(),
        access_log: "/tmp/a b/envoy-access.jsonl".into(),
        upstream_ca: "/tmp/it's #1.pem".into(),
        ..Bootstrap::default()
    };
    let found = check(&bootstrap.render().unwrap()).unwrap();
    assert!(found.is_empty(), "{}", show(&found));
}

fn rendered(bootstrap: &Bootstrap) -> Value {
    serde_yaml::from_str(&bootstrap.render().unwrap()).unwrap()
}

#[test]
fn the_same_file_in_json_and_in_camel_case_has_no_finding() {
    fn camel(value: &Value) -> Value {
        match value {
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, field)| {
                    let mut words = name.split('_');
                    let mut spelled = words.next().unwrap_or_default().to_owned();
                    for word in words {
                        spelled.push_str(&word[..1].to_ascii_uppercase());
                        spelled.push_str(&word[1..]);
                    }
                    (spelled, camel(field))
                });
                Value::Object(fields.collect())
            }
            Value::Array(items) => items.iter().map(camel).collect(),
            other => other.clone(),
        }
    }
    for document in [shipped(), camel(&shipped())] {
        let found = check(&document.to_string()).unwrap();
        assert!(found.is_empty(), "{}", show(&found));
    }
}

#[test]
fn the_admin_mode_may_be_written_in_octal() {
    let found = check(&SHIPPED.replace("mode: 384", "mode: 0600")).unwrap();
    assert!(found.is_empty(), "{}", show(&found));
    let found = check(&SHIPPED.replace("mode: 384", "mode: 0666")).unwrap();
    assert_eq!(found.len(), 1, "{}", show(&found));
}

#[test]
fn a_finding_says_where_and_what_to_write() {
    let weakened = SHIPPED.replacen("failure_mode_allow: false", "failure_mode_allow: true", 1);
    let line = SHIPPED.lines().position(|line| line.contains("failure_mode_allow: false")).unwrap() + 1;
    let found = check(&weakened).unwrap();
    assert_eq!(
        show(&found),
        format!(
            "{line}: error: static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.failure_mode_allow: requests pass unjudged when attaché fails; fix: remove it\n"
        )
    );
}

#[test]
fn what_is_no_bootstrap_is_refused() {
    for text in ["", "- 1", "a: [", "just text", "a: 1\na: 2", "--- {}\n--- {}"] {
        assert!(check(text).is_err(), "{text:?}");
    }
    assert!(!check("{}").unwrap().is_empty());
}

// ── one change at a time ─────────────────────────────────────────────────────────────────────────

const PROXY: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
const TLS: &str = "/static_resources/listeners/1/filter_chains/0/filters/0/typed_config";
const PLAIN: &str = "/static_resources/listeners/1/filter_chains/1/filters/0/typed_config";

fn cluster(name: &str) -> String {
    let clusters = shipped()["static_resources"]["clusters"].clone();
    let index = clusters.as_array().unwrap().iter().position(|cluster| cluster["name"] == name).unwrap();
    format!("/static_resources/clusters/{index}")
}

/// Sets the value at a pointer, whose last step may be new; `/-` appends to a list.
fn set(document: &mut Value, pointer: &str, value: Value) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let last = last.replace("~1", "/");
    match document.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}")) {
        Value::Object(fields) => {
            fields.insert(last, value);
        }
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) if last.starts_with('^') => items.insert(last[1..].parse().unwrap(), value),
        Value::Array(items) => items[last.parse::<usize>().unwrap()] = value,
        other => panic!("{pointer}: {other}"),
    }
}

/// Each is an attack or an accident: what is changed, to what, and a word that the finding must say.
fn weakenings() -> Vec<(String, Value, &'static str)> {
    let tls_cluster = cluster("upstream_tls");
    let inside = cluster("mitm_internal");
    let service = cluster("attache");
    let upstream_tls = format!("{tls_cluster}/transport_socket/typed_config");
    let options = format!(
        "{tls_cluster}/typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    );
    let mut all = Vec::new();
    let mut add = |pointer: String, value: Value, says: &'static str| all.push((pointer, value, says));
    let session = format!("{PROXY}/http_filters/1/typed_config/on_request_headers/0");
    add(format!("{session}/factory_key"), json!("envoy.string"), "each other's session");
    for (manager, ext_proc, gate, door) in [(PROXY, 0, 2, "tls"), (TLS, 0, 1, "plain"), (PLAIN, 0, 1, "tls")] {
        let judge = format!("{manager}/http_filters/{ext_proc}/typed_config");
        let gate_filter = format!("{manager}/http_filters/{gate}");
        let forward = format!("{gate_filter}/typed_config/rules/policies/forward");
        let routes = format!("{manager}/route_config/virtual_hosts/0/routes");
        let last = if manager == PROXY { 5 } else { 4 };
        // ext_proc
        add(format!("{judge}/failure_mode_allow"), json!(true), "unjudged");
        add(format!("{judge}/observability_mode"), json!(true), "only watches");
        add(format!("{judge}/disable_immediate_response"), json!(true), "cannot refuse");
        add(
            format!("{judge}/forward_rules"),
            json!({"disallowed_headers": {"patterns": [{"exact": "x"}]}}),
            "kept from attaché",
        );
        add(format!("{judge}/allowed_override_modes"), json!([{"request_body_mode": "NONE"}]), "bodies");
        add(format!("{judge}/disable_clear_route_cache"), json!(true), "plain text");
        add(format!("{judge}/allow_content_length_header"), json!(false), "its length");
        add(format!("{routes}/{}/route/retry_policy", last - 2), json!({"retry_on": "connect-failure"}), "sent twice");
        add(format!("{routes}/{}/match/headers/0/string_match/exact", last - 2), json!("twice"), "sent twice");
        add(format!("{judge}/processing_mode/request_header_mode"), json!("SKIP"), "not shown");
        add(format!("{judge}/processing_mode/request_body_mode"), json!("FULL_DUPLEX_STREAMED"), "mode_override");
        add(format!("{judge}/message_timeout"), json!("0.2s"), "busy");
        add(format!("{judge}/message_timeout"), json!("0s"), "busy");
        add(format!("{judge}/grpc_service/envoy_grpc/cluster_name"), json!("upstream_tls"), "attaché's cluster");
        add(format!("{judge}/grpc_service/initial_metadata/0/value"), json!(door), "door");
        add(
            format!("{judge}/grpc_service/initial_metadata/-"),
            json!({"key": "x-attache-door", "value": door}),
            "door",
        );
        add(
            format!("{judge}/metadata_options/receiving_namespaces/untyped/-"),
            json!("envoy.lb"),
            "more than verdicts",
        );
        add(format!("{judge}/mutation_rules/allow_all_routing"), json!(true), "changed after");
        add(format!("{judge}/mutation_rules/allow_envoy"), json!(true), "changed after");
        add(format!("{judge}/mutation_rules/disallow_all"), json!(true), "credentials cannot be set");
        add(format!("{judge}/processing_request_modifier"), json!({}), "not known");
        add(format!("{manager}/http_filters/{ext_proc}/disabled"), json!(true), "switched off");
        // the gate
        add(format!("{gate_filter}/disabled"), json!(true), "switched off");
        add(format!("{gate_filter}/typed_config/rules/action"), json!("LOG"), "lets through only");
        add(format!("{gate_filter}/typed_config/rules/action"), json!("DENY"), "lets through only");
        add(format!("{gate_filter}/typed_config/matcher"), json!({}), "matcher");
        add(format!("{forward}/permissions"), json!([{"any": true}]), "no verdict");
        add(format!("{forward}/permissions/-"), json!({"any": true}), "no verdict");
        add(
            format!("{gate_filter}/typed_config/rules/policies/more"),
            json!({"permissions": [{"any": true}], "principals": [{"any": true}]}),
            "no verdict",
        );
        add(format!("{forward}/permissions/0"), json!({"or_rules": {"rules": [{"any": true}]}}), "no verdict");
        add(
            format!("{manager}/http_filters/^0"),
            json!({"name": "lua", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}}),
            "forge a verdict",
        );
        add(
            format!("{manager}/http_filters/^{gate}"),
            json!({"name": "m", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config"}}),
            "forge a verdict",
        );
        add(
            format!("{manager}/http_filters/^0"),
            json!({"name": "h", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck"}}),
            "answer",
        );
        add(
            format!("{manager}/http_filters/^0"),
            json!({"name": "s", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config",
            "on_request_headers": [{"object_key": "attache.session", "factory_key": "envoy.hashable_string", "format_string": {"text_format_source": {"inline_string": "%REQ(x-me)%"}}}]}}),
            "forge the session",
        );
        // routes
        for level in [
            format!("{manager}/route_config"),
            format!("{manager}/route_config/virtual_hosts/0"),
            format!("{routes}/{last}"),
        ] {
            add(
                format!("{level}/typed_per_filter_config"),
                json!({"envoy.filters.http.ext_proc": {"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute", "disabled": true}}),
                "switched off",
            );
            add(
                format!("{level}/typed_per_filter_config"),
                json!({"envoy.filters.http.rbac": {"@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute"}}),
                "switched off",
            );
        }
        add(
            format!("{routes}/^0"),
            json!({"match": {"prefix": "/"}, "route": {"cluster": "attache", "timeout": "0s"}}),
            "own interface",
        );
        add(
            format!("{routes}/^0"),
            json!({"match": {"prefix": "/"}, "route": {"cluster": "mitm_internal", "timeout": "0s"}}),
            "internal listener",
        );
        add(
            format!("{routes}/^0"),
            json!({"match": {"prefix": "/"}, "route": {"cluster": "upstream_plain", "timeout": "0s"}}),
            "plain text",
        );
        add(
            format!("{routes}/^0"),
            json!({"match": {"prefix": "/"}, "route": {"cluster": "nowhere", "timeout": "0s"}}),
            "did not name",
        );
        add(
            format!("{routes}/^0"),
            json!({"match": {"prefix": "/"}, "route": {"cluster_header": "x-cluster", "timeout": "0s"}}),
            "header of the agent's",
        );
        add(
            format!("{routes}/^0"),
            json!({"match": {"prefix": "/", "headers": [{"name": "x-plain", "string_match": {"exact": "1"}}]}, "route": {"cluster": "upstream_tls", "timeout": "0s"}}),
            "agent can send",
        );
        add(format!("{routes}/{last}/route/request_mirror_policies"), json!([{"cluster": "upstream_tls"}]), "copy");
        add(format!("{routes}/{last}/route/host_rewrite_literal"), json!("other"), "host is changed");
        add(format!("{routes}/{last}/route/prefix_rewrite"), json!("/x"), "path is changed");
        add(format!("{routes}/{last}/route/internal_redirect_policy"), json!({}), "redirects");
        add(format!("{routes}/{last}/route/retry_policy/retry_on"), json!("5xx,connect-failure"), "sent again");
        add(format!("{routes}/{last}/route/retry_policy/num_retries"), json!(3), "one retry");
        add(format!("{routes}/{last}/route/timeout"), json!("15s"), "cut off");
        add(format!("{manager}/rds"), json!({"route_config_name": "x"}), "elsewhere");
        // the request itself
        add(format!("{manager}/path_with_escaped_slashes_action"), json!("UNESCAPE_AND_FORWARD"), "encoded slash");
        add(format!("{manager}/path_with_escaped_slashes_action"), json!("KEEP_UNCHANGED"), "encoded slash");
        add(
            format!("{manager}/common_http_protocol_options/headers_with_underscores_action"),
            json!("DROP_HEADER"),
            "x_api_key",
        );
        add(format!("{manager}/normalize_path"), json!(false), "different paths");
        add(format!("{manager}/merge_slashes"), json!(false), "different paths");
        add(format!("{manager}/strip_any_host_port"), json!(true), "not known");
        add(format!("{manager}/xff_num_trusted_hops"), json!(1), "X-Forwarded-For");
        add(format!("{manager}/use_remote_address"), json!(false), "X-Forwarded-For");
        add(format!("{manager}/original_ip_detection_extensions"), json!([]), "not known");
        add(format!("{manager}/http2_protocol_options/initial_stream_window_size"), json!(268435456), "hundreds of MB");
        add(format!("{manager}/stream_idle_timeout"), json!("300s"), "waits for a person");
        add(format!("{manager}/upgrade_configs/-"), json!({"upgrade_type": "connect-udp"}), "upgrade");
        add(
            format!("{manager}/early_header_mutation_extensions/0/typed_config/mutations/-"),
            json!({"append": {"header": {"key": "x-attache-int-route", "value": "plain"}}}),
            "added to every request",
        );
        add(format!("{manager}/local_reply_config/mappers/0/status_code"), json!(200), "documented");
        add(format!("{manager}/access_log/0/filter"), json!({"not_health_check_filter": {}}), "some outcomes");
        add(format!("{manager}/access_log/0/typed_config/common_config/log_name"), json!(door), "which door");
        add(format!("{manager}/access_log/1/filter/metadata_filter/matcher/filter"), json!("other"), "loses");
        add(format!("{manager}/access_log/2/typed_config/log_format/json_format/upstream"), json!("-"), "loses");
        add(
            format!("{manager}/access_log/-"),
            json!({"name": "f", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/dev/stdout", "log_format": {"text_format_source": {"inline_string": "%REQ(:PATH)%"}}}}),
            "queries",
        );
        add(format!("{manager}/tracing/no_context_propagation"), json!(false), "trace ids");
        add(format!("{manager}/tracing/random_sampling/value"), json!(100), "traced");
        add(format!("{manager}/tracing/custom_tags/-"), json!({"tag": "path", "value": "%REQ(:PATH)%"}), "queries");
    }
    add(format!("{PROXY}/generate_request_id"), json!(false), "second address");
    add(format!("{PROXY}/route_config/request_headers_to_remove"), json!([]), "second attempt");
    add("/static_resources/listeners/0/enable_reuse_port".into(), json!(true), "same port");
    add("/static_resources/listeners/0/max_connections_to_accept_per_socket_event".into(), json!(1000), "a crowd");
    // upstreams
    add(format!("{tls_cluster}/type"), json!("STRICT_DNS"), "did not name");
    add(format!("{tls_cluster}/original_dst_lb_config/metadata_key/key"), json!("envoy.lb"), "dialled");
    add(format!("{tls_cluster}/original_dst_lb_config/metadata_key/path/0/key"), json!("other"), "dialled");
    add(format!("{tls_cluster}/original_dst_lb_config/use_http_header"), json!(true), "somewhere other");
    add(format!("{tls_cluster}/original_dst_lb_config/upstream_port_override"), json!(80), "somewhere other");
    add(format!("{upstream_tls}/sni"), json!("fixed"), "not known");
    add(
        format!("{upstream_tls}/common_tls_context/validation_context/trust_chain_verification"),
        json!("ACCEPT_UNTRUSTED"),
        "not known",
    );
    add(
        format!("{upstream_tls}/common_tls_context/validation_context/allow_expired_certificate"),
        json!(true),
        "not known",
    );
    add(
        format!("{upstream_tls}/common_tls_context/tls_params/tls_minimum_protocol_version"),
        json!("TLSv1_0"),
        "oldest TLS",
    );
    add(format!("{options}/upstream_http_protocol_options/auto_san_validation"), json!(false), "any valid certificate");
    add(format!("{options}/upstream_http_protocol_options/auto_sni"), json!(false), "which host");
    add(format!("{options}/http_filters"), json!([]), "what was judged");
    add(
        format!("{inside}/transport_socket/typed_config/passthrough_metadata"),
        json!([{"kind": {"request": {}}, "name": "attache"}]),
        "travels inward",
    );
    add(
        format!("{service}/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address"),
        json!({"socket_address": {"address": "10.0.0.1", "port_value": 1}}),
        "forged",
    );
    add(
        format!("{service}/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address"),
        json!({"socket_address": {"address": "127.0.0.1", "port_value": 1}}),
        "loopback",
    );
    add(
        format!("{service}/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/pipe/path"),
        json!("@attache"),
        "pose as attaché",
    );
    // the rest
    add(
        "/admin/address".into(),
        json!({"socket_address": {"address": "127.0.0.1", "port_value": 9901}}),
        "reconfigure",
    );
    add("/admin/address/pipe/path".into(), json!("@admin"), "reconfigure");
    add("/admin/address/pipe/mode".into(), json!(0o666), "other users");
    add("/admin/allow_paths/-".into(), json!({"exact": "/config_dump"}), "not needed");
    add("/admin/allow_paths/-".into(), json!({"prefix": "/"}), "not needed");
    add("/dynamic_resources/lds_config".into(), json!({"ads": {}}), "does not see");
    add("/dynamic_resources/cds_config".into(), json!({"ads": {}}), "does not see");
    add("/dynamic_resources/ads_config/api_type".into(), json!("GRPC"), "delta");
    add(
        "/overload_manager/resource_monitors/0".into(),
        json!({"name": "envoy.resource_monitors.none"}),
        "keep more than",
    );
    add("/overload_manager/resource_monitors/0/typed_config/max_heap_size_bytes".into(), json!(0), "keep more than");
    add("/overload_manager/actions/1/triggers".into(), json!([]), "when memory runs out");
    add(
        "/overload_manager/actions/2/triggers/0/name".into(),
        json!("envoy.resource_monitors.none"),
        "when memory runs out",
    );
    let h2 = "typed_extension_protocol_options/envoy.extensions.upstreams.http.v3.HttpProtocolOptions/explicit_http_config/http2_protocol_options";
    for frames in ["max_outbound_control_frames", "max_outbound_frames"] {
        add(format!("{service}/{h2}/{frames}"), json!(1000), "look like a flood");
    }
    add("/layered_runtime/layers/-".into(), json!({"name": "admin", "admin_layer": {}}), "switch protections");
    add(
        "/static_resources/listeners/-".into(),
        json!({"name": "x", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "cluster": "upstream_tls"}}]}]}),
        "without a verdict",
    );
    add("/static_resources/listeners/0/address/socket_address/address".into(), json!("0.0.0.0"), "other machines");
    add("/static_resources/listeners/0/udp_listener_config".into(), json!({}), "not known");
    add("/static_resources/listeners/0/default_filter_chain".into(), json!({}), "not known");
    add("/static_resources/listeners/1/continue_on_listener_filters_timeout".into(), json!(true), "not known");
    add("/static_resources/listeners/1/filter_chains/0/transport_socket/typed_config/common_tls_context/tls_params/tls_minimum_protocol_version".into(), json!("TLSv1_1"), "oldest TLS");
    add("/header_prefix".into(), json!("x-attache"), "not known");
    all
}

#[test]
fn every_weakening_is_named() {
    let mut missed = String::new();
    for (pointer, value, says) in weakenings() {
        let mut document = shipped();
        set(&mut document, &pointer, value.clone());
        let found = findings(&document);
        if !found.iter().any(|finding| finding.message.contains(says)) {
            let found = show(&found);
            missed.push_str(&format!("{pointer} = {value} is not reported with `{says}`:\n{found}\n"));
        }
    }
    assert!(missed.is_empty(), "{missed}");
}

#[test]
fn the_order_of_the_filters_matters() {
    for manager in [PROXY, TLS, PLAIN] {
        let mut document = shipped();
        document.pointer_mut(&format!("{manager}/http_filters")).unwrap().as_array_mut().unwrap().reverse();
        let found = findings(&document);
        assert!(
            found.iter().any(|finding| finding.severity == Severity::Error && finding.message.contains("gate")),
            "{}",
            show(&found)
        );
    }
}

// ── everything, taken away one by one ────────────────────────────────────────────────────────────

/// What may go without a finding, and why. `*` stands for any one step.
#[rustfmt::skip]
const HARMLESS: &[(&str, &str)] = &[
    ("/static_resources/clusters/*/load_assignment/cluster_name", NO_START),
    ("/static_resources/clusters/*/transport_socket/name", NO_START),
    ("/static_resources/clusters/1/transport_socket/typed_config/transport_socket", NO_START),
    ("/static_resources/clusters/1/transport_socket/typed_config/transport_socket/name", NO_START),
    ("/static_resources/clusters/1/transport_socket/typed_config/transport_socket/typed_config", NO_START),
    ("/static_resources/clusters/1/transport_socket/typed_config/transport_socket/typed_config/@type", NO_START),
    ("/static_resources/clusters/*/typed_extension_protocol_options/*/@type", NO_START),
    ("/static_resources/clusters/*/typed_extension_protocol_options/*/explicit_http_config/http_protocol_options", NO_START),
    ("/static_resources/clusters/5/typed_extension_protocol_options/*/explicit_http_config", NO_START),
    ("/static_resources/clusters/6/typed_extension_protocol_options/*/explicit_http_config", NO_START),
    ("/static_resources/clusters/0/health_checks/0/healthy_threshold", NO_START),
    ("/static_resources/clusters/0/health_checks/0/unhealthy_threshold", NO_START),
    ("/static_resources/clusters/0/health_checks/0/interval", NO_START),
    ("/static_resources/clusters/0/health_checks/0/timeout", NO_START),
    ("/dynamic_resources/ads_config/grpc_services/0/envoy_grpc/retry_policy/retry_back_off/base_interval", NO_START),
    ("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes/*/route/retry_policy/retry_back_off/base_interval", NO_START),
    ("/static_resources/listeners/1/filter_chains/*/filters/0/typed_config/route_config/virtual_hosts/0/routes/*/route/retry_policy/retry_back_off/base_interval", NO_START),
    // Plain HTTP/1.1 is what an upstream is spoken to in when nothing is said.
    ("/static_resources/clusters/5/typed_extension_protocol_options", DEFAULT),
    ("/static_resources/clusters/5/typed_extension_protocol_options/*", DEFAULT),
    ("/static_resources/clusters/6/typed_extension_protocol_options", DEFAULT),
    ("/static_resources/clusters/6/typed_extension_protocol_options/*", DEFAULT),
    ("/static_resources/clusters/*/typed_extension_protocol_options/*/auto_config/http_protocol_options", DEFAULT),
    ("/overload_manager/refresh_interval", "memory is looked at once a second"),
    ("/static_resources/clusters/0/health_checks/0/no_traffic_interval", "a slower look at attaché's health"),
    ("/static_resources/clusters/0/health_checks/0/unhealthy_interval", "a slower look at attaché's health"),
    ("/static_resources/clusters/1/connect_timeout", DEFAULT),
    ("/static_resources/clusters/1/type", DEFAULT),
    ("/static_resources/listeners/*/filter_chains/*/filters/0/typed_config/http_filters/0/typed_config/failure_mode_allow", DEFAULT),
    ("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/1/typed_config/on_request_headers/0/format_string/omit_empty_values", "`skip_if_empty` is still there"),
    ("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters/1/typed_config/on_request_headers/0/skip_if_empty", "`omit_empty_values` is still there"),
    ("/static_resources/listeners/*/filter_chains/*/filters/0/typed_config/route_config/virtual_hosts/0/routes/*/route/retry_policy/retry_back_off", "the second address is tried 25 ms later"),
    ("/static_resources/listeners/*/filter_chains/*/filters/0/typed_config/route_config/virtual_hosts/0/routes/*/route/retry_policy/retry_back_off/max_interval", "the second address is tried a little later"),
    ("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes/4", NO_WEBSOCKET),
    ("/static_resources/listeners/1/filter_chains/*/filters/0/typed_config/route_config/virtual_hosts/0/routes/3", NO_WEBSOCKET),
    ("/static_resources/listeners/*/filter_chains/*/filters/0/typed_config/route_config/virtual_hosts/0/routes/*/match/headers/0/string_match/ignore_case", NO_WEBSOCKET),
    ("/static_resources/listeners/1/filter_chains/1", "nothing but TLS is served inside a CONNECT"),
    // Names that nothing refers to.
    ("/static_resources/listeners/0/name", NAME),
    ("/static_resources/listeners/1/filter_chains/*/name", NAME),
    ("/static_resources/listeners/*/filter_chains/*/filters/0/typed_config/route_config/name", NAME),
    ("/static_resources/listeners/*/filter_chains/*/filters/0/typed_config/route_config/virtual_hosts/0/routes/*/name", NAME),
];
const NO_START: &str = "Envoy refuses to start without it";
const DEFAULT: &str = "it is Envoy's default, and written for the reader";
const NO_WEBSOCKET: &str = "a WebSocket to an upstream with HTTP/2 fails";
const NAME: &str = "a name for people";

fn pointers(value: &Value, at: String, all: &mut Vec<String>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, field)| (name.replace('/', "~1"), field)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect(),
        _ => return,
    };
    for (step, value) in below {
        let at = format!("{at}/{step}");
        all.push(at.clone());
        pointers(value, at, all);
    }
}

fn remove(document: &mut Value, pointer: &str) {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(fields) => drop(fields.remove(&last.replace("~1", "/"))),
        Value::Array(items) => drop(items.remove(last.parse().unwrap())),
        other => panic!("{pointer}: {other}"),
    }
}

fn fits(pattern: &str, pointer: &str) -> bool {
    let (pattern, pointer): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), pointer.split('/').collect());
    pattern.len() == pointer.len() && pattern.iter().zip(&pointer).all(|(step, at)| *step == "*" || step == at)
}

#[test]
fn nothing_can_be_removed_unnoticed() {
    let mut all = Vec::new();
    pointers(&shipped(), String::new(), &mut all);
    let (mut unnoticed, mut used) = (Vec::new(), vec![false; HARMLESS.len()]);
    for pointer in &all {
        let mut document = shipped();
        remove(&mut document, pointer);
        if !findings(&document).is_empty() {
            continue;
        }
        match HARMLESS.iter().position(|(pattern, _)| fits(pattern, pointer)) {
            Some(index) => used[index] = true,
            None => unnoticed.push(pointer.as_str()),
        }
    }
    assert!(unnoticed.is_empty(), "removed without a finding:\n{}", unnoticed.join("\n"));
    let stale: Vec<_> = HARMLESS.iter().zip(used).filter(|(_, used)| !used).map(|((pattern, _), _)| pattern).collect();
    assert!(stale.is_empty(), "listed as harmless, but missed or not there: {stale:?}");
}

// ── what Envoy itself says ───────────────────────────────────────────────────────────────────────

/// Whether Envoy would start from this document.
fn starts(envoy: &Path, directory: &Path, document: &Value) -> bool {
    let file = directory.join("envoy.json");
    std::fs::write(&file, document.to_string()).unwrap();
    let output = Command::new(envoy).args(["--mode", "validate", "-l", "off", "-c"]).arg(&file).output().unwrap();
    output.status.success()
}

#[test]
fn envoy_starts_from_the_shipped_file_and_not_without_what_it_needs() {
    let Some(envoy) = Search::from_env().unwrap().find().unwrap() else {
        assert!(std::env::var_os("CI").is_none(), "CI has no Envoy: set ENVOY_BIN, or install one");
        eprintln!("skipped: no Envoy; set ENVOY_BIN, or install one");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let upstream_ca = directory.path().join("it's a #1 \"ca\".pem");
    let ca = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
    std::fs::write(&upstream_ca, ca.cert.pem()).unwrap();
    let rendered = Bootstrap {
        listen: "[::1]:10080".parse().unwrap(),
        service_socket: directory.path().join("service socket"),
        admin_socket: directory.path().join("admin # socket"),
        access_log: directory.path().join("access #1 log.jsonl"),
        upstream_ca: upstream_ca.clone(),
        ..Bootstrap::default()
    };
    let key = directory.path().join("key.pem");
    std::fs::write(&key, ca.signing_key.serialize_pem()).unwrap();
    let tls = |client_ca| Some(ProxyTls { certificate: upstream_ca.clone(), key: key.clone(), client_ca });
    for proxy_tls in [None, tls(None), tls(Some(upstream_ca.clone()))] {
        let rendered = Bootstrap { proxy_tls, ..rendered.clone() };
        let file = directory.path().join("envoy.yaml");
        std::fs::write(&file, rendered.render().unwrap()).unwrap();
        let output =
            Command::new(&envoy.path).args(["--mode", "validate", "-l", "warning", "-c"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.trim().is_empty(), "{said}");
    }

    let document: Value = serde_yaml::from_str(&rendered.render().unwrap()).unwrap();
    assert!(starts(&envoy.path, directory.path(), &document));
    let mut all = Vec::new();
    pointers(&document, String::new(), &mut all);
    for (pattern, _) in HARMLESS.iter().filter(|(_, why)| *why == NO_START) {
        let pointer = all.iter().find(|pointer| fits(pattern, pointer)).unwrap();
        let mut without = document.clone();
        remove(&mut without, pointer);
        assert!(!starts(&envoy.path, directory.path(), &without), "Envoy starts without {pointer}");
    }
}

#[test]
fn the_bootstrap_answers_in_the_words_of_the_record() {
    use attache::pipeline::policy::Reason;
    for reason in [Reason::NoVerdict, Reason::MalformedRequest] {
        assert!(SHIPPED.contains(&format!("reason: {}\n", reason.as_str())), "{}", reason.as_str());
        assert!(SHIPPED.contains(&format!("error: {}\n", reason.class().as_str())), "{}", reason.as_str());
    }
    assert!(SHIPPED.contains(&format!("message: {}\n", Reason::NoVerdict.message())));
    assert!(SHIPPED.contains(&format!("hint: {}\n", Reason::NoVerdict.hint())));
}
