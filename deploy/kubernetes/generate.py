#!/usr/bin/env python3
"""Writes the kustomize components from sidecars.yaml, which says what governs a pod.

    deploy/kubernetes/generate.py           writes them
    deploy/kubernetes/generate.py --check   fails where the files say something else (CI)

Needs PyYAML. Other generators take `pod`, `sidecar_containers`, `sidecar_volumes` and `agent_container` from here, and
end in `write_or_check`.

How the component reaches every container of a workload, which strategic merge cannot (it merges by name): kustomize's
`replacements` take `*` for all elements of a list and create what is missing. In this order:

1. A patch adds an empty init container, because `initContainers.*` is an error where there is no such list.
2. Replacements put trust, variables and security context into all containers there are: the user's.
3. A patch takes the empty one out, and the next puts ours in, which kustomize sets before those that are there.
"""

import pathlib
import re
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
AGENT_ENV = HERE.parent.parent / "src/cli/agent_env.rs"

SELECTOR = "attache.dev/inject=true"
TRUST = "/run/attache-trust"
# Login, host and port of the proxy, where a variable has to name it. In `netpol` the host is one of /etc/hosts: agents
# there have no DNS.
EGRESS = "attache-egress"
PROXY = {"proxy-env": ("", "127.0.0.1", 10080), "netpol": ("$(ATTACHE_AGENT):$(ATTACHE_TOKEN)@", EGRESS, 10080)}
# Where no machine is (RFC 5737): the address of the Service `attache-egress` has to be put in its place.
EGRESS_ADDRESS = "192.0.2.1"

# Where the pod's spec stands in each kind. What is in one row has the same form, and one patch does for all of it.
POD_SPEC = {
    "template": (["DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet"], "spec.template"),
    "cronjob": (["CronJob"], "spec.jobTemplate.spec.template"),
    "pod": (["Pod"], ""),
}
API_VERSION = {"template": ("apps/v1", "Deployment"), "cronjob": ("batch/v1", "CronJob"), "pod": ("v1", "Pod")}

# Stands where `initContainers` has to be a list; gone before ours come.
PLACEHOLDER = "attache-placeholder"
VALUES = "attache-agent-container"

# ── What governs a pod ─────────────────────────────────────────────────────────────────────────────────────────────


def pod():
    """The pod of sidecars.yaml."""
    return yaml.safe_load((HERE / "sidecars.yaml").read_text())


def sidecar_containers(mode):
    """Our init containers, in the order in which they start. Only `redirect` needs one that may set rules."""
    return [one for one in pod()["spec"]["initContainers"] if mode == "redirect" or one["name"] != "attache-net"]


def sidecar_volumes():
    """The volumes of our containers, the agent's trust among them."""
    return pod()["spec"]["volumes"]


def mode_label(mode):
    """The label that marks a governed pod."""
    return {"attache.dev/mode": mode}


