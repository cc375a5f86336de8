# shellcheck shell=bash disable=SC2154
# The pauses of a poll for a unit: they end when systemd says that it changes.
#
# See systemd-bus.sh. A guest without such a systemd rests.

# Connects to systemd, before the first attempt, so that no change is missed.
# `bus` is where its messages come from.
prepare_pause() {
  LC_ALL=C
  bus=$never
  command -v systemd-stdio-bridge > /dev/null || return
  coproc bridge {
    systemd-stdio-bridge -p unix:path=/run/systemd/private 2> /dev/null |
      exec grep -azE --line-buffered \
        '/org/freedesktop/systemd1/unit/|ActiveState$|(active|failed|activating|auto-restart)$' 2> /dev/null
  }
  exec {bus}<&"${bridge[0]}" {calls}>&"${bridge[1]}"
  (
    trap '' PIPE
    exec 1>&"$calls" 2> /dev/null
    subscribe_message
  )
}

# Sets `name` to the unit whose D-Bus path ends `chunk`: there, all but letters
# and digits is `_` and two hexadecimal digits.
name_of_path() {
  name=${chunk##*/}
  printf -v name %b "${name//_/\\x}"
}

# Waits for messages, for at most so many milliseconds. Ends the poll when the
# unit `id` becomes active, and returns early when it fails.
hear() {
  local count name
  in_seconds "$1"
  for ((count = 0; count < 200; count++)); do
    read -r -d '' -t "$seconds" -u "$bus" chunk || {
      [ $? -gt 128 ] || bus=$never
      return
    }
    case $seen$chunk in
      */org/freedesktop/systemd1/unit/*)
        name_of_path
        seen=
        [ "$name" != "$id" ] || seen=unit:
        ;;
      unit:*ActiveState) seen=state: ;;
      state:*inactive | state:*failed)
        seen=
        return
        ;;
      state:*deactivating | state:*activating) seen= ;;
      state:*active) end_poll 0 ;;
      # Of another unit: see failed-units.sh.
      *failed | *auto-restart) return ;;
    esac
  done
}

# How often systemd is asked all the same, in milliseconds: at first, and at
# last. An attempt takes as long as some pauses elsewhere.
interval=500
longest_interval=4000
seen=

pause() {
  hear $interval
  interval=$((interval * 2))
  [ $interval -le $longest_interval ] || interval=$longest_interval
}
