#!/usr/bin/env python3
"""Renders the chart for every scenario, checks what comes out, and that wrong values are refused with their name.

    HELM=PATH deploy/helm/tests/run.py [NAME]      `.ci/admission` has Helm 3, and what else this needs, Helm 4 among it

What is rendered: valid for every Kubernetes that the chart is for and that has the kind; pods of it admitted by the
guard of it, as are pods that the injection of it changes; the same policies as in deploy/kubernetes/admission.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

HERE = pathlib.Path(__file__).resolve().parent
CHART = HERE.parent / "attache"
KUBERNETES = HERE.parent.parent / "kubernetes"
sys.path[:0] = [str(KUBERNETES / "admission/tests"), str(KUBERNETES / "admission"), str(KUBERNETES)]
sys.dont_write_bytecode = True

import engine  # noqa: E402
import helm4  # noqa: E402
import run as cases  # noqa: E402

# Of no Kubernetes: what its own project defines.
OTHERS = {("monitoring.coreos.com/v1", "PodMonitor")}
# The first version that serves what is not in all of them.
SINCE = {
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"): 30,
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"): 30,
    ("admissionregistration.k8s.io/v1beta1", "MutatingAdmissionPolicy"): 34,
    ("admissionregistration.k8s.io/v1beta1", "MutatingAdmissionPolicyBinding"): 34,
    ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicy"): 36,
    ("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding"): 36,
}
NEWEST = 37
NAMESPACE = "attache-test"


def main(arguments):
    failures = []
    for scenario in yaml.safe_load((HERE / "scenarios.yaml").read_text()):
        if arguments and arguments[0] not in scenario["name"]:
            continue
        name, versions = scenario["name"], scenario.get("versions", [30, NEWEST])
        for version in range(versions[0], versions[1] + 1):
            try:
                (check_refused if "refused" in scenario else check_rendered)(scenario, version)
                if version == versions[1]:
                    check_helm4(scenario, version)
            except Exception as error:  # noqa: BLE001: every scenario is looked at
                failures.append(name)
                print(f"not ok: {name} (1.{version}): {error}", file=sys.stderr)
            else:
                print(f"ok: {name} (1.{version})")
    if not arguments:
        try:
            check_readme()
        except Exception as error:  # noqa: BLE001
            failures.append("README")
            print(f"not ok: README.md: {error}", file=sys.stderr)
    lint = subprocess.run([helm(), "lint", "--strict", CHART], capture_output=True, text=True)
    if lint.returncode:
        failures.append("lint")
        print(lint.stdout + lint.stderr, file=sys.stderr)
    print(f"{len(failures)} failed")
    return 1 if failures else 0


def check_refused(scenario, version):
    said = template(scenario, version)
    if said.returncode == 0 or scenario["refused"] not in said.stderr:
        raise AssertionError(f"says `{said.stderr.strip()}`, not `{scenario['refused']}`")


def check_rendered(scenario, version):
    said = template(scenario, version)
    if said.returncode:
        raise AssertionError(said.stderr)
    objects = [one for one in yaml.safe_load_all(said.stdout) if one]
    found = sorted({one["kind"] for one in objects})
    if found != sorted(scenario["kinds"]):
        raise AssertionError(f"has {found}")
    for text in scenario.get("has", []):
        if text not in said.stdout:
            raise AssertionError(f"has no `{text}`")
    seen = set()
    for one in objects:
        key = (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
        if key in seen:
            raise AssertionError(f"{key} is there twice")
        seen.add(key)
        if (one["apiVersion"], one["kind"]) in OTHERS:
            continue
        if version < SINCE.get((one["apiVersion"], one["kind"]), 0):
            raise AssertionError(f"{one['kind']} {one['apiVersion']} is not in 1.{version}")
        # A kind that has no schema is an error here.
        kubernetes_validate.validate(one, f"1.{version}", strict=True)
    check_admission(objects, scenario)


def check_helm4(scenario, version):
    """Helm 4 creates what Helm 3 renders, and refuses what it refuses."""
    try:
        created = helm4.install(CHART, scenario["values"], version, NAMESPACE)
    except helm4.InstallError as error:
        # What a schema refuses is said in other words there.
        said = scenario.get("refused", "")
        if not said or (said not in str(error) and "values don't meet the specifications of the schema" not in str(error)):
            raise AssertionError(f"Helm 4 says `{error}`") from error
        return
    if "refused" in scenario:
        raise AssertionError("Helm 4 takes it")
    for one in created:
        helm4.without_ownership(one)
    rendered = [one for one in yaml.safe_load_all(template(scenario, version).stdout) if one]
    for one in rendered:
        one["metadata"].pop("namespace", None)
    key = lambda one: json.dumps(one, sort_keys=True)  # noqa: E731
    if sorted(map(key, created)) != sorted(map(key, rendered)):
        raise AssertionError("Helm 4 creates other objects than Helm 3 renders")


def check_admission(objects, scenario):
    """The policies are those of the manifests, and what is rendered gets past the guard."""
    by = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    for (kind, name), one in by.items():
        if kind == "ValidatingAdmissionPolicy":
            (written,) = [w for w in cases.documents("guard/admission.yaml") if w["metadata"]["name"] == name]
            ours = json.dumps(one["spec"]).replace(NAMESPACE, "attache-system")
            if json.loads(ours) != written["spec"]:
                raise AssertionError(f"{name} differs from the manifests'")
    guard = by.get(("ValidatingAdmissionPolicy", "attache-guard"))
    pods = [one for one in objects if one["kind"] == "Deployment" and one["metadata"]["name"] == "agent"]
    if not guard:
        return
    names = [cases.rule_name(one) for one in guard["spec"]["validations"]]
    settings = by["ConfigMap", "attache-guard"]

    def admitted(what, kind, one):
        data = cases.request({}, kind, settings) | {"object": one}
        refused = {names[number]: said for number, said in engine.validate(guard, data).items()}
        if refused:
            raise AssertionError(f"{what} is refused: {refused}")

    for one in pods:
        admitted("the demo's agent", "Deployment", one)
    policy = by.get(("MutatingAdmissionPolicy", "attache-inject"))
    if policy:
        pod = {"metadata": {"name": "it"}, "spec": {"containers": [{"name": "agent", "image": "a:1", "securityContext": {"runAsUser": 10001}}]}}
        data = cases.request({"namespace": {"attache.dev/injection": "enabled"}}, "Pod", settings) | {
            "object": pod, "params": by["ConfigMap", "attache-inject"]}
        made = engine.mutate(policy, data)
        admitted("an injected pod", "Pod", made)
        attache = made["spec"]["initContainers"][1]
        for name, value in scenario["values"].get("env", {}).items():
            if {"name": name, "value": value} not in attache["env"]:
                raise AssertionError(f"an injected pod has no {name}")
        wanted = scenario["values"].get("resources", {}).get("attache")
        if wanted and attache["resources"] | wanted != attache["resources"]:
            raise AssertionError(f"an injected pod has {attache['resources']}")


def check_readme():
    """The values of the README render; its pod, in a chart that has this one as a dependency, passes the guard."""
    values, pod = re.findall(r"```yaml\n(.*?)```", (CHART / "README.md").read_text(), re.DOTALL)
    check_rendered({"values": yaml.safe_load(values), "kinds": [
        "ConfigMap", "Deployment", "Namespace", "ServiceAccount", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]}, NEWEST)
    with tempfile.TemporaryDirectory() as folder:
        parent = pathlib.Path(folder)
        (parent / "Chart.yaml").write_text("apiVersion: v2\nname: parent\nversion: 0.1.0\n")
        (parent / "templates").mkdir()
        (parent / "templates/agent.yaml").write_text(
            f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: agent\nspec:\n  template:\n{pod}")
        shutil.copytree(CHART, parent / "charts/attache")
        said = subprocess.run([helm(), "template", "parent", parent, "--namespace", NAMESPACE, "--kube-version", f"1.{NEWEST}.0"],
                              capture_output=True, text=True)
        if said.returncode:
            raise AssertionError(said.stderr)
        objects = [one for one in yaml.safe_load_all(said.stdout) if one]
        if not any(one["kind"] == "Deployment" for one in objects):
            raise AssertionError("has no pod")
        check_admission(objects, {"values": {}})


def template(scenario, version):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as values:
        json.dump(scenario["values"], values)
        values.flush()
        return subprocess.run(
            [helm(), "template", "attache", CHART, "--namespace", NAMESPACE, "--kube-version", f"1.{version}.0", "--values", values.name],
            capture_output=True, text=True)


def helm():
    return os.environ.get("HELM", "helm")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
