#!/usr/bin/env python3
"""Runs the cases of guard.yaml and inject.yaml against the policies as they are written.

    deploy/kubernetes/admission/tests/run.py [NAME]            those whose name has NAME in it
    deploy/kubernetes/admission/tests/run.py --admit <FILE     whether the guard admits the workloads in a stream

Needs PyYAML and cel-expr-python (`.ci/admission` has them).

A case changes a pod that is right. `change` is merged into it: lists of what has names by name, where `$delete: true`
takes one out, `$append: true` adds one of a name that is there, `$first: true` puts it at the front; `null` takes a
field out. `refused` is the one rule that has to refuse it, or `[]`: in a pod and in the template of a workload, of whose
kinds it is each one's turn, or in the `kinds` of the case.
"""

import copy
import pathlib
import re
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]
sys.dont_write_bytecode = True

import engine  # noqa: E402
import generate  # noqa: E402

KINDS = {
    "Pod": ("", "pods"), "ReplicationController": ("", "replicationcontrollers"),
    "ControllerRevision": ("apps", "controllerrevisions"), "DaemonSet": ("apps", "daemonsets"),
    "Deployment": ("apps", "deployments"), "ReplicaSet": ("apps", "replicasets"), "StatefulSet": ("apps", "statefulsets"),
    "CronJob": ("batch", "cronjobs"), "Job": ("batch", "jobs"),
}
TEMPLATES = [kind for kind in KINDS if kind not in ("Pod", "ControllerRevision")]
AUTHOR = {"username": "author", "groups": ["system:authenticated"]}

# Name, resource, who may write, operation, and whether the author may not.
SOURCES = [
    ("attache-policy", "configmaps", "", "CREATE", False),
    ("attache-policy", "configmaps", "gitops", "CREATE", True),
    ("attache-policy-mine", "configmaps", "gitops", "CREATE", True),
    ("attache-policy", "configmaps", "gitops", "UPDATE", True),
    ("attache-envoy", "configmaps", "gitops", "UPDATE", True),
    ("attache-credentials", "secrets", "gitops", "UPDATE", True),
    ("attache-credentials", "configmaps", "gitops", "UPDATE", False),
    ("attache-policy", "secrets", "gitops", "UPDATE", False),
    ("mine", "configmaps", "gitops", "CREATE", False),
    ("attache-policy", "configmaps", "gitops author", "UPDATE", False),
    ("attache-policy", "configmaps", "gitops system:authenticated", "UPDATE", False),
]


