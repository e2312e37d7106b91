"""What attaché's policy says, for mitmproxy: who is calling (a token), what is allowed (hosts, wildcards, methods, paths),
which rules forbid something, which credential goes along, and a record in JSON lines. As fast as one would write it: sets
and dictionaries, one file that is kept open, nothing decided twice.

BENCHMARK_POLICY names a JSON file: agents (SHA-256 of a token: name), allow and rules (by host), upstream, credential."""

import hashlib
import json
import os
import time

from mitmproxy import http


class Policy:
    def __init__(self):
        with open(os.environ["BENCHMARK_POLICY"]) as file:
            policy = json.load(file)
        self.agents = policy["agents"]
        self.allow = policy["allow"]
        self.rules = policy["rules"]
        self.upstream = tuple(policy["upstream"])
        self.credential = policy["credential"]
        self.record = open(policy["record"], "a", buffering=1)

    def requestheaders(self, flow: http.HTTPFlow):
        start = time.time()
        request = flow.request
        token = request.headers.pop("proxy-authorization", "").removeprefix("Bearer ")
        agent = self.agents.get(hashlib.sha256(token.encode()).hexdigest())
        rule, reason = self.decide(agent, request)
        if reason:
            flow.response = http.Response.make(403, json.dumps({"error": "denied", "reason": reason}))
        else:
            if self.credential:
                request.headers["authorization"] = "Bearer " + self.credential
            # The address is pinned; the name stays in the request.
            host = request.headers["host"]
            request.host, request.port = self.upstream
            request.headers["host"] = host
        self.write(
            time=start, id=flow.id, agent=agent, method=request.method, host=request.pretty_host, path=request.path,
            decision="deny" if reason else "allow", reason=reason, rule=rule,
        )

    def decide(self, agent, request):
        if agent is None:
            return None, "unknown_agent"
        host, path = request.host.lower(), request.path.partition("?")[0]
        entry = self.find(self.allow, host)
        if entry is None:
            return None, "domain_not_allowed"
        for pattern in self.find(self.rules, host) or ():
            if request.method in pattern["methods"] and path.startswith(pattern["prefix"]):
                return pattern["name"], "rule"
        if entry["methods"] and request.method not in entry["methods"] or not path.startswith(entry["prefix"]):
            return entry["name"], "route_not_allowed"
        return entry["name"], None

    def find(self, table, host):
        found = table.get(host)
        while found is None and (dot := host.find(".")) > 0:
            host = host[dot + 1:]
            found = table.get("*." + host)
        return found

    def response(self, flow: http.HTTPFlow):
        self.write(time=time.time(), id=flow.id, status=flow.response.status_code)

    def write(self, **fields):
        self.record.write(json.dumps(fields) + "\n")


addons = [Policy()]
