"""Alerts and dashboard over a real Prometheus that has scraped a running proxy while it served all kinds of requests.

`demo` runs the proxy with all that it needs; a Prometheus of this module's own scrapes it and evaluates the alerts.
"""

import contextlib
import json
import re
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

from manifests import ROOT, helm_template
from observability import ALERTS, PREFIX, alert_rules, dashboard_expressions, dashboard_variables, plain

START_SECONDS = 120
MONITORED = Path(__file__).parent / "cases/equal/servicemonitor/values.yaml"
# Families that are there from their first event on, which no healthy proxy has.
FROM_THE_FIRST_FAILURE = set()
# Families that are there where RBAC is watched, which the proxy that is scraped here does not do; with their labels.
WHERE_RBAC_IS_WATCHED = {"rbac_watched": {"resource"}, "role_bindings_passed_over_total": {"reason"}}
# Panels that may be empty while nothing fails.
EMPTY_WHEN_ALL_IS_WELL = {"Errors"}
# What the Prometheus operator has every series of a ServiceMonitor carry.
TARGET = {
    "namespace": "monitoring", "service": "prom-rbac-proxy-metrics", "pod": "prom-rbac-proxy-0", "container": "prom-rbac-proxy",
    "endpoint": "metrics", "job": "prom-rbac-proxy-metrics",
}


class Failed(Exception):
    """What could not be started; the message is what it said."""


@contextlib.contextmanager
def running(command, ready, **options):
    """A program, as soon as a line of its output matches; ended when left. Yields the match and all lines so far."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    lines, found, done = [], [], threading.Event()

    def read():
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            match = re.search(ready, line)
            if match and not found:
                found.append(match)
                done.set()
        done.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        done.wait(START_SECONDS)
        if not found:
            raise Failed(f"{command[0]} did not start: " + "\n".join(lines[-20:]))
        yield found[0], lines
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answer(url, authority=None, **headers):
    context = ssl.create_default_context(cafile=authority) if url.startswith("https") else None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30, context=context) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def serve_requests(demo):
    """Every door, decision and status class that there is without breaking anything; yields what is not as expected."""
    charts = "/api/v1/query?" + urllib.parse.urlencode({"query": "sum by (namespace) (rate(container_cpu_usage_seconds_total[5m]))"})
    proxied = f"/api/v1/namespaces/monitoring/services/prom-rbac-proxy:9090/proxy{charts}"
    bearer = lambda name: {"Authorization": f"Bearer {demo[name]}"}
    cookie = {"Cookie": f"headlamp-auth-main.0={demo['TEAM_A_TOKEN']}"}
    authority = demo["KUBE_CA"]
    for what, expected, url, headers in [
        ("viewer, direct", 200, demo["PROXY_URL"] + charts, bearer("VIEWER_TOKEN")),
        ("viewer of team-a, service", 200, f"{demo['HEADLAMP_URL']}/clusters/main{proxied}", cookie),
        ("viewer of team-a, ingress", 200, f"{demo['PROXY_URL']}/clusters/main{proxied}", cookie),
        ("viewer, gateway", 200, demo["GATEWAY_URL"] + proxied, bearer("VIEWER_TOKEN")),
        ("viewer's pods, gateway", 200, demo["GATEWAY_URL"] + "/api/v1/namespaces/team-a/pods", bearer("VIEWER_TOKEN")),
        ("stranger", 403, demo["PROXY_URL"] + charts, bearer("STRANGER_TOKEN")),
        ("nobody", 401, demo["PROXY_URL"] + charts, {}),
        ("no PromQL", 400, demo["PROXY_URL"] + "/api/v1/query?query=up(", bearer("TEAM_A_TOKEN")),
        ("no endpoint", 404, demo["PROXY_URL"] + "/api/v1/admin/tsdb/snapshot", bearer("VIEWER_TOKEN")),
    ]:
        status, body = answer(url, authority, **headers)
        if status != expected:
            yield f"{what}: {status} instead of {expected}: {body[:300]}"


class Prometheus:
    def __init__(self, url):
        self.url = url

    def get(self, path, **parameters):
        status, body = answer(f"{self.url}/api/v1/{path}?" + urllib.parse.urlencode(parameters))
        value = json.loads(body)
        if status != 200 or value["status"] != "success" or value.get("warnings"):
            raise Failed(value.get("error") or value.get("warnings") or body)
        return value["data"]

    def query(self, expression):
        return self.get("query", query=expression)

    def wait_until_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while answer(f"{self.url}/-/ready")[0] != 200:
            if time.monotonic() > deadline:
                raise Failed("Prometheus did not become ready")
            time.sleep(0.1)

    def wait(self, expression, holds):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            result = self.query(expression)["result"]
            if result and holds(float(result[0]["value"][1])):
                return
            # Prometheus tells of a scrape only when it is asked.
            time.sleep(0.2)
        raise Failed(f"{expression} did not come true")

    def labels(self):
        """The labels of each family that was scraped, without those of the target."""
        families = {}
        for series in self.get("series", **{"match[]": f'{{__name__=~"{PREFIX}.+"}}'}):
            families.setdefault(series["__name__"], set()).update(
                label for label, value in series.items() if label not in ("__name__", "instance") and TARGET.get(label) != value)
        return families


@contextlib.contextmanager
def scraping(admin):
    """A Prometheus that scrapes the proxy as the ServiceMonitor has it done, and evaluates the shipped alerts."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "prometheus.yml"
        monitor = next(o for o in helm_template(MONITORED) if o["kind"] == "ServiceMonitor")["spec"]["endpoints"][0]
        job = {"job_name": "proxy", "metrics_path": monitor["path"], "honor_labels": monitor.get("honorLabels", False), "static_configs": [{"targets": [urllib.parse.urlsplit(admin).netloc], "labels": TARGET}]}
        file.write_text(yaml.safe_dump({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [job],
        }))
        command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={directory}/storage", "--web.listen-address=127.0.0.1:0"]
        with running(command, r'"Listening on" address=(\S+)') as (match, _):
            prometheus = Prometheus(f"http://{match.group(1)}")
            prometheus.wait_until_ready()
            prometheus.wait('up{pod="prom-rbac-proxy-0"}', lambda value: value == 1)
            yield prometheus


