#!/usr/bin/env python3
"""Writes Grafana's dashboards, dashboards/*.json, from what is said here about each panel.

    deploy/grafana/dashboards.py           writes them
    deploy/grafana/dashboards.py --check   fails where the files say something else (CI)

A dashboard is a list of rows, a row is a title and panels, and a panel says what it shows, what that means, its unit, and
one PromQL expression for each line. Change it here, never in the JSON: what is exported from Grafana's editor is a
thousand lines of defaults.
"""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent / "dashboards"
ME = 'instance=~"$instance"'
AGENT = f'{ME},agent=~"$agent"'
RATE = "[$__rate_interval]"
REFUSED = 'decision=~"deny|rate_limited|error"'

GREEN, YELLOW, RED = "green", "yellow", "red"
# A number that has to be zero.
NONE_ALLOWED = [(None, GREEN), (1, RED)]


def named(label, text, expr):
    """Gives the series without this label a name."""
    return f'label_replace({expr}, "{label}", "{text}", "{label}", "")'


def by_agent(expr):
    return named("agent", "not identified", expr)


def overview():
    requests = f"attache_requests_total{{{AGENT}}}"
    refused = f"attache_requests_total{{{AGENT},{REFUSED}}}"
    watched = f'attache_requests_total{{{AGENT},mode="monitor"}}'
    return dashboard("overview", "Attaché: overview", "What agents ask for, and what becomes of it.", [
        row("Now",
            stat("Requests", "Decisions in a second, tunnels that were refused included.", "reqps",
                 f"sum(rate({requests}{RATE}))"),
            stat("Refused", "The part of all requests that was refused, limited, or failed. Questions that wait for a person are not in it.",
                 "percentunit", f"sum(rate({refused}{RATE})) / sum(rate({requests}{RATE}))",
                 steps=[(None, GREEN), (0.2, YELLOW), (0.5, RED)], none="nothing refused"),
            stat("Would be refused", "Requests in a second that passed only because a rule, an agent or the organization is in monitor mode.",
                 "reqps", f"sum(rate({watched}{RATE}))", none="nothing watched"),
            stat("Wait for a person", "Questions that nobody has answered yet.", "short",
                 f"sum(attache_approvals_pending{{{ME}}})", steps=[(None, GREEN), (1, YELLOW), (10, RED)]),
            stat("Passed undecided", "Requests that Envoy forwarded without a decision, since the services started. It has to be 0: anything else is a hole in the boundary.",
                 "short", f"sum(attache_unreconciled_exchanges_total{{{ME}}})", steps=NONE_ALLOWED, none="none seen"),
            stat("Services ready", "The part of all attachés that can decide.", "percentunit",
                 f"avg(attache_ready{{{ME}}})", steps=[(None, RED), (1, GREEN)])),
        row("Requests",
            series("By decision", "What was enforced. `pending` waits for a person; `error` is a fault of attaché's own, and refused.",
                   "reqps", (f"sum by (decision) (rate({requests}{RATE}))", "{{decision}}"), stacked=True),
            series("By agent", "Who asks.", "reqps",
                   (by_agent(f"sum by (agent) (rate({requests}{RATE}))"), "{{agent}}"), stacked=True),
            series("Refused, by agent", "The part of each agent's requests that was refused. A sudden rise: it does something new, or a policy changed.",
                   "percentunit", (by_agent(f"sum by (agent) (rate({refused}{RATE})) / sum by (agent) (rate({requests}{RATE}))"), "{{agent}}"),
                   steps=[(None, GREEN), (0.2, YELLOW), (0.5, RED)], top=1)),
        row("What is refused",
            bars("Reasons", "Why requests were refused, most frequent first. docs/policy.md and the answers' `hint` explain each.", "short",
                 f"topk(10, sum by (reason) (increase({refused}[$__range])))", "{{reason}}"),
            bars("Rules", "Which lines of the policy refused. Without a line: nothing allows it, or it is its form that is refused.", "short",
                 named("rule", "no line of its own", f"topk(10, sum by (rule) (increase({refused}[$__range])))"), "{{rule}}"),
            table("Agents, reasons and rules", "The twenty most frequent refusals.", "short",
                  f"topk(20, sum by (agent, decision, reason, rule) (increase({refused}[$__range])) > 0)")),
        row("Monitor mode",
            series("Would be refused", "What would have been refused, and why, were it enforced. With this at zero a policy can go from `monitor` to `enforce`.",
                   "reqps", (f"sum by (reason) (rate({watched}{RATE}))", "{{reason}}"), stacked=True),
            table("Agents, reasons and rules", "The twenty most frequent.", "short",
                  f"topk(20, sum by (agent, reason, rule) (increase({watched}[$__range])) > 0)")),
        row("What becomes of requests",
            series("Answers of upstreams", "Statuses of the services that agents call, by class.", "reqps",
                   (f'sum by (envoy_response_code_class) (rate(envoy_cluster_upstream_rq_xx{{{ME},envoy_cluster_name=~"upstream.*"}}{RATE}))', "{{envoy_response_code_class}}xx"), stacked=True),
            series("Answers to agents", "Statuses that agents see, refusals included, by class. Tunnels and what is in them both count.", "reqps",
                   (f'sum by (envoy_response_code_class) (rate(envoy_http_downstream_rq_xx{{{ME},envoy_http_conn_manager_prefix!="admin"}}{RATE}))', "{{envoy_response_code_class}}xx"), stacked=True),
            series("Limits", "What limits said to the requests that they are about.", "reqps",
                   (f"sum by (rule, decision) (rate(attache_rate_limit_decisions_total{{{ME}}}{RATE}))", "{{rule}} {{decision}}")),
            series("Credentials", "Requests into which each credential was put.", "reqps",
                   (f"sum by (credential) (rate(attache_credential_injections_total{{{ME}}}{RATE}))", "{{credential}}"))),
        row("Policy",
            table("In force", "Revision and version, by service. Two revisions for long: some do not get the change.", "short",
                  f"(attache_policy_info{{{ME}}} == 1) * on (instance) group_left (version) attache_build_info"),
            series("Attempts to load it", "`false`: what is on the disk is refused, and the policy before it stays in force.", "short",
                   (f"sum by (success) (increase(attache_policy_reloads_total{{{ME}}}{RATE}))", "success {{success}}")),
            stat("Loaded or refused", "How long ago the last attempt was.", "s",
                 f"time() - max(attache_policy_last_reload_timestamp_seconds{{{ME}}})"),
            stat("Refused on disk", "Services whose policy on disk is refused.", "short",
                 f"count(attache_policy_last_reload_successful{{{ME}}} == 0)", steps=NONE_ALLOWED, none="none"),
            stat("Next credential to end", "How long the credential lasts that ends first, of those that tell.", "s",
                 f"min(attache_credential_expiry_timestamp_seconds{{{ME}}}) - time()",
                 steps=[(None, RED), (86400, YELLOW), (3 * 86400, GREEN)], none="none ends")),
    ], agent=True)


