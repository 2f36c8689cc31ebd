"""Whether the memory limits that are shipped hold as many connections as the proxy takes by default."""

import json

import yaml

from manifests import BASE, CHART, ROOT

# The worst that a connection without a token takes, in bytes, and what else there is: see docs/configuration.md.
WORST_CONNECTION = 128 * 1024
EVERYTHING_ELSE = 64 * 1024 * 1024
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def size(text):
    """A quantity of Kubernetes with a binary unit, in bytes."""
    return int(text[:-2]) * UNITS[text[-2:]]


def connections(config):
    """What a configuration says, or the default."""
    schema = json.loads((ROOT / "config/prom-rbac-proxy.schema.json").read_text())
    default = schema["properties"]["limits"]["properties"]["maxConnections"]["default"]
    return ((config or {}).get("limits") or {}).get("maxConnections", default)


def faults():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    deployment = yaml.safe_load((BASE / "deployment.yaml").read_text())
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    config = yaml.safe_load((BASE / "config.yaml").read_text())
    for where, limit, config in [
        ("values.yaml of the chart", values["resources"]["limits"]["memory"], values["config"]),
        ("deployment.yaml of the base", container["resources"]["limits"]["memory"], config),
    ]:
        needed = connections(config) * WORST_CONNECTION + EVERYTHING_ELSE
        if size(limit) < needed:
            yield f"{where}: the memory limit {limit} is less than {needed / 2**20:.0f} MiB"
