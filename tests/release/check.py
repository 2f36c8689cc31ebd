"""A release with the steps of .github/workflows/release.yml, and then what a user does with it: started by
scripts/release-check, which says what it needs. `--short` is the form of `make test`."""

import contextlib
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
OUT = Path(os.environ["RELEASE_DIR"])
SHORT = "--short" in sys.argv
ARCHITECTURES = os.environ["ARCHITECTURES"].split()
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
OWN = {machine: name for name, machine in MACHINES.items()}[platform.machine()]
VERSION = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M).group(1)
# Where there is git. At the start: a commit during the run is not in it.
HEAD = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
OWNER = "example"
PUBLISHER = {"ARTIFACTHUB_ID": "3f0c1c1e-0000-4000-8000-000000000000", "MAINTAINER_NAME": "Example", "MAINTAINER_EMAIL": "security@example.com",
             "SIGN_KEY_FINGERPRINT": "C874011F0AB405110D02105534365D9472D7468F", "SIGN_KEY_URL": "https://example.com/key.asc"}
SENTENCE = "Shows Headlamp's and Grafana's users the Prometheus series of the namespaces they may read, and nothing else"
# The registry of this machine lets everybody in.
ELSEWHERE = {"login"}
LONG = {"sbom", "sign", "verify"}
counts = {"passed": 0, "failed": 0, "skipped": 0}
steps_run = set()


def check(name, body):
    start = time.monotonic()
    try:
        faults = list(body() or [])
    except subprocess.CalledProcessError as error:
        faults = [f"{error}\n{error.stdout or ''}{error.stderr or ''}"]
    except (OSError, KeyError, ValueError, AttributeError, subprocess.TimeoutExpired, yaml.YAMLError) as error:
        faults = [f"{type(error).__name__}: {error}"]
    counts["failed" if faults else "passed"] += 1
    print(f"{'FAIL' if faults else 'ok'}    {name} ({time.monotonic() - start:.0f} s)".replace("FAIL   ", "FAIL "), flush=True)
    for fault in faults[:20]:
        print("      " + str(fault).strip()[-3000:].replace("\n", "\n      "), flush=True)
    return not faults


def run(*words, **options):
    options = {"timeout": 600, "cwd": ROOT, **options}
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True, **options).stdout


def step(name, *arguments, **environment):
    steps_run.add(name)
    return run(ROOT / "scripts/release", name, *arguments, env={**os.environ, **environment}, timeout=3600)


