# shellcheck shell=bash
# find_ports REPLIES GUARD PROGRAM TERMINAL ERRORS PID_FILE: starts the guard's program if
# the guest has a port of the name GUARD, and prints the device of the port
# REPLIES, or an empty line. Runs in the guest's own shell, whose terminal is
# TERMINAL and whose errors go to ERRORS.
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
  [ -c "$guard" ] && (set -m; setsid bash -c "$3" guard $$ "$guard" "$4" "$5" "$6" < /dev/null > /dev/null 2>&1 &)
  [ -c "$replies" ] || replies=
  echo "$replies"
}
