"""Checks alerts and dashboard for themselves: they parse, are laid out, and say what to do. Over real metrics: signals."""

import json
import re
import tempfile
from pathlib import Path

import yaml

from manifests import BASE, CHART, run

ALERTS = CHART / "files/alerts.yaml"
DASHBOARD = CHART / "files/dashboard.json"
PREFIX = "prom_rbac_proxy_"


def alert_rules():
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def dashboard_expressions():
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def plain(expression):
    """The expression with Grafana's variables filled in, as Prometheus would get it."""
    return expression.replace("$__rate_interval", "5m").replace("$namespace", ".*").replace("$pod", ".*")


def dashboard_variables():
    """Each variable that offers the values of a label, as `label_values(SELECTOR, LABEL)` asks for them."""
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            match = re.fullmatch(r"label_values\((?P<selector>.*), (?P<label>\w+)\)", variable["query"]["query"])
            yield variable["name"], match.groupdict()


def alert_faults():
    for rule in alert_rules():
        for wanted in ("summary", "description", "runbook"):
            if not rule.get("annotations", {}).get(wanted, "").strip():
                yield f"{rule['alert']} has no {wanted}"
        if rule.get("labels", {}).get("severity") not in ("critical", "warning", "info"):
            yield f"{rule['alert']} has no severity"


def dashboard_faults():
    dashboard = json.loads(DASHBOARD.read_text())
    ids = [p["id"] for p in dashboard["panels"]]
    if len(ids) != len(set(ids)):
        yield "two panels with one id"
    taken = {}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        if place["x"] + place["w"] > 24:
            yield f"{panel['title']} is outside the grid"
        for y in range(place["y"], place["y"] + place["h"]):
            for x in range(place["x"], place["x"] + place["w"]):
                if taken.setdefault((x, y), panel["id"]) != panel["id"]:
                    yield f"{panel['title']} lies on another panel"
                    return
        if panel["type"] != "row" and not panel.get("description"):
            yield f"{panel['title']} has no description"
    if DASHBOARD.read_bytes() != (BASE / "components/dashboard/prom-rbac-proxy.json").read_bytes():
        yield "the chart's copy and kustomize's differ"


def promtool_rules():
    run("promtool", "check", "rules", str(ALERTS))


def promtool_dashboard():
    """promtool reads expressions out of rule files only, so the panels become one."""
    rules = [{"record": f"panel:{i}", "expr": plain(e)} for i, (_, e) in enumerate(dashboard_expressions())]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "dashboard.yaml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
        run("promtool", "check", "rules", str(file))


def promtool_unit_tests():
    run("promtool", "test", "rules", str(Path(__file__).parent / "alerts_test.yaml"))
