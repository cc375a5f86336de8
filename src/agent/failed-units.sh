# shellcheck shell=bash disable=SC2034,SC2154
# Units that fail while a poll goes on: the poll ends with the status 76, and its output describes the first unit that is not known.
#
# systemd says when a unit changes: see systemd-bus.sh. The watch begins
# `watch_after` seconds after the poll: most polls are shorter. `known` has the
# unit, the invocation and the restarts of reported failures, `expected` the
# patterns of units that may fail.
watched=

look_at_units() {
  local chunk changed=
  if [ -z "$watched" ]; then
    [ "$SECONDS" -ge "$watch_after" ] || return 0
    watched=yes
    watch_units
    changed=yes
  fi
  while read -r -t 0 -u "$changes"; do
    read -r -d '' -t 1 -u "$changes" chunk || break
    changed=yes
  done
  [ -z "$changed" ] || report_failed_units
}

# Connects to systemd; `changes` is where the words of units that fail come from.
watch_units() {
  changes=$never
  command -v systemd-stdio-bridge > /dev/null || return 0
  # Open for both: to its reader, it never ends.
  exec {changes}<> <(:)
  exec {watch_calls}> >(
    exec 1>&"$changes" 2> /dev/null
    systemd-stdio-bridge -p unix:path=/run/systemd/private |
      LC_ALL=C grep -azE --line-buffered '(failed|auto-restart)$'
  )
  (
    trap '' PIPE
    exec 1>&"$watch_calls" 2> /dev/null
    subscribe_message
  )
}

report_failed_units() {
  local unit
  for unit in $(failed_units); do
    report_unit "$unit"
  done
}

# Prints the units that have failed, and those that are to be started again after a failure.
failed_units() {
  systemctl list-units --all --plain --no-legend --no-pager --full \
    --state=failed,auto-restart 2> /dev/null | while read -r unit _; do
    may_fail "$unit" || echo "$unit"
  done
}

# may_fail UNIT: the script expects it.
may_fail() {
  local pattern
  for pattern in "${expected[@]}"; do
    # shellcheck disable=SC2053
    [[ $1 != $pattern ]] || return 0
  done
  return 1
}

# property NAME: of those in `properties`.
property() {
  local rest=${properties#*"$1"=}
  printf %s "${rest%%$'\n'*}"
}

report_unit() {
  local properties fact restarts
  properties=$'\n'$(unit_properties "$1")$'\n'
  restarts=$(property NRestarts)
  for fact in "${known[@]}"; do
    # shellcheck disable=SC2086
    set -- "$1" $fact
    [ "$1" = "$2" ] || continue
    [ "$(property InvocationID)" != "$3" ] || return 0
    # Each time that there are twice as many.
    [ "${restarts:-0}" -eq 0 ] || [ "$restarts" -ge $((2 * ${4:-0})) ] || return 0
  done
  if [ "$(property Result)" = success ]; then
    fact=$(last_failure "$1")
    [ -n "$fact" ] || return 0
    properties+=$fact$'\n'
  fi
  output=$({ printf '%s\n' "${properties#$'\n'}"; unit_journal "$1"; } | head -c 16000 | base64 | tr -d '\n')
  end_poll 76
}

# The failure of a unit that has been started again since: its properties are those of the new start, its journal knows.
last_failure() {
  journalctl --no-pager --quiet --lines=100 --output=export --unit="$1" 2> /dev/null |
    LC_ALL=C sed -n \
      -e 's/^UNIT_RESULT=/Result=/p' \
      -e 's/^EXIT_STATUS=/ExecMainStatus=/p' \
      -e 's/^EXIT_CODE=exited$/ExecMainCode=1/p' \
      -e 's/^EXIT_CODE=killed$/ExecMainCode=2/p' \
      -e 's/^EXIT_CODE=dumped$/ExecMainCode=3/p'
}

unit_properties() {
  systemctl show --no-pager --property=Id,Result,ExecMainCode,ExecMainStatus,NRestarts,InvocationID -- "$1" 2> /dev/null
}

unit_journal() {
  # The journal may lack the last lines of a unit when systemd reports its failure.
  timeout 5 journalctl --sync 2> /dev/null
  journalctl --no-pager --quiet --lines=10 --output=cat --unit="$1" 2> /dev/null
}
