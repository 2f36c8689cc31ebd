"""Commands of the documents: each is parsed by its own program, and run or rendered where nothing but this tree is needed."""

import functools
import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import yaml

import invariants
from manifests import CHART, KUBERNETES, NAMESPACE, ROOT, RELEASE, RenderError, configurations, helm_template, kustomize_build, run

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", CHART / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OWN_CHART = re.compile(r"^(oci://\S+/charts/prom-rbac-proxy(@sha256:\S+)?|(\./)?deploy/helm/prom-rbac-proxy|prom-rbac-proxy-[0-9.]+\.tgz)$")
# What their arguments mean is for these alone to say: they need a registry, a cluster or a service that is not here.
UNJUDGED = {"curl", "cosign", "gh", "git", "jq", "base64", "sha256sum", "ls", ".", "skopeo", "cat", "argocd", "flux", "oc", "tar", "grep"}
VALUES_FILE = "values.yaml"


class Block:
    """A fenced block of a page; `commands` are those of its lines that a reader types, `answers` all others."""

    def __init__(self, page, language, text):
        self.page, self.language = page, language
        self.text = re.sub(r"^" + re.match(r" *", text).group(), "", text, flags=re.M)
        self.commands, self.answers = self.text, ""
        if language == "console":
            typed, told, inside = [], [], None
            for line in self.text.splitlines():
                if line.startswith("$ "):
                    typed.append(line[2:])
                elif inside or (typed and typed[-1].endswith("\\")):
                    typed.append(line.removeprefix("> ") if inside == "done" else line)
                else:
                    told.append(line)
                    continue
                here = re.search(r"<<(\w+)$", line)
                loop = re.search(r"; do$", line)
                inside = here.group(1) if here else "done" if loop else None if line.strip("> ") == inside else inside
            self.commands, self.answers = "\n".join(typed) + "\n", "\n".join(told).strip()

    def simple_commands(self):
        """Their words, without redirections, assignments and here-documents."""
        text = re.sub(r"<<(\w+)\n.*?^\1$", "", self.commands.replace("\\\n", " "), flags=re.M | re.S)
        # What another command is given by one is a command, too.
        inner = re.findall(r"\$\(([^()]*)\)", text)
        text = "\n".join([re.sub(r"\$\([^()]*\)", "GIVEN", text), *inner])
        for line in text.splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words, skip = [], False
            for word in [*lexer, ";"]:
                if word and set(word) <= set("();|&"):
                    while words and re.match(r"^\w+=", words[0]):
                        words = words[1:]
                    # Words of a loop are no command; what it does over and over is.
                    words = words[1:] if words[:1] == ["do"] else [] if words[:1] in (["for"], ["done"]) else words
                    if words and words != ["$"]:
                        yield words
                    words = []
                elif word and set(word) <= set("<>"):
                    skip = True
                elif skip:
                    skip = False
                else:
                    words.append(word)


def blocks():
    for page in PAGES:
        for language, text in re.findall(r"^ *```(\w*)\n(.*?)^ *```", page.read_text(), re.M | re.S):
            yield Block(page, language, text)


def values_of(page):
    """The README's values file with what a page adds to it."""
    merged = {}
    for block in blocks():
        if block.language == "yaml" and block.text.startswith(f"# {VALUES_FILE}") and block.page in (ROOT / "README.md", page):
            merged = merge(merged, yaml.safe_load(block.text) or {})
    return merged


def merge(below, above):
    both = isinstance(below, dict) and isinstance(above, dict)
    return below | {key: merge(below.get(key), value) for key, value in above.items()} if both else above


@functools.cache
def flags_of(*command):
    text = "".join(subprocess.run(c, capture_output=True, text=True, timeout=60).stdout for c in
                   ([*command, "--help"], [command[0], "options"] if command[0] == "kubectl" else ["true"]))
    return set(re.findall(r"(?<![\w-])(--?[A-Za-z][\w-]*)", text))


def unknown_flags(program, words, depth):
    """The words of `program` that look like flags and are none of its command."""
    subcommand = [word for word in words[1:] if not word.startswith("-")][:depth]
    known = flags_of(program, *subcommand)
    end = words.index("--") if "--" in words else len(words)
    for word in words[1:end]:
        name = word.split("=")[0]
        if word.startswith("-") and len(word) > 1 and name not in known:
            yield f"{' '.join([words[0], *subcommand])} has no {name}"


def helm(block, words):
    program, subcommand = os.environ["HELM"], words[1]
    deep = 2 if subcommand in ("repo", "registry", "get", "dependency") else 1
    # Some flags stand before their command.
    start = next(i for i, word in enumerate(words) if i and not word.startswith("-"))
    yield from unknown_flags(program, words[:1] + words[start:], deep)
    files = [words[i + 1] for i, word in enumerate(words) if word in ("-f", "--values")]
    for file in files:
        if "/" in file and not (ROOT / file).exists():
            yield f"there is no {file}"
    if subcommand not in ("upgrade", "install", "template") or not any(OWN_CHART.match(word) for word in words):
        return
    refused = block.answers.startswith("Error:")
    if VALUES_FILE not in files and not refused:
        yield f"without -f {VALUES_FILE} what was set before is gone: {' '.join(words)}"
    sets = [argument for i, word in enumerate(words) if word == "--set" for argument in ("--set", words[i + 1])]
    if sets and subcommand != "template":
        yield f"--set is gone with the next upgrade: {' '.join(words)}"
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / VALUES_FILE
        merged.write_text(yaml.safe_dump(values_of(block.page)))
        arguments = [argument for file in files for argument in ("-f", str(merged if file == VALUES_FILE else ROOT / file))]
        command = [program, "template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", KUBERNETES, *arguments, *sets]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if refused:
        if block.answers not in done.stderr:
            yield f"{' '.join(words)} says {done.stderr.strip()!r}, the document {block.answers!r}"
    elif done.returncode:
        yield f"{' '.join(words)}: {done.stderr.strip()}"
    else:
        rendered = [o for o in yaml.safe_load_all(done.stdout) if o]
        yield from (f"{' '.join(words)}: {fault}" for fault in invariants.restricted_pods(rendered))


def kubectl(block, words):
    start = next((i for i, word in enumerate(words) if i and word in KUBECTL), None)
    if start is None:
        yield f"no command of kubectl is known in {' '.join(words)}"
        return
    subcommand = words[start]
    # The flags before the command are everybody's: -n is.
    ordered = words[:1] + words[start:]
    yield from unknown_flags("kubectl", words[:start], 0)
    deep = 2 if subcommand in ("create", "auth", "rollout", "config") and not words[start + 1].startswith("-") else 1
    yield from unknown_flags("kubectl", ordered, deep)
    if subcommand == "logs" and any(word in ("-l", "--selector") for word in words) and not {"--tail=-1", "--prefix"} <= set(words):
        yield f"with a selector kubectl shows ten lines of each pod, unnamed, without --tail=-1 --prefix: {' '.join(words)}"
    if subcommand in ("apply", "delete", "diff", "kustomize"):
        for i, word in enumerate(words):
            folder = words[i + 1] if word in ("-k", "--kustomize") else word if subcommand == "kustomize" and "/" in word else None
            if folder and not kustomize_build(ROOT / folder):
                yield f"{folder} makes nothing"
    if subcommand == "create" and deep == 2 and words[start + 1] not in ("token",):
        with tempfile.TemporaryDirectory() as folder:
            for word in words:
                if word.startswith("--from-file="):
                    (Path(folder) / word.removeprefix("--from-file=").split("=")[-1]).write_text("content")
            environment = {"PATH": os.environ["PATH"], "HOME": folder, "KUBECONFIG": "/dev/null"}
            done = subprocess.run([*words, "--dry-run=client", "-o", "yaml"], capture_output=True, text=True, env=environment, cwd=folder, timeout=60)
            if done.returncode:
                yield f"{' '.join(words)}: {done.stderr.strip()}"
    if "--" in words and subcommand == "exec":
        inner = words[words.index("--") + 1:]
        if inner[0] != "/prom-rbac-proxy":
            yield f"the image has no {inner[0]}: {' '.join(words)}"
        else:
            yield from proxy(block, inner)


KUBECTL = {"apply", "auth", "config", "create", "delete", "describe", "exec", "get", "kustomize", "label", "logs", "port-forward", "rollout", "scale", "wait", "annotate",
           "patch"}


def proxy(block, words):
    program = os.environ.get("PROM_RBAC_PROXY")
    if not program:
        return
    yield from unknown_flags(program, words, 1)
    if words[1] in ("completions", "man", "schema", "version"):
        run(program, *(word for word in words[1:] if not word.startswith("$")))
    elif words[1] not in ("serve", "check", "explain", "doctor"):
        yield f"there is no {' '.join(words)}"


def make(_, words):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    for word in words[1:]:
        if "=" not in word and not word.startswith("-") and word not in targets:
            yield f"make has no {word}"


def cargo(_, words):
    for i, word in enumerate(words):
        if word == "--test" and not any((ROOT / "tests" / name).exists() for name in (f"{words[i + 1]}.rs", f"{words[i + 1]}/main.rs")):
            yield f"there is no test {words[i + 1]}"


def docker(_, words):
    for i, word in enumerate(words):
        if word == "-f" and not (ROOT / words[i + 1]).exists():
            yield f"there is no {words[i + 1]}"


JUDGES = {"helm": helm, "kubectl": kubectl, "prom-rbac-proxy": proxy, "make": make, "cargo": cargo, "docker": docker}


def faults():
    judged = {}
    for block in blocks():
        if block.language not in ("sh", "console", "bash"):
            continue
        name = block.page.relative_to(ROOT)
        if block.language == "console" and not block.commands.strip():
            yield f"{name}: a console block without a command: {block.text}"
        syntax = subprocess.run(["bash", "-n"], input=block.commands, capture_output=True, text=True)
        if syntax.returncode:
            yield f"{name}: {syntax.stderr.strip()}: {block.commands}"
            continue
        for words in block.simple_commands():
            program = words[0]
            judged[program] = judged.get(program, 0) + 1
            if program.startswith("scripts/"):
                if not os.access(ROOT / program, os.X_OK):
                    yield f"{name}: there is no {program}"
            elif program in JUDGES:
                try:
                    yield from (f"{name}: {fault}" for fault in JUDGES[program](block, words))
                except RenderError as error:
                    yield f"{name}: {' '.join(words)}: {error}"
            elif program not in UNJUDGED:
                yield f"{name}: nobody judges {' '.join(words)}"
    for program, least in (("helm", 8), ("kubectl", 40), ("prom-rbac-proxy", 5)):
        if judged.get(program, 0) < least:
            yield f"only {judged.get(program, 0)} commands of {program} were found"


def shown_values():
    """Every values file that is shown, each with the README's below it where it says so, and those inside of GitOps' objects."""
    base = values_of(ROOT / "README.md")
    for block in blocks():
        if block.language != "yaml":
            continue
        if block.text.startswith(f"# {VALUES_FILE}"):
            shown = yaml.safe_load(block.text) or {}
            yield block, merge(base, shown) if "beside what is in it" in block.text else shown
        for o in yaml.safe_load_all(block.text) if "\nkind: " in block.text else []:
            if o.get("kind") == "HelmRelease":
                yield block, o["spec"]["values"]
            if o.get("kind") == "Application":
                yield block, o["spec"]["source"]["helm"]["valuesObject"]


def values_faults():
    """Each renders into pods that hold to the rules of all others, and the binary takes its configuration."""
    found, program = 0, os.environ.get("PROM_RBAC_PROXY")
    for block, values in shown_values():
        found += 1
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / VALUES_FILE
            file.write_text(yaml.safe_dump(values))
            try:
                rendered = helm_template(file)
                for text in configurations(rendered).values() if program else []:
                    configuration = Path(folder) / "config.yaml"
                    configuration.write_text(text)
                    run(program, "check", "--config", str(configuration))
            except RenderError as error:
                yield f"{block.page.relative_to(ROOT)}: {error}: {block.text}"
                continue
            yield from (f"{block.page.relative_to(ROOT)}: {fault}" for fault in invariants.restricted_pods(rendered))
    if found < 12:
        yield f"only {found} values files were found"