def agent_container(mode):
    """What every container gets that is not ours: `env` (name to value), `java` (added to JAVA_TOOL_OPTIONS),
    `volumeMount` and `securityContext`."""
    env = {name: f"{TRUST}/bundle.pem" for name in rust_list("REPLACING")}
    env |= {name: f"{TRUST}/ca.pem" for name in rust_list("ADDITIVE")}
    # Java trusts no PEM: with `netpol` its store has to be made where the CA is made.
    java = [] if mode == "netpol" else ["-Djavax.net.ssl.trustStoreType=PKCS12", f"-Djavax.net.ssl.trustStore={TRUST}/bundle.p12"]
    if mode in PROXY:
        login, host, port = PROXY[mode]
        env |= dict.fromkeys(["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"], f"http://{login}{host}:{port}")
        env |= dict.fromkeys(["NO_PROXY", "no_proxy"], rust_text("NO_PROXY"))
        # A program that prefers these would go another way.
        env |= dict.fromkeys(rust_list("REMOVED"), "")
        env["NODE_USE_ENV_PROXY"] = "1"
        java = [f"-D{scheme}.proxy{part}" for scheme in ("http", "https") for part in (f"Host={host}", f"Port={port}")] + java
    return {
        "env": env,
        "java": " ".join(java),
        "volumeMount": {"name": "attache-trust", "mountPath": TRUST, "readOnly": True},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def rust_list(name):
    """A list of texts in agent_env.rs, so that pods and `attache run` set the same variables."""
    found = re.search(rf"const {name}: &\[&str\] = &\[(.*?)\];", AGENT_ENV.read_text(), re.DOTALL)
    texts = re.findall(r'^\s*"([^"]+)"|"([^"]+)"', found.group(1), re.MULTILINE) if found else []
    if not texts:
        sys.exit(f"{AGENT_ENV}: no list {name}: is it written another way now?")
    return [first or second for first, second in texts]


def rust_text(name):
    found = re.search(rf'const {name}: &str = "([^"]*)";', AGENT_ENV.read_text())
    if not found:
        sys.exit(f"{AGENT_ENV}: no text {name}: is it written another way now?")
    return found.group(1)


# ── Kustomize components ───────────────────────────────────────────────────────────────────────────────────────────


def components():
    """Every file of the components, by path."""
    files = {}
    files |= agents_component(HERE / "component/agent", agent_container("redirect"))
    files |= sidecars_component(HERE / "component", "redirect", "agent")
    files |= sidecars_component(HERE / "component/cni", "cni", "../agent")
    files |= agents_component(HERE / "proxy-env/agent", agent_container("proxy-env"))
    files |= sidecars_component(HERE / "proxy-env", "proxy-env", "agent")
    files |= agents_component(HERE / "netpol/agent/containers", agent_container("netpol"), login=True)
    files |= pod_component(HERE / "netpol/agent", "containers", mode_label("netpol"), {
        "automountServiceAccountToken": False,
        # The kubelet writes a variable for every Service: an agent has no use for a map of the cluster.
        "enableServiceLinks": False,
        "hostAliases": [{"ip": EGRESS_ADDRESS, "hostnames": [EGRESS]}],
        # Everything that agents see is signed by the companion's CA: there it stands for the system's bundle, too.
        "volumes": [{"name": "attache-trust", "configMap": {"name": "attache-trust", "items": [
            {"key": "ca.pem", "path": "ca.pem"}, {"key": "ca.pem", "path": "bundle.pem"}]}}],
    })
    files[HERE / "netpol/companion/deployment.yaml"] = companion()
    return files


def companion():
    """The Deployment through which agents of the mode `netpol` go: attaché and Envoy as in a pod, without an agent."""
    containers = {one["name"]: one for one in sidecar_containers("netpol")}
    attache, envoy = containers["attache"], containers["attache-envoy"]
    # Who this pod is says nothing about who calls, and it has no agent whose names it could answer.
    without = {"ATTACHE_POD_SERVICE_ACCOUNT", "ATTACHE_POD_LABELS", "ATTACHE_DNS_STUB"}
    attache["env"] = [one for one in attache["env"] if one["name"] not in without]
    for one in attache["env"]:
        for key in ("name", "value"):
            if key in one:
                one[key] = one[key].replace("ATTACHE_POD_NAMESPACE", "POD_NAMESPACE")
    attache["volumeMounts"] = [
        one | ({"readOnly": True} if one["name"] == "attache-ca" else {})
        for one in attache["volumeMounts"] if one["name"] != "attache-pod"]
    del envoy["restartPolicy"]
    envoy["ports"] = [{"name": "proxy", "containerPort": 10080, "protocol": "TCP"}]
    # Several replicas have to show agents certificates of one CA.
    shared_ca = {"name": "attache-ca", "secret": {"secretName": "attache-ca", "defaultMode": 0o444, "items": [
        {"key": "tls.crt", "path": "ca.pem"}, {"key": "tls.key", "path": "ca.key"}]}}
    volumes = [shared_ca if one["name"] == "attache-ca" else one
               for one in sidecar_volumes() if one["name"] != "attache-pod"]
    envoy["readinessProbe"] = {"httpGet": {"path": "/readyz/envoy", "port": 9464}, "periodSeconds": 5, "timeoutSeconds": 2}
    envoy["livenessProbe"] = {"tcpSocket": {"port": 10080}, "periodSeconds": 10, "failureThreshold": 6}
    labels = {"app.kubernetes.io/name": EGRESS}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": EGRESS, "labels": labels},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": labels}, "spec": {
                "serviceAccountName": EGRESS,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "topologySpreadConstraints": [
                    {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway",
                     "labelSelector": {"matchLabels": labels}}
                    for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")],
                "initContainers": [attache],
                "containers": [envoy],
                "volumes": volumes,
            }},
        },
    }


def sidecars_component(folder, mode, agent):
    """Puts our containers before those that are there, after `agent` has prepared these."""
    return pod_component(folder, agent, mode_label(mode), {
        "automountServiceAccountToken": pod()["spec"]["automountServiceAccountToken"],
        "initContainers": sidecar_containers(mode),
        "volumes": sidecar_volumes(),
    })


def pod_component(folder, agent, labels, spec):
    """Adds to pods, after `agent` has prepared their containers."""
    files = {}
    removals, additions = [], []
    for form in POD_SPEC:
        removals.append(patch(form, f"remove-placeholder-{form}.yaml"))
        files[folder / f"remove-placeholder-{form}.yaml"] = in_form(
            form, {"initContainers": [{"name": PLACEHOLDER, "$patch": "delete"}]})
        additions.append(patch(form, f"pod-{form}.yaml"))
        files[folder / f"pod-{form}.yaml"] = in_form(form, spec, labels)
    files[folder / "kustomization.yaml"] = component({"components": [agent], "patches": removals + additions})
    return files


