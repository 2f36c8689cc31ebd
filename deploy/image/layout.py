"""Makes the image without an engine, as an OCI layout on disk: layout.py FOLDER VERSION REVISION BINARY_FOLDER ARCHITECTURE...

BINARY_FOLDER/ARCHITECTURE/prom-rbac-proxy are the binaries. All else is what the last stage of the Dockerfile says, so
that both make the same image. umoci writes layers, configuration and manifests; this adds the index over the
architectures, which umoci cannot. The same input gives the same digest, which is printed: times are SOURCE_DATE_EPOCH.
"""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).parent
INDEX = "application/vnd.oci.image.index.v1+json"


def last_stage(version, revision):
    """The Dockerfile's last stage: its instructions, with the arguments filled in."""
    text = (HERE / "Dockerfile").read_text().split("\nFROM scratch\n")[1]
    text = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    text = text.replace("$VERSION", version).replace("$REVISION", revision)
    return [line.split(None, 1) for line in text.splitlines() if line]


def options(stage, source):
    labels = {}
    for instruction, rest in stage:
        if instruction in ("ENTRYPOINT", "CMD"):
            yield from (f"--config.{instruction.lower()}={word}" for word in json.loads(rest))
        elif instruction == "USER":
            yield f"--config.user={rest}"
        elif instruction == "EXPOSE":
            yield from (f"--config.exposedports={port}/tcp" for port in rest.split())
        elif instruction == "LABEL":
            labels.update(pair.split("=", 1) for pair in shlex.split(rest))
        elif instruction not in ("ARG", "COPY"):
            raise SystemExit(f"layout.py: the Dockerfile's last stage has {instruction}, which is not known here")
    labels["org.opencontainers.image.source"] = source
    yield from (f"--config.label={name}={value}" for name, value in labels.items())


def fill(root, stage, binary, epoch):
    files = dict(rest.split()[1:] for instruction, rest in stage if instruction == "COPY")
    for source, target in files.items():
        copy = root / target.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(binary if Path(source).name == binary.name else source, copy)
        copy.chmod(0o755 if Path(source).name == binary.name else 0o644)
    for path in [root, *root.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
        os.utime(path, (epoch, epoch))


def umoci(*words):
    subprocess.run(["umoci", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def main(folder, version, revision, binaries, *architectures):
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    time = datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    stage = last_stage(version, revision)
    layout = Path(folder)
    shutil.rmtree(layout, ignore_errors=True)
    umoci("init", "--layout", layout)
    for architecture in architectures:
        image = f"{layout}:{architecture}"
        umoci("new", "--image", image)
        with tempfile.TemporaryDirectory() as directory:
            fill(Path(directory), stage, Path(binaries) / architecture / "prom-rbac-proxy", epoch)
            rootless = ["--rootless"] if os.getuid() else []
            umoci("insert", *rootless, "--image", image, f"--history.created={time}", "--history.created_by=layout.py", directory, "/")
        umoci("config", "--image", image, f"--created={time}", "--no-history", "--os=linux", f"--architecture={architecture}",
              *options(stage, os.environ["SOURCE"]))
    umoci("gc", "--layout", layout)

    manifests = []
    for entry in json.loads((layout / "index.json").read_text())["manifests"]:
        architecture = entry.pop("annotations")["org.opencontainers.image.ref.name"]
        manifests.append({**entry, "platform": {"architecture": architecture, "os": "linux"}})
    labels = dict(word.removeprefix("--config.label=").split("=", 1) for word in options(stage, os.environ["SOURCE"]) if word.startswith("--config.label="))
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": sorted(manifests, key=lambda m: m["platform"]["architecture"]),
                        "annotations": {**labels, "org.opencontainers.image.created": time}}, sort_keys=True).encode()
    digest = hashlib.sha256(index).hexdigest()
    (layout / "blobs/sha256" / digest).write_bytes(index)
    named = {"mediaType": INDEX, "digest": f"sha256:{digest}", "size": len(index), "annotations": {"org.opencontainers.image.ref.name": version}}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}) + "\n")
    print(f"sha256:{digest}")


if __name__ == "__main__":
    main(*sys.argv[1:])
