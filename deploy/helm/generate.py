#!/usr/bin/env python3
"""Writes what the chart has in common with the manifests: pods, admission policies, bootstraps, policies, the demo.

    deploy/helm/generate.py           writes them
    deploy/helm/generate.py --check   fails where the files say something else (CI)

Needs PyYAML. A text of the manifests that is a value of the chart is marked here and becomes an expression of Helm's.
"""

import json
import pathlib
import re
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
CHART = HERE / "attache"
KUBERNETES = HERE.parent / "kubernetes"
sys.path[:0] = [str(KUBERNETES / "admission"), str(KUBERNETES)]
sys.dont_write_bytecode = True

import guard  # noqa: E402
import inject  # noqa: E402
import policies  # noqa: E402
from generate import agent_container, sidecar_containers, sidecar_volumes, write_or_check_texts  # noqa: E402

ME = "deploy/helm/generate.py"
IMAGES = {"attache": "attache", "attache-net": "net", "attache-envoy": "envoy"}
NAMES = {"attache-policy": 'include "attache.policyName" .', "attache-envoy": '"attache-envoy"',
         "attache-credentials": 'include "attache.credentialsName" .'}


def files():
    """Every file, by path."""
    namespace = "{{ .Release.Namespace }}"
    guard.NAMESPACE = inject.NAMESPACE = namespace
    resources = {name: f"dyn({helm(f'.Values.resources.{key} | toJson')})" for name, key in IMAGES.items()}
    version = {"admissionregistration.k8s.io/v1": helm('include "attache.injectionVersion" .')}
    return {
        CHART / "templates/guard.yaml": when(".Values.guard.enabled", objects(guard.policy(), guard.exec_policy(), guard.sources_policy(), *guard.bindings())),
        CHART / "templates/injection.yaml": when(".Values.injection.enabled", objects(*(
            one | {"apiVersion": version[one["apiVersion"]]} for one in (inject.policy(resources), inject.binding())))),
        CHART / "templates/_pod.tpl": pod_templates(),
        CHART / "templates/netpol.yaml": when(".Values.netpol.enabled", companion()),
        CHART / "files/envoy.yaml": (KUBERNETES / "base/envoy.yaml").read_text(),
        CHART / "files/netpol-envoy.yaml": (KUBERNETES / "netpol/companion/envoy.yaml").read_text(),
        CHART / "files/policy.yaml": policy("base/policy.yaml"),
        CHART / "files/demo/agent.py": (KUBERNETES / "demo/agent.py").read_text(),
        CHART / "files/demo/policy.yaml": policy("demo/policy.yaml"),
        CHART / "templates/demo-agent.yaml": when(".Values.demo.enabled", demo()),
    }


def policy(path):
    """A policy without the editors' line, whose path is another here."""
    return re.sub("^# yaml-language-server.*\n", "", (KUBERNETES / path).read_text())


def pod_templates():
    """Named templates with what governs a pod, for pods of this chart and of charts that have it as a dependency."""
    parts = {
        "initContainers": [container(one) for one in sidecar_containers("redirect")],
        "volumes": [volume(one) for one in sidecar_volumes()],
        "agent.env": [{"name": name, "value": value} for name, value in agent_container("redirect")["env"].items()]
        + [{"name": "JAVA_TOOL_OPTIONS", "value": agent_container("redirect")["java"]}],
        "agent.volumeMount": [agent_container("redirect")["volumeMount"]],
        "agent.securityContext": agent_container("redirect")["securityContext"],
    }
    fixed = [e["name"] for one in sidecar_containers("redirect") for e in one.get("env", [])] + ["ATTACHE_SINKS"]
    named = f'{{{{- define "attache.fixedEnv" -}}}}\n{json.dumps(fixed)}\n{{{{- end }}}}\n\n'
    return named + "\n".join(f'{{{{- define "attache.{name}" -}}}}\n{dump(part).rstrip()}\n{{{{- end }}}}' for name, part in parts.items()) + "\n"


def container(one):
    """A container of ours with the chart's image and resources."""
    key = IMAGES[one["name"]]
    one = one | {"image": mark(f'include "attache.image" (list . "{key}")'), "resources": mark(f".Values.resources.{key} | toJson"),
                 "imagePullPolicy": mark(".Values.images.pullPolicy")}
    if one["name"] == "attache":
        one["env"] = [*one["env"], {"name": mark("more"), "value": ""}]
    return one


