"""The injection: a MutatingAdmissionPolicy for namespaces with the label `attache.dev/injection: enabled`.

It does to pods what `attache inject` does to manifests, and leaves out what is there already: a second run changes
nothing. What it cannot do is make an unsafe pod safe: that is for the guard to refuse.
"""

import re

from generate import agent_container, sidecar_containers, sidecar_volumes
from guard import NAMESPACE, cel, names, raw, resource_rules, text

SETTINGS = "attache-inject"
# Containers of a list that are looked at: CEL has no numbers to count with in all versions. The guard refuses the rest.
MOST = 32
SOURCES = {"attache-policy": ("configMap", "name", "policy-configmap"),
           "attache-envoy": ("configMap", "name", "envoy-configmap"),
           "attache-credentials": ("secret", "secretName", "credentials-secret")}
MODE = "object.metadata.?labels[?'attache.dev/mode'].orValue('redirect')"


def settings():
    """What an operator sets of the pods that are made."""
    images = {f"{one['name']}-image": one["image"] for one in sidecar_containers("redirect")}
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": SETTINGS, "namespace": NAMESPACE},
        "data": images | {key: name for name, (_, _, key) in SOURCES.items()} | {
            "image-pull-policy": "IfNotPresent",
            # Variables of attaché besides those of sidecars.yaml, a line each: NAME=value. The guard has to allow them.
            "env": "",
        },
    }


