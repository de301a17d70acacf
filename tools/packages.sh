#!/bin/sh
# Installs the Debian packages that building and testing need, and nothing when they are all there.
set -eu
build="g++ cmake ninja-build libfmt-dev libexpected-dev libcli11-dev"
test="libgtest-dev nlohmann-json3-dev python3"
run="clang"
extra="libcapstone-dev libdw-dev pkg-config clang-format-19 bpftool libbpf-dev strace gcc-12-multilib g++-aarch64-linux-gnu qemu-user"
# gcc-12-multilib and not gcc-multilib, which excludes every cross compiler.

missing() {
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$package"
  done
}

if ! command -v dpkg-query >/dev/null; then
  echo "packages: this is not Debian; needed: $build $test $run" >&2
  exit 0
fi
need=$(missing $build $test $run)
wish=$(missing $extra)
[ -n "$need$wish" ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
  if [ -z "$need" ]; then
    exit 0  # the rest only widens the tests
  elif command -v sudo >/dev/null; then
    sudo=sudo
  else
    echo "packages: missing: $need(install them as root: apt-get install $need)" >&2
    exit 1
  fi
fi
echo "packages: installing $need$wish" >&2
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get install -y --no-install-recommends $need $wish >/dev/null 2>&1 ||
  { $sudo apt-get update >/dev/null && $sudo apt-get install -y --no-install-recommends $need >/dev/null; $sudo apt-get install -y --no-install-recommends $wish >/dev/null || true; }
still=$(missing $build $test $run)
[ -z "$still" ] || { echo "packages: could not install: $still" >&2; exit 1; }
