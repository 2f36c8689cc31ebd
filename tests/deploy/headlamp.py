"""Checks of deploy/headlamp: the values for Headlamp's own chart, and the preset plugin."""

import json
import os
import re

import yaml

import invariants
from manifests import BASE, CHART, ROOT, helm_template, identity, kustomize_build

FOLDER = ROOT / "deploy/headlamp"
VALUES = sorted(FOLDER.glob("values-*.yaml"))
PRESET = FOLDER / "preset"
# What the Prometheus plugin takes for an address.
ADDRESS = re.compile(r"^[a-z0-9-]+/[a-z0-9-]+:[0-9]+$")
# The oldest headlamp-plugin whose plugins Headlamp loads.
OLDEST_PLUGIN_API = (0, 8)


def values(name):
    return yaml.safe_load((FOLDER / name).read_text())


def sidecar():
    (container,) = values("values-gateway-sidecar.yaml")["extraContainers"]
    return container


def sidecar_manifests():
    return [yaml.safe_load(m) for m in values("values-gateway-sidecar.yaml")["extraManifests"]]


def sidecar_configuration():
    return next(o for o in sidecar_manifests() if o["kind"] == "ConfigMap")["data"]["config.yaml"]


def sidecar_faults():
    """The sidecar does what the Deployment does, with the same rights, on loopback."""
    base = kustomize_build(BASE)
    deployment = next(o for o in base if o["kind"] == "Deployment")
    own = deployment["spec"]["template"]["spec"]["containers"][0]
    container = sidecar()
    for field in ("image", "args", "resources"):
        if container[field] != own[field]:
            yield f"{field}: {container[field]}, in the Deployment {own[field]}"
    yield from invariants.restricted_pods([{"kind": "Pod", "metadata": {"name": "sidecar"}, "spec": {"containers": [container]}}])
    rules = {o["metadata"]["name"]: o["rules"] for o in base if o["kind"] in ("Role", "ClusterRole")}
    for o in sidecar_manifests():
        if o["kind"] in ("Role", "ClusterRole"):
            name = o["metadata"]["name"].replace("-sidecar", "")
            if o["rules"] != rules[name]:
                yield f"{identity(o)}: {o['rules']}, in the base {rules[name]}"
    listeners = yaml.safe_load(sidecar_configuration())["listeners"]
    for name in ("service", "gateway"):
        if not listeners[name]["address"].startswith("127.0.0.1:"):
            yield f"{name} listens on {listeners[name]['address']}"
    environment = {e["name"]: e["value"] for e in values("values-gateway-sidecar.yaml")["env"]}
    if environment["KUBERNETES_SERVICE_PORT"] != listeners["gateway"]["address"].rsplit(":", 1)[1]:
        yield "Headlamp and the gateway disagree about the port"
    names = next(o for o in sidecar_manifests() if o["kind"] == "Certificate" and not o["spec"].get("isCA"))["spec"]["dnsNames"]
    if environment["KUBERNETES_SERVICE_HOST"] not in names:
        yield f"the certificate is for {names}"


def metric_rules_faults():
    """The chart's values have the rules; whatever else is shipped or shown has the same, in the same order."""
    wanted = yaml.safe_load((CHART / "values.yaml").read_text())["config"]["authorization"]["metricRules"]
    document = re.search(r"```yaml\n(config:\n.*?metricRules:.*?)```", (ROOT / "docs/headlamp.md").read_text(), re.S).group(1)
    shipped = {
        "values-gateway-sidecar.yaml": yaml.safe_load(sidecar_configuration()),
        "docs/headlamp.md": yaml.safe_load(document)["config"],
        **{str(f.relative_to(ROOT)): yaml.safe_load(f.read_text()) for f in BASE.rglob("config.yaml")},
    }
    if len(shipped) != 4:
        yield f"found rules in {sorted(shipped)}"
    for name, configuration in shipped.items():
        rules = configuration.get("authorization", {}).get("metricRules")
        if rules != wanted:
            yield f"{name}: {rules}, in the chart's values {wanted}"


def preset_faults(schema_faults):
    rendered = kustomize_build(PRESET)
    yield from schema_faults(rendered)
    (config_map,) = rendered
    if config_map["metadata"]["name"] != "prom-rbac-proxy-preset":
        yield f"named {config_map['metadata']['name']}, which the values do not mount"
    if set(config_map["data"]) != {"main.js", "package.json"}:
        yield f"holds {sorted(config_map['data'])}"
    package = json.loads(config_map["data"]["package.json"])
    version = re.search(r"(\d+)\.(\d+)", package["devDependencies"]["@kinvolk/headlamp-plugin"])
    if not package["name"] or not package["version"] or tuple(map(int, version.groups())) < OLDEST_PLUGIN_API:
        yield "Headlamp would not load it"
    service = next(o for o in kustomize_build(BASE) if o["kind"] == "Service" and invariants.AUTODETECT in o["metadata"]["labels"])
    address = f"{service['metadata']['namespace']}/{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    if f"address: '{address}'" not in config_map["data"]["main.js"] or not ADDRESS.match(address):
        yield f"does not preset {address}"


def chart_faults(file, schema_faults):
    rendered = helm_template(file, release="headlamp", chart=os.environ["HEADLAMP_CHART"], namespace="headlamp")
    yield from schema_faults(rendered)
    deployment = next(o for o in rendered if o["kind"] == "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    volumes = {v["name"] for v in spec["volumes"]}
    for container in spec["containers"]:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f"{container['name']} mounts {mount['name']}, which is no volume"
    arguments = spec["containers"][0]["args"]
    for refused in ("-unsafe-use-service-account-token", "-cache-enabled"):
        if any(a.startswith(refused) for a in arguments):
            yield f"Headlamp runs with {refused}"
    bound = {s["name"] for o in rendered if o["kind"] == "ClusterRoleBinding" and o["roleRef"]["name"] == "cluster-admin" for s in o["subjects"]}
    if len(spec["containers"]) > 1 and spec["serviceAccountName"] in bound:
        yield "the sidecar would run as cluster-admin"