def volume(one):
    if one["name"] not in NAMES:
        return one
    kind = "secret" if "secret" in one else "configMap"
    field = "secretName" if kind == "secret" else "name"
    return {"name": one["name"], kind: one[kind] | {field: mark(NAMES[one["name"]])}}


def companion():
    """The companion of mode netpol, but for its namespace: the release's."""
    folder = KUBERNETES / "netpol/companion"
    found = []
    for path in sorted(folder.glob("*.yaml")):
        if path.name in ("envoy.yaml", "policy.yaml", "kustomization.yaml", "namespace.yaml"):
            continue
        for one in yaml.safe_load_all(path.read_text()):
            one["metadata"].pop("namespace", None)
            if one["kind"] == "Deployment":
                spec = one["spec"]["template"]["spec"]
                one["spec"]["replicas"] = mark(".Values.netpol.replicas")
                spec["initContainers"] = [container(c) if c["name"] in IMAGES else c for c in spec.get("initContainers", [])]
                spec["containers"] = [container(c) if c["name"] in IMAGES else c for c in spec["containers"]]
                spec["volumes"] = [
                    {"name": v["name"], "configMap": {"name": "attache-egress-envoy"}} if v["name"] == "attache-envoy" else volume(v)
                    for v in spec["volumes"]]
                spec["imagePullSecrets"] = mark(".Values.images.pullSecrets | toJson")
            found.append(one)
    return objects(*found)


def demo():
    """The demo's agent: its author's part, and ours unless a policy of the cluster injects it."""
    agent = yaml.safe_load((KUBERNETES / "demo/agent.yaml").read_text())
    agent["metadata"].pop("labels")
    template = agent["spec"]["template"]
    name = mark('include "attache.demoNamespace" .')
    account = yaml.safe_load((KUBERNETES / "base/serviceaccount.yaml").read_text())
    script = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "agent"},
              "data": {"agent.py": mark('.Files.Get "files/demo/agent.py" | toJson')}}
    template["metadata"]["labels"] |= {"attache.dev/mode": "redirect"}
    template["spec"] |= {"automountServiceAccountToken": False, "imagePullSecrets": mark(".Values.images.pullSecrets | toJson")}
    (one,) = template["spec"]["containers"]
    one["image"] = mark(".Values.demo.image")
    one["securityContext"] |= agent_container("redirect")["securityContext"]
    one["env"] = [{"name": mark("agent.env"), "value": ""}]
    one["volumeMounts"].append({"name": mark("agent.volumeMount")})
    template["spec"]["volumes"].append({"name": mark("volumes")})
    template["spec"]["initContainers"] = [{"name": mark("initContainers")}]
    for each in (agent, account, script):
        each["metadata"]["namespace"] = name
    return objects(account, script, agent)


# ── Helm's expressions in YAML ─────────────────────────────────────────────────────────────────────────────────────


def helm(expression):
    return "{{ " + expression + " }}"


def mark(expression):
    return f"<<{expression}>>"


def objects(*them):
    return "---\n".join(dump(one) for one in them)


def dump(value):
    text = yaml.dump(value, Dumper=policies.Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    # Helm would read it as its own.
    if re.search(r"\{\{(?! [.i])", text):
        raise SystemExit(f"`{{{{` that is not Helm's: {text[:200]}")
    # A list that another template has.
    for part in ("initContainers", "volumes", "agent.env", "agent.volumeMount"):
        text = re.sub(rf"^( *)- name: ['\"]?<<{part}>>['\"]?\n(\1  value: ''\n)?",
                      lambda found, part=part: f'{found[1]}{{{{- include "attache.{part}" . | nindent {len(found[1])} }}}}\n', text, flags=re.M)
    text = re.sub(r"^( *)- name: ['\"]?<<more>>['\"]?\n\1  value: ''\n",
                  lambda found: f'{found[1]}{{{{- include "attache.env" . | nindent {len(found[1])} }}}}\n', text, flags=re.M)
    return re.sub(r"'?<<(.*?)>>'?", lambda found: helm(found[1].replace("''", "'")), text)


def when(condition, text):
    return f"{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n"


def main(arguments):
    # A comment of Helm's, which is not in what is rendered; the files are what they are elsewhere.
    texts = {path: text if "files" in path.relative_to(CHART).parts else f"{{{{- /* Written by {ME}: change it there. */ -}}}}\n{text}"
             for path, text in files().items()}
    return write_or_check_texts(texts, ME, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
