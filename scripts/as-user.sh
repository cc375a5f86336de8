#!/usr/bin/env bash
# Runs the main paths as a user without root: over a nix-daemon, with containers in control groups of the user's own.
#
#   scripts/as-user.sh SNOWGLOBE    (as root)
#
# The user, the daemon and its store are in namespaces of this script: the machine stays as it is.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)

ignore() {
  echo "as-user: ignored: $1"
  exit 0
}

if [ "${2:-}" != inside ]; then
  program=$(realpath "${1:?the path of snowglobe is missing}")
  [ "$(id -u)" = 0 ] || ignore 'only root can start a daemon and another user'
  unshare --mount --pid --fork true || ignore 'this root cannot make namespaces'
  exec unshare --mount --pid --fork --kill-child --mount-proc "$0" "$program" inside
fi

work=$(mktemp -d)
mount -t tmpfs -o mode=755 as-user "$work"
mkdir "$work/upper" "$work/work" "$work/etc"
groups=()
# The daemon, and all that it has started, end with this process.
# shellcheck disable=SC2317
leave() {
  for group in "${groups[@]}"; do
    echo $$ > "$(dirname "$group")/cgroup.procs"
    find "$group" -depth -type d -exec rmdir {} +
  done
}
trap leave EXIT

# What this machine has in its store is in that of the daemon; what the daemon adds is not on this machine.
mount -t overlay -o "lowerdir=/nix,upperdir=$work/upper,workdir=$work/work" as-user-store /nix ||
  ignore 'the kernel puts no layer above the store'
user=snowglobe-user
home=$work/home
for file in passwd group subuid subgid; do
  cp "/etc/$file" "$work/etc/" 2> /dev/null || touch "$work/etc/$file"
done
echo "$user:x:4242:4242::$home:/bin/bash" >> "$work/etc/passwd"
printf '%s\n' "$user:x:4242:" 'nixbld:x:30000:nixbld1,nixbld2' >> "$work/etc/group"
for number in 1 2; do
  echo "nixbld$number:x:3000$number:30000::/var/empty:/usr/sbin/nologin" >> "$work/etc/passwd"
done
for file in subuid subgid; do
  echo "$user:1000000:65536" >> "$work/etc/$file"
done
for file in passwd group subuid subgid; do
  [ -e "/etc/$file" ] || touch "/etc/$file"
  mount --bind "$work/etc/$file" "/etc/$file"
done
chown root:nixbld /nix/store
chmod 1775 /nix/store
mkdir -p "$home/.local/share/snowglobe"
cp "${XDG_DATA_HOME:-$HOME/.local/share}"/snowglobe/guest-* "$home/.local/share/snowglobe/" 2> /dev/null || true
cp -r "$root/fixtures" "$home/"
cp "$1" "$work/snowglobe"
chown -R 4242:4242 "$home"

nix-daemon --option build-users-group nixbld --option sandbox true > "$work/daemon.log" 2>&1 &
until [ -S /nix/var/nix/daemon-socket/socket ]; do sleep 0.1; done

# A group of each hierarchy, as a manager of a user's services has them.
while read -r _ mount kind _; do
  case $kind in cgroup | cgroup2) ;; *) continue ;; esac
  group=$mount/snowglobe-user
  mkdir -p "$group/session" 2> /dev/null || continue
  groups+=("$group")
  chown -R 4242:4242 "$group"
done < /proc/mounts

as_user() {
  for group in "${groups[@]}"; do
    # That of processor sets is empty, and takes no process.
    { echo $BASHPID > "$group/session/cgroup.procs"; } 2> /dev/null || true
  done
  cd "$home"
  exec setpriv --reuid 4242 --regid 4242 --init-groups env -i HOME="$home" USER="$user" PATH="$PATH" \
    NIX_REMOTE=daemon "$work/snowglobe" "$@"
}
failed=0
expect() {
  local code=$1 ended=0
  shift
  (as_user "$@") > "$work/shown" 2>&1 || ended=$?
  if [ "$ended" = "$code" ]; then
    echo "ok: snowglobe $*"
  else
    echo "failed: snowglobe $* (exit code $ended, expected $code)"
    cat "$work/shown"
    failed=1
  fi
}

expect 0 doctor
expect 0 guest fetch --if-needed
expect 0 check --nixpkgs builtin fixtures/hello.nix
expect 0 run --nixpkgs builtin fixtures/hello.nix
expect 0 run --nixpkgs builtin fixtures/hello.nix
expect 0 run --nixpkgs builtin fixtures/postgrest.nix --backend container
# The control group limits what the machines ask for.
grep -qF ' (containers)' "$work/shown" || {
  echo 'failed: the containers have no control group of their own'
  cat "$work/shown"
  failed=1
}
expect 0 run --nixpkgs builtin fixtures/containers.nix
expect 1 run --nixpkgs builtin fixtures/failing.nix -A command
expect 0 run --nixpkgs builtin fixtures/hello.nix --as-derivation --allow-emulation
exit $failed
