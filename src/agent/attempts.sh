# shellcheck shell=bash
# Attempts of a poll, for what needs no program in the guest but bash.

# port_open ADDRESS PORT: something listens on the TCP port.
port_open() {
  { : 3<> "/dev/tcp/$1/$2"; } 2> /dev/null
}

# socket_open PATH stream|datagram: something listens on the Unix socket.
socket_open() {
  local _ flags type path
  while read -r _ _ _ flags type _ _ path; do
    [ "$path" = "$1" ] || continue
    # In the kernel's list, 00010000 marks a socket that takes connections.
    case $2 in
      stream) [ "$flags" = 00010000 ] && return ;;
      datagram) [ "$type" = 0002 ] && return ;;
    esac
  done < /proc/net/unix
  return 1
}

# http_answers HOST PORT AUTHORITY PATH: a GET request is answered by a status
# below 400.
http_answers() (
  exec 3<> "/dev/tcp/$1/$2" &&
    printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$4" "$3" >&3 &&
    read -r -t 10 -u 3 _ status _ &&
    [ "$status" -lt 400 ]
) 2> /dev/null
