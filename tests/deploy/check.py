"""Runs the checks of deploy/ and reports them; started by check.sh, which says what it needs."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

import browser
import chart
import commands
import demo_page
import generated
import headlamp
import invariants
import kept
import memory
import observability
import overlays
import permissions
import signals
from manifests import BASE, CHART, NAMESPACE, ROOT, RELEASE, RenderError, comparable, configurations, differences, helm_template, identity, kustomize_build, run

HERE = Path(__file__).parent
EQUAL = sorted(p.parent for p in HERE.glob("cases/equal/*/values.yaml"))
CHART_CASES = sorted(HERE.glob("cases/chart/*.yaml"))
REFUSED = sorted(HERE.glob("cases/refused/*.yaml"))
# The oldest Kubernetes that the chart accepts, one between, and the newest whose schemas the package has.
VERSIONS = ["1.29", "1.33", ".".join(kubernetes_validate.latest_version().split(".")[:2])]
TOOLS = {
    "helm": (os.environ.get("HELM"), "Helm is neither on the PATH nor could Go build it"),
    "kubectl": (shutil.which("kubectl"), "kubectl is not installed (Debian: kubernetes-client)"),
    "promtool": (shutil.which("promtool"), "promtool is not installed (Debian: prometheus)"),
    "node": (shutil.which("node"), "node is not installed (Debian: nodejs)"),
    "chromium": (shutil.which("chromium"), "chromium is not installed (Debian: chromium)"),
    "openssl": (shutil.which("openssl"), "openssl is not installed"),
    "PROM_RBAC_PROXY": (os.environ.get("PROM_RBAC_PROXY"), "PROM_RBAC_PROXY does not name the binary"),
    "DEMO": (os.environ.get("DEMO"), "DEMO does not name the binary of the demo"),
    "prometheus": (shutil.which("prometheus"), "prometheus is not installed (Debian: prometheus)"),
    "wget": (shutil.which("wget") or shutil.which("busybox"), "neither wget nor busybox is installed"),
    "cargo": (shutil.which("cargo"), "cargo is not installed"),
}
BINARIES = [os.environ.get("DEMO"), os.environ.get("PROM_RBAC_PROXY")]
counts = {"passed": 0, "failed": 0, "skipped": 0}


def check(name, body, needs=()):
    """Runs one check: its body returns or yields faults, or raises."""
    for tool in needs:
        available, reason = TOOLS[tool]
        if not available and os.environ.get("CI") == "true":
            counts["failed"] += 1
            print(f"FAIL  {name}: {reason}; with CI=true nothing is skipped")
            return
        if not available:
            counts["skipped"] += 1
            print(f"skip  {name}: {reason}")
            return
    try:
        faults = list(body() or [])
    except (RenderError, signals.Failed, jsonschema.ValidationError, OSError, subprocess.TimeoutExpired, KeyError, ValueError) as error:
        faults = [f"{type(error).__name__}: {error}"]
    counts["failed" if faults else "passed"] += 1
    print(f"{'FAIL' if faults else 'ok'}    {name}" if not faults else f"FAIL  {name}")
    for fault in faults[:20]:
        print("      " + str(fault).replace("\n", "\n      "))


def schema_faults(rendered):
    for o in rendered:
        own = HERE / "crds" / f"{o['kind']}.json"
        if own.exists():
            # Not part of Kubernetes. These hold just the fields in use and refuse all others.
            try:
                jsonschema.validate(o["spec"], json.loads(own.read_text()))
            except jsonschema.ValidationError as error:
                yield f"{identity(o)}: {error.json_path}: {error.message}"
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(o, version, strict=True)
            except kubernetes_validate.SchemaNotFoundError:
                yield f"{identity(o)}: Kubernetes {version} has no {o['apiVersion']}"
            except kubernetes_validate.ValidationError as error:
                yield f"{identity(o)}: {version}: {error.message}"


def rendered_faults(rendered):
    yield from schema_faults(rendered)
    yield from invariants.all_faults(rendered)


def equality(case):
    chart = comparable(helm_template(case / "values.yaml"))
    base = comparable(kustomize_build(case))
    yield from differences(chart, base)


def refusal(file):
    expected = re.match(r"# expect: (.*)", file.read_text()).group(1)
    try:
        helm_template(file)
    except RenderError as error:
        if expected not in str(error):
            yield f"refused without a word about {expected}: {error}"
        return
    yield "accepted"


def schema_and_defaults_agree():
    """Every value that the schema knows has a default that a reader finds in values.yaml."""

    def walk(schema, values, path):
        for name, part in schema.get("properties", {}).items():
            if path == "" and name in ("global", "config"):
                continue
            if not isinstance(values, dict) or name not in values:
                yield f"values.yaml has no {path}{name}"
            else:
                yield from walk(part, values[name], f"{path}{name}.")

    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(values, schema)
    yield from walk(schema, values, "")


def notes():
    """Helm renders NOTES.txt only against a cluster, so a copy of the chart carries it in a ConfigMap."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "chart"
        shutil.copytree(CHART, copy)
        text = (copy / "templates/NOTES.txt").read_text()
        (copy / "templates/_notes.tpl").write_text('{{- define "notes" }}' + text + "{{- end }}")
        (copy / "templates/notes.yaml").write_text('apiVersion: v1\nkind: ConfigMap\nmetadata: { name: notes }\ndata: { notes: {{ include "notes" . | toJson }} }\n')
        def said(case=None, *more):
            rendered = helm_template(case, chart=copy, more=more)
            return next(o for o in rendered if o["metadata"]["name"] == "notes")["data"]["notes"]

        for settings, expected in [
            ((), "Set image.registry"), ((), "Prometheus itself is open"),
            (("serviceMonitor.enabled=true",), "serviceMonitor without labels: kube-prometheus-stack passes it over"),
            (("prometheusRule.enabled=true",), "prometheusRule without labels"),
            (("serviceMonitor.enabled=true", "networkPolicy.metricsFrom[0].podSelector.matchLabels.a=b"), "networkPolicy.metricsFrom decides"),
            (("service.type=NodePort",), "service.type NodePort in plain HTTP"),
        ]:
            complete = ("image.registry=r", "kubePrometheusStack.release=kps", "networkPolicy.prometheus.enabled=true")
            if expected not in said(None, *(a for s in settings for a in ("--set", s))):
                yield f"{settings}: does not say {expected}"
        if "Still missing" in said(None, *(a for s in (*complete, "serviceMonitor.enabled=true", "prometheusRule.enabled=true") for a in ("--set", s))):
            yield "something is missing where nothing is"
        for case in [None, *CHART_CASES]:
            text = said(case)
            if case is None:
                for expected in ("monitoring/prom-rbac-proxy:9090", "kubectl auth can-i get pods.metrics.k8s.io", "helm test prom-rbac-proxy"):
                    if expected not in text:
                        yield f"does not say {expected}:\n{text}"
            if "<no value>" in text or "%!" in text or "\n\n\n" in text:
                yield f"{case}: a hole in it:\n{text}"