def main(arguments):
    if arguments == ["--admit"]:
        return admit(yaml.safe_load_all(sys.stdin))
    chosen = arguments[0] if arguments else ""
    guard, execs, sources = documents("guard/admission.yaml")
    bindings = documents("guard/binding.yaml")
    (settings,) = documents("guard/settings.yaml")
    (injection,) = documents("inject/admission.yaml")
    failures, counted, alone = [], 0, set()

    def fail(what):
        failures.append(what)
        print(f"not ok: {what}", file=sys.stderr)

    for one in [guard, execs, sources]:
        modes = {tuple(b["spec"]["validationActions"]): b for b in bindings if b["spec"]["policyName"] == one["metadata"]["name"]}
        for wrong in engine.check_types(one):
            fail(f"{one['metadata']['name']}: {wrong}")
        for actions, label in ((("Deny", "Audit"), "enforce"), (("Warn", "Audit"), "warn")):
            if not engine.binds(modes[actions], namespace({"attache.dev/guard": label})) or engine.binds(modes[actions], namespace({})):
                fail(f"{one['metadata']['name']}: binding for {label}")

    names = [rule_name(one) for one in guard["spec"]["validations"]]
    for turn, case in enumerate(yaml.safe_load((HERE / "guard.yaml").read_text())):
        if chosen not in case["name"]:
            continue
        expected = [case["refused"]] if isinstance(case["refused"], str) else case["refused"]
        for kind in case.get("kinds", ["Pod", TEMPLATES[turn % len(TEMPLATES)]]):
            counted += 1
            data = request(case, kind, settings)
            if not engine.concerns(guard, data["request"]):
                fail(f"{case['name']} ({kind}): the policy does not match {data['request']['resource']}")
                continue
            refused = {names[number]: message for number, message in engine.validate(guard, data).items()}
            if sorted(refused) != sorted(expected):
                fail(f"{case['name']} ({kind}): refused by {refused or 'nothing'}, not by {expected}")
                continue
            for name, message in refused.items():
                wanted = case.get("says", f"attache: {name}: ")
                if message.startswith("error: ") or wanted not in message or "\n" in message:
                    fail(f"{case['name']} ({kind}): says `{message}`, not `{wanted}`")
            if len(expected) == 1:
                alone.add(expected[0])
    if not chosen:
        for name in sorted(set(names) - alone):
            fail(f"rule {name}: no case that it alone refuses")

    for container, user, refused in [
        ("attache", AUTHOR, True), ("attache-envoy", AUTHOR, True), ("attache-net", AUTHOR, True), ("agent", AUTHOR, False),
        (None, AUTHOR, False), ("attache", {"username": "o", "groups": ["attache:operators"]}, False),
        ("attache", {"username": "attache:operators"}, False), ("attache", {"username": "system:masters-not"}, True),
    ]:
        counted += 1
        options = {"apiVersion": "v1", "kind": "PodExecOptions", "command": ["sh"]} | ({"container": container} if container else {})
        data = {"object": options, "oldObject": None, "namespaceObject": None, "params": settings,
                "request": {"operation": "CONNECT", "subResource": "exec", "resource": {"group": "", "resource": "pods"}, "userInfo": user}}
        said = engine.validate(execs, data)
        if not engine.concerns(execs, data["request"]) or bool(said) != refused or any("error" in one for one in said.values()):
            fail(f"exec into {container} by {user}: {said or 'admitted'}")

    for name, resource, writers, operation, refused in SOURCES:
        counted += 1
        one = {"metadata": {"name": name}}
        data = {"object": one, "oldObject": None if operation == "CREATE" else one,
                "namespaceObject": None, "params": merge(copy.deepcopy(settings), {"data": {"writers": writers}}),
                "request": {"operation": operation, "resource": {"group": "", "resource": resource}, "userInfo": AUTHOR}}
        said = engine.validate(sources, data)
        if not engine.concerns(sources, data["request"]) or bool(said) != refused or any("error" in one for one in said.values()):
            fail(f"{operation} {resource} {name} with writers `{writers}`: {said or 'admitted'}")

    for case in yaml.safe_load((HERE / "inject.yaml").read_text()):
        if chosen in case["name"]:
            counted += 1
            injected(case, injection, documents("inject/settings.yaml")[0], guard, settings, names, fail)

    print(f"{counted} evaluations, {len(failures)} failed, {len(names)} rules")
    return 1 if failures or not counted else 0


def admit(objects):
    """What the guard says of every workload, with the settings that come with it."""
    guard, *_ = documents("guard/admission.yaml")
    (settings,) = documents("guard/settings.yaml")
    said, looked_at = [], 0
    for one in objects:
        if one and one["kind"] in KINDS:
            looked_at += 1
            data = request({}, one["kind"], settings) | {"object": one}
            said += engine.validate(guard, data).values()
    print("\n".join(said) or f"{looked_at} admitted")
    return 1 if said or not looked_at else 0


def injected(case, injection, wishes, guard, settings, names, fail):
    """A pod is changed by the injection, changed no more by a second one, and then admitted."""
    case = {"namespace": {"attache.dev/injection": "enabled", "attache.dev/guard": "enforce"}} | case
    data = request(case, "Pod", settings, pod={"metadata": {}, "spec": {}})
    before = copy.deepcopy(data["object"])
    wishes = merge(wishes, {"data": case.get("wishes", {})})
    try:
        data["object"] = engine.mutate(injection, data | {"params": wishes})
        again = engine.mutate(injection, data | {"params": wishes})
    except engine.Refused as error:
        return fail(f"{case['name']}: {error}")
    if again != data["object"]:
        fail(f"{case['name']}: a second injection changes {difference(again, data['object'])}")
    if case.get("untouched"):
        return None if data["object"] == before else fail(f"{case['name']}: changed {difference(data['object'], before)}")
    refused = {names[number]: message for number, message in engine.validate(guard, data).items()}
    if sorted(refused) != sorted(case.get("refused", [])):
        fail(f"{case['name']}: refused by {refused or 'nothing'}, not by {case.get('refused', [])}")
    if "expect" in case and merge(copy.deepcopy(data["object"]), case["expect"]) != data["object"]:
        fail(f"{case['name']}: is {yaml.safe_dump(data['object'])}")
    return None


