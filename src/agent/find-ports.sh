# shellcheck shell=bash
# find_ports REPLIES GUARD PROGRAM ARGUMENTS: starts the guard's program with the
# arguments if the guest has a port of the name GUARD, and prints the device of
# the port REPLIES, or an empty line. Runs in the guest's own shell.
find_ports() {
  local port name guard=/dev/virtio-ports/$2 replies=/dev/virtio-ports/$1
  # Containers have them there, as udev has; no guest needs udev for them.
  for port in /sys/class/virtio-ports/*; do
    name=
    read -r name < "$port/name"
    case $name in
      "$2") guard=/dev/${port##*/} ;;
      "$1") replies=/dev/${port##*/} ;;
    esac
  done 2> /dev/null
  # With job control, or the guard and the shells that it starts would ignore
  # Ctrl-C.
  # shellcheck disable=SC2016
  [ -c "$guard" ] && (program=$3; shift 3; set -m; setsid bash -c "$program" guard $$ "$guard" "$@" < /dev/null > /dev/null 2>&1 &)
  [ -c "$replies" ] || replies=
  echo "$replies"
}