def security():
    found = f"attache_dlp_findings_total{{{ME}}}"
    identity = "invalid_token|no_identity|unknown_identity|identity_conflict"
    evasion = ("malformed_.*|authority_mismatch|address_forbidden|own_credentials|undecodable|"
               "budget_exhausted|upgrade_not_allowed|websocket_blocked|outside_organization")
    return dashboard("security", "Attaché: security", "What tried to leave, and whether the boundary holds.", [
        row("What has to be zero, since the services started",
            stat("Known secrets sent", "Times that a credential attaché holds stood in what an agent sends.", "short",
                 f'sum(attache_dlp_findings_total{{{ME},category="knownSecret",direction="request"}})', steps=NONE_ALLOWED, none="none"),
            stat("Canaries sent", "Times that a canary stood in what an agent sends: it looked where it should not.", "short",
                 f'sum(attache_dlp_findings_total{{{ME},category="canary",direction="request"}})', steps=NONE_ALLOWED, none="none"),
            stat("Passed undecided", "Requests that Envoy forwarded without a decision of attaché.", "short",
                 f"sum(attache_unreconciled_exchanges_total{{{ME}}})", steps=NONE_ALLOWED, none="none seen"),
            stat("Held back by the gate", "Requests that reached the gate behind attaché's filter without a verdict. The gate refused them.", "short",
                 f"sum(envoy_http_rbac_denied{{{ME}}})", steps=NONE_ALLOWED),
            stat("Let pass by Envoy", "Requests that Envoy let pass because attaché failed. The bootstrap forbids it (`failure_mode_allow: false`).", "short",
                 f"sum(envoy_http_ext_proc_failure_mode_allowed{{{ME}}})", steps=NONE_ALLOWED)),
        row("Findings",
            series("By category", "What was found in messages of both directions, in a minute.", "short",
                   (f"60 * sum by (category) (rate({found}{RATE}))", "{{category}}"), stacked=True),
            series("By what was done", "`block`: refused or cut off. `redact`: taken out. `monitor`: on record alone.", "short",
                   (f"60 * sum by (action, direction) (rate({found}{RATE}))", "{{direction}}: {{action}}"), stacked=True),
            bars("Rules", "What is found most often. A rule that finds in daily work needs an entry of `allow`, or another profile.", "short",
                 f"topk(15, sum by (rule, category) (increase({found}[$__range])))", "{{rule}} ({{category}})")),
        row("Searching",
            series("Searched", "Bodies that were looked into.", "Bps",
                   (f"sum by (direction) (rate(attache_dlp_scanned_bytes_total{{{ME}}}{RATE}))", "{{direction}}")),
            series("Not searched in full", "Messages whose search a limit or an encoding ended, in a minute. Policy says what becomes of them.", "short",
                   (f"60 * sum by (reason) (rate(attache_dlp_incomplete_total{{{ME}}}{RATE}))", "{{reason}}"), stacked=True),
            series("Found on the way", "Messages in which something was found after their heads had gone on, in a minute. `blocked`: cut off there.", "short",
                   (f"60 * sum by (direction, action) (rate(attache_inspections_total{{{ME}}}{RATE}))", "{{direction}}: {{action}}"), stacked=True)),
        row("Who, and by which door",
            series("Not identified", "Requests whose caller showed no identity, a wrong one, or two.", "reqps",
                   (f'sum by (reason) (rate(attache_requests_total{{{ME},reason=~"{identity}"}}{RATE}))', "{{reason}}"), stacked=True),
            series("Ways round", "Refusals of what ordinary clients do not do: names that differ, private addresses, paths and encodings with two readings, credentials of the agent's own.", "reqps",
                   (f'sum by (reason) (rate(attache_requests_total{{{AGENT},reason=~"{evasion}"}}{RATE}))', "{{reason}}"), stacked=True),
            series("Refused by Envoy itself", "Requests that no decision was asked for or given, in a minute: malformed ones, headers that are too large, and what got no verdict.", "short",
                   (f"60 * sum by (reason) (rate(attache_undecided_requests_total{{{ME}}}{RATE}))", "{{reason}}"), stacked=True)),
        row("TLS",
            series("Failed handshakes", "In a minute. `ca_not_trusted`: a client that does not know attaché's CA; `attache ca env` prints what it needs.", "short",
                   (f"60 * sum by (reason) (rate(attache_tls_handshake_failures_total{{{ME}}}{RATE}))", "{{reason}}"), stacked=True),
            series("Certificates", "Leaf certificates made, made again, given up, and refused for names that no policy could allow, in a minute.", "short",
                   (f"60 * sum by (action) (rate(attache_leaf_certificates_total{{{ME}}}{RATE}))", "{{action}}"))),
    ], agent=True)


