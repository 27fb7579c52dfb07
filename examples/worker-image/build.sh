#!/usr/bin/env bash
# Builds the image of tsbuildd with tsbuild itself, from this checkout (after `npm ci && npm run build`):
#
#   examples/worker-image/build.sh NAME [FLAG…]                      on Debian with Node, from a registry
#   examples/worker-image/build.sh --machine-base NAME [FLAG…]       on files of this machine: no registry is needed
#
# Further flags are those of `tsbuild build`: --push, --target rootless, --build-arg BASE=…
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ ! -e dist/bin/tsbuild.cjs ]; then
  echo "there is no dist: run \`npm ci && npm run build\` first" >&2
  exit 1
fi

base=()
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ "${1:-}" = --machine-base ]; then
  shift
  node examples/base/make-rootfs.mjs "$work/rootfs"
  cp examples/base/Dockerfile "$work"
  node dist/bin/tsbuild.cjs build -q -t localhost/machine-base "$work" > /dev/null
  base=(--build-arg BASE=localhost/machine-base)
fi
name=${1:?usage: build.sh [--machine-base] NAME [FLAG…]}
shift

# What `npm install --global` puts there: the files of the package, and what it depends on.
mkdir -p "$work/package/node_modules" "$work/context"
npm pack --silent --ignore-scripts --pack-destination "$work" > /dev/null
tar -xzf "$work"/tsbuild-*.tgz -C "$work/package" --strip-components=1
npm ls --all --omit=dev --parseable | grep /node_modules/ | while read -r path; do
  mkdir -p "$work/package/${path#"$PWD"/}"
  cp -R "$path/." "$work/package/${path#"$PWD"/}"
done

node dist/bin/tsbuild.cjs build -t "$name" "${base[@]}" --build-context "package=$work/package" \
  -f examples/worker-image/Dockerfile "$@" "$work/context"
