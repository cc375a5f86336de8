# shellcheck shell=bash
# Messages to systemd.
#
# systemd's private socket speaks D-Bus without a bus in between.
# `systemd-stdio-bridge`, part of systemd, passes bytes to it; two messages are
# enough to receive every change of a unit. In what comes back, strings end in
# NUL: they are all that is looked at.

# Root introduces itself, and calls `Subscribe` of systemd's manager: the
# header of a D-Bus message (see the D-Bus specification, "Message Format")
# with path, interface, member and destination, and no body.
subscribe_message() {
  printf '\0AUTH EXTERNAL 30\r\nBEGIN\r\n'
  printf 'l\001\000\001\000\000\000\000\001\000\000\000\221\000\000\000'
  printf '\001\001o\000\031\000\000\000/org/freedesktop/systemd1\000\000\000\000\000\000\000'
  printf '\002\001s\000\040\000\000\000org.freedesktop.systemd1.Manager\000\000\000\000\000\000\000\000'
  printf '\003\001s\000\011\000\000\000Subscribe\000\000\000\000\000\000\000'
  printf '\006\001s\000\030\000\000\000org.freedesktop.systemd1\000\000\000\000\000\000\000\000'
}