def numbers_stay_whole():
    file = next(c for c in CHART_CASES if c.name == "configuration.yaml")
    wanted = yaml.safe_load(file.read_text())["config"]
    (text,) = configurations(helm_template(file)).values()
    if re.search(r"\de\+\d", text):
        yield f"a number in scientific notation:\n{text}"
    got = yaml.safe_load(text)
    for key, value in wanted.items():
        if got[key] != value:
            yield f"{key}: {got[key]} instead of {value}"


def configuration_rolls_pods():
    """By the name of its ConfigMap, so that the pods of before keep theirs."""

    def mounted(case):
        rendered = helm_template(case)
        (name,) = configurations(rendered)
        deployment = next(o for o in rendered if o["kind"] == "Deployment")
        volume = next(v for v in deployment["spec"]["template"]["spec"]["volumes"] if v["name"] == "config")
        if volume["configMap"]["name"] != name:
            raise ValueError(f"the pods mount {volume}, rendered is {name}")
        return name

    if mounted(None) == mounted(next(c for c in CHART_CASES if c.name == "configuration.yaml")):
        yield "another configuration, the same pods"


def view_follows_attributes():
    rendered = helm_template(next(c for c in CHART_CASES if c.name == "other-attributes.yaml"))
    role = next(o for o in rendered if o["kind"] == "ClusterRole" and "rbac.authorization.k8s.io/aggregate-to-view" in o["metadata"]["labels"])
    if list(invariants.rights(role)) != [("", "pods", "list")]:
        yield f"view gets {role['rules']}"


def write_configurations(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    written = []
    for case in [None, *CHART_CASES]:
        for name, text in configurations(helm_template(case)).items():
            file = folder / f"chart-{case.stem if case else 'defaults'}.yaml"
            file.write_text(text)
            written.append(file)
    for case in EQUAL if TOOLS["kubectl"][0] else []:
        for text in configurations(kustomize_build(case)).values():
            file = folder / f"kustomize-{case.name}.yaml"
            file.write_text(text)
            written.append(file)
    file = folder / "headlamp-sidecar.yaml"
    file.write_text(headlamp.sidecar_configuration())
    return written + [file]


def binary_accepts(files):
    """The certificate's files exist in the pod only, so the copies that are checked name a throw-away pair."""
    binary = os.environ["PROM_RBAC_PROXY"]
    with tempfile.TemporaryDirectory() as directory:
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-keyout", f"{directory}/tls.key", "-out", f"{directory}/tls.crt")
        for file in files:
            copy = Path(directory) / file.name
            copy.write_text(file.read_text().replace("/etc/prom-rbac-proxy-tls", directory))
            done = subprocess.run([binary, "check", "--config", copy], capture_output=True, text=True, timeout=60)
            if done.returncode != 0:
                yield f"{file.name}: {(done.stdout + done.stderr).strip()}"


def chart_rights(folder):
    """The black-box tests do it with kustomize's objects; here they get the chart's."""
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump_all(helm_template()))
    done = subprocess.run(["cargo", "test", "--workspace", "--locked", "--test", "it", "deployment::"], cwd=ROOT, capture_output=True, text=True,
                          timeout=1800, env={**os.environ, "RENDERED_OBJECTS": str(file)})
    if done.returncode != 0 or " 2 passed" not in done.stdout:
        yield (done.stdout + done.stderr)[-4000:]