def latency():
    buckets = f"attache_decision_duration_seconds_bucket{{{ME}}}"
    slow = [(None, GREEN), (0.01, YELLOW), (0.1, RED)]
    envoy = 'envoy_http_conn_manager_prefix!="admin"'

    def quantile(q, what, interval=RATE):
        return f"histogram_quantile({q}, sum by (le) (rate({what}{interval})))"

    return dashboard("latency", "Attaché: latency", "What a decision costs, and how Envoy sees it.", [
        row("Decisions",
            stat("Median", "Half of all decisions take less. From the arrival of the head: waiting for body, DNS, store or a person is in it.", "s",
                 quantile(0.5, buckets), steps=slow),
            stat("90 %", "Nine of ten decisions take less.", "s", quantile(0.9, buckets), steps=slow),
            stat("99 %", "All but one in a hundred take less. The last bucket ends at 1 s: longer ones show as 1 s.", "s", quantile(0.99, buckets), steps=slow),
            stat("Under 1 ms", "The part of decisions that took less than a millisecond.", "percentunit",
                 f'sum(rate(attache_decision_duration_seconds_bucket{{{ME},le="0.001"}}{RATE})) / sum(rate(attache_decision_duration_seconds_count{{{ME}}}{RATE}))',
                 steps=[(None, RED), (0.5, YELLOW), (0.9, GREEN)])),
        row("Over time",
            series("Quantiles", "How long decisions take.", "s",
                   (quantile(0.5, buckets), "50 %"), (quantile(0.9, buckets), "90 %"), (quantile(0.99, buckets), "99 %"), steps=slow),
            heatmap("Durations", "How many decisions took how long. A second band: bodies, DNS, a shared store, or people.",
                    f"sum by (le) (increase({buckets}{RATE}))")),
        row("Envoy's calls to attaché (external processing)",
            series("Streams", "One for each request. Started and closed go together; what fails or times out was refused.", "reqps",
                   (f"sum(rate(envoy_http_ext_proc_streams_started{{{ME}}}{RATE}))", "started"),
                   (f"sum(rate(envoy_http_ext_proc_streams_closed{{{ME}}}{RATE}))", "closed"),
                   (f"sum(rate(envoy_http_ext_proc_streams_failed{{{ME}}}{RATE}))", "failed"),
                   (f"sum(rate(envoy_http_ext_proc_message_timeouts{{{ME}}}{RATE}))", "timed out")),
            series("Messages", "Heads, bodies and trailers sent to attaché, and its answers. Refusals are immediate answers.", "reqps",
                   (f"sum(rate(envoy_http_ext_proc_stream_msgs_sent{{{ME}}}{RATE}))", "sent"),
                   (f"sum(rate(envoy_http_ext_proc_stream_msgs_received{{{ME}}}{RATE}))", "received"),
                   (f"sum(rate(envoy_http_ext_proc_immediate_responses_sent{{{ME}}}{RATE}))", "immediate answers")),
            series("Waiting for attaché", "Calls that are open now. Questions that wait for a person, long bodies and Envoy's own streams are among them.", "short",
                   (f'sum(envoy_cluster_upstream_rq_active{{{ME},envoy_cluster_name="attache"}})', "open")),
            series("Trouble", "What attaché answered and Envoy did not take, in a minute. All of it has to be zero.", "short",
                   (f"60 * sum(rate(envoy_http_ext_proc_rejected_header_mutations{{{ME}}}{RATE}))", "changes refused"),
                   (f"60 * sum(rate(envoy_http_ext_proc_spurious_msgs_received{{{ME}}}{RATE}))", "unexpected answers"),
                   (f"60 * sum(rate(envoy_http_ext_proc_override_message_timeout_ignored{{{ME}}}{RATE}))", "time limits ignored"),
                   steps=NONE_ALLOWED),
            stat("attaché healthy", "Whether Envoy's health checks reach attaché.", "percentunit",
                 f'avg(envoy_cluster_membership_healthy{{{ME},envoy_cluster_name="attache"}})', steps=[(None, RED), (1, GREEN)])),
        row("What agents and upstreams see",
            series("Whole requests", "From a request's first byte to its answer's last, as the agent sees it; tunnels are left out.", "ms",
                   (quantile(0.5, f'envoy_http_downstream_rq_time_bucket{{{ME},{envoy},envoy_http_conn_manager_prefix!="proxy"}}'), "50 %"),
                   (quantile(0.99, f'envoy_http_downstream_rq_time_bucket{{{ME},{envoy},envoy_http_conn_manager_prefix!="proxy"}}'), "99 %")),
            series("Upstreams", "How long the called services take to answer: what is not ours in it.", "ms",
                   (quantile(0.5, f'envoy_cluster_upstream_rq_time_bucket{{{ME},envoy_cluster_name=~"upstream.*"}}'), "50 %"),
                   (quantile(0.99, f'envoy_cluster_upstream_rq_time_bucket{{{ME},envoy_cluster_name=~"upstream.*"}}'), "99 %")),
            series("Requests in flight", "At Envoy, tunnels and what is in them both counted.", "short",
                   (f"sum by (envoy_http_conn_manager_prefix) (envoy_http_downstream_rq_active{{{ME},{envoy}}})", "{{envoy_http_conn_manager_prefix}}")),
            series("Connections to upstreams that failed", "In a minute.", "short",
                   (f'60 * sum by (envoy_cluster_name) (rate(envoy_cluster_upstream_cx_connect_fail{{{ME},envoy_cluster_name=~"upstream.*"}}{RATE}))', "{{envoy_cluster_name}}"))),
    ])