def policy(resources=None):
    """What is added to a pod. `resources` (container to CEL) stands in for those of sidecars.yaml."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "attache-inject"},
        "spec": {
            "failurePolicy": "Fail",
            # A container that another admission adds later gets what the others have.
            "reinvocationPolicy": "IfNeeded",
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConstraints": {"resourceRules": resource_rules([("", "v1", ["CREATE"], ["pods"])])},
            "matchConditions": [{"name": "not-exempt",
                                 "expression": "!object.metadata.?annotations[?'attache.dev/exempt'].hasValue()"}],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": text(one)}}
                          for one in mutations(resources or {})],
        },
    }


def binding():
    return {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "attache-inject-enabled"},
        "spec": {
            "policyName": "attache-inject",
            "paramRef": {"name": SETTINGS, "namespace": NAMESPACE, "parameterNotFoundAction": "Deny"},
            "matchResources": {"namespaceSelector": {"matchLabels": {"attache.dev/injection": "enabled"}}},
        },
    }


def mutations(resources):
    """Lists of JSON patches. Each is evaluated with what those before it have changed."""
    yield """object.metadata.?labels[?'attache.dev/mode'].hasValue() ? []
        : has(object.metadata.labels)
          ? [JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('attache.dev/mode'), value: 'redirect'}]
          : [JSONPatch{op: 'add', path: '/metadata/labels', value: {'attache.dev/mode': dyn('redirect')}}]"""
    ours = cel(names("redirect"))
    # What `attache inject` or the Helm chart has put there stays; the guard says whether it is right.
    init = "dyn(object).spec.?initContainers.orValue([])"
    expected = f"({MODE} == 'redirect' ? {ours} : {cel(names('cni'))})"
    literal = {mode: "[" + ",\n".join(container(one, resources) for one in sidecar_containers(mode)) + "]" for mode in ("redirect", "cni")}
    yield f"""{expected}.all(n, {init}.exists(c, c.name == n)) ? []
        : [JSONPatch{{op: 'add', path: '/spec/initContainers', value:
          ({MODE} == 'redirect' ? {literal['redirect']} : {literal['cni']})
          + {init}.filter(c, !(c.name in {ours}))}}]"""
    volumes = ",\n".join(volume(one) for one in sidecar_volumes())
    there = "dyn(object).spec.?volumes.orValue([])"
    yield f"""[JSONPatch{{op: 'add', path: '/spec/volumes', value: {there}
        + [{volumes}].filter(v, !{there}.exists(w, w.name == v.name))}}]"""
    for field in ("containers", "initContainers"):
        yield from agents(field, ours)


def agents(field, ours):
    """What every container gets that is not ours. Maps are made before their members are set."""
    agent, cooperative = agent_container("redirect"), agent_container("proxy-env")
    each = f"dyn(object).spec.?{field}.orValue([])"

    def patches(where, path, value):
        """One patch for each container `c` (number `i`) of which `where` is true."""
        numbers = cel(list(range(MOST)))
        body, new = (re.sub(r"\bc\.", f"dyn(object).spec.{field}[i].", one) for one in (where, value))
        return f"""{numbers}.filter(i, i < {each}.size() && !(dyn(object).spec.{field}[i].name in {ours}) && ({body}))
          .map(i, JSONPatch{{op: 'add', path: '/spec/{field}/' + string(i) + '/{path}', value: {new}}})"""

    env = f"({MODE} == 'proxy-env' ? {variables(cooperative['env'])} : {variables(agent['env'])})"
    yield patches("true", "env", f"c.?env.orValue([]) + {env}.filter(e, !c.?env.orValue([]).exists(x, x.name == e.name))")
    java = f"({MODE} == 'proxy-env' ? {raw(cooperative['java'])} : {raw(agent['java'])})"
    option = "'JAVA_TOOL_OPTIONS'"
    before = f"c.env.filter(e, e.name == {option})"
    # After what the user has set: of two options that set the same, the later one counts.
    yield patches(f"!c.env.exists(e, e.name == {option} && (has(e.valueFrom) || e.?value.orValue('').endsWith({java})))", "env",
                  f"c.env.filter(e, e.name != {option}) + [{{'name': dyn({option}), 'value': "
                  f"dyn(({before}.map(e, e.?value.orValue('')) + [{java}]).filter(v, v != '').join(' '))}}]")
    yield patches("!c.?volumeMounts.orValue([]).exists(m, m.name == 'attache-trust')", "volumeMounts",
                  f"c.?volumeMounts.orValue([]) + [{cel(agent['volumeMount'])}]")
    yield patches("!has(c.securityContext)", "securityContext", "{}")
    for name, value in agent["securityContext"].items():
        if name == "capabilities":
            yield patches("!has(c.securityContext.capabilities)", "securityContext/capabilities", "{}")
            yield patches("!has(c.securityContext.capabilities.drop)", "securityContext/capabilities/drop", cel(value["drop"]))
        else:
            pod = "" if name == "allowPrivilegeEscalation" else f" && !has(object.spec.?securityContext.{name})"
            yield patches(f"!has(c.securityContext.{name}){pod}", f"securityContext/{name}", cel(value))


def container(one, resources):
    """One of our containers, with what the settings say."""
    setting = lambda key: f"params.data['{key}']"  # noqa: E731
    fields = {name: cel(value) for name, value in one.items()}
    fields["image"] = setting(f"{one['name']}-image")
    fields["imagePullPolicy"] = setting("image-pull-policy")
    if one["name"] in resources:
        fields["resources"] = resources[one["name"]]
    if one["name"] == "attache-net":
        # Who may connect to the agent: what it declares, and its probes where they ask another port.
        every = "(object.spec.containers + object.spec.?initContainers.orValue([]))"
        declared = f"{every}.map(c, c.?ports.orValue([]).map(p, string(p.containerPort) + (p.?protocol.orValue('TCP') == 'UDP' ? '/udp' : '')).join(','))"
        probed = " + ".join(f"""{every}.map(c, c.?{probe}).filter(p, p.hasValue()).map(p, p.value())
          .map(p, [p.?httpGet.?port, p.?tcpSocket.?port, p.?grpc.?port].filter(o, o.hasValue() && type(o.value()) == int).map(o, string(o.value())).join(','))"""
                            for probe in ("startupProbe", "livenessProbe", "readinessProbe"))
        ports = f"({declared} + {probed}).filter(p, p != '')"
        fields["args"] = f"{cel(one['args'])} + ({ports}.size() == 0 ? [] : ['--inbound=' + {ports}.join(',')])"
    if one["name"] == "attache":
        fields["env"] += (" + params.data.?env.orValue('').split('\\n').filter(l, l.contains('='))"
                          ".map(l, {'name': dyn(l.split('=', 2)[0]), 'value': dyn(l.split('=', 2)[1])})")
    return "{" + ", ".join(f"{raw(name)}: dyn({value})" for name, value in fields.items()) + "}"


def volume(one):
    if one["name"] not in SOURCES:
        return cel(one)
    kind, field, key = SOURCES[one["name"]]
    rest = {name: value for name, value in one[kind].items() if name != field}
    source = ", ".join([f"'{field}': dyn(params.data['{key}'])"] + [f"{raw(name)}: dyn({cel(value)})" for name, value in rest.items()])
    return f"{{'name': dyn({raw(one['name'])}), {raw(kind)}: dyn({{{source}}})}}"


def variables(env):
    return cel([{"name": name, "value": value} for name, value in env.items()])

