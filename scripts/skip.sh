# shellcheck shell=sh
# Sourced by every script that can leave something out, so that there is one rule for it: what cannot run on this
# machine is skipped in one line that says why; with CI=true it fails in one line that says why. A CI that skips what
# it lost would be green for ever.

skip() { # what is left out, why
    if [ "${CI:-}" = true ]; then
        echo "FAIL  $1: $2; with CI=true nothing is skipped" >&2
        exit 1
    fi
    echo "skip  $1: $2"
    exit 0
}