def approvals():
    event = f"attache_approvals_total{{{ME}}}"
    return dashboard("approvals", "Attaché: approvals", "What waits for a person, and what people said.", [
        row("Now",
            stat("Waiting", "Questions without an answer. `attache approvals list` shows them.", "short",
                 f"sum(attache_approvals_pending{{{ME}}})", steps=[(None, GREEN), (1, YELLOW), (10, RED)]),
            stat("Oldest", "How long the oldest of them has waited. They expire after 15 minutes unless their rule says otherwise.", "s",
                 f"max(attache_approvals_oldest_seconds{{{ME}}})", steps=[(None, GREEN), (120, YELLOW), (300, RED)]),
            stat("Approved", "Of what was answered or ran out in this time.", "percentunit",
                 f'sum(increase(attache_approvals_total{{{ME},event="approved"}}[$__range])) / sum(increase(attache_approvals_total{{{ME},event=~"approved|refused|expired"}}[$__range]))',
                 none="none answered"),
            stat("Ran out", "Questions that nobody answered in time, or approvals that nothing used.", "short",
                 f'sum(increase(attache_approvals_total{{{ME},event="expired"}}[$__range]))', steps=[(None, GREEN), (1, YELLOW)], none="none")),
        row("Over time",
            series("Waiting, by service", "Questions without an answer.", "short",
                   (f"sum by (instance) (attache_approvals_pending{{{ME}}})", "{{instance}}"), stacked=True),
            series("Oldest, by service", "How long the oldest has waited.", "s",
                   (f"max by (instance) (attache_approvals_oldest_seconds{{{ME}}})", "{{instance}}"),
                   steps=[(None, GREEN), (120, YELLOW), (300, RED)]),
            series("What happens to questions", "Asked, approved, refused, and run out, in a minute.", "short",
                   (f"60 * sum by (event) (rate({event}{RATE}))", "{{event}}")),
            series("What agents are told", "Answers to requests that need a person, in a minute. `approval_pending`: the hold ran out, and it may ask again.", "short",
                   (f'60 * sum by (reason) (rate(attache_requests_total{{{AGENT},reason=~"approval_.*|too_many_approvals|body_too_large_for_approval"}}{RATE}))', "{{reason}}"), stacked=True)),
        row("Telling people",
            series("Messages", "By channel and what became of them, in a minute. Only `delivered` reaches anybody.", "short",
                   (f"60 * sum by (channel, outcome) (rate(attache_notifications_total{{{ME}}}{RATE}))", "{{channel}}: {{outcome}}")),
            table("Rules that ask", "Which rules and agents lead to questions.", "short",
                  f'topk(20, sum by (agent, rule, reason) (increase(attache_requests_total{{{AGENT},reason=~"approval_.*"}}[$__range])) > 0)')),
    ], agent=True)


