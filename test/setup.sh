#!/usr/bin/env bash
# What the tests need of the machine, beside node: independent programs that check our results, and for root a user to build
# as. Root gets what is missing installed; others are told exactly what it is. The table is that of test/support/needs.ts.
set -euo pipefail

user=${TSBUILD_TEST_USER:-tsbuild-test}
PATH=$PATH:/usr/sbin:/sbin
packages=(
  busybox:busybox-static bzip2:bzip2 crun:crun db5.3_load:db5.3-util docker-registry:docker-registry git:git newuidmap:uidmap
  openssl:openssl pasta:passt python3:python3
  qemu-aarch64-static:qemu-user-static qemu-x86_64-static:qemu-user-static rpm:rpm rpmbuild:rpm runc:runc script:bsdutils skopeo:skopeo slirp4netns:slirp4netns ssh-add:openssh-client umoci:umoci xz:xz-utils zstd:zstd
)

missing=()
for entry in "${packages[@]}"; do
  command -v "${entry%%:*}" > /dev/null || missing+=("${entry#*:}")
done

if [ "${#missing[@]}" -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "The tests need packages that are not installed. As root:" >&2
    echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# Stock clients of the daemon's API are newer than the stable releases' packages: from Debian's unstable suite, or where that is not to be had
# from the machine's own, unpacked aside and never installed.
tools=${TSBUILD_TEST_TOOLS:-/var/tmp/tsbuild-test-tools}
if [ ! -x "$tools/usr/libexec/docker/cli-plugins/docker-buildx" ]; then
  scratch=$(mktemp -d)
  mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial"
  debian_mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(SITE)' | awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }'
  }
  mirror=$(debian_mirror)
  if [ -z "$mirror" ] && [ "$(id -u)" = 0 ]; then
    apt-get update -qq
    mirror=$(debian_mirror)
  fi
  options=()
  if [ -n "$mirror" ]; then
    echo "deb $mirror unstable main" > "$scratch/sources.list"
    options=(-o "Dir::Etc::sourcelist=$scratch/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$scratch/lists"
      -o "Dir::Cache=$scratch/cache" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update -qq
  fi
  (cd "$scratch" && apt-get "${options[@]}" download -qq docker-buildx && dpkg -x docker-buildx_*.deb unpacked)
  rm -rf "$tools"
  mkdir -p "$(dirname "$tools")"
  mv "$scratch/unpacked" "$tools"
  chmod -R a+rX "$tools"
  rm -rf "$scratch"
fi

# The first id after all ranges that are given out in FILE.
first_free() {
  awk -F: 'BEGIN { next_id = 100000 } $2 + $3 > next_id { next_id = $2 + $3 } END { print next_id }' "$1"
}

if [ "$(id -u)" = 0 ]; then
  getent passwd "$user" > /dev/null || useradd --no-create-home --home-dir / --shell /usr/sbin/nologin "$user"
  # User-mode networks need the tap device, which is open to everybody wherever udev runs.
  [ -c /dev/net/tun ] || modprobe tun 2> /dev/null || { mkdir -p /dev/net && mknod /dev/net/tun c 10 200; }
  [ ! -c /dev/net/tun ] || chmod 0666 /dev/net/tun
  touch /etc/subuid /etc/subgid
  if ! grep -q "^$user:" /etc/subuid; then
    start=$(first_free /etc/subuid)
    usermod --add-subuids "$start-$((start + 65535))" "$user"
  fi
  if ! grep -q "^$user:" /etc/subgid; then
    start=$(first_free /etc/subgid)
    usermod --add-subgids "$start-$((start + 65535))" "$user"
  fi
elif ! grep -qE "^($(id -un)|$(id -u)):" /etc/subuid || ! grep -qE "^($(id -un)|$(id -u)):" /etc/subgid; then
  echo "The tests build as an ordinary user with subordinate ids, and $(id -un) has none. As root:" >&2
  echo "  usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)" >&2
  exit 1
fi

# An ordinary user needs user namespaces; both settings are documented in user_namespaces(7) and Ubuntu's release notes.
if [ "$(id -u)" != 0 ] && ! unshare --user true 2> /dev/null; then
  echo "The kernel refuses user namespaces to ordinary users. As root:" >&2
  echo "  sysctl user.max_user_namespaces=28633 kernel.apparmor_restrict_unprivileged_userns=0" >&2
  exit 1
fi
