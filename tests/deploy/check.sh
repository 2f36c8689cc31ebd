#!/bin/sh
# Checks everything under deploy/ with the tools that operators use on it. Prints a line for each check and, last,
# `N passed, N failed, N skipped`; exits 1 when one failed. What cannot be had on this machine is skipped, by name; with
# CI=true that is a failure, before anything else is done.
#
# With --write it writes the files that are made from others, instead: the chart's README and its schema's part for `config`.
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
scripts=$directory/../../scripts

# shellcheck source=scripts/skip.sh
. "$scripts/skip.sh"

if [ "${CI:-}" = true ] && [ -z "${STATIC_BUILD:-}" ]; then
  missing=
  for tool in python3 kubectl prometheus promtool node chromium openssl cargo; do
    command -v "$tool" >/dev/null || missing="$missing $tool"
  done
  [ -n "${HELM:-}" ] || command -v helm >/dev/null || command -v go >/dev/null || missing="$missing helm-or-go"
  command -v wget >/dev/null || command -v busybox >/dev/null || missing="$missing wget-or-busybox"
  [ -n "${PROM_RBAC_PROXY:-}" ] || missing="$missing PROM_RBAC_PROXY"
  [ -n "${DEMO:-}" ] || missing="$missing DEMO"
  [ -z "$missing" ] || skip "checks of deploy/" "missing:$missing"
fi

command -v python3 >/dev/null || skip "all checks of deploy/" "python3 is not installed"
python=$("$scripts/python") || skip "all checks of deploy/" "no Python environment (Debian: python3-venv)"
HELM=$("$scripts/go-program" helm) || HELM=
cache=${XDG_CACHE_HOME:-$HOME/.cache}/prom-rbac-proxy

export HELM RENDERED_DIR="${RENDERED_DIR:-$cache/rendered}"
exec "$python" -B "$directory/check.py" "$@"