def audit():
    return dashboard("audit", "Attaché: audit health", "Whether everything that happened is on record, and safe there.", [
        row("Now",
            stat("Errors", "Writes and syncs of the journal that failed, since the services started. Requests whose record failed were refused.", "short",
                 f"sum(attache_journal_errors_total{{{ME}}})", steps=NONE_ALLOWED),
            stat("Not on disk yet", "Age of the oldest record that a power cut could take. Usual is under 0.2 s.", "s",
                 f"max(attache_journal_unsynced_seconds{{{ME}}})", steps=[(None, GREEN), (1, YELLOW), (5, RED)]),
            stat("Last checkpoint", "How long ago the journal was last signed, where it is longest. What came after it could be cut off unseen.", "s",
                 f"time() - min(attache_journal_checkpoint_timestamp_seconds{{{ME}}})", steps=[(None, GREEN), (1800, YELLOW), (3600, RED)], none="none yet"),
            stat("Furthest behind", "How old the oldest record is that a sink has not taken.", "s",
                 f"max(attache_sink_lag_seconds{{{ME}}})", steps=[(None, GREEN), (60, YELLOW), (300, RED)], none="no sinks"),
            stat("Outcomes unknown", "Requests let out of which nobody heard what became of them, since the services started.", "short",
                 f"sum(attache_outcomes_unknown_total{{{ME}}})", steps=[(None, GREEN), (1, YELLOW)], none="none"),
            stat("Passed undecided", "Requests that Envoy forwarded without a decision, since the services started.", "short",
                 f"sum(attache_unreconciled_exchanges_total{{{ME}}})", steps=NONE_ALLOWED, none="none seen")),
        row("Journal",
            series("Records", "Decisions, outcomes, findings, answers of people. A decision that passes makes two: itself and its outcome.", "wps",
                   (f"sum by (instance) (rate(attache_journal_records_total{{{ME}}}{RATE}))", "{{instance}}")),
            series("Written", "To the disk.", "Bps",
                   (f"sum by (instance) (rate(attache_journal_bytes_total{{{ME}}}{RATE}))", "{{instance}}")),
            series("Size", "What the journal takes on the disk. Retention ends its growth.", "bytes",
                   (f"sum by (instance) (attache_journal_size_bytes{{{ME}}})", "{{instance}}")),
            series("Segments", "Files of the journal.", "short",
                   (f"sum by (instance) (attache_journal_segments{{{ME}}})", "{{instance}}")),
            series("Not on disk yet", "Age of the oldest record that a power cut could take.", "s",
                   (f"max by (instance) (attache_journal_unsynced_seconds{{{ME}}})", "{{instance}}"), steps=[(None, GREEN), (1, YELLOW), (5, RED)]),
            series("Age of the last checkpoint", "A saw: it falls with each signature.", "s",
                   (f"time() - attache_journal_checkpoint_timestamp_seconds{{{ME}}}", "{{instance}}"), steps=[(None, GREEN), (1800, YELLOW), (3600, RED)]),
            series("Errors", "Writes and syncs that failed, in a minute.", "short",
                   (f"60 * sum by (instance) (rate(attache_journal_errors_total{{{ME}}}{RATE}))", "{{instance}}"), steps=NONE_ALLOWED)),
        row("Sinks",
            series("Behind", "Age of the oldest record that a sink has not taken. Nothing is lost as long as retention keeps it.", "s",
                   (f"max by (sink) (attache_sink_lag_seconds{{{ME}}})", "{{sink}}"), steps=[(None, GREEN), (60, YELLOW), (300, RED)]),
            series("Waiting", "Records that a sink has not taken.", "short",
                   (f"sum by (sink) (attache_sink_lag_records{{{ME}}})", "{{sink}}")),
            series("Given", "Records by sink and what became of them.", "wps",
                   (f"sum by (sink, outcome) (rate(attache_sink_records_total{{{ME}}}{RATE}))", "{{sink}}: {{outcome}}"))),
        row("Completeness",
            series("Exchanges under way", "Let out, and Envoy has not said yet what became of them.", "short",
                   (f"sum by (instance) (attache_open_exchanges{{{ME}}})", "{{instance}}")),
            series("Gaps", "In a minute: outcomes that were never heard, and requests without a decision.", "short",
                   (f"60 * sum(rate(attache_outcomes_unknown_total{{{ME}}}{RATE}))", "outcome unknown"),
                   (f"60 * sum(rate(attache_unreconciled_exchanges_total{{{ME}}}{RATE}))", "no decision"), steps=NONE_ALLOWED),
            series("Records for each decision", "What is refused has one, what passes has two, findings and questions have more. Less than one: records are missing.", "short",
                   (f"sum(rate(attache_journal_records_total{{{ME}}}{RATE})) / sum(rate(attache_requests_total{{{ME}}}{RATE}))", "records"))),
    ])


