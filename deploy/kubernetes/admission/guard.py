"""The guard: a ValidatingAdmissionPolicy for namespaces with the label `attache.dev/guard`.

Every pod there, and every template of one, is governed or carries an exemption. A rule is (name, where it holds,
expression, message); its expression says what is right, its message whom to change how.
"""

from generate import pod, sidecar_containers, sidecar_volumes

NAMESPACE = "attache-system"
SETTINGS = "attache-guard"
MODES = ["redirect", "cni", "proxy-env"]
OUR_USERS = sorted({one["securityContext"]["runAsUser"] for one in sidecar_containers("redirect")})
OUR_GROUP = 1338
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"

# Make pods, or what makes pods, from a template that was admitted before.
CONTROLLERS = ["cronjob-controller", "daemon-set-controller", "deployment-controller", "job-controller",
               "replicaset-controller", "replication-controller", "statefulset-controller"]

# Fields of a container of ours; whatever else it has is more than it should.
FIELDS = ["args", "env", "image", "imagePullPolicy", "livenessProbe", "name", "ports", "readinessProbe", "resizePolicy",
          "resources", "restartPolicy", "securityContext", "startupProbe", "terminationMessagePath",
          "terminationMessagePolicy", "volumeMounts"]

# Arguments that do not weaken, beyond those of sidecars.yaml.
ARGUMENTS = {
    "attache-net": r"^net apply( --(inbound|port)[ =][0-9a-z/,]+)*$",
    "attache": r"^serve$",
    "attache-envoy": r"^-c /etc/attache-envoy/envoy[.]yaml{0} --disable-hot-restart{0}$".format(
        "( --log-level [a-z]+| --concurrency [0-9]+| --file-flush-interval-msec [0-9]+)*"),
}

# Names of what is mounted; `attache-policy-*` is what a generator with a hash suffix makes.
SOURCES = {
    "attache-policy": ("configMap", "name", "policy-configmaps", "variables.policies"),
    "attache-envoy": ("configMap", "name", "envoy-configmaps", "variables.bootstraps"),
    "attache-credentials": ("secret", "secretName", "credentials-secrets", "variables.credentials"),
}

RESOURCES = [
    ("", "v1", ["CREATE", "UPDATE"], ["pods", "replicationcontrollers"]),
    ("", "v1", ["UPDATE"], ["pods/ephemeralcontainers"]),
    ("apps", "v1", ["CREATE", "UPDATE"],
     ["controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"]),
    ("batch", "v1", ["CREATE", "UPDATE"], ["cronjobs", "jobs"]),
]


def namespace():
    """Where the settings are, and nothing else: who may write there may weaken the guard."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {
        "pod-security.kubernetes.io/enforce": "restricted"}}}


def settings():
    """What an operator sets: names that the policy compares with. Words, of which one that ends in `*` is a prefix."""
    images = {one["name"]: one["image"] for one in pod()["spec"]["initContainers"]}
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": SETTINGS, "namespace": NAMESPACE},
        "data": {
            **{f"{name}-image": image for name, image in images.items()},
            **{key: f"{name} {name}-*" for name, (_, _, key, _) in SOURCES.items()},
            # Variables of attaché that a pod may set beyond those of sidecars.yaml.
            "env": "",
            # Groups that may exempt a pod.
            "exempters": "attache:exempters",
            # Users and groups that may run programs in our containers: `attache logs`, `attache approvals`.
            "operators": "attache:operators system:masters kubeadm:cluster-admins",
            # Users and groups that may write what governs: the ConfigMaps and Secrets named above, in namespaces with the
            # guard. None: whoever RBAC lets.
            "writers": "",
        },
    }


def policy():
    """What is said about pods and templates of pods."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "attache-guard"},
        "spec": {
            "failurePolicy": "Fail",
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConstraints": {"resourceRules": resource_rules(RESOURCES)},
            "variables": [{"name": name, "expression": text(expression)} for name, expression in variables()],
            "validations": [validation(*rule) for rule in rules()],
            "auditAnnotations": [{"key": "exempt", "valueExpression": text(
                "variables.exempt && !variables.unchanged ? variables.what + ': ' + variables.reason : ''")}],
        },
    }


