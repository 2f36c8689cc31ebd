"""Runs the commands of docs/permissions.md, with the roles that deploy/ renders, and compares the answers."""

import re
import subprocess
import tempfile

import yaml

from manifests import BASE, ROOT, kustomize_build
from rbac_server import Server

DOCUMENT = ROOT / "docs/permissions.md"


def commands():
    """Each command of the document's console blocks with the answer under it; a here-document is part of its command."""
    for block in re.findall(r"```console\n(.*?)```", DOCUMENT.read_text(), re.S):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, answer = part.partition("\nEOF\n") if "<<EOF" in part else part.partition("\n")
            yield command + ("\nEOF\n" if "<<EOF" in part else ""), answer.strip()


def kubectl(server, command):
    with tempfile.TemporaryDirectory() as home:
        # A home of its own: no cluster that this machine knows is ever asked.
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": home, "KUBECONFIG": "/dev/null"}
        command = command.replace("kubectl ", f"kubectl --server {server.url} ", 1)
        if " create -o" in command:
            command = command.replace(" create -o", " create --validate=false -o", 1)
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment, timeout=60)


def answers(metrics_server):
    objects = list(kustomize_build(BASE))
    for command, expected in commands():
        if not command.startswith("kubectl "):
            continue
        with Server(objects, metrics_server) as server:
            if re.match(r"kubectl create (cluster)?rolebinding ", command):
                done = kubectl(server, command.strip() + " --dry-run=client -o yaml")
                if done.returncode == 0:
                    objects.append(yaml.safe_load(done.stdout))
                    continue
            else:
                done = kubectl(server, command)
        yield command, expected, done.stdout.strip(), done.stderr.strip()


def document_faults():
    asked = 0
    for command, expected, answer, error in answers(metrics_server=True):
        asked += 1
        if answer != expected:
            yield f"{command}: {answer!r}, the document says {expected!r} {error}"
    if asked < 15:
        yield f"only {asked} commands were found"


def warning_faults():
    for command, expected, answer, error in answers(metrics_server=False):
        if "auth can-i" in command and ".metrics.k8s.io" in command:
            if answer != "no" or "doesn't have a resource type" not in error:
                yield f"{command}: {answer!r} {error}"
        elif answer != expected:
            yield f"{command}: {answer!r}, with metrics-server {expected!r} {error}"