# ── How that becomes Grafana's JSON ─────────────────────────────────────────────────────────────────────────────────

SOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
WIDTH = 24
# Rows of Grafana's grid that a panel is high, by its kind.
HEIGHT = {"stat": 4, "timeseries": 8, "heatmap": 8, "bargauge": 8, "table": 8}


def stat(title, what, unit, expr, steps=None, none="no data"):
    options = {"colorMode": "value", "graphMode": "area", "justifyMode": "auto", "textMode": "auto", "wideLayout": True,
               "orientation": "auto", "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    return panel("stat", title, what, unit, [(expr, "")], options, steps=steps, none=none)


def series(title, what, unit, *lines, stacked=False, steps=None, top=None):
    custom = {"lineWidth": 1, "fillOpacity": 20 if stacked else 5, "showPoints": "never", "spanNulls": False,
              "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
              "thresholdsStyle": {"mode": "dashed" if steps else "off"}}
    options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
               "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel("timeseries", title, what, unit, lines, options, custom, steps, top=top)


def bars(title, what, unit, expr, legend):
    options = {"displayMode": "basic", "orientation": "horizontal", "showUnfilled": False, "valueMode": "color",
               "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    return panel("bargauge", title, what, unit, [(expr, legend)], options, none="none", instant=True)


def table(title, what, unit, expr):
    made = panel("table", title, what, unit, [(expr, "")], {"cellHeight": "sm", "showHeader": True}, none="none", instant=True)
    made["targets"][0]["format"] = "table"
    hidden = {"Time": True, "__name__": True, "otel_scope_name": True, "job": True}
    made["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return made


def heatmap(title, what, expr):
    options = {"calculate": False, "cellGap": 1, "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
               "yAxis": {"unit": "s", "axisPlacement": "left"}, "rowsFrame": {"layout": "auto"},
               "legend": {"show": True}, "tooltip": {"mode": "single", "yHistogram": True}}
    made = panel("heatmap", title, what, "s", [(expr, "{{le}}")], options)
    made["targets"][0]["format"] = "heatmap"
    return made


def panel(kind, title, what, unit, lines, options, custom=None, steps=None, none="no data", instant=False, top=None):
    defaults = {
        "unit": unit, "noValue": none, "color": {"mode": "thresholds" if kind in ("stat", "bargauge") else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps or [(None, GREEN)]]},
    }
    if custom:
        defaults["custom"] = custom
    if unit != "percentunit" or top is not None:
        defaults["min"] = 0
    if top is not None:
        defaults["max"] = top
    targets = [
        {"datasource": SOURCE, "refId": chr(ord("A") + number), "expr": expr, "legendFormat": legend or "__auto",
         "range": not instant, "instant": instant}
        for number, (expr, legend) in enumerate(lines)
    ]
    return {"type": kind, "title": title, "description": what, "datasource": SOURCE, "targets": targets,
            "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options}


def row(title, *panels):
    return title, panels


def dashboard(name, title, what, rows, agent=False):
    panels, y = [], 0

    def place(item, x, width, height):
        item["id"] = len(panels) + 1
        item["gridPos"] = {"x": x, "y": y, "w": width, "h": height}
        panels.append(item)

    for heading, items in rows:
        place({"type": "row", "title": heading, "collapsed": False, "panels": []}, 0, WIDTH, 1)
        y += 1
        # As many lines as it takes to give each panel room: eight small ones, or three large ones, to a line.
        while items:
            count = fitting(items)
            height = max(HEIGHT[item["type"]] for item in items[:count])
            for number, item in enumerate(items[:count]):
                start, end = WIDTH * number // count, WIDTH * (number + 1) // count
                place(item, start, end - start, height)
            items, y = items[count:], y + height
    variables = [
        {"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1, "hide": 0},
        variable("instance", "Service", "label_values(attache_build_info, instance)"),
    ]
    if agent:
        variables.append(variable("agent", "Agent", "label_values(attache_requests_total, agent)"))
    return name, {
        "uid": f"attache-{name}", "title": title, "description": what, "tags": ["attache"], "schemaVersion": 41,
        "version": 1, "editable": True, "graphTooltip": 1, "refresh": "30s", "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"}, "templating": {"list": variables}, "panels": panels,
        "annotations": {"list": [{
            "name": "Policy loaded", "datasource": SOURCE, "enable": True, "iconColor": "blue", "titleFormat": "Policy loaded on {{instance}}",
            "expr": f"changes(attache_policy_last_reload_timestamp_seconds{{{ME}}}[1m]) > 0", "step": "60s",
        }]},
        "links": [{"type": "dashboards", "title": "Attaché", "tags": ["attache"], "asDropdown": True, "includeVars": True,
                   "keepTime": True, "icon": "external link", "targetBlank": False, "tooltip": "", "url": ""}],
    }


def fitting(items):
    """How many of these, from the first on, share a line: those of one height, and no more than have room."""
    same = next((n for n, item in enumerate(items) if HEIGHT[item["type"]] != HEIGHT[items[0]["type"]]), len(items))
    lines = -(-same // (6 if items[0]["type"] == "stat" else 3))
    return -(-same // lines)


def variable(name, label, query):
    # Empty labels are met by `.*` alone: callers that nobody identified have no agent.
    return {"name": name, "label": label, "type": "query", "datasource": SOURCE, "query": {"qryType": 1, "query": query, "refId": name},
            "definition": query, "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]}, "hide": 0}


def main():
    made = dict(make() for make in (overview, security, latency, approvals, audit))
    texts = {FOLDER / f"{name}.json": json.dumps(board, indent=2, ensure_ascii=False) + "\n" for name, board in made.items()}
    if sys.argv[1:] == ["--check"]:
        wrong = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
        wrong += sorted(set(FOLDER.glob("*")) - set(texts))
        for path in wrong:
            print(f"{path} is not what {sys.argv[0]} writes: run it", file=sys.stderr)
        return 1 if wrong else 0
    if sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        return 2
    FOLDER.mkdir(exist_ok=True)
    for path, text in texts.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
