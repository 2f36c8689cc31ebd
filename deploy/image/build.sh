#!/bin/sh
# Builds the statically linked binary for one architecture: build.sh {amd64|arm64} OUTPUT_FILE
# Run by the Dockerfile and, for this machine's architecture, by the tests. It installs nothing: another
# architecture than the machine's needs that target's C compiler (gcc-aarch64-linux-gnu or
# gcc-x86-64-linux-gnu) and its Rust standard library (rustup target add).
# CARGO_PROFILE picks another profile than release.
set -eu

architecture=$1
output=$2
case $architecture in
  amd64) machine=x86_64 ;;
  arm64) machine=aarch64 ;;
  *) echo "build.sh: unknown architecture $architecture: amd64 or arm64" >&2; exit 2 ;;
esac
target=$machine-unknown-linux-gnu
profile=${CARGO_PROFILE:-release}

# An explicit --target keeps the flags away from build scripts and procedural macros, which cannot be static.
# glibc's resolver is in the static library since 2.34, so names resolve on an empty base; older ones need
# shared objects at run time and are not supported.
export RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static"
if [ "$(uname -m)" != "$machine" ]; then
  underscored=$(echo "$target" | tr - _)
  upper=$(echo "$underscored" | tr '[:lower:]' '[:upper:]')
  export "CC_$underscored=$machine-linux-gnu-gcc"
  export "CARGO_TARGET_${upper}_LINKER=$machine-linux-gnu-gcc"
fi
cargo build --locked --profile "$profile" --target "$target" --bin prom-rbac-proxy

directory=$profile
[ "$profile" = dev ] && directory=debug
mkdir -p "$(dirname "$output")"
cp "${CARGO_TARGET_DIR:-target}/$target/$directory/prom-rbac-proxy" "$output"

# A program interpreter in the headers means a dynamic loader, which the empty base does not have.
if readelf -l "$output" | grep -q INTERP; then
  echo "build.sh: $output is not statically linked" >&2
  exit 1
fi
