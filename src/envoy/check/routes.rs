//! Where a judged request may go, and in what shape: as it was judged, and to the address of the verdict.

use super::clusters::{Clusters, Role};
use super::document::{Findings, Node};

const MATCHER_PLUGIN: &str = "envoy.extensions.router.cluster_specifiers.matcher.v3.MatcherClusterSpecifier";
const CLUSTER_ACTION: &str = "envoy.extensions.router.cluster_specifiers.matcher.v3.ClusterAction";

/// What the routes of a connection manager do.
pub(super) struct Routes {
    /// Whether they take CONNECT.
    pub(super) connects: bool,
}

pub(super) fn check(manager: &Node<'_>, clusters: &Clusters<'_>, findings: &mut Findings) -> Routes {
    for elsewhere in ["rds", "scoped_routes"] {
        findings.require(
            manager.get(elsewhere).is_absent(),
            &manager.get(elsewhere),
            "routes from elsewhere can go where this check does not see",
            "write the routes into `route_config`",
        );
    }
    let config = manager.get("route_config");
    findings.known(
        &config,
        &[
            "name",
            "virtual_hosts",
            "request_headers_to_remove",
            "response_headers_to_remove",
            "typed_per_filter_config",
        ],
    );
    no_overrides(&config, findings);
    removed_headers(&config, findings);

    let hosts = config.get("virtual_hosts");
    let mut connects = false;
    let mut forwards = false;
    for host in hosts.items() {
        findings.known(
            &host,
            &[
                "name",
                "domains",
                "routes",
                "typed_per_filter_config",
                "retry_policy",
                "request_headers_to_remove",
                "response_headers_to_remove",
            ],
        );
        no_overrides(&host, findings);
        retries(&host.get("retry_policy"), findings);
        findings.require(
            host.get("name").is_present() && !host.get("domains").items().is_empty(),
            &host,
            "a virtual host needs a name and the domains it is for",
            "set `name` and `domains: [\"*\"]`",
        );
        let (mut told, mut rest_is_told) = (Vec::new(), false);
        for route in host.get("routes").items() {
            let takes_connect = route.at("match.connect_matcher").is_present();
            connects |= takes_connect;
            forwards |= !takes_connect && route.get("route").is_present();
            told.extend(check_route(&route, clusters, findings));
            rest_is_told |= !takes_connect && route.at("match.headers").is_absent();
        }
        findings.expect(
            rest_is_told,
            &host.get("routes"),
            "requests over TLS have no route",
            "add the `tls` route of the shipped file, which matches `prefix: /` alone",
        );
        for (choice, message, fix) in [
            (
                "plain",
                "hosts that policy lists with http:// cannot be reached",
                "add the `plain` route of the shipped file",
            ),
            (
                "once",
                "a body that is looked into as it comes may be sent twice",
                "add the `tls_once` route of the shipped file",
            ),
            (
                "plain-once",
                "a body that is looked into as it comes does not reach hosts that policy lists with http://",
                "add the `plain_once` route of the shipped file",
            ),
        ] {
            findings.expect(told.contains(&choice), &host.get("routes"), message, fix);
        }
    }
    findings.require(forwards, &hosts, "no route leads to an upstream", "take the routes of the shipped file");
    Routes { connects }
}

/// A filter configured by route is a filter this route may not have.
fn no_overrides(level: &Node<'_>, findings: &mut Findings) {
    for (_, field) in level.get("typed_per_filter_config").fields() {
        findings.error(
            &field,
            "a filter is switched off or changed here, and a verdict or the gate with it",
            "remove `typed_per_filter_config`",
        );
    }
}

fn removed_headers(config: &Node<'_>, findings: &mut Findings) {
    let removed = config.get("request_headers_to_remove");
    for header in [
        "proxy-authorization",
        "proxy-connection",
        "x-attache-int-route",
        "x-agent-traceparent",
        "x-agent-tracestate",
        "x-request-id",
        "x-forwarded-proto",
        "x-envoy-internal",
        "x-envoy-external-address",
    ] {
        findings.require(
            removed.texts().contains(&header),
            &removed,
            &format!("upstreams receive `{header}`"),
            "list it in the `request_headers_to_remove` of the route configuration",
        );
    }
    findings.expect(
        removed.texts().contains(&"x-request-id"),
        &removed,
        "a second attempt meets the same dead address: the route takes it for a first one while it has an x-request-id",
        "list `x-request-id` in the `request_headers_to_remove` of the route configuration",
    );
    let responses = config.get("response_headers_to_remove");
    findings.require(
        responses.texts().contains(&"alt-svc"),
        &responses,
        "an upstream can send the agent to HTTP/3, which goes round this proxy",
        "set `response_headers_to_remove: [alt-svc]`",
    );
}

