"""Helm 4, as a library: installs the chart into an API server that only takes notes, and says what it was given.

Helm 4's own `template` needs its command, for which there is no package; an install renders by the same code.
"""

import asyncio
import http.server
import json
import re
import tempfile
import threading

import helm_sdkpy
import yaml
from helm_sdkpy import InstallError  # noqa: F401: for who calls

RESOURCES = {
    "v1": {"ConfigMap": "configmaps", "Namespace": "namespaces", "Secret": "secrets", "Service": "services",
           "ServiceAccount": "serviceaccounts"},
    "apps/v1": {"Deployment": "deployments"},
    "monitoring.coreos.com/v1": {"PodMonitor": "podmonitors"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "admissionregistration.k8s.io/v1": {
        "ValidatingAdmissionPolicy": "validatingadmissionpolicies", "MutatingAdmissionPolicy": "mutatingadmissionpolicies",
        "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
        "MutatingAdmissionPolicyBinding": "mutatingadmissionpolicybindings"},
}
RESOURCES["admissionregistration.k8s.io/v1beta1"] = RESOURCES["admissionregistration.k8s.io/v1"]
CLUSTER = {"Namespace", *RESOURCES["admissionregistration.k8s.io/v1"]}


def install(chart, values, version, namespace):
    """The objects that Helm creates, without what it adds; or raises what Helm says."""
    server = Server(version)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
            yaml.safe_dump({
                "apiVersion": "v1", "kind": "Config", "current-context": "it", "users": [{"name": "it", "user": {}}],
                "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}]}, config)
            config.flush()
            with helm_sdkpy.Configuration(namespace=namespace, kubeconfig=config.name) as helm:
                asyncio.run(helm_sdkpy.Install(helm).run("attache", str(chart), values=values, wait=False))
                asyncio.run(helm_sdkpy.Lint(helm).run(str(chart)))
    finally:
        server.shutdown()
        server.server_close()
    return [one for one in server.created if one["kind"] != "Secret"]


def without_ownership(one):
    """Takes out what Helm says of itself, and the namespace, which it adds where there is none."""
    metadata = one["metadata"]
    metadata.pop("namespace", None)
    for field, names in (("labels", ["app.kubernetes.io/managed-by"]),
                         ("annotations", ["meta.helm.sh/release-name", "meta.helm.sh/release-namespace"])):
        for name in names:
            metadata[field].pop(name)
        if not metadata[field]:
            del metadata[field]


class Server(http.server.ThreadingHTTPServer):
    """Knows the kinds above, has nothing, and takes everything."""

    def __init__(self, version):
        super().__init__(("127.0.0.1", 0), Handler)
        self.version, self.created = version, []


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.path.split("?")[0].strip("/")
        if path == "version":
            return self.answer({"major": "1", "minor": str(self.server.version), "gitVersion": f"v1.{self.server.version}.0"})
        if path == "api":
            return self.answer({"kind": "APIVersions", "versions": ["v1"]})
        if path == "apis":
            groups = {}
            for one in RESOURCES:
                if "/" in one:
                    groups.setdefault(one.split("/")[0], []).append({"groupVersion": one, "version": one.split("/")[1]})
            return self.answer({"kind": "APIGroupList", "apiVersion": "v1", "groups": [
                {"name": name, "versions": versions, "preferredVersion": versions[0]} for name, versions in groups.items()]})
        found = re.fullmatch(r"(?:api|apis)/(.+)", path)
        if found and found[1] in RESOURCES:
            return self.answer({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": found[1], "resources": [
                {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": kind not in CLUSTER,
                 "verbs": ["create", "get", "list", "patch", "update", "delete"]} for kind, plural in RESOURCES[found[1]].items()]})
        if path.endswith("/secrets"):
            return self.answer({"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": []})
        return self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}, 404)

    def do_POST(self):
        one = self.body()
        self.server.created.append(one)
        self.answer(one, 201)

    def do_PUT(self):
        self.answer(self.body())

    do_PATCH = do_PUT

    def body(self):
        text = self.rfile.read(int(self.headers["Content-Length"]))
        # What Helm keeps of its release comes as a protocol buffer.
        release = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "release"}}
        return json.loads(text) if "json" in self.headers["Content-Type"] else release

    def answer(self, body, code=200):
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass
