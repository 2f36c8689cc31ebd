"""The demo's page in Chromium: what it draws for whom. `demo_page.py DEMO PROXY PICTURE` makes the README's picture of it."""

import html.parser
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from manifests import ROOT
from signals import Failed, running

CHARTS = ["CPU of every namespace", "CPU", "Memory", "Network", "Filesystem"]
# By pod and viewer: the charts with curves, and the namespaces whose curves the first chart has.
EXPECTED = {
    0: [(CHARTS, "monitoring, team-a, team-b, victim"), (CHARTS, "team-a"), ([], None)],
    1: [(CHARTS, "monitoring, team-a, team-b, victim"), (CHARTS[:1], "team-a"), ([], None)],
}


class Page(html.parser.HTMLParser):
    """The cells of the page, by viewer and chart: their text, and how many curves they have."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.drawn, self.current = {}, None, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "body":
            self.drawn = attributes.get("data-drawn")
        if "data-viewer" in attributes:
            key = attributes.get("data-chart") or next((k for k in ("data-without", "data-reviews") if k in attributes), "who")
            self.current = self.cells.setdefault((int(attributes["data-viewer"]), key), {"text": "", "curves": 0, "label": None})
        elif attributes.get("class") == "wide":
            self.current = None
        if self.current and tag == "polyline":
            self.current["curves"] += len(attributes["points"].split()) > 200
        if self.current and tag == "svg":
            self.current["label"] = attributes["aria-label"].partition(": ")[2]

    def handle_data(self, data):
        if self.current:
            self.current["text"] += data


def chromium(*arguments):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        return subprocess.run(
            [shutil.which("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
             f"--user-data-dir={profile}", "--virtual-time-budget=30000", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=120, check=True).stdout


def demo(demo_binary, proxy_binary):
    target = Path(demo_binary).parents[1]
    return running([demo_binary, "--proxy", proxy_binary, "--manifests", str(ROOT / "deploy/kustomize"), "--target", str(target)], r"^Ready\.", cwd=ROOT)


def url(lines):
    return re.search(r"^PAGE_URL=(.*)$", "\n".join(lines), re.M).group(1)


def faults(demo_binary, proxy_binary):
    with demo(demo_binary, proxy_binary) as (_, lines):
        for pod, viewers in EXPECTED.items():
            page = Page(chromium("--dump-dom", f"{url(lines)}/?pod={pod}"))
            if page.drawn != str(pod):
                yield f"the page has drawn {page.drawn}, not {pod}"
                continue
            for number, (charts, namespaces) in enumerate(viewers):
                yield from viewer_faults(page.cells, f"pod {pod}, viewer {number}", number, charts, namespaces)


def viewer_faults(cells, where, number, charts, namespaces):
    cell = lambda key: cells.get((number, key), {"text": "", "curves": 0, "label": None})
    drawn = [chart for chart in CHARTS if cell(chart)["curves"]]
    if drawn != charts:
        yield f"{where}: {drawn} have curves, expected {charts}"
    if cell(CHARTS[0])["label"] != namespaces:
        yield f"{where}: the first chart has {cell(CHARTS[0])['label']}, expected {namespaces}"
    for chart in CHARTS:
        text = cell(chart)["text"]
        sent, refused = "was sentsum" in text, text.startswith("403 you may not read the metrics of ")
        if (sent, refused) != ((True, False) if chart in charts else (False, True)):
            yield f"{where}: {chart} says {text}"
    if number == 1 and 'container_cpu_usage_seconds_total{namespace="team-a"}' not in cell(CHARTS[0])["text"]:
        yield f"{where}: what was sent is not restricted: {cell(CHARTS[0])['text']}"
    if not cell("data-without")["text"].startswith('403 services "prometheus-operated:9090" is forbidden'):
        yield f"{where}: without the proxy: {cell('data-without')['text']}"
    answer = ["allowed in the whole cluster", "allowed in team-a", "denied in the whole cluster"][number]
    if "whose token it is: system:serviceaccount:demo:" not in cell("data-reviews")["text"] or answer not in cell("data-reviews")["text"]:
        yield f"{where}: the reviews are {cell('data-reviews')['text']}"


if __name__ == "__main__":
    binaries, picture = sys.argv[1:3], sys.argv[3]
    with demo(*binaries) as (_, started):
        chromium("--window-size=1360,866", f"--screenshot={Path(picture).absolute()}", url(started))
    if not Path(picture).exists():
        raise Failed("Chromium made no picture")
