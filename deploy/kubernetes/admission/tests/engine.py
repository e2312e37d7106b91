"""Evaluates admission policies as an API server does, with Google's own CEL.

What is as there: the order of variables, that an error refuses (`failurePolicy: Fail`), which resources a policy is
about, the namespaces of a binding, messages, that the values of a map are of one type, and the types of variables and
results (`check_types`). What is not: objects and requests are of type `dyn` here, so that the API server's type check may
warn where this does not; costs are not counted; `JSONPatch{...}` is read as a map.
"""

import copy
import functools
import re

from cel_expr_python import cel
from cel_expr_python.ext.ext_optional import ExtOptional
from cel_expr_python.ext.ext_strings import ExtStrings

NAMES = ["object", "oldObject", "request", "namespaceObject", "params"]
ENVIRONMENT = cel.NewEnv(
    variables={name: cel.Type.DYN for name in NAMES} | {"variables": cel.Type.Map(cel.Type.STRING, cel.Type.DYN)},
    extensions=[ExtStrings(), ExtOptional()],
    functions=[cel.FunctionDecl("jsonpatch.escapeKey", [cel.Overload(
        id="escape_key", return_type=cel.Type.STRING, parameters=[cel.Type.STRING],
        impl=lambda key: key.replace("~", "~0").replace("/", "~1"))])],
)


class Refused(Exception):
    """An expression that could not be evaluated."""


@functools.cache
def compiled(expression):
    # An API server compiles with homogeneous literals; this engine would take others, too.
    mixed = re.search(r"TEXT:(?! *(dyn\(|variables[.]settings)).*", re.sub(r"'[^']*'", "TEXT", expression))
    if mixed:
        raise SystemExit(f"a map with a value that is not dyn: {mixed.group()[:80]}")
    typed = r"JSONPatch\{op: (.*?), path: (.*?), value:"
    return ENVIRONMENT.compile(re.sub(typed, r"{'op': dyn(\1), 'path': dyn(\2), 'value':", expression))


def check_types(policy):
    """Compiles everything with variables of the types that they have. Yields what does not fit."""
    types = {name: cel.Type.DYN for name in NAMES}
    expressions = [(one["name"], one["expression"], None) for one in policy["spec"].get("variables", [])]
    for number, one in enumerate(policy["spec"]["validations"]):
        expressions += [(f"validation {number}", one["expression"], "BOOL"), (f"message {number}", one["messageExpression"], "STRING")]
    expressions += [(one["key"], one["valueExpression"], "STRING") for one in policy["spec"].get("auditAnnotations", [])]
    for name, expression, wanted in expressions:
        environment = cel.NewEnv(variables=types, extensions=[ExtStrings(), ExtOptional()])
        try:
            found = environment.compile(re.sub(r"\bvariables[.](?=[a-z])", "variables_", expression)).return_type()
        except Exception as error:  # noqa: BLE001: the engine raises what it likes
            yield f"{name}: {error}"
            continue
        if wanted is None:
            types |= {f"variables_{name}": found}
        elif found.name() != wanted:
            yield f"{name}: is {found.name()} and not {wanted}"


def evaluate(expression, activation):
    try:
        value = compiled(expression).eval(activation)
        if value.type() == cel.Type.ERROR:
            raise Refused(str(value.plain_value()))
        return value.plain_value()
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001: the engine raises what it likes
        raise Refused(str(error)) from error


def activation(policy, data):
    """What the expressions of a policy see. A variable that cannot be evaluated is an error where it is used."""
    variables = {}
    for one in policy["spec"].get("variables", []):
        try:
            variables[one["name"]] = evaluate(one["expression"], ENVIRONMENT.Activation(data | {"variables": variables}))
        except Refused:
            pass
    return ENVIRONMENT.Activation(data | {"variables": variables})


def validate(policy, data):
    """The messages of what refuses, by the number of the validation."""
    seen = activation(policy, data)
    refused = {}
    for number, one in enumerate(policy["spec"]["validations"]):
        try:
            if evaluate(one["expression"], seen) is True:
                continue
            refused[number] = evaluate(one["messageExpression"], seen)
        except Refused as error:
            refused[number] = f"error: {error}"
    return refused


def mutate(policy, data):
    """The object after every mutation of a policy."""
    data = copy.deepcopy(data)
    for condition in policy["spec"].get("matchConditions", []):
        if evaluate(condition["expression"], ENVIRONMENT.Activation(data | {"variables": {}})) is not True:
            return data["object"]
    for one in policy["spec"]["mutations"]:
        # Variables see what the mutations before have changed.
        for patch in evaluate(one["jsonPatch"]["expression"], activation(policy, data)):
            apply(data["object"], patch)
    return data["object"]


def apply(target, patch):
    """One operation of RFC 6902, `add` and `replace` alone."""
    *path, last = [step.replace("~1", "/").replace("~0", "~") for step in patch["path"].split("/")[1:]]
    for step in path:
        target = target[int(step)] if isinstance(target, list) else target[step]
    value = copy.deepcopy(patch["value"])
    if isinstance(target, list):
        if patch["op"] == "add":
            target.insert(len(target) if last == "-" else int(last), value)
        else:
            target[int(last)] = value
    elif patch["op"] == "add" or last in target:
        target[last] = value
    else:
        raise Refused(f"nothing to replace at {patch['path']}")


def concerns(policy, request):
    """Whether the rules of a policy match a request."""
    resource = request["resource"]["resource"] + ("/" + request["subResource"] if request.get("subResource") else "")
    return any(
        request["resource"]["group"] in rule["apiGroups"] and request["operation"] in rule["operations"]
        and resource in rule["resources"]
        for rule in policy["spec"]["matchConstraints"]["resourceRules"])


def binds(binding, namespace):
    """Whether a binding holds in a namespace."""
    wanted = binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"]
    return wanted.items() <= namespace["metadata"].get("labels", {}).items()