def agents_component(folder, agent, login=False):
    """Puts what `agent` says into every container, and leaves an empty init container behind."""
    values, replacements = {"mapping": {"of": "any kind"}, "env": {}}, []

    def put(source, *paths, **options):
        replacements.append({
            "source": {"kind": "AgentContainer", "name": VALUES, "fieldPath": f"spec.{source}"},
            "targets": [target(kind, root, paths, options) for kinds, root in POD_SPEC.values() for kind in kinds],
        })

    if login:
        # Before the variables that name it: the kubelet resolves them in order.
        for variable, key in [("ATTACHE_AGENT", "name"), ("ATTACHE_TOKEN", "token")]:
            values[key] = {"secretKeyRef": {"name": "attache-agent", "key": key}}
            put(key, f"env.[name={variable}].valueFrom")
    names = {}
    for name, value in agent["env"].items():
        names.setdefault(value, []).append(name)
    for value, same in names.items():
        values["env"][same[0]] = value
        paths = [f"env.[name={name}].value" for name in same]
        # Kustomize makes every scalar that it creates a text without quotes: an empty one would be null, and `true` a
        # text. A mapping in its place is replaced as a whole, type and all.
        if not value:
            put("mapping", *paths)
        put(f"env.{same[0]}", *paths)
    # After what the user has set there: of two options that set the same, the later one counts.
    values["java"] = agent["java"]
    put("java", "env.[name=JAVA_TOOL_OPTIONS].value", delimiter=" ", index=1_000_000)
    values["volumeMount"] = agent["volumeMount"]
    put("volumeMount", "volumeMounts.[name=attache-trust]")
    security = agent["securityContext"]
    values["securityContext"] = security
    for name in ("allowPrivilegeEscalation", "runAsNonRoot"):
        put("mapping", f"securityContext.{name}")
        put(f"securityContext.{name}", f"securityContext.{name}")
    put("securityContext.capabilities.drop", "securityContext.capabilities.drop")
    put("securityContext.seccompProfile", "securityContext.seccompProfile")

    files = {folder / f"placeholder-{form}.yaml": in_form(form, {"initContainers": [{"name": PLACEHOLDER}]})
             for form in POD_SPEC}
    files[folder / "values.yaml"] = {
        # Read by the replacements, and in no cluster.
        "apiVersion": "attache.dev/v1", "kind": "AgentContainer",
        "metadata": {"name": VALUES, "annotations": {"config.kubernetes.io/local-config": "true"}},
        "spec": values,
    }
    files[folder / "kustomization.yaml"] = component({
        "resources": ["values.yaml"],
        "patches": [patch(form, f"placeholder-{form}.yaml") for form in POD_SPEC],
        "replacements": replacements,
    })
    return files


def component(content):
    return {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"} | content


def patch(form, path):
    return {"path": path, "target": {"kind": "|".join(POD_SPEC[form][0]), "labelSelector": SELECTOR}}


def target(kind, root, paths, options):
    prefix = f"{root}.spec" if root else "spec"
    return {
        "select": {"kind": kind, "labelSelector": SELECTOR},
        "fieldPaths": [f"{prefix}.{containers}.*.{path}" for path in paths for containers in ("containers", "initContainers")],
        "options": {"create": True} | options,
    }


def in_form(form, spec, labels=None):
    """A patch of a pod's spec and labels, in the form of a kind. Of its own type and name only the target's count."""
    version, kind = API_VERSION[form]
    template = ({"metadata": {"labels": labels}} if labels else {}) | {"spec": spec}
    for step in reversed([step for step in POD_SPEC[form][1].split(".") if step]):
        template = {step: template}
    template["metadata"] = template.get("metadata", {}) | {"name": "any"}
    return {"apiVersion": version, "kind": kind, "metadata": template.pop("metadata")} | template


# ── Files ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_or_check(files, me, arguments, folders=()):
    """The same for YAML: path to what is in it."""
    texts = {path: f"# Written by {me}: change it there.\n{to_yaml(content)}" for path, content in files.items()}
    return write_or_check_texts(texts, me, arguments, folders)


def write_or_check_texts(texts, me, arguments, folders=()):
    """Writes files (path to text), or with `--check` says which differ; what else is in `folders` is reported, too.
    Returns the exit code."""
    if arguments == ["--check"]:
        wrong = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
        wrong += sorted({path for folder in folders for path in folder.rglob("*") if path.is_file()} - set(texts))
        for path in wrong:
            print(f"{path} is not what {me} writes: run it", file=sys.stderr)
        return 1 if wrong else 0
    if arguments:
        print(sys.modules["__main__"].__doc__, file=sys.stderr)
        return 2
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


class Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


def to_yaml(content):
    """YAML with keys in the order in which they were said, and without anchors."""
    return yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    sys.exit(write_or_check(components(), "deploy/kubernetes/generate.py", sys.argv[1:],
                            [HERE / "component", HERE / "proxy-env", HERE / "netpol/agent"]))
