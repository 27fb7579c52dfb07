#!/usr/bin/env bash
# Builds examples/hello on a base made from this machine's own files, builds it again, and runs the image. Needs only node;
# works as root and as an ordinary user. The images go to the usual store, or to the one TSBUILD_ROOT names.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tsbuild() {
  printf '\n\033[1m$ tsbuild %s\033[0m\n' "$*"
  node dist/bin/tsbuild.cjs "$@"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp examples/base/Dockerfile "$work"
node examples/base/make-rootfs.mjs "$work/rootfs"

tsbuild build -t localhost/machine-base "$work"
tsbuild build -t hello --build-context modules=node_modules examples/hello
tsbuild build -t hello --build-context modules=node_modules examples/hello # all of it cached
tsbuild images
tsbuild run --rm hello
tsbuild run --rm -e GREETING=Welcome hello Ada Grace
