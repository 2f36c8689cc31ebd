"""Overlays over the kustomize base: nothing stays behind in the namespace or under the name of before."""

import json
from pathlib import Path

import yaml

import invariants
from manifests import BASE, NAMESPACE, RELEASE, ROOT, configurations, identity, kustomize_build

SHIPPED = ROOT / "deploy/overlays"
CASES = Path(__file__).parent / "cases/overlay"


def moved_faults(directory, namespace, name, schema_faults):
    rendered = kustomize_build(directory)
    yield from schema_faults(rendered)
    yield from invariants.all_faults(rendered)
    for o in rendered:
        text = json.dumps({k: v for k, v in o.items() if k != "apiVersion"})
        # The description of an alert tells a command.
        if f'"{NAMESPACE}"' in text or f".{NAMESPACE}." in text or f"/{NAMESPACE}/" in text or f"namespace: {NAMESPACE}" in text:
            yield f"{identity(o)} still names {NAMESPACE}: {text}"
        for subject in o.get("subjects", []):
            accounts = (name, name.replace(RELEASE, f"{RELEASE}-doctor"))
            if subject["kind"] == "ServiceAccount" and (subject["name"] not in accounts or subject["namespace"] != namespace):
                yield f"{identity(o)} binds {subject}"
    (configuration,) = map(yaml.safe_load, configurations(rendered).values())
    if configuration["upstreams"][0]["service"]["namespace"] != namespace:
        yield f"the upstream is {configuration['upstreams']}"
    answers = configuration["listeners"].get("gateway", {}).get("answersFor")
    if answers and answers != {"namespace": namespace, "name": name, "port": 9090}:
        yield f"the gateway answers for {answers}"
    for route in (o for o in rendered if o["kind"] in ("Ingress", "HTTPRoute")):
        if f"/namespaces/{namespace}/services/{name}:9090/proxy/" not in json.dumps(route):
            yield f"{identity(route)} has another path"


def example_faults(schema_faults):
    yield from moved_faults(SHIPPED / "example", "observability", RELEASE, schema_faults)
    rendered = kustomize_build(SHIPPED / "example")
    (deployment,) = (o for o in rendered if o["kind"] == "Deployment")
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    (shipped,) = (c["image"] for _, _, spec in invariants.pod_templates(kustomize_build(BASE)) for c in spec["containers"])
    if image != f"registry.example.com/observability/{shipped}":
        yield f"the image is {image}, the base has {shipped}"
    for o in rendered:
        if o["apiVersion"].startswith("monitoring.coreos.com/") and o["metadata"]["labels"].get("release") != "kube-prometheus-stack":
            yield f"{identity(o)} has no label that the stack looks for"


def second_faults():
    """Beside the base in one namespace: no object of both, no pod of one behind a selector of the other."""
    first, second = kustomize_build(BASE), kustomize_build(SHIPPED / "second")
    both = {identity(o) for o in first} & {identity(o) for o in second}
    if both:
        yield f"{both} belong to both"
    if any(invariants.AUTODETECT in o["metadata"].get("labels", {}) for o in second):
        yield "both have Headlamp's label"
    yield from invariants.selectors_meet_pods(second)
    yield from invariants.own_rights(second)
    for here, there in ((first, second), (second, first)):
        for _, labels, _ in invariants.pod_templates(there):
            for o in here:
                selector = o.get("spec", {}).get("selector", {})
                selector = selector.get("matchLabels", selector)
                if selector and selector.items() <= labels.items():
                    yield f"{identity(o)} selects the other's pods"


def own_configuration_faults(schema_faults):
    directory = CASES / "own-configuration"
    yield from moved_faults(directory, "observability", RELEASE, schema_faults)
    (text,) = configurations(kustomize_build(directory)).values()
    if text != (directory / "config.yaml").read_text():
        yield f"changed into {text}"


def checks(schema_faults):
    yield "a configuration of one's own stays as it is", lambda: own_configuration_faults(schema_faults)
    yield "the example overlay moves everything", lambda: example_faults(schema_faults)
    yield "every component follows another name and namespace", lambda: moved_faults(CASES / "everything", "observability", f"{RELEASE}-b", schema_faults)
    yield "a second release stands beside the first", second_faults