@contextlib.contextmanager
def stage(demo_binary, proxy_binary, target):
    command = [demo_binary, "--proxy", proxy_binary, "--manifests", str(ROOT / "deploy/kustomize"), "--target", str(target)]
    with running(command, r"^Ready\.", cwd=ROOT) as (_, lines):
        demo = dict(re.findall(r"^([A-Z_]+)=(.*)$", "\n".join(lines), re.M))
        with scraping(demo["ADMIN_URL"]) as prometheus:
            yield demo, prometheus


def faults(demo_binary, proxy_binary):
    # Beside the binary: blocks of data that are made there are kept for the next run.
    with stage(demo_binary, proxy_binary, Path(demo_binary).parents[1]) as (demo, prometheus):
        yield from serve_requests(demo)
        # A rate needs two scrapes after the requests.
        served = time.time()
        prometheus.wait(f"timestamp({PREFIX}build_info)", lambda scraped: scraped > served + 2)
        families = prometheus.labels()
        yield from expression_faults(prometheus, families)
        yield from rule_faults(prometheus)
        yield from document_faults(families)
        yield from helm_test_faults(demo)


def helm_test_faults(demo):
    """The script of `helm test`, with the demo's addresses: content with the proxy, not with a Prometheus in its place."""
    pod = next(o for o in helm_template() if o["metadata"]["name"].endswith("-test-doors"))
    script = pod["spec"]["containers"][0]["args"][0].replace("http://prom-rbac-proxy-metrics:9091", demo["ADMIN_URL"])
    if not shutil.which("wget"):
        # In the image it is busybox'.
        script = script.replace("wget ", "busybox wget ")
    for url, expected in [(demo["PROXY_URL"], 0), (demo["PROMETHEUS_URL"], 1)]:
        own = script.replace("http://prom-rbac-proxy:9090", url)
        done = subprocess.run(["sh", "-euc", own], capture_output=True, text=True, timeout=60)
        if url not in own or done.returncode != expected:
            yield f"helm test ended with {done.returncode} instead of {expected}: {done.stdout}{done.stderr}"


