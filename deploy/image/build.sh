#!/bin/sh
# Builds the statically linked binary for one architecture: build.sh {amd64|arm64} OUTPUT_FILE
# Run by the Dockerfile, by scripts/release and by the tests. It installs nothing: another architecture than the
# machine's needs that target's C compiler (gcc-aarch64-linux-gnu or gcc-x86-64-linux-gnu) and its Rust standard library
# (rustup target add).
#
#   CARGO_PROFILE           another profile than release. With "dev" the binary is linked from what the tests have
#                           compiled, where that is for the same architecture.
#   PROM_RBAC_PROXY_COMMIT  what `prom-rbac-proxy version` names; asked of git otherwise
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
built=${CARGO_TARGET_DIR:-target}

if [ -z "${PROM_RBAC_PROXY_COMMIT:-}" ]; then
  PROM_RBAC_PROXY_COMMIT=$(git rev-parse HEAD 2>/dev/null || true)
  if [ -n "$PROM_RBAC_PROXY_COMMIT" ] && [ -n "$(git status --porcelain --untracked-files=no)" ]; then
    PROM_RBAC_PROXY_COMMIT=$PROM_RBAC_PROXY_COMMIT-changed
  fi
fi
PROM_RBAC_PROXY_BUILD="$(rustc --version), $target, static, $profile"
export PROM_RBAC_PROXY_COMMIT PROM_RBAC_PROXY_BUILD

# glibc's resolver is in the static library since 2.34, so names resolve on an empty base; older ones need
# shared objects at run time and are not supported.
static='-Ctarget-feature=+crt-static'
if [ "$profile" = dev ] && [ "$(uname -m)" = "$machine" ]; then
  cargo rustc --locked --bin prom-rbac-proxy -- "$static" -Cstrip=debuginfo
  binary=$built/debug/prom-rbac-proxy
else
  # The same bytes wherever and whenever it is built: no folder of this machine in them, and no time.
  sysroot=$(rustc --print sysroot)
  commit=$(rustc -vV | sed -n 's/^commit-hash: //p')
  cargo_home=${CARGO_HOME:-$HOME/.cargo}
  mkdir -p "$built"
  built=$(cd "$built" && pwd)
  CARGO_ENCODED_RUSTFLAGS=$(printf '%s\037' "$static" "--remap-path-prefix=$PWD=/src" \
    "--remap-path-prefix=$built=/target" "--remap-path-prefix=$cargo_home=/cargo")
  CARGO_ENCODED_RUSTFLAGS=$CARGO_ENCODED_RUSTFLAGS--remap-path-prefix=$sysroot/lib/rustlib/src/rust=/rustc/$commit
  export CARGO_ENCODED_RUSTFLAGS
  underscored=$(echo "$target" | tr - _)
  # mimalloc would tell when it was compiled.
  no_time='-Wno-builtin-macro-redefined -D__DATE__="\"\"" -D__TIME__="\"\""'
  # Quoted, for a folder with a space in its name.
  export CC_SHELL_ESCAPED_FLAGS=1 "CFLAGS_$underscored=$no_time '-ffile-prefix-map=$built=/target' '-ffile-prefix-map=$cargo_home=/cargo'"
  if [ "$(uname -m)" != "$machine" ]; then
    upper=$(echo "$underscored" | tr '[:lower:]' '[:upper:]')
    export "CC_$underscored=$machine-linux-gnu-gcc"
    export "CARGO_TARGET_${upper}_LINKER=$machine-linux-gnu-gcc"
  fi
  # An explicit --target keeps the flags away from build scripts and procedural macros, which cannot be static.
  cargo build --locked --profile "$profile" --target "$target" --bin prom-rbac-proxy
  directory=$profile
  [ "$profile" = dev ] && directory=debug
  binary=$built/$target/$directory/prom-rbac-proxy
fi
mkdir -p "$(dirname "$output")"
cp "$binary" "$output"

# A program interpreter in the headers means a dynamic loader, which the empty base does not have.
if readelf -l "$output" | grep -q INTERP; then
  echo "build.sh: $output is not statically linked" >&2
  exit 1
fi