def exec_policy():
    """Who runs a program in our containers is a user whom the redirect lets out, and may approve what waits: operators."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "attache-guard-exec"},
        "spec": {
            "failurePolicy": "Fail",
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConstraints": {"resourceRules": resource_rules([("", "v1", ["CONNECT"], ["pods/attach", "pods/exec"])])},
            "variables": [{"name": name, "expression": text(expression)} for name, expression in (
                ("settings", "dyn(params).?data.orValue({})"),
                ("operators", words("operators")),
            )],
            "validations": [{
                "expression": text(f"""!(dyn(object).?container.orValue('') in {cel(names('redirect'))})
                    || request.userInfo.username in variables.operators
                    || request.userInfo.?groups.orValue([]).exists(g, g in variables.operators)"""),
                "messageExpression": "'attache: exec: `' + dyn(object).container + '` is for ' + variables.operators.join(', ') + "
                                     "' alone, and `' + request.userInfo.username + '` is none of them: use the pod\\'s own containers'",
                "reason": "Forbidden",
            }],
        },
    }


def sources_policy():
    """A pod's author who may make ConfigMaps would otherwise write a policy of their own under an allowed name. What is
    deleted lets nobody out."""
    def listed(kind):
        return " || ".join(matches("variables.name", words(key)) for _, (of, _, key, _) in SOURCES.items() if of == kind)

    return {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "attache-guard-sources"},
        "spec": {
            "failurePolicy": "Fail",
            "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
            "matchConstraints": {"resourceRules": resource_rules([("", "v1", ["CREATE", "UPDATE"], ["configmaps", "secrets"])])},
            "variables": [{"name": name, "expression": text(expression)} for name, expression in (
                ("settings", "dyn(params).?data.orValue({})"),
                ("writers", words("writers")),
                ("name", "dyn(object).metadata.name"),
                ("governs", f"request.resource.resource == 'configmaps' ? ({listed('configMap')}) : ({listed('secret')})"),
            )],
            "validations": [{
                "expression": text("""variables.writers.size() == 0 || !variables.governs || request.userInfo.username in variables.writers
                    || request.userInfo.?groups.orValue([]).exists(g, g in variables.writers)"""),
                "messageExpression": "'attache: sources: ' + request.resource.resource + ' `' + variables.name + '`: only ' + "
                                     "variables.writers.join(', ') + ' may write what governs, and `' + request.userInfo.username + '` is none of them'",
                "reason": "Forbidden",
            }],
        },
    }


def bindings():
    """`enforce` refuses; `warn` says on the client and in the audit log what would be refused."""
    params = {"paramRef": {"name": SETTINGS, "namespace": NAMESPACE, "parameterNotFoundAction": "Deny"}}
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": f"{name}-{label}"},
            "spec": {
                "policyName": name, **params, "validationActions": actions,
                "matchResources": {"namespaceSelector": {"matchLabels": {"attache.dev/guard": label}}},
            },
        }
        for name in ("attache-guard", "attache-guard-exec", "attache-guard-sources")
        for label, actions in (("enforce", ["Deny", "Audit"]), ("warn", ["Warn", "Audit"]))
    ]


def variables():
    """What the rules speak of, each after those it needs. `dyn`: one policy speaks of many kinds."""
    yield "resource", "request.resource.resource"
    yield "template", template("object")
    yield "old", f"request.operation == 'UPDATE' ? {template('oldObject')} : dyn({{}})"
    yield "meta", "variables.template.?metadata.orValue({})"
    yield "spec", "variables.template.?spec.orValue({})"
    yield "what", "variables.resource + ' `' + dyn(object).metadata.?name.orValue(dyn(object).metadata.?generateName.orValue('')) + '`'"
    annotation = "?metadata.?annotations[?'attache.dev/exempt']"
    yield "exempt", f"variables.template.{annotation}.hasValue()"
    yield "reason", f"variables.template.{annotation}.orValue('')"
    yield "exemptAsBefore", f"""variables.old.{annotation}.hasValue() == variables.exempt
        && variables.old.{annotation}.orValue('') == variables.reason"""
    # Finalizers, scaling, status: pods that were there before the guard can still be worked on and deleted.
    yield "unchanged", """request.operation == 'UPDATE' && request.?subResource.orValue('') == ''
        && variables.exemptAsBefore
        && variables.template.?metadata.?labels[?'attache.dev/mode'] == variables.old.?metadata.?labels[?'attache.dev/mode']
        && variables.old.?spec.orValue({}) == variables.spec"""
    # Where pods are injected, a template is not complete yet. A revision is a copy of one that was looked at.
    yield "governed", "!variables.exempt && !variables.unchanged && variables.resource != 'controllerrevisions'"
    yield "complete", """variables.governed && (variables.resource == 'pods'
        || namespaceObject.metadata.?labels[?'attache.dev/injection'].orValue('') != 'enabled')"""
    yield "mode", "variables.meta.?labels[?'attache.dev/mode'].orValue('redirect')"
    yield "expected", f"variables.mode == 'redirect' ? {cel(names('redirect'))} : {cel(names('cni'))}"
    yield "init", "variables.spec.?initContainers.orValue([])"
    yield "ordered", """variables.init.size() >= variables.expected.size()
        && variables.expected.all(n, variables.init.exists_one(c, c.name == n))
        && variables.init[0].name == variables.expected[0] && variables.init[1].name == variables.expected[1]
        && (variables.expected.size() == 2 || variables.init[2].name == variables.expected[2])"""
    yield "sidecars", "variables.complete && variables.ordered"
    yield "ours", f"variables.init.filter(c, c.name in {cel(names('redirect'))})"
    yield "agents", f"""variables.spec.?containers.orValue([])
        + variables.init.filter(c, !(c.name in {cel(names('redirect'))}))"""
    yield "pod", "variables.spec.?securityContext.orValue({})"
    yield "volumes", "variables.spec.?volumes.orValue([])"
    yield "settings", "dyn(params).?data.orValue({})"
    yield "images", "{" + ", ".join(f"'{name}': {words(name + '-image')}" for name in names("redirect")) + "}"
    yield "policies", words("policy-configmaps")
    yield "bootstraps", words("envoy-configmaps")
    yield "credentials", words("credentials-secrets")
    yield "configs", "variables.policies + variables.bootstraps"
    yield "env", words("env")
    yield "exempters", words("exempters")


def rules():
    """Every rule: name, in which pods, what is right, what to say."""
    yield ("exemption-reason", "!variables.unchanged", "!variables.exempt || variables.reason.trim() != ''",
           "'the annotation attache.dev/exempt has to say why'")
    users = [f"system:serviceaccount:kube-system:{name}" for name in CONTROLLERS] + ["system:kube-controller-manager"]
    yield ("exemption-group", "!variables.unchanged", f"""variables.exemptAsBefore
        || request.userInfo.?groups.orValue([]).exists(g, g in variables.exempters)
        || (request.operation == 'CREATE' && variables.exempt && request.userInfo.username in {cel(users)}
          && dyn(object).metadata.?ownerReferences.orValue([]).exists(o, o.?controller.orValue(false)))""",
           """'`' + request.userInfo.username + '` may not set, change or remove the annotation attache.dev/exempt: only ' + variables.exempters.join(', ')""")
    yield ("mode", "variables.complete", f"""variables.mode == 'redirect' || (variables.mode in {cel(MODES[1:])}
        && namespaceObject.metadata.?labels[?'attache.dev/mode-' + variables.mode].orValue('') == 'allowed')""",
           "'mode `' + variables.mode + '` is not allowed here: use redirect, or have the namespace labelled attache.dev/mode-' + variables.mode + '=allowed'")
    yield ("ephemeral", "!variables.exempt", "request.?subResource.orValue('') != 'ephemeralcontainers' || variables.spec.?ephemeralContainers.orValue([]).size() == 0",
           "'an ephemeral container could run as any user: debug a copy of the pod in a namespace without the guard'")

    sidecars = "variables.sidecars"
    yield ("governed", "variables.complete", "variables.ordered",
           "'not governed: initContainers have to start with ' + variables.expected.join(', ') + ' (they are: ' + variables.init.map(c, c.name).join(', ') + '): apply the output of `attache inject`'")

    def each(name, right, say, over="variables.ours", where=sidecars):
        """A rule about containers, which names those that break it."""
        return (name, where, f"{over}.all(c, {right})", f"'`' + {over}.filter(c, !({right})).map(c, c.name).join('`, `') + '` {say}'")

    def mine(name, right):
        return f"(c.name != '{name}' || ({right}))"

    yield each("sidecar-fields", f"c.all(k, k in {cel(FIELDS)})",
               "may have no field beyond those of sidecars.yaml (command, lifecycle, envFrom and the like)")
    yield each("sidecar-image", matches('c.image', 'variables.images[c.name]'),
               f"may only run the images that the ConfigMap {NAMESPACE}/{SETTINGS} names")
    yield each("sidecar-args", " && ".join(
        mine(name, f"c.?args.orValue([]).join(' ').matches({raw(pattern)})") for name, pattern in ARGUMENTS.items()),
        "has arguments that could weaken it: leave those of sidecars.yaml")
    yield each("sidecar-restart", " && ".join(
        mine(one["name"], f"c.?restartPolicy.orValue('') == '{one.get('restartPolicy', '')}'") for one in containers()),
        "has another restartPolicy: Always for attache and attache-envoy, none for attache-net")
    yield each("sidecar-security", " && ".join(
        mine(one["name"], f"c.?securityContext.orValue({{}}) == {cel(one['securityContext'])}") for one in containers()),
        "has another securityContext than in sidecars.yaml")
    yield each("sidecar-env", " && ".join(mine(one["name"], environment(one)) for one in containers()),
               f"has another environment than in sidecars.yaml (names that the ConfigMap {NAMESPACE}/{SETTINGS} has in `env` may be added)")
    yield each("sidecar-mounts", " && ".join(mine(
        one["name"], f"c.?volumeMounts.orValue([]).filter(m, m.mountPath != '{TOKEN}') == {cel(one.get('volumeMounts', []))}")
        for one in containers()), "has other volume mounts than in sidecars.yaml")
    yield each("sidecar-probes", " && ".join(mine(one["name"], probes(one)) for one in containers()),
               "has other probes than in sidecars.yaml: what comes next starts when they succeed")
    yield each("sidecar-message", "c.?terminationMessagePath.orValue('/dev/termination-log') == '/dev/termination-log'",
               "may show no file in the status of the pod: remove terminationMessagePath")
    yield ("volumes", sidecars, " && ".join(f"variables.volumes.exists_one(v, {right})" for _, right in volumes()),
           "'other volumes than in sidecars.yaml: ' + " + " + ".join(
               f"(variables.volumes.exists_one(v, {right}) ? '' : '{name} ')" for name, right in volumes()))

    def agents(name, right, say):
        return each(name, right, say, over="variables.agents", where="variables.complete")

    security = "c.?securityContext"
    either = lambda field: f"{security}.?{field}.or(variables.pod.?{field})"  # noqa: E731
    yield agents("agent-user", f"!({either('runAsUser')}.orValue(0) in {cel(OUR_USERS)})",
                 f"needs a numeric securityContext.runAsUser other than {', '.join(map(str, OUR_USERS))}: the image\\'s own user might be one of them")
    yield agents("agent-nonroot", f"{either('runAsNonRoot')}.orValue(false) == true",
                 "needs securityContext.runAsNonRoot: true")
    yield agents("agent-group", f"{either('runAsGroup')}.orValue(-1) != {OUR_GROUP}",
                 f"may not have the group {OUR_GROUP}, which is attaché\\'s: change runAsGroup")
    yield ("pod-groups", "variables.complete", f"""variables.pod.?fsGroup.orValue(-1) != {OUR_GROUP}
        && !({OUR_GROUP} in variables.pod.?supplementalGroups.orValue([]))""",
           f"'the group {OUR_GROUP} is attaché\\'s: take it out of fsGroup and supplementalGroups'")
    yield agents("agent-escalation", f"{security}.?allowPrivilegeEscalation.orValue(true) == false",
                 "needs securityContext.allowPrivilegeEscalation: false")
    yield agents("agent-drop", f"'ALL' in {security}.?capabilities.?drop.orValue([])",
                 "needs securityContext.capabilities.drop: [ALL]")
    yield agents("agent-add", f"{security}.?capabilities.?add.orValue([]).all(a, a == 'NET_BIND_SERVICE')",
                 "may add no capability but NET_BIND_SERVICE")
    yield agents("agent-privileged", f"{security}.?privileged.orValue(false) == false",
                 "may not be privileged")
    yield agents("agent-procmount", f"{security}.?procMount.orValue('Default') == 'Default'",
                 "may not have another procMount than Default")
    yield agents("agent-seccomp", f"{security}.?seccompProfile.?type.or(variables.pod.?seccompProfile.?type).orValue('') != 'Unconfined'",
                 "may not have the seccompProfile Unconfined")
    # A volume of ours by its name, and by what is in it: another volume may have the same ConfigMap or Secret.
    yield agents("agent-mounts", """(c.?volumeMounts.orValue([]) + c.?volumeDevices.orValue([])).all(m, !m.name.startsWith('attache-')
        || (m.name == 'attache-trust' && m.?readOnly.orValue(false) == true))""",
                 "may mount none of attaché\\'s volumes but attache-trust, and that readOnly")
    yield ("volume-sources", "variables.complete", """variables.volumes.all(v, v.name.startsWith('attache-') || !(%s
        || v.?projected.?sources.orValue([]).exists(s, %s)))""" % (
            " || ".join([matches("v.secret.secretName", "variables.credentials", "has(v.secret)"),
                         matches("v.configMap.name", "variables.configs", "has(v.configMap)")]),
            " || ".join([matches("s.secret.name", "variables.credentials", "has(s.secret)"),
                         matches("s.configMap.name", "variables.configs", "has(s.configMap)")])),
           "'only the volumes attache-credentials, attache-policy and attache-envoy may hold what is attaché\\'s: remove the other volume with the same Secret or ConfigMap'")
    yield agents("agent-env-sources", " && ".join([
        f"""c.?env.orValue([]).all(e, !(
          {matches("e.valueFrom.secretKeyRef.name", "variables.credentials", "has(e.valueFrom) && has(e.valueFrom.secretKeyRef)")}
          || {matches("e.valueFrom.configMapKeyRef.name", "variables.configs", "has(e.valueFrom) && has(e.valueFrom.configMapKeyRef)")}))""",
        f"""c.?envFrom.orValue([]).all(e, !(
          {matches("e.secretRef.name", "variables.credentials", "has(e.secretRef)")}
          || {matches("e.configMapRef.name", "variables.configs", "has(e.configMapRef)")}))"""]),
        "may not read attaché\\'s Secret or ConfigMaps into its environment")

    # Never right, before injection neither.
    yield ("host-namespaces", "variables.governed", " && ".join(
        f"variables.spec.?{field}.orValue(false) == false" for field in ("hostNetwork", "hostPID", "hostIPC")),
        "'hostNetwork, hostPID and hostIPC lead around the redirect: remove them'")
    yield ("process-namespace", "variables.governed", "variables.spec.?shareProcessNamespace.orValue(false) == false",
           "'shareProcessNamespace shows the agent what belongs to attaché and Envoy: remove it'")
    yield ("host-path", "variables.governed", "variables.volumes.all(v, !has(v.hostPath))",
           "'a hostPath leads out of the pod: remove the volume `' + variables.volumes.filter(v, has(v.hostPath)).map(v, v.name).join('`, `') + '`'")
    yield ("sysctls", "variables.governed", "variables.pod.?sysctls.orValue([]).all(s, !s.name.matches('^net[./]'))",
           "'sysctls of the network could undo the redirect: remove ' + variables.pod.?sysctls.orValue([]).map(s, s.name).join(', ')")


def validation(name, where, right, say):
    return {
        "expression": text(f"{where[1:] if where.startswith('!') else '!' + where} || ({right})"),
        "messageExpression": text(f"'attache: {name}: ' + variables.what + ': ' + {say}"),
        "reason": "Forbidden",
    }


def environment(one):
    """What sidecars.yaml sets is set once and to the same, and nothing else but what the settings allow."""
    if "env" not in one:
        return "c.?env.orValue([]).size() == 0"
    expected = [{"name": e["name"], "value": e.get("value", ""),
                 "field": e.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")} for e in one["env"]]
    names = [e["name"] for e in one["env"]]
    return f"""{cel(expected)}.all(x, c.?env.orValue([]).filter(e, e.name == x.name).size() == 1
        && c.env.exists(e, e.name == x.name && e.?value.orValue('') == x.value && e.?valueFrom.?fieldRef.?fieldPath.orValue('') == x.field
          && (x.field != '' || !has(e.valueFrom))))
        && c.?env.orValue([]).all(e, e.name in {cel(names)} || {matches('e.name', 'variables.env')})"""


def probes(one):
    """The same path and port, asked over HTTP from the pod itself, or none."""
    right = []
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        if probe in one:
            get = one[probe]["httpGet"]
            right.append(f"c.?{probe}.?httpGet.?path.orValue('') == '{get['path']}' && c.{probe}.httpGet.port == {get['port']} && !has(c.{probe}.httpGet.host)")
        else:
            right.append(f"!has(c.{probe})")
    return " && ".join(right)


def volumes():
    """For each of our volumes, how one is recognised as it."""
    for one in sidecar_volumes():
        name = one["name"]
        if name in SOURCES:
            kind, field, _, allowed = SOURCES[name]
            right = f"has(v.{kind}) && {matches(f'v.{kind}.{field}', allowed)} && !has(v.{kind}.items)"
        elif "emptyDir" in one:
            right = f"has(v.emptyDir) && v.emptyDir.?medium.orValue('') == '{one['emptyDir'].get('medium', '')}'"
            if name == "attache-state":
                # Of this pod alone, too.
                right = f"(({right}) || has(v.ephemeral))"
        else:
            (item,) = one["downwardAPI"]["items"]
            right = f"""has(v.downwardAPI) && v.downwardAPI.?items.orValue([]).size() == 1
        && v.downwardAPI.items.all(i, i.path == '{item['path']}' && i.?fieldRef.?fieldPath.orValue('') == '{item['fieldRef']['fieldPath']}')"""
        yield name, f"v.name == '{name}' && {right}"


def template(of):
    """The pod, or the template of one, of what is asked for."""
    return f"""(request.resource.resource == 'pods' ? dyn({of})
        : request.resource.resource == 'cronjobs' ? dyn({of}).spec.jobTemplate.spec.template
        : request.resource.resource == 'controllerrevisions' ? dyn({of}).?data.?spec.?template.orValue({{}})
        : dyn({of}).spec.?template.orValue({{}}))"""


def words(key):
    """The words of a setting: none where it is not set."""
    return f"variables.settings[?'{key}'].orValue('').replace('\\n', ' ').split(' ').filter(w, w != '')"


def matches(value, patterns, there=None):
    """Whether a value is one of the words or starts as one that ends in `*`."""
    found = f"{patterns}.exists(p, p == {value} || (p.endsWith('*') && {value}.startsWith(p.replace('*', ''))))"
    return f"({there} && {found})" if there else found


def resource_rules(rows):
    return [{"apiGroups": [group], "apiVersions": [version], "operations": operations, "resources": resources}
            for group, version, operations, resources in rows]


def containers():
    return sidecar_containers("redirect")


def names(mode):
    return [one["name"] for one in sidecar_containers(mode)]


def cel(value):
    """A value as CEL writes it. API servers take no map whose values are of several types, hence `dyn`."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{raw(key)}: dyn({cel(one)})" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(cel, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else raw(value)


def raw(value):
    if "\\" in value or "'" in value:
        raise ValueError(f"write `{value}` another way: CEL would read it differently")
    return f"'{value}'"


def text(expression):
    """Lines of the generator's indentation become lines of an expression."""
    return "\n".join(line.strip() if at == 0 else "  " + line.strip() for at, line in enumerate(expression.strip().split("\n")))