def expression_faults(prometheus, families):
    for owner, expression in [(rule["alert"], rule["expr"]) for rule in alert_rules()] + list(dashboard_expressions()):
        for name in set(re.findall(rf"{PREFIX}\w+", expression)):
            if name not in families and name.removeprefix(PREFIX) not in FROM_THE_FIRST_FAILURE | WHERE_RBAC_IS_WATCHED.keys():
                yield f"{owner}: {name} was not scraped"
        for name, selector in re.findall(rf"({PREFIX}\w+)\{{([^}}]*)\}}", expression):
            for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector):
                if name in families and label not in families[name] | TARGET.keys():
                    yield f"{owner}: {name} has no label {label}"
        for group in re.findall(r"(?:by|ignoring|on) \(([^)]*)\)", expression):
            names = re.findall(rf"{PREFIX}\w+", expression)
            elsewhere = (WHERE_RBAC_IS_WATCHED.get(name.removeprefix(PREFIX), {"reason"}) for name in names)
            present = set(TARGET).union(*(families.get(name, labels) for name, labels in zip(names, elsewhere, strict=True)))
            for label in filter(None, re.split(r"[,\s]+", group)):
                if label not in present:
                    yield f"{owner}: nothing in it has the label {label}"
        try:
            result = prometheus.query(plain(expression))["result"]
        except Failed as error:
            yield f"{owner}: {error}"
            continue
        panel = owner not in {rule["alert"] for rule in alert_rules()}
        if panel and not result and owner not in EMPTY_WHEN_ALL_IS_WELL:
            yield f"{owner}: no data for {expression}"
    for name, query in dashboard_variables():
        values = prometheus.get(f"label/{query['label']}/values", **{"match[]": plain(query["selector"])})
        if values != [TARGET[query["label"]]]:
            yield f"the variable {name} offers {values}"


def rule_faults(prometheus):
    """Prometheus' own word on the alerts: each was evaluated, and none is on its way to fire over a proxy that works."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
        if rules and all(rule["health"] != "unknown" for rule in rules):
            break
        time.sleep(0.2)
    if {rule["name"] for rule in rules} != {rule["alert"] for rule in alert_rules()}:
        yield f"Prometheus has the rules {[rule['name'] for rule in rules]}"
    for rule in rules:
        if rule["health"] != "ok":
            yield f"{rule['name']}: {rule['health']}: {rule.get('lastError')}"
        if rule["state"] != "inactive":
            yield f"{rule['name']} is {rule['state']}: {rule['alerts']}"


def documented():
    """Names and labels in the table of docs/metrics.md, and the values of each label in the one below it."""
    text = (ROOT / "docs/metrics.md").read_text()
    section = text[text.index("\n## Metrics"):text.index("\n## Traces")]
    metrics, values = section.split("| label | values |")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", metrics, re.M)
    names = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    allowed = {}
    for label, row in re.findall(r"^\| `(\w+)`[^|]*\| (.*) \|$", values, re.M):
        allowed.setdefault(label, set()).update(re.findall(r"`(\w+)`", row))
    return names, allowed


def document_faults(families):
    """docs/metrics.md, what was scraped, and what alerts and dashboard ask for, are one."""
    names, allowed = documented()
    scraped = {}
    for name, labels in families.items():
        base = re.sub(r"_(bucket|sum|count)$", "", name.removeprefix(PREFIX))
        base = base if base in names else name.removeprefix(PREFIX)
        scraped.setdefault(base, set()).update(labels - {"le"})
    for name in scraped.keys() - names.keys():
        yield f"docs/metrics.md does not have {name}"
    for name in names.keys() - scraped.keys() - FROM_THE_FIRST_FAILURE - WHERE_RBAC_IS_WATCHED.keys():
        yield f"docs/metrics.md has {name}, which was not scraped"
    for name in names.keys() & scraped.keys():
        if names[name][1] != scraped[name]:
            yield f"docs/metrics.md: {name} has the labels {sorted(scraped[name])}, not {sorted(names[name][1])}"
    for owner, expression in [(rule["alert"], rule["expr"]) for rule in alert_rules()] + list(dashboard_expressions()):
        for label, value in re.findall(r'(\w+)!?=~?"([^"$]*)"', expression):
            if label in allowed and not set(value.split("|")) <= allowed[label]:
                yield f"{owner}: {label} is never {value}"