/// The choices of attaché's that lead to a route.
const CHOICES: [&str; 3] = ["plain", "once", "plain-once"];

/// The choice of attaché's that leads to this route, where one does.
fn check_route(route: &Node<'_>, clusters: &Clusters<'_>, findings: &mut Findings) -> Option<&'static str> {
    findings.known(
        route,
        &[
            "name",
            "match",
            "route",
            "direct_response",
            "redirect",
            "typed_per_filter_config",
            "request_headers_to_remove",
            "response_headers_to_remove",
        ],
    );
    no_overrides(route, findings);
    let action = route.get("route");
    if action.is_absent() {
        let answers = route.get("direct_response").is_present() || route.get("redirect").is_present();
        findings.require(answers, route, "the route says nowhere to go", "give it a `route`");
        return None;
    }
    findings.known(
        &action,
        &[
            "cluster",
            "inline_cluster_specifier_plugin",
            "timeout",
            "retry_policy",
            "upgrade_configs",
            "idle_timeout",
            "weighted_clusters",
            "cluster_header",
        ],
    );
    for (field, message) in [
        ("request_mirror_policies", "a copy of each request, credentials included, goes elsewhere"),
        ("host_rewrite_literal", "the host is changed after it was judged"),
        ("host_rewrite_header", "the host is changed after it was judged"),
        ("host_rewrite_path_regex", "the host is changed after it was judged"),
        ("auto_host_rewrite", "the host is changed after it was judged"),
        ("prefix_rewrite", "the path is changed after it was judged"),
        ("regex_rewrite", "the path is changed after it was judged"),
        ("path_rewrite_policy", "the path is changed after it was judged"),
        ("internal_redirect_policy", "Envoy follows redirects to requests that nobody judged"),
        ("cluster_header", "a header of the agent's chooses where the request goes"),
        ("hedge_policy", "a request is sent twice"),
    ] {
        findings.require(action.get(field).is_absent(), &action.get(field), message, "remove it");
    }
    findings.expect(
        action.get("timeout").seconds() == Some(0.0),
        &action.get("timeout"),
        "answers that take longer than 15 s, as streams of models do, are cut off",
        "set `timeout: 0s`",
    );
    retries(&action.get("retry_policy"), findings);

    let takes_connect = route.at("match.connect_matcher").is_present();
    let headers = route.at("match.headers").items();
    let choice = CHOICES.into_iter().find(|choice| {
        headers.iter().any(|header| {
            header.get("name").is("x-attache-int-route")
                && header.at("string_match.exact").is(choice)
                && header.get("invert_match").is_false()
        })
    });
    let is_plain = matches!(choice, Some("plain" | "plain-once"));
    let is_once = matches!(choice, Some("once" | "plain-once"));
    if !takes_connect {
        findings.require(
            route.at("match.prefix").is("/"),
            &route.get("match"),
            "the route is for some requests only, and others have none",
            "match `prefix: /`",
        );
    }
    findings.known(&route.get("match"), &["connect_matcher", "prefix", "headers"]);
    for header in &headers {
        findings.require(
            choice.is_some() || is_websocket(header),
            header,
            "a header that an agent can send chooses the route",
            "match `x-attache-int-route: plain`, `once` or `plain-once`, or `upgrade: websocket`",
        );
    }
    let is_websocket = headers.iter().any(is_websocket);
    findings.expect(
        !is_once || action.get("retry_policy").is_absent(),
        &action.get("retry_policy"),
        "a body that is looked into as it comes may be sent twice",
        "remove `retry_policy`",
    );
    findings.expect(
        takes_connect
            || is_websocket
            || is_once
            || (action.get("retry_policy").is_present() && action.get("inline_cluster_specifier_plugin").is_present()),
        &action,
        "a dead first address fails the request, though there is a second one",
        "take `retry_policy` and `inline_cluster_specifier_plugin` from the shipped file",
    );
    if takes_connect {
        let terminates = action
            .get("upgrade_configs")
            .items()
            .iter()
            .any(|upgrade| upgrade.get("upgrade_type").is("CONNECT") && upgrade.get("connect_config").is_present());
        findings.require(
            terminates,
            &action.get("upgrade_configs"),
            "CONNECT is passed on instead of ended here, so nothing in it can be judged",
            "set `upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]`",
        );
    }
    for target in targets(&action, findings) {
        let role = target.str().map_or(Role::Elsewhere, |name| clusters.role(name));
        let (fits, message, fix) = match (takes_connect, role) {
            (true, Role::Inside) | (false, Role::Upstream) => continue,
            (false, Role::PlainUpstream) => (
                is_plain,
                "requests leave in plain text without attaché's choice",
                "match the header `x-attache-int-route: plain`, or give the cluster TLS",
            ),
            (true, _) => (
                false,
                "what an agent says inside a CONNECT leaves without being looked at",
                "lead CONNECT to the internal listener",
            ),
            (false, Role::Attache) => (
                false,
                "agents can speak to attaché's own interface",
                "lead requests to an ORIGINAL_DST cluster keyed on the verdict's address",
            ),
            (false, Role::Inside) => (
                false,
                "a request that was not judged as a CONNECT goes to the internal listener",
                "match CONNECT with `connect_matcher`",
            ),
            (false, Role::Elsewhere) => (
                false,
                "requests go to an address that attaché did not name",
                "lead requests to an ORIGINAL_DST cluster keyed on the verdict's address",
            ),
        };
        findings.require(fits, &target, message, fix);
    }
    choice
}

