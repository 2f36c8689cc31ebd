"""Renders the chart and the kustomize base into objects, and compares objects. Judges nothing."""

import functools
import json
import os
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/prom-rbac-proxy"
BASE = ROOT / "deploy/kustomize"
RELEASE = "prom-rbac-proxy"
NAMESPACE = "monitoring"
# Helm built by `go install` believes in an ancient cluster unless told.
KUBERNETES = "1.36.0"


class RenderError(Exception):
    """A tool refused; the message is what it said."""


LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def run(*command, stdin=None):
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise RenderError((done.stderr or done.stdout).strip())
    return done.stdout


def objects(text):
    return [o for o in yaml.load_all(text, LOADER) if o]


@functools.cache
def helm_template(values=None, release=RELEASE, chart=CHART, namespace=NAMESPACE, more=()):
    """`more` are further arguments, such as --set and a value."""
    command = [os.environ["HELM"], "template", release, str(chart), "--namespace", namespace, "--kube-version", KUBERNETES, *more]
    if values:
        command += ["--values", str(values)]
    return objects(run(*command))


@functools.cache
def kustomize_build(directory):
    return objects(run("kubectl", "kustomize", str(directory)))


def identity(o):
    return (o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"])


def is_hook(o):
    """Run by Helm at its own time, and no part of the release: tests, and the Job of `doctor`."""
    return "helm.sh/hook" in o["metadata"].get("annotations", {})


# What the two tools add on their own account, and nothing else:
#   Helm  labels helm.sh/chart and app.kubernetes.io/managed-by; hooks.
#   Both  a hash, each its own, at the end of the configuration's ConfigMap's name, which rolls the pods.
BOOKKEEPING_LABELS = {"helm.sh/chart", "app.kubernetes.io/managed-by"}


def comparable(rendered):
    """Objects by identity, without bookkeeping, with embedded files as data and named lists in one order."""
    rendered = [o for o in rendered if not is_hook(o)]
    hashed = {}
    for o in rendered:
        name = o["metadata"]["name"]
        if o["kind"] == "ConfigMap" and name.startswith(RELEASE + "-") and len(name) == len(RELEASE) + 11:
            hashed[name] = RELEASE
    result = {}
    for o in rendered:
        o = _replace(o, hashed)
        if o["kind"] == "ConfigMap":
            o["data"] = {key: yaml.safe_load(text) for key, text in o["data"].items()}
        o = _clean(o)
        result[identity(o)] = o
    return result


def _replace(value, names):
    if isinstance(value, dict):
        return {k: _replace(v, names) for k, v in value.items()}
    if isinstance(value, list):
        return [_replace(v, names) for v in value]
    return names.get(value, value) if isinstance(value, str) else value


def _clean(value):
    if isinstance(value, list):
        items = [_clean(v) for v in value]
        if items and all(isinstance(v, dict) and "name" in v for v in items):
            items.sort(key=lambda v: json.dumps(v, sort_keys=True))
        return items
    if not isinstance(value, dict):
        return value
    cleaned = {k: _clean(v) for k, v in value.items()}
    if isinstance(cleaned.get("labels"), dict):
        cleaned["labels"] = {k: v for k, v in cleaned["labels"].items() if k not in BOOKKEEPING_LABELS}
        if not cleaned["labels"]:
            del cleaned["labels"]
    return cleaned


def differences(left, right):
    """Lines that say where two sets of comparable objects differ; empty when they are equal."""
    lines = []
    for key in sorted(set(left) | set(right)):
        if key not in left:
            lines.append(f"only in kustomize: {'/'.join(key)}")
        elif key not in right:
            lines.append(f"only in the chart: {'/'.join(key)}")
        else:
            lines += [f"{'/'.join(key)}{path}: chart {a!r}, kustomize {b!r}" for path, a, b in _diff("", left[key], right[key])]
    return lines


def _diff(path, a, b):
    if isinstance(a, dict) and isinstance(b, dict):
        for k in sorted(set(a) | set(b)):
            yield from _diff(f"{path}.{k}", a.get(k), b.get(k))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b)):
            yield from _diff(f"{path}[{i}]", x, y)
    elif a != b:
        yield path, a, b


def configurations(rendered):
    """The configuration files of the proxy in a set of objects, by the name of their ConfigMap."""
    return {
        o["metadata"]["name"]: o["data"]["config.yaml"]
        for o in rendered
        if o["kind"] == "ConfigMap" and "config.yaml" in o.get("data", {})
    }