def schema_fits(files):
    """The JSON Schema is for editors; what the program accepts must not be underlined there, and a mistake must be."""
    example = ROOT / "config/prom-rbac-proxy.yaml"
    modeline = re.match(r"# yaml-language-server: \$schema=(\S+)\n", example.read_text())
    if not modeline:
        yield "the example's first line does not name its schema"
        return
    schema = json.loads((example.parent / modeline.group(1)).read_text())
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    for file in [example, *files]:
        for error in validator(schema).iter_errors(yaml.safe_load(file.read_text())):
            yield f"{file.name}: {error.json_path}: {error.message}"
    for mistake in ({}, {"upstreams": [{"url": "http://prometheus:9090"}], "limit": {}}, {"upstreams": [{"url": "http://prometheus:9090"}], "limits": {"maxPoints": "many"}}):
        if validator(schema).is_valid(mistake):
            yield f"the schema accepts {mistake}"


def yaml_lint():
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "-c", str(HERE / "yamllint.yaml"),
         *[str(p) for p in sorted((ROOT / "deploy").rglob("*.yaml")) + sorted(HERE.rglob("*.yaml")) if "templates" not in p.parts]],
        capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        yield done.stdout.replace(str(ROOT) + "/", "")


def chart_and_image_versions():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    cargo = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M).group(1)
    images = {c["image"] for _, _, s in invariants.pod_templates(kustomize_build(BASE)) for c in s["containers"]}
    if chart["appVersion"] != cargo:
        yield f"the chart is for {chart['appVersion']}, the program is {cargo}"
    if images != {f"prom-rbac-proxy:{cargo}"}:
        yield f"kustomize deploys {images}"
    if headlamp.sidecar()["image"] not in images:
        yield f"the sidecar is {headlamp.sidecar()['image']}"
    dockerfile = (ROOT / "deploy/image/Dockerfile").read_text()
    if f"ARG VERSION={cargo}" not in dockerfile:
        yield "the Dockerfile's VERSION is another one"
    rust = re.search(r'^rust-version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M).group(1)
    if f"ARG RUST_VERSION={rust}" not in dockerfile:
        yield f"the Dockerfile does not build with Rust {rust}"


def copy_context(folder):
    """What Docker sends to the build: what Dockerfile.dockerignore takes back from its `*`."""
    for line in (ROOT / "deploy/image/Dockerfile.dockerignore").read_text().splitlines():
        source = ROOT / line.removeprefix("!")
        if line.startswith("!") and source.exists():
            copy = folder / source.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)


def context_is_complete():
    with tempfile.TemporaryDirectory() as directory:
        copy_context(Path(directory))
        run("cargo", "metadata", "--locked", "--no-deps", "--format-version", "1", "--manifest-path", f"{directory}/Cargo.toml")


def static_binary(architecture):
    """What the Dockerfile runs, on what it copies, and the result on an empty root as on the empty base image."""
    own = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[architecture]
    emulator = [] if architecture == own else [shutil.which(f"qemu-{machine}-static") or ""]
    with tempfile.TemporaryDirectory() as directory:
        binary = Path(directory) / "prom-rbac-proxy"
        context = Path(directory) / "context"
        copy_context(context)
        target = os.environ.get("CARGO_TARGET_DIR", "target")
        done = subprocess.run(["deploy/image/build.sh", architecture, str(binary)], cwd=context, text=True, capture_output=True, timeout=3600,
                              env={"CARGO_PROFILE": "dev", **os.environ, "CARGO_TARGET_DIR": str(ROOT / target)})
        if done.returncode != 0:
            yield done.stderr[-2000:]
        elif emulator == [""]:
            yield f"built, and not run: qemu-{machine}-static is not installed (Debian: qemu-user-static)"
        else:
            run("unshare", "--map-root-user", "--net", sys.executable, "-B", str(HERE / "empty_root.py"), str(binary), *emulator)


def image():
    for architecture in os.environ["STATIC_BUILD"].split():
        check(f"the image's binary for {architecture} is static, runs on an empty root and resolves names there", lambda: static_binary(architecture))


