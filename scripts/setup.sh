#!/usr/bin/env bash
# Installs what this project needs and the machine lacks, on Debian: Nix, QEMU
# and its image tool; and tesseract and ty, which one test each needs. Rust, npm and Python
# are taken as they are.
set -euo pipefail

missing=()
command -v nix-instantiate > /dev/null || missing+=(nix-bin)
command -v qemu-system-x86_64 > /dev/null || missing+=(qemu-system-x86)
command -v qemu-img > /dev/null || missing+=(qemu-utils)
command -v tesseract > /dev/null || missing+=(tesseract-ocr)
command -v npm > /dev/null || missing+=(npm)
command -v dpkg-deb > /dev/null || { echo "setup: this is no Debian: install Nix, QEMU and npm by hand" >&2; exit 1; }

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
# Fetching packages for the guests needs the lists, too.
if [ ${#missing[@]} -gt 0 ] || ! apt-cache show busybox-static > /dev/null 2>&1; then
  "${as_root[@]}" apt-get -qq update
fi
if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: installing ${missing[*]}"
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get -qq install --yes --no-install-recommends "${missing[@]}" > /dev/null
fi

# The test that needs it says so where it is not to be had.
if [ ! -x target/tools/bin/ty ] && command -v python3 > /dev/null; then
  python3 -m venv target/tools > /dev/null && target/tools/bin/pip --quiet --disable-pip-version-check install ty ||
    echo "setup: ty could not be installed" >&2
fi
