#!/bin/sh
# Checks everything under deploy/ with the tools that operators use on it. Prints a line for each check and, last,
# `N passed, N failed, N skipped`; exits 1 when one failed. What cannot be had on this machine is skipped, by name.
#
# Needs python3 with venv (Debian: python3-venv). Fetches, once, into ${XDG_CACHE_HOME:-~/.cache}/prom-rbac-proxy:
# Helm with Go, unless a helm is on the PATH, and the packages of requirements.txt from PyPI.
# Taken from the machine when there: kubectl (Debian: kubernetes-client), prometheus and promtool (prometheus), node
# (nodejs), chromium, openssl, wget or busybox, cargo.
#
# Environment, all optional:
#   RENDERED_DIR           where the rendered configuration files go (default: below the cache folder)
#   PROM_RBAC_PROXY        the binary: it must accept every rendered configuration (`check --config`)
#   DEMO                   the demo's binary: alerts and dashboard are asked of a Prometheus that scraped what it runs
#   HEADLAMP_CHART         folder of Headlamp's own chart: the values files for it are rendered and validated
#   STATIC_BUILD           architectures, such as "amd64 arm64": instead of all else, build the static binary as the image
#                          does (CARGO_PROFILE, default dev) and run it
set -u

directory=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/prom-rbac-proxy
helm_version=v3.20.2
mkdir -p "$cache/bin"

if ! command -v python3 >/dev/null; then
  echo "skip  everything: python3 is not installed"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi

venv=$cache/venv-$(cksum < "$directory/requirements.txt" | tr ' ' -)
if [ ! -e "$venv/complete" ]; then
  if ! { rm -rf "$venv" && python3 -m venv "$venv" \
      && "$venv/bin/pip" --quiet --disable-pip-version-check install -r "$directory/requirements.txt" \
      && touch "$venv/complete"; } >"$cache/venv.log" 2>&1; then
    echo "skip  everything: no Python environment (see $cache/venv.log; Debian: apt install python3-venv)"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
  fi
fi

if [ -z "${HELM:-}" ]; then
  if command -v helm >/dev/null; then
    HELM=$(command -v helm)
  else
    HELM=$cache/bin/helm-$helm_version
    if [ ! -x "$HELM" ] && command -v go >/dev/null; then
      echo "      building Helm $helm_version once, a few minutes"
      if GOBIN=$cache/bin GOFLAGS=-trimpath go install "helm.sh/helm/v3/cmd/helm@$helm_version" >"$cache/helm.log" 2>&1; then
        mv "$cache/bin/helm" "$HELM"
      fi
    fi
  fi
fi
[ -x "$HELM" ] || HELM=

export HELM RENDERED_DIR="${RENDERED_DIR:-$cache/rendered}"
exec "$venv/bin/python" -B "$directory/check.py"
