"""What in the chart is made from something else: `check.sh --write` writes it, the check compares it."""

import json
import re

import yaml

from manifests import CHART, ROOT

SCHEMA = CHART / "values.schema.json"
README = CHART / "README.md"


def values_schema():
    """The values' schema, with the schema of the program's own configuration under `config`."""
    config = json.loads((ROOT / "config/prom-rbac-proxy.schema.json").read_text())
    # The chart sets the listeners, and the upstream where none is given.
    del config["$schema"], config["title"], config["required"], config["properties"]["listeners"]
    line = '    "config": ' + json.dumps(config, sort_keys=True) + ",\n"
    return re.sub(r'^    "config": .*,\n', lambda _: line, SCHEMA.read_text(), flags=re.M)


def rows(lines, values, path=""):
    """Key, default and description of each value: the comment lines right above a key describe it."""
    comment = []
    indent = None
    for at, line in enumerate(lines):
        depth = len(line) - len(line.lstrip())
        if indent is None and line.strip():
            indent = depth
        if not line.strip():
            comment = []
        elif depth != indent:
            continue
        elif line.lstrip().startswith("#"):
            comment.append(line.strip().lstrip("# "))
        elif match := re.match(r"([A-Za-z]+):", line.lstrip()):
            key, value = match.group(1), values[match.group(1)]
            below = lines[at + 1:]
            end = next((i for i, l in enumerate(below) if l.strip() and len(l) - len(l.lstrip()) <= depth and not l.lstrip().startswith("-")), len(below))
            nested = isinstance(value, dict) and value and path + key not in WHOLE and line.rstrip().endswith(":")
            if not nested or comment:
                shown = "" if nested else f"`{json.dumps(value)}`" if len(json.dumps(value)) < 60 else "see values.yaml"
                yield f"`{path}{key}`", shown, " ".join(comment)
            if nested:
                yield from rows(below[:end], value, f"{path}{key}.")
            comment = []


# Shown as one value: Kubernetes' own objects, and the program's configuration.
WHOLE = {"config", "resources", "podSecurityContext", "securityContext", "startupProbe", "livenessProbe", "readinessProbe"}


def readme():
    """What is written by hand, and then a table of all values."""
    text = (CHART / "values.yaml").read_text()
    table = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows(text.splitlines(), yaml.safe_load(text)))
    head = README.read_text().partition("\n## Values\n")[0]
    return f"""{head}
## Values

Written from values.yaml.

| value | default | what |
| --- | --- | --- |
{table}
"""


FILES = {SCHEMA: values_schema, README: readme}


def write():
    for file, made in FILES.items():
        file.write_text(made())


def faults():
    for file, made in FILES.items():
        if not file.exists() or file.read_text() != made():
            yield f"{file.relative_to(ROOT)} is not what it is made from: run tests/deploy/check.sh --write"
