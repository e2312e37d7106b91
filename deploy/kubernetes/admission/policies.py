#!/usr/bin/env python3
"""Writes the admission policies from sidecars.yaml, which says what governs a pod.

    deploy/kubernetes/admission/policies.py           writes them
    deploy/kubernetes/admission/policies.py --check   fails where the files say something else (CI)

Needs PyYAML. What the guard refuses is in guard.py, what the injection adds in inject.py.
"""

import pathlib
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
sys.dont_write_bytecode = True

import generate  # noqa: E402
import guard  # noqa: E402
import inject  # noqa: E402

ME = "deploy/kubernetes/admission/policies.py"


def files():
    """Every file, by path: the objects in it."""
    return {
        HERE / "guard/admission.yaml": [guard.policy(), guard.exec_policy(), guard.sources_policy()],
        HERE / "guard/binding.yaml": guard.bindings(),
        HERE / "guard/settings.yaml": [guard.settings()],
        HERE / "guard/kustomization.yaml": [kustomization("namespace.yaml", "settings.yaml", "admission.yaml", "binding.yaml")],
        HERE / "guard/namespace.yaml": [guard.namespace()],
        HERE / "inject/admission.yaml": [inject.policy()],
        HERE / "inject/binding.yaml": [inject.binding()],
        HERE / "inject/settings.yaml": [inject.settings()],
        HERE / "inject/kustomization.yaml": [kustomization("settings.yaml", "admission.yaml", "binding.yaml")],
    }


def kustomization(*resources):
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": list(resources)}


class Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


# An expression is read as it was written.
Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar(
    "tag:yaml.org,2002:str", text, style="|" if "\n" in text or "'" in text else None))


def to_yaml(objects):
    """A stream of documents, with keys in the order in which they were said."""
    documents = (yaml.dump(one, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1000) for one in objects)
    return f"# Written by {ME}: change it there.\n" + "---\n".join(documents)


def main(arguments):
    texts = {path: to_yaml(objects) for path, objects in files().items()}
    return generate.write_or_check_texts(texts, ME, arguments, {path.parent for path in texts})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