def deployment():
    check("YAML of deploy/ and of these tests is well-formed", yaml_lint)
    check("helm lint", lambda: run(os.environ["HELM"], "lint", "--strict", str(CHART), "--namespace", NAMESPACE) and None, ["helm"])
    check("the values' schema and their defaults agree", schema_and_defaults_agree)
    check("the chart's README and its schema are what they are made from", generated.faults)
    for name, body in chart.CHECKS:
        check(name, body, ["helm"])
    check("the pods of an older revision keep their configuration", kept.faults, ["helm"])
    for name, body in overlays.checks(schema_faults):
        check(name, body, ["kubectl"])
    for case in EQUAL:
        check(f"chart and kustomize are equal: {case.name}", lambda: equality(case), ["helm", "kubectl"])
        check(f"kustomize is valid and safe: {case.name}", lambda: rendered_faults(kustomize_build(case)), ["kubectl"])
        check(f"chart is valid and safe: {case.name}", lambda: rendered_faults(helm_template(case / "values.yaml")), ["helm"])
    for case in CHART_CASES:
        check(f"chart is valid and safe: {case.stem}", lambda: rendered_faults(helm_template(case)), ["helm"])
    for case in REFUSED:
        check(f"chart refuses: {case.stem}", lambda: refusal(case), ["helm"])
    check("the notes have no holes", notes, ["helm"])
    check("numbers of the configuration stay whole", numbers_stay_whole, ["helm"])
    check("another configuration rolls the pods", configuration_rolls_pods, ["helm"])
    check("view gets the right that is reviewed", view_follows_attributes, ["helm"])
    check("h33: the memory limits hold as many connections as are taken", memory.faults)
    check("one version everywhere", chart_and_image_versions, ["kubectl"])

    check("each command of the documents is one", commands.faults, ["helm", "kubectl", "PROM_RBAC_PROXY"])
    check("each values file of the documents renders", commands.values_faults, ["helm", "PROM_RBAC_PROXY"])
    check("the plots are those of docs/performance.md", lambda: run(str(ROOT / "scripts/plots"), "--check") and None)
    check("docs/permissions.md is true", permissions.document_faults, ["kubectl"])
    check("without metrics-server kubectl says no, as docs/permissions.md warns", permissions.warning_faults, ["kubectl"])

    check("each alert says what to do", observability.alert_faults)
    check("the dashboard is laid out", observability.dashboard_faults)
    check("promtool reads the alerts", observability.promtool_rules, ["promtool"])
    check("promtool reads the dashboard's expressions", observability.promtool_dashboard, ["promtool"])
    check("each alert fires when it should, and not before", observability.promtool_unit_tests, ["promtool"])
    check("alerts, dashboard, docs/metrics.md and helm test over a proxy that runs and is scraped", lambda: signals.faults(*BINARIES),
          ["PROM_RBAC_PROXY", "DEMO", "helm", "prometheus", "promtool", "wget"])

    check("the demo's page draws three people's charts in Chromium", lambda: demo_page.faults(*BINARIES), ["PROM_RBAC_PROXY", "DEMO", "prometheus", "chromium"])
    check("the preset plugin's logic", lambda: run("node", "--test", str(HERE / "preset.test.mjs")) and None, ["node"])
    check("one set of metric rules in all that is shipped", headlamp.metric_rules_faults)
    check("the preset plugin in Chromium", browser.preset_faults, ["chromium"])
    check("the preset plugin's ConfigMap", lambda: headlamp.preset_faults(schema_faults), ["kubectl"])
    check("the sidecar is the Deployment's container", headlamp.sidecar_faults, ["kubectl"])
    # No package registry has Headlamp's chart: whoever has it asks for this.
    for file in headlamp.VALUES if os.environ.get("HEADLAMP_CHART") else []:
        check(f"Headlamp's chart takes {file.name}", lambda: headlamp.chart_faults(file, schema_faults), ["helm"])

    folder = Path(os.environ["RENDERED_DIR"])
    files = []
    check(f"rendered configurations are in {folder}", lambda: files.extend(write_configurations(folder)), ["helm"])
    check("the binary accepts every rendered configuration", lambda: binary_accepts(files), ["helm", "openssl", "PROM_RBAC_PROXY"])
    check("the example and every rendered configuration fit the JSON Schema", lambda: schema_fits(files), ["helm"])
    check("the demo runs under exactly the chart's rights, and misses each that is gone", lambda: chart_rights(folder), ["helm", "cargo", "prometheus"])
    check("the image's build gets all that cargo needs", context_is_complete, ["cargo"])


def main():
    if sys.argv[1:] == ["--write"]:
        generated.write()
        return 0
    if os.environ.get("STATIC_BUILD"):
        image()
    else:
        deployment()
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
