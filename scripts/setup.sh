#!/usr/bin/env bash
# Installs on Debian what this project needs and the machine lacks: Nix, QEMU and
# its image tool; tesseract, busybox and ty, which tests need; shellcheck and ruff for
# the lints; with the argument `tests`, also QEMU for arm64, a browser, an editor, a terminal, and user IDs for containers without root. Rust, npm and Python are taken as they are.
set -euo pipefail

for_what=${1:-build}

# A full disk shows late, in a test that copies 1 GiB.
room_gib=6
free_kib=$(df --output=avail -k . | tail -n 1)
if [ "$for_what" = tests ] && [ "$free_kib" -lt $((room_gib << 20)) ]; then
  echo "setup: warning: $((free_kib >> 20)) GiB are free here; a first build with all tests takes $room_gib GiB" >&2
fi

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)

# Sets `missing` to the packages of the programs that are not on PATH.
find_missing() {
  missing=()
  command -v nix-instantiate > /dev/null || missing+=(nix-bin)
  command -v qemu-system-x86_64 > /dev/null || missing+=(qemu-system-x86)
  command -v qemu-img > /dev/null || missing+=(qemu-utils)
  command -v tesseract > /dev/null || missing+=(tesseract-ocr)
  command -v npm > /dev/null || missing+=(npm)
  command -v shellcheck > /dev/null || missing+=(shellcheck)
  command -v busybox > /dev/null || missing+=(busybox)
  if [ "$for_what" = tests ]; then
    command -v qemu-system-aarch64 > /dev/null || missing+=(qemu-system-arm)
    command -v chromium > /dev/null || missing+=(chromium)
    command -v chromedriver > /dev/null || missing+=(chromium-driver)
    command -v tmux > /dev/null || missing+=(tmux)
    command -v nvim > /dev/null || missing+=(neovim)
    command -v newuidmap > /dev/null || missing+=(uidmap)
    command -v tshark > /dev/null || missing+=(tshark)
  fi
}

command -v dpkg-deb > /dev/null || {
  echo "setup: this is not Debian: install Nix, QEMU and npm by hand" >&2
  exit 1
}
# Fetching packages for the guests needs the lists, too.
find_missing
if [ ${#missing[@]} -gt 0 ] || ! apt-cache show busybox-static > /dev/null 2>&1; then
  "${as_root[@]}" apt-get -qq update
fi
# Twice: Debian's qemu-system-x86 removes a newer qemu-utils, which then is missing.
for _ in first second; do
  find_missing
  [ ${#missing[@]} -gt 0 ] || break
  echo "setup: installing ${missing[*]}"
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get -qq install --yes --no-install-recommends "${missing[@]}" > /dev/null
done
find_missing
if [ ${#missing[@]} -gt 0 ]; then
  echo "setup: still missing after the installation: ${missing[*]}" >&2
  exit 1
fi

if [ ! -x target/tools/bin/ty ] || [ ! -x target/tools/bin/ruff ]; then
  python3 -m venv target/tools > /dev/null
  target/tools/bin/pip --quiet --disable-pip-version-check install ty ruff
fi
