"""Checks alerts and dashboard: they parse, say what to do, and use only metrics that the proxy has."""

import json
import re
import tempfile
from pathlib import Path

import yaml

from manifests import BASE, CHART, run

ALERTS = CHART / "files/alerts.yaml"
DASHBOARD = CHART / "files/dashboard.json"
PREFIX = "prom_rbac_proxy_"
# The metrics that the artefacts may rely on, with their labels. A scraped answer, where given, overrules the list.
METRICS = {
    "requests_total": {"door", "endpoint", "decision", "status_class"},
    "request_duration_seconds": {"door", "endpoint", "le"},
    "upstream_duration_seconds": {"le"},
    "kubernetes_duration_seconds": {"review", "outcome", "le"},
    "reviews_total": {"review", "outcome"},
    "review_cache_requests_total": {"review", "result"},
    "review_cache_entries": {"review"},
    "open_responses": set(),
    "connections": set(),
    "streamed_bytes_total": set(),
    "upstream_errors_total": {"reason"},
    "audit_dropped_total": set(),
    "build_info": {"version"},
}
TARGET_LABELS = {"namespace", "pod"}


def alert_rules():
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def dashboard_expressions():
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def plain(expression):
    """The expression with Grafana's variables filled in, as Prometheus would get it."""
    return expression.replace("$__rate_interval", "5m").replace("$namespace", ".*").replace("$pod", ".*")


def faults(scraped=None):
    known = dict(METRICS)
    if scraped is not None:
        names = set(re.findall(r"^# TYPE (\S+)", scraped, re.M))
        # OpenMetrics names the family without the suffix of its samples.
        known = {m: l for m, l in METRICS.items() if names & {PREFIX + m, PREFIX + m.removesuffix("_total"), PREFIX + m.removesuffix("_info")}}
    expressions = [(rule["alert"], rule["expr"]) for rule in alert_rules()] + list(dashboard_expressions())
    for owner, expression in expressions:
        for name, selector in re.findall(rf"{PREFIX}(\w+)(?:\{{([^}}]*)\}})?", expression):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            metric = base if base in known else name
            if metric not in known:
                yield f"{owner}: {PREFIX}{name} does not exist"
                continue
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector or ""):
                if label not in known[metric] | TARGET_LABELS:
                    yield f"{owner}: {PREFIX}{name} has no label {label}"
        for group in re.findall(r"by \(([^)]*)\)", expression):
            used = re.findall(rf"{PREFIX}(\w+)", expression)
            possible = TARGET_LABELS.union(*(known.get(re.sub(r"_bucket$", "", m), set()) for m in used))
            for label in filter(None, re.split(r"[,\s]+", group)):
                if label not in possible:
                    yield f"{owner}: nothing in it has the label {label}"
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