def helm(*words):
    return run(os.environ["HELM"], *words)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def registry(folder):
    """Debian's docker-registry at a port that it chooses, and tells."""
    configuration = folder / "registry.yml"
    configuration.write_text(json.dumps({
        "version": "0.1", "log": {"level": "info"}, "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": "127.0.0.1:0", "secret": "only for this run"}}))
    server = subprocess.Popen(["docker-registry", "serve", configuration], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    watchdog = threading.Timer(60, server.kill)
    watchdog.start()
    try:
        for line in server.stderr:
            if found := re.search(r"listening on (127\.0\.0\.1:\d+)", line):
                break
        else:
            raise OSError("the registry did not start")
        watchdog.cancel()
        threading.Thread(target=server.stderr.read, daemon=True).start()
        yield found.group(1)
    finally:
        watchdog.cancel()
        server.terminate()
        server.wait(10)


def release():
    """All steps, in the order of the workflow."""
    step("version")
    for architecture in ARCHITECTURES:
        step("binary", architecture)
    step("image", *ARCHITECTURES)
    step("chart")
    step("plugin")
    if not SHORT:
        step("sbom")
    step("notes")
    step("checksums")
    step("push")
    if not SHORT:
        sign()


def sign():
    """With a key, and without the log that all can read: the workflow's own way needs its identity, and Sigstore."""
    folder = OUT.parent / "release-check-keys"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    cosign = Path(os.environ["COSIGN"])
    os.environ.update(COSIGN_PASSWORD="", PATH=f"{cosign.parent}:{os.environ['PATH']}")
    run(cosign, "generate-key-pair", cwd=folder)
    nothing, nobody = folder / "no-services.json", folder / "no-authorities.json"
    run(cosign, "signing-config", "create", "--out", nothing)
    run(cosign, "trusted-root", "create", "--out", nobody)
    os.environ["COSIGN_OPTIONS"] = shlex.join(["--yes", "--key", f"{folder}/cosign.key", "--signing-config", str(nothing), "--trusted-root", str(nobody)])
    os.environ["COSIGN_IDENTITY"] = shlex.join(["--key", f"{folder}/cosign.pub", "--insecure-ignore-tlog", "--trusted-root", str(nobody)])
    step("sign")
    step("verify")


def forged(address):
    """`verify` says no to another key, to what nobody signed, and to a list of files that is not the signed one."""
    def refusal(**environment):
        done = subprocess.run([ROOT / "scripts/release", "verify"], cwd=ROOT, capture_output=True, text=True, timeout=600, env={**os.environ, **environment})
        return done.stdout + done.stderr if done.returncode else ""

    if told := refusal():
        yield f"the release itself: {told}"
    keys = OUT.parent / "release-check-keys"
    run(os.environ["COSIGN"], "generate-key-pair", "--output-key-prefix", "other", cwd=keys)
    if not refusal(COSIGN_IDENTITY=os.environ["COSIGN_IDENTITY"].replace("/cosign.pub", "/other.pub")):
        yield "another key is taken"
    charts = f"{address}/{OWNER}/charts/prom-rbac-proxy"
    # Who published the charts: it lies beside them, and is not signed.
    unsigned = hashlib.sha256(run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{charts}:artifacthub.io").encode()).hexdigest()
    published = (OUT / "published.json").read_text()
    (OUT / "published.json").write_text(json.dumps({**json.loads(published), "chart": f"{charts}@sha256:{unsigned}"}))
    if not refusal():
        yield "what nobody signed is taken"
    (OUT / "published.json").write_text(published)
    sums = (OUT / "SHA256SUMS").read_text()
    (OUT / "SHA256SUMS").write_text("".join(sums.splitlines(keepends=True)[1:]))
    if "SHA256SUMS" not in refusal():
        yield "another list of files is taken"
    (OUT / "SHA256SUMS").write_text(sums)


def checksums():
    run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=OUT)
    listed = {line.split()[1] for line in (OUT / "SHA256SUMS").read_text().splitlines()}
    wanted = {f"prom-rbac-proxy-{VERSION}-linux-{a}.tar.gz" for a in ARCHITECTURES}
    wanted |= {f"prom-rbac-proxy-{VERSION}.tgz", f"prom-rbac-proxy-preset-{VERSION}.tar.gz", "artifacthub-pkg.yml"}
    if not SHORT:
        wanted.add("prom-rbac-proxy.cdx.json")
    if listed != wanted:
        yield f"SHA256SUMS lists {sorted(listed)}, wanted {sorted(wanted)}"


def archives(folder):
    for architecture in ARCHITECTURES:
        name = f"prom-rbac-proxy-{VERSION}-linux-{architecture}"
        run("tar", "-xzf", OUT / f"{name}.tar.gz", "-C", folder)
        if architecture == OWN:
            told = run(folder / name / "prom-rbac-proxy", "version", env={})
            yield from version_faults(told, architecture)
            told = run(folder / name / "prom-rbac-proxy", "check", "--config", folder / name / "prom-rbac-proxy.yaml")
            if ": ok" not in told:
                yield told


def version_faults(told, architecture):
    first, commit, build = told.splitlines()
    if first != f"prom-rbac-proxy {VERSION}":
        yield f"it is {first}"
    if HEAD and not commit.startswith(f"commit: {HEAD}"):
        yield f"{commit}, and not {HEAD}"
    if f"{MACHINES[architecture]}-unknown-linux-gnu, static" not in build:
        yield build


def default_image(address):
    """As the README installs it: the chart from the registry, with no values."""
    rendered = helm("template", "prom-rbac-proxy", f"oci://{address}/{OWNER}/charts/prom-rbac-proxy", "--version", VERSION, "-n", "monitoring",
                    "--plain-http", "--kube-version", "1.33.0")
    deployment = next(o for o in yaml.safe_load_all(rendered) if o and o["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]["containers"][0]["image"]


def chart(address, folder):
    reference = f"oci://{address}/{OWNER}/charts/prom-rbac-proxy"
    if default_image(address) != f"{address}/{OWNER}/prom-rbac-proxy:{VERSION}":
        yield f"the chart from the registry runs {default_image(address)}"
    helm("pull", reference, "--version", VERSION, "--plain-http", "--untar", "--untardir", folder)
    helm("lint", "--strict", folder / "prom-rbac-proxy", "--namespace", "monitoring")
    about = yaml.safe_load((folder / "prom-rbac-proxy/Chart.yaml").read_text())
    if (about["version"], about["appVersion"]) != (VERSION, VERSION):
        yield f"it is {about['version']} for {about['appVersion']}"
    text = json.dumps(about)
    if "OWNER" in text or not about["home"].startswith(f"https://github.com/{OWNER}/") or not about["icon"].endswith(".svg"):
        yield f"the publisher is not filled in: {text}"
    icon = ROOT / about["icon"].split(f"/v{VERSION}/")[1]
    if not icon.exists():
        yield f"there is no {icon}"
    annotations = about["annotations"]
    changes = yaml.safe_load(annotations["artifacthub.io/changes"])
    if not changes or any(change["kind"] not in ("added", "changed", "deprecated", "removed", "fixed", "security") or not change["description"] for change in changes):
        yield f"changes: {changes}"
    image, = yaml.safe_load(annotations["artifacthub.io/images"])
    if image["image"] != default_image(address) or {"linux/" + a for a in ARCHITECTURES} - set(image["platforms"]):
        yield f"images: {image}"
    if yaml.safe_load(annotations["artifacthub.io/crds"]) != []:
        yield "crds"
    if about["maintainers"] != [{"name": "Example", "email": "security@example.com"}]:
        yield f"maintainers: {about['maintainers']}"
    if yaml.safe_load(annotations["artifacthub.io/signKey"]) != {"fingerprint": PUBLISHER["SIGN_KEY_FINGERPRINT"], "url": PUBLISHER["SIGN_KEY_URL"]}:
        yield f"signKey: {annotations['artifacthub.io/signKey']}"
    for link in yaml.safe_load(annotations["artifacthub.io/links"]):
        if not (ROOT / link["url"].split(f"/v{VERSION}/")[1]).exists():
            yield f"{link['url']} leads nowhere"


def repository(address, folder):
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{address}/{OWNER}/charts/prom-rbac-proxy:artifacthub.io", f"dir:{folder}")
    manifest = json.loads((folder / "manifest.json").read_text())
    layer, = manifest["layers"]
    if (manifest["config"]["mediaType"], layer["mediaType"]) != ("application/vnd.cncf.artifacthub.config.v1+yaml",
                                                                 "application/vnd.cncf.artifacthub.repository-metadata.layer.v1.yaml"):
        yield f"{manifest}"
    about = yaml.safe_load((folder / layer["digest"].split(":")[1]).read_text())
    if about != {"repositoryID": PUBLISHER["ARTIFACTHUB_ID"], "owners": [{"name": "Example", "email": "security@example.com"}]}:
        yield f"{about}"


def pulled(address, folder, architecture):
    """The image that the chart names, as a node of this architecture pulls and unpacks it."""
    layout = folder / f"pulled-{architecture}"
    run("skopeo", "copy", "--src-tls-verify=false", "--override-os", "linux", "--override-arch", architecture,
        f"docker://{default_image(address)}", f"oci:{layout}:image")
    run("umoci", "unpack", *(["--rootless"] if os.getuid() else []), "--image", f"{layout}:image", folder / architecture)
    return json.loads(run("skopeo", "inspect", "--config", f"oci:{layout}:image")), folder / architecture


def image(address, folder, architecture):
    configuration, bundle = pulled(address, folder, architecture)
    if (configuration["os"], configuration["architecture"]) != ("linux", architecture):
        yield f"it is for {configuration['os']}/{configuration['architecture']}"
    container = configuration["config"]
    if container["User"] != "65532:65532" or container["Entrypoint"] != ["/prom-rbac-proxy"] or set(container["ExposedPorts"]) != {"9090/tcp", "9091/tcp", "6443/tcp"}:
        yield f"its configuration is {container}"
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in container["Labels"].items()}
    expected = {"title": "prom-rbac-proxy", "description": SENTENCE, "licenses": "Apache-2.0", "version": VERSION, "source": f"https://github.com/{OWNER}/prom-rbac-proxy"}
    if {name: labels.get(name) for name in expected} != expected or not labels.get("revision"):
        yield f"its labels are {labels}"
    root = bundle / "rootfs"
    files = {str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir()}
    if files != {"prom-rbac-proxy", "etc/ssl/certs/ca-certificates.crt"}:
        yield f"it holds {sorted(files)}"
    if (root / "prom-rbac-proxy").read_bytes() != (OUT / f"bin/{architecture}/prom-rbac-proxy").read_bytes():
        yield "its binary is not the one that was built"
    emulator = [] if architecture == OWN else [shutil.which(f"qemu-{MACHINES[architecture]}-static")]
    run("unshare", "--map-root-user", "--net", sys.executable, "-B", ROOT / "tests/deploy/empty_root.py", root, *emulator)
    if not emulator:
        yield from version_faults(in_a_container(bundle, "version"), architecture)


def in_a_container(bundle, *arguments):
    """By runc, as the chart's securityContext has it: another user than root, nothing to write to, no capability."""
    file = bundle / "config.json"
    spec = json.loads(file.read_text())
    if spec["process"]["user"]["uid"] != 65532:
        raise ValueError(f"it would run as {spec['process']['user']}")
    spec["process"].update(terminal=False, args=["/prom-rbac-proxy", *arguments], noNewPrivileges=True, capabilities={})
    spec["root"]["readonly"] = True
    file.write_text(json.dumps(spec))
    return run("runc", "run", f"release-check-{os.getpid()}", cwd=bundle, timeout=120)


def same_image_again(folder):
    first = json.loads((OUT / "image/index.json").read_text())["manifests"][0]["digest"]
    (folder / "bin").symlink_to(OUT / "bin")
    again = step("image", *ARCHITECTURES, RELEASE_DIR=str(folder)).split()[-1]
    if again != first:
        yield f"first {first}, then {again}"
    published = json.loads((OUT / "published.json").read_text())["image"]
    if not published.endswith(first):
        yield f"the registry has {published}"


def same_binary_elsewhere(folder):
    """From a clone in another folder, compiled anew: for the last architecture, which also a quick try compiles as a
    release does."""
    architecture = ARCHITECTURES[-1]
    clone = folder / "a clone elsewhere"
    run("git", "clone", "--quiet", "--no-hardlinks", ROOT, clone)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(folder / "another target")}
    run(clone / "deploy/image/build.sh", architecture, folder / "again", env=environment, cwd=clone, timeout=3600)
    if sha256(folder / "again") != sha256(OUT / f"bin/{architecture}/prom-rbac-proxy"):
        yield "the same commit gave another binary"


def plugin(folder):
    about = yaml.safe_load((OUT / "artifacthub-pkg.yml").read_text())
    archive = OUT / about["annotations"]["headlamp/plugin/archive-url"].rsplit("/", 1)[1]
    if about["annotations"]["headlamp/plugin/archive-checksum"] != f"sha256:{sha256(archive)}":
        yield "the checksum is of another archive"
    for name in ("version", "name", "displayName", "createdAt", "description"):
        if not about.get(name):
            yield f"artifacthub-pkg.yml has no {name}"
    run("tar", "-xzf", archive, "-C", folder)
    loaded, = (p for p in folder.iterdir() if (p / "main.js").exists())
    if json.loads((loaded / "package.json").read_text())["version"] != VERSION:
        yield "package.json has another version"
    run("node", "--test", ROOT / "tests/deploy/preset.test.mjs", env={**os.environ, "PRESET": str(loaded / "main.js")})


def as_headlamps_own_tool_packs_it(folder):
    """`headlamp-plugin package` over the same files: the same names with the same contents."""
    package = folder / "prom-rbac-proxy-preset"
    (package / "dist").mkdir(parents=True)
    shutil.copy(ROOT / "deploy/headlamp/preset/main.js", package / "dist")
    shutil.copy(ROOT / "deploy/headlamp/preset/package.json", package)
    wanted = json.loads((package / "package.json").read_text())["devDependencies"]["@kinvolk/headlamp-plugin"]
    run("npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts", f"@kinvolk/headlamp-plugin@{wanted}", timeout=1800)
    run(folder / "node_modules/.bin/headlamp-plugin", "package", package, folder)
    own, theirs = (contents(place / f"prom-rbac-proxy-preset-{VERSION}.tar.gz") for place in (OUT, folder))
    if own != theirs:
        yield f"ours has {sorted(own)}, theirs {sorted(theirs)}"


def contents(archive):
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


def sbom():
    document = json.loads((OUT / "prom-rbac-proxy.cdx.json").read_text())
    listed = {(component["name"], component["version"]) for component in document["components"]}
    lock = set(re.findall(r'name = "(.*)"\nversion = "(.*)"', (ROOT / "Cargo.lock").read_text()))
    if not listed <= lock:
        yield f"not of Cargo.lock: {sorted(listed - lock)[:5]}"
    missing = {"rustls", "hyper", "kube-client", "ring", "tokio"} - {name for name, _ in listed}
    if missing:
        yield f"it does not list {sorted(missing)}"


def notes():
    text = (OUT / "notes.md").read_text()
    for heading in ("### What an operator has to do", "### Added"):
        if heading not in text:
            yield f"no {heading}"


def workflow():
    """What was run here is what the workflow runs."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    commands = "\n".join(step.get("run", "") for job in jobs.values() for step in job.get("steps", []))
    for update in yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]:
        for directory in update.get("directories", [update.get("directory")]):
            if not (ROOT / directory.lstrip("/")).is_dir():
                yield f"dependabot looks into {directory}, which is not there"
    in_workflow = set(re.findall(r"scripts/release (\w+)", commands))
    here = steps_run | ELSEWHERE | (LONG if SHORT else set())
    if in_workflow != here:
        yield f"only in the workflow: {sorted(in_workflow - here)}; only here: {sorted(here - in_workflow)}"
    for tool in ("docker ", "cargo build", "helm ", "skopeo copy", "cosign "):
        if re.search(rf"^\s*{tool}", commands, re.M):
            yield f"the workflow runs {tool.strip()} by itself"


def one_publisher(folder):
    """`scripts/release publisher` reaches every place, so that a release of another owner has no fault."""
    copy = copy_of_the_tree(folder / "copy")
    environment = {name: value for name, value in os.environ.items() if name not in ("REGISTRY", "OWNER", "SOURCE")}
    run(copy / "scripts/release", "publisher", "registry.example.com", "Acme", env=environment)
    run(copy / "scripts/release", "version", env=environment)
    for path in [copy / "README.md", copy / "deploy/helm/prom-rbac-proxy/Chart.yaml", *sorted((copy / "docs").glob("*.md"))]:
        if found := re.search(r"\S*[/@]OWNER\b\S*|\bOWNER/\S*", path.read_text()):
            yield f"{path.relative_to(copy)} still has {found.group()}"
    text = (copy / "README.md").read_text()
    if "oci://registry.example.com/acme/charts/prom-rbac-proxy" not in text:
        yield "README.md does not have the new registry"


def disagreement(folder):
    """In a copy: a number or a tag that is not the version, wherever it is."""
    copy = copy_of_the_tree(folder / "copy")

    def refused(*tag):
        return subprocess.run([copy / "scripts/release", "version", *tag], capture_output=True, text=True, timeout=60).stderr

    if refused():
        yield f"the tree as it is: {refused()}"
    if "the documents name" not in refused(f"v{VERSION}"):
        yield f"a publisher that the documents do not name: {refused(f'v{VERSION}')}"
    if "the tag is v9.9.9" not in refused("v9.9.9"):
        yield f"a tag of another version: {refused('v9.9.9')}"
    for file in ("README.md", "docs/releases.md", "deploy/helm/prom-rbac-proxy/Chart.yaml", "deploy/kustomize/deployment.yaml", "tests/standins/Cargo.toml"):
        text = (copy / file).read_text()
        (copy / file).write_text(text.replace(VERSION, "9.9.9"))
        if not re.search(rf"^{file} (has|does not have) ", refused(), re.M):
            yield f"another version in {file} is not found: {refused()}"
        (copy / file).write_text(text)
    text = (copy / "CHANGELOG.md").read_text()
    (copy / "CHANGELOG.md").write_text(text.replace(f"## {VERSION} - ", "## 9.9.9 - "))
    if "CHANGELOG.md has no section" not in refused():
        yield f"no section in CHANGELOG.md: {refused()}"


def copy_of_the_tree(copy):
    files = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for file in filter(None, files):
        source, target = ROOT / file, copy / file
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return copy


def main():
    with tempfile.TemporaryDirectory(prefix="release-check-") as directory:
        folder = Path(directory)
        place = lambda name: (folder / name).mkdir() or folder / name
        with registry(folder) as address:
            os.environ.update(REGISTRY=address, OWNER=OWNER, PLAIN_HTTP="1", **PUBLISHER)
            if check("every step of a release", release):
                check("the workflow runs these steps", workflow)
                check("the checksums cover all files", checksums)
                check("the archives hold a binary that runs anywhere", lambda: archives(place("archives")))
                check("the chart from the registry installs the image from there, and tells Artifact Hub about itself", lambda: chart(address, place("chart")))
                check("Artifact Hub finds whose charts these are", lambda: repository(address, place("repository")))
                images = place("images")
                for architecture in ARCHITECTURES:
                    check(f"the image for {architecture} from the registry runs", lambda: image(address, images, architecture))
                check("the same binaries give the same image", lambda: same_image_again(place("second")))
                check("the preset plugin loads from its archive", lambda: plugin(place("plugin")))
                check("the notes say what to do", notes)
                check("there is one place for the publisher", lambda: one_publisher(place("publisher")))
                check("another version anywhere is found", lambda: disagreement(place("versions")))
                if not SHORT:
                    check("signatures of others are refused", lambda: forged(address))
                    check("the SBOM lists what Cargo.lock has", sbom)
                    check("Headlamp's own tool packs the plugin alike", lambda: as_headlamps_own_tool_packs_it(place("npm")))
                    check("the same commit gives the same binary elsewhere", lambda: same_binary_elsewhere(place("elsewhere")))
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
