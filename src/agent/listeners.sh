# shellcheck shell=bash
# listeners: prints a line for each TCP port on which something listens: the
# port, `all` or `local` for the addresses, and the program and unit if they are known.
listeners() {
  local inode owners pid program unit line local_address state rest address port
  declare -A owners=()
  while read -r line; do
    case $line in
      /proc/*/fd:)
        pid=${line#/proc/}
        pid=${pid%%/*}
        ;;
      *'socket:['*)
        inode=${line##*socket:[}
        owners[${inode%]}]=$pid
        ;;
    esac
  done < <(ls -l /proc/[0-9]*/fd 2> /dev/null)
  while read -r _ local_address _ state _ _ _ _ _ inode rest; do
    [ "$state" = 0A ] || continue
    port=$((16#${local_address##*:}))
    case ${local_address%:*} in
      0100007F | 00000000000000000000000001000000 | 0000000000000000FFFF00000100007F) address=local ;;
      *) address=all ;;
    esac
    pid=${owners[$inode]-}
    unit=
    [ -z "$pid" ] || unit=$(unit_of "$pid")
    program=$(program_of "$pid")
    echo "$port $address ${program:--} $unit"
  done < <(cat /proc/net/tcp /proc/net/tcp6 2> /dev/null) | sort -n -u
}

program_of() {
  local name='' word before=''
  [ -z "$1" ] || read -r name < "/proc/$1/comm"
  case $name in
    # Some programs of Debian run through their loader.
    ld-linux*)
      while IFS= read -r -d '' word; do
        [ "$before" != --argv0 ] || name=${word##*/}
        before=$word
      done < "/proc/$1/cmdline"
      ;;
  esac
  name=${name//[^[:alnum:].+-]/-}
  echo "${name:0:64}"
} 2> /dev/null

unit_of() {
  local group=
  while IFS=: read -r _ _ group; do
    case ${group##*/} in
      *.service | *.socket | *.scope)
        echo "${group##*/}"
        return
        ;;
    esac
  done < "/proc/$1/cgroup"
} 2> /dev/null