def request(case, kind, settings, pod=None):
    """What an API server would ask for a case."""
    group, resource = KINDS[kind]
    base = defaulted(governed(case.get("mode", "redirect"))) if pod is None else pod
    before = workload(kind, base, case)
    after = workload(kind, merge(copy.deepcopy(base), case.get("change", {})), case)
    if case.get("before"):
        before = workload(kind, merge(copy.deepcopy(base), case["before"]), case)
    operation = case.get("operation", "CREATE")
    return {
        "object": after,
        "oldObject": before if operation == "UPDATE" else None,
        "namespaceObject": namespace({"attache.dev/guard": "enforce"} | case.get("namespace", {})),
        "params": merge(copy.deepcopy(settings), {"data": case.get("settings", {})}),
        "request": {
            "operation": operation, "kind": {"group": group, "version": "v1", "kind": kind},
            "resource": {"group": group, "version": "v1", "resource": resource},
            "subResource": case.get("subResource", ""), "userInfo": case.get("user", AUTHOR),
        },
    }


def governed(mode):
    """The pod of sidecars.yaml with an agent in it."""
    pod = generate.pod()
    agent = generate.agent_container(mode)
    container = {
        "image": "registry.example/agent:1.0.0", "volumeMounts": [agent["volumeMount"]],
        "env": [{"name": name, "value": value} for name, value in agent["env"].items()],
        "securityContext": agent["securityContext"] | {"runAsUser": 10001},
    }
    pod["metadata"]["labels"] = {"app": "agent"} | generate.mode_label(mode)
    pod["spec"]["initContainers"] = generate.sidecar_containers(mode) + [{"name": "prepare"} | copy.deepcopy(container)]
    pod["spec"]["containers"] = [{"name": "agent"} | container]
    pod["spec"]["volumes"] = [*pod["spec"]["volumes"], {"name": "scratch", "emptyDir": {}}]
    return {"metadata": pod["metadata"], "spec": pod["spec"]}


def defaulted(pod):
    """What an API server and its own admission add to a pod before policies see it."""
    spec = pod["spec"]
    spec |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "serviceAccountName": "default"}
    spec.setdefault("securityContext", {})
    token = {"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
    for container in spec["initContainers"] + spec["containers"]:
        container |= {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                      "imagePullPolicy": "IfNotPresent"}
        container["volumeMounts"] = container.get("volumeMounts", []) + [token]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                container[probe] = {"timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3} | container[probe]
                container[probe]["httpGet"] = {"scheme": "HTTP"} | container[probe]["httpGet"]
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                variable["valueFrom"]["fieldRef"]["apiVersion"] = "v1"
    for volume in spec["volumes"]:
        for source in ("configMap", "secret", "downwardAPI"):
            if source in volume:
                volume[source] = {"defaultMode": 420} | volume[source]
    spec["volumes"].append({"name": token["name"], "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}})
    return pod


def workload(kind, pod, case):
    """A pod, or an object of a kind with it for its template."""
    metadata = {"name": "it", "namespace": "agents"} | case.get("metadata", {})
    if kind == "Pod":
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata | pod["metadata"], "spec": pod["spec"]}
    spec = {"template": pod}
    if kind == "CronJob":
        spec = {"schedule": "0 * * * *", "jobTemplate": {"spec": spec}}
    content = {"data": {"spec": spec}, "revision": 1} if kind == "ControllerRevision" else {"spec": spec}
    return {"apiVersion": KINDS[kind][0] + "/v1", "kind": kind, "metadata": metadata} | content


def merge(base, change):
    if isinstance(base, dict) and isinstance(change, dict):
        for key, value in change.items():
            if value is None:
                base.pop(key, None)
            else:
                base[key] = merge(base[key], value) if key in base else copy.deepcopy(value)
        return base
    if isinstance(base, list) and isinstance(change, list) and change and all(isinstance(one, dict) and "name" in one for one in change):
        for one in map(copy.copy, change):
            delete, append, first = one.pop("$delete", False), one.pop("$append", False), one.pop("$first", False)
            at = next((at for at, other in enumerate(base) if other["name"] == one["name"]), None)
            if at is None or append:
                new = copy.deepcopy(one)
            else:
                new = merge(base.pop(at), one)
            if not delete:
                base.insert(0 if first else len(base) if at is None or append else at, new)
        return base
    return copy.deepcopy(change)


def difference(one, other, path=""):
    if isinstance(one, dict) and isinstance(other, dict):
        return [d for key in one.keys() | other.keys() for d in difference(one.get(key), other.get(key), f"{path}/{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [d for at, (a, b) in enumerate(zip(one, other)) for d in difference(a, b, f"{path}/{at}")]
    return [] if one == other else [(path, one, other)]


def namespace(labels):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "agents", "labels": labels}}


def rule_name(one):
    return re.match(r"'attache: ([a-z-]+): '", one["messageExpression"]).group(1)


def documents(path):
    return list(yaml.safe_load_all((HERE.parent / path).read_text()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