fn is_websocket(header: &Node<'_>) -> bool {
    header.get("name").is("upgrade") && header.at("string_match.exact").is("websocket")
}

/// Every cluster an action may choose.
fn targets<'a>(action: &Node<'a>, findings: &mut Findings) -> Vec<Node<'a>> {
    let mut targets = Vec::new();
    let cluster = action.get("cluster");
    if cluster.is_present() {
        targets.push(cluster);
    }
    for weighted in action.at("weighted_clusters.clusters").items() {
        findings.known(&weighted, &["name", "weight", "typed_per_filter_config"]);
        no_overrides(&weighted, findings);
        targets.push(weighted.get("name"));
    }
    let plugin = action.get("inline_cluster_specifier_plugin");
    let extension = plugin.get("extension");
    if plugin.is_present() {
        findings.require(
            extension.get("name").is_present() && extension.is_type(MATCHER_PLUGIN),
            &extension,
            "a plugin that this check does not know chooses where requests go",
            "use the `matcher` cluster specifier, as in the shipped file",
        );
        first_attempt(&extension.at("typed_config.cluster_matcher"), findings);
        let chosen = extension.descendants();
        targets.extend(
            chosen
                .iter()
                .filter(|node| node.is_type(CLUSTER_ACTION) && node.get("@type").is_present())
                .map(|node| node.get("cluster")),
        );
    }
    findings.require(
        !targets.is_empty(),
        action,
        "the route names no cluster",
        "set `cluster`, or the cluster specifier of the shipped file",
    );
    targets
}

/// The first attempt goes to the first address, a second one to the other.
fn first_attempt(matcher: &Node<'_>, findings: &mut Findings) {
    let matchers = matcher.at("matcher_list.matchers");
    let is_first = |node: &Node<'_>| {
        let predicate = node.at("predicate.single_predicate");
        predicate.at("input").is_type("envoy.type.matcher.v3.HttpRequestHeaderMatchInput")
            && predicate.at("input.name").is_present()
            && predicate.at("input.typed_config.header_name").is("x-request-id")
            && predicate.at("value_match.contains").is("-")
    };
    findings.expect(
        matchers.items().len() == 1 && matchers.items().iter().all(is_first),
        &matchers,
        "a second attempt meets the same dead address, or the first goes to the second one",
        "take `inline_cluster_specifier_plugin` from the shipped file",
    );
    let chosen: Vec<_> = (matchers.items().iter())
        .map(|item| item.at("on_match.action"))
        .chain([matcher.at("on_no_match.action")])
        .collect();
    for action in chosen {
        findings.require(
            action.get("name").is_present()
                && action.is_type(CLUSTER_ACTION)
                && action.at("typed_config.cluster").is_present(),
            &action,
            "an attempt has no cluster to go to",
            "take `inline_cluster_specifier_plugin` from the shipped file",
        );
    }
}

/// No upstream gets a request twice.
fn retries(policy: &Node<'_>, findings: &mut Findings) {
    if policy.is_absent() {
        return;
    }
    findings.require(
        policy.get("retry_on").is("connect-failure"),
        &policy.get("retry_on"),
        "a request that may have been carried out is sent again",
        "set `retry_on: connect-failure`",
    );
    findings.require(
        matches!(policy.get("num_retries").number(), Some(0 | 1)),
        &policy.get("num_retries"),
        "there are two addresses, so one retry",
        "set `num_retries: 1`",
    );
    findings.expect(
        policy.get("refresh_cluster_on_retry").is_true(),
        &policy.get("refresh_cluster_on_retry"),
        "a second attempt meets the same dead address",
        "set `refresh_cluster_on_retry: true`",
    );
    findings.known(policy, &["retry_on", "num_retries", "refresh_cluster_on_retry", "retry_back_off"]);
}
