"""Runs the preset plugin in Chromium, in a page that offers what Headlamp's does: see preset_page.html."""

import http.server
import itertools
import json
import queue
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

from manifests import ROOT

PAGE = Path(__file__).parent / "preset_page.html"
PLUGIN = ROOT / "deploy/headlamp/preset/main.js"
ADDRESS = "monitoring/prom-rbac-proxy:9090"
INSIDE = {"source": "incluster"}
# What Headlamp's base URL is, what its /config says, and for which clusters an address is there in the end.
CASES = [
    ("", [{"name": "main", "meta_data": INSIDE}], {"main": ADDRESS}),
    ("", [{"name": "kubernetes", "meta_data": INSIDE}, {"name": "far", "meta_data": {"source": "kubeconfig"}}], {"kubernetes": ADDRESS}),
    ("/headlamp", [{"name": "prod-eu", "meta_data": INSIDE}], {"prod-eu": ADDRESS}),
    # The page's browser has an address for this one that its user typed.
    ("", [{"name": "typed", "meta_data": INSIDE}], {"typed": "mine/prometheus:9090"}),
]


class Headlamp(http.server.BaseHTTPRequestHandler):
    """The page, the plugin and /config, below the base URL and nowhere else; takes the page's report."""

    def do_GET(self):
        base = self.server.base
        files = {
            f"{base}/": ("text/html", PAGE.read_text().replace("BASE_URL", base)),
            f"{base}/plugins/prom-rbac-proxy-preset/main.js": ("text/javascript", PLUGIN.read_text()),
            f"{base}/config": ("application/json", json.dumps({"clusters": self.server.clusters})),
        }
        kind, body = files.get(self.path.partition("?")[0], ("text/plain", None))
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write((body or "").encode())

    def do_POST(self):
        self.server.reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def report(base, clusters, query):
    """What the page's browser has stored once the plugin has run, and once it has run again after a reload."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Headlamp)
    server.base, server.clusters, server.reports = base, clusters, queue.Queue()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            browser = subprocess.Popen(
                [shutil.which("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
                 f"--user-data-dir={profile}", "--remote-debugging-port=0", f"http://127.0.0.1:{server.server_port}{base}/{query}"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                return [server.reports.get(timeout=120) for _ in range(2)]
            finally:
                browser.terminate()
                browser.wait(30)
    finally:
        server.shutdown()
        server.server_close()


def preset_faults():
    for (base, clusters, expected), query in itertools.product(CASES, ["", "?hidden"]):
        try:
            first, second = report(base, clusters, query)
        except queue.Empty:
            yield f"{clusters} at {base or '/'}: the page did not report within 120 s"
            continue
        for when, stored in (("first", first), ("after a reload", second)):
            got = {cluster: settings["address"] for cluster, settings in stored["prometheus"].items() if cluster in expected or settings["address"] == ADDRESS}
            if got != expected:
                yield f"{clusters} at {base or '/'}, {when}: {stored}"
        if first != second:
            yield f"{clusters} at {base or '/'}: a reload changed {first} into {second}"
