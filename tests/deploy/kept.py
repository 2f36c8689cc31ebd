"""The chart on a cluster that runs an older revision: Helm asks a stand-in of the API server."""

import json
import os
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from manifests import CHART, KUBERNETES, NAMESPACE, RELEASE, configurations, helm_template, objects, run

LABELS = {"app.kubernetes.io/instance": RELEASE, "app.kubernetes.io/name": RELEASE}


def replica_set(name, config, replicas, labels=LABELS):
    volumes = [{"name": "config", "configMap": {"name": config}}]
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
            "spec": {"replicas": replicas, "template": {"spec": {"volumes": volumes}}}}


def config_map(name, labels):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}, "data": {"config.yaml": f"# {name}\n"}}


# The old revision still runs, one before it with a ConfigMap that is not Helm's, the one after them failed and has no pods
# any more, and another release runs beside.
SETS = [
    replica_set("old", f"{RELEASE}-old", 2),
    replica_set("own", "operators-own", 1),
    replica_set("gone", f"{RELEASE}-gone", 0),
    replica_set("pruned", f"{RELEASE}-pruned", 1),
    replica_set("other", "other-config", 1, {"app.kubernetes.io/instance": "other", "app.kubernetes.io/name": RELEASE}),
]
MAPS = {name: config_map(name, LABELS) for name in (f"{RELEASE}-old", f"{RELEASE}-gone", "other-config")}
MAPS["operators-own"] = config_map("operators-own", {})


def resources(version, *kinds):
    listed = [{"name": kind.lower() + "s", "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": ["get", "list"]} for kind in kinds]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": listed}


ANSWERS = {
    "/version": {"major": "1", "minor": "36", "gitVersion": f"v{KUBERNETES}"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [
        {"name": "apps", "versions": [{"groupVersion": "apps/v1", "version": "v1"}], "preferredVersion": {"groupVersion": "apps/v1", "version": "v1"}}]},
    "/api/v1": resources("v1", "ConfigMap"),
    "/apis/apps/v1": resources("apps/v1", "ReplicaSet"),
    f"/apis/apps/v1/namespaces/{NAMESPACE}/replicasets": {"kind": "ReplicaSetList", "apiVersion": "apps/v1", "metadata": {}, "items": SETS},
    **{f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}": o for name, o in MAPS.items()},
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answer = ANSWERS.get(self.path.split("?")[0])
        body = json.dumps(answer or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def rendered_on_the_cluster(*more):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with tempfile.TemporaryDirectory() as directory:
            kubeconfig = Path(directory) / "kubeconfig"
            kubeconfig.write_text(json.dumps({
                "apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {}}], "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}]}))
            return objects(run(os.environ["HELM"], "template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kubeconfig", str(kubeconfig),
                               "--dry-run=server", "--is-upgrade", "--kube-version", KUBERNETES, *more))
    finally:
        server.shutdown()
        server.server_close()


def faults():
    (new,) = configurations(helm_template())
    kept = configurations(rendered_on_the_cluster())
    if set(kept) != {new, f"{RELEASE}-old"}:
        yield f"there are {sorted(kept)}, expected {new} and that of the pods that run"
    elif kept[f"{RELEASE}-old"] != f"# {RELEASE}-old\n":
        yield f"the old one changed: {kept}"
    if set(configurations(rendered_on_the_cluster("--set", "keepConfigInUse=false"))) != {new}:
        yield "keepConfigInUse=false keeps one"
    own = rendered_on_the_cluster("--set", "existingConfigMap=operators-own")
    if set(configurations(own)) != {f"{RELEASE}-old"}:
        yield "with a ConfigMap of the operator's there is more than that of the pods that run"
    volumes = [v for o in own if o["kind"] == "Deployment" for v in o["spec"]["template"]["spec"]["volumes"]]
    if {"name": "config", "configMap": {"name": "operators-own"}} not in volumes:
        yield f"the pods do not mount it: {volumes}"
