"""Runs the static binary on an empty root, as the empty base image is one: it starts, and it resolves names by DNS.

    unshare --map-root-user --net python empty_root.py BINARY|ROOT [EMULATOR]

BINARY is put on an empty root; ROOT is the unpacked image.

The network namespace has a loopback device alone, so that the DNS server here can have port 53. A shell makes neither.
"""

import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from rbac_server import Server

HOST = "kubernetes.default.svc.cluster.local"
VIEW = [
    {"kind": "ClusterRole", "metadata": {"name": "own", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
     "rules": [{"apiGroups": ["metrics.k8s.io"], "resources": ["pods"], "verbs": ["get"]}]},
    {"kind": "ClusterRoleBinding", "metadata": {"name": "own"}, "roleRef": {"kind": "ClusterRole", "name": "view"},
     "subjects": [{"kind": "User", "name": "alice"}]},
]


def resolve(server):
    """Answers A with 127.0.0.1 for the one name, and with no address for everything else."""
    while True:
        question, caller = server.recvfrom(512)
        at, labels = 12, []
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind = struct.unpack("!H", question[at + 1 : at + 3])[0]
        found = ".".join(labels).lower() == HOST and kind == 1
        head = question[:2] + struct.pack("!5H", 0x8580, 1, int(found), 0, 0)
        record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.1") if found else b""
        server.sendto(head + question[12 : at + 5] + record, caller)


def run(root, *command):
    done = subprocess.run([shutil.which("chroot"), str(root), *command], capture_output=True, text=True, timeout=60, env={})
    return f"{done.returncode}: {(done.stdout + done.stderr).strip()}"


def main(binary, emulator=None):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 53))
    threading.Thread(target=resolve, args=[names], daemon=True).start()
    with tempfile.TemporaryDirectory() as directory, Server(VIEW, metrics_server=True) as server:
        root = Path(directory)
        if Path(binary).is_dir():
            shutil.copytree(binary, root, dirs_exist_ok=True)
        else:
            shutil.copy(binary, root / "prom-rbac-proxy")
        program = ["/prom-rbac-proxy"]
        if emulator:
            shutil.copy(emulator, root / "emulator")
            program = ["/emulator", *program]
        # The image has this file and no other.
        authorities = root / "etc/ssl/certs/ca-certificates.crt"
        authorities.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy("/" / authorities.relative_to(root), authorities)
        (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")
        port = server.url.rsplit(":", 1)[1]
        (root / "kubeconfig").write_text(
            "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {}}], "
            f"clusters: [{{name: c, cluster: {{server: 'http://{HOST}:{port}'}}}}]}}")
        (root / "config.yaml").write_text("kubernetes: {kubeconfig: /kubeconfig}\nupstreams: [{url: 'http://prometheus:9090'}]\n")
        for command, expected in [
            (["version"], "0: prom-rbac-proxy "),
            (["check", "--config", "/config.yaml"], "0: /config.yaml: ok"),
            (["explain", "--config", "/config.yaml", "--as", "alice", "--query", "up"], "0: scope: everything"),
        ]:
            answer = run(root, *program, *command)
            if not answer.startswith(expected):
                print(f"{' '.join(command)}: {answer}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
