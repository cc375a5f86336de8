# shellcheck shell=bash disable=SC2086,SC2206,SC2010
# Unquoted: numbers of processes, which are one word each. `ls` lists links of
# /proc, whose names are numbers.
# Runs beside the guest's shell, to end what the shell is busy with and to
# start it anew if a command has killed it, unless the system is stopping. Speaks over a port of its own:
#   guard.sh SHELL_PID PORT TERMINAL ERRORS PID_FILE PEOPLES_TERMINAL SESSION_FILE
# `end` is answered by a line that names the processes which were ended. A new
# shell reads TERMINAL and writes errors to ERRORS; PID_FILE is where its process ID passes through.
# What people type runs beside the shell, which may be busy: `terminal ROWS COLUMNS
# NUMBER [COMMAND]`, `resize ROWS COLUMNS` and `hang-up` are those of terminal.sh.
shell=$1
exec 9<> "$2" || exit
# Out of the unit that the shell belongs to: it may end.
for group in /sys/fs/cgroup /sys/fs/cgroup/systemd; do
  [ ! -w $group/cgroup.procs ] || echo $$ > $group/cgroup.procs
done 2> /dev/null
# Not ignored: what it starts would ignore them, too. TERM ends it, as systemd
# asks when it powers off.
trap : HUP INT
# The terminal loses its settings when no process has it open.
exec 8<> "$3"

# Sets `below` to the processes that came from one.
descend() {
  local pid child
  below=()
  local queue=($1)
  while [ ${#queue[@]} -gt 0 ]; do
    pid=${queue[0]}
    queue=("${queue[@]:1}")
    for child in $(< /proc/$pid/task/$pid/children); do
      below+=($child)
      queue+=($child)
    done
  done
}

# Sets `sink` to the end of the shell's pipeline, which reads the output: the
# one child that is the shell's own copy.
find_sink() {
  local pid own other
  sink=
  mapfile -d '' -t own < /proc/$shell/cmdline || return
  for pid in $(< /proc/$shell/task/$shell/children); do
    mapfile -d '' -t other < /proc/$pid/cmdline
    [ "${own[*]}" != "${other[*]}" ] || sink=$pid
  done
}

# Sets `busy` to what the shell waits for: what it started, and what else can
# still write to the pipe. Nothing of the sink.
find_busy() {
  local pid pipe entry own
  find_sink
  busy=()
  for pid in $(< /proc/$shell/task/$shell/children); do
    [ "$pid" != "$sink" ] || continue
    descend $pid
    busy+=($pid "${below[@]}")
  done
  [ -n "$sink" ] || return
  descend $sink
  own=" ${busy[*]} ${below[*]} $sink $shell $$ "
  pipe=$(readlink /proc/$sink/fd/0)
  # Where the sink has just ended there is none to look for.
  [[ $pipe = pipe:* ]] || return
  while read -r entry; do
    pid=${entry#*/proc/}
    pid=${pid%%/*}
    [[ $own = *" $pid "* ]] || { busy+=($pid) own+="$pid "; }
  done < <(ls -l /proc/[0-9]*/fd/[12] | grep -F -- "-> $pipe")
}

name_busy() {
  local pid name
  names=
  for pid in "${busy[@]}"; do
    read -r name < /proc/$pid/comm || continue
    case $name in timeout | bash | tee | su) ;; *) names+="${names:+, }$name (pid $pid)" ;; esac
  done
}

# Whether something of `busy` is still there, other than what was ended and
# waits for its parent.
alive() {
  local pid state
  for pid in "${busy[@]}"; do
    read -r state < /proc/$pid/stat || continue
    state=${state##*) }
    [ "${state%% *}" = Z ] || return 0
  done
  return 1
}

end() {
  local signal
  find_busy
  name_busy
  for signal in TERM KILL KILL; do
    [ ${#busy[@]} -gt 0 ] || break
    kill -$signal "${busy[@]}"
    for _ in 1 2 3 4 5 6 7 8 9 10; do
      alive || break
      sleep 0.05
    done
    find_busy
  done
  if [ -n "$sink" ]; then
    descend $sink
    kill -KILL "${below[@]}" $sink
  fi
  echo "$names" >&9
} 2> /dev/null

# Whether the system is on its way down: its shell is not to come back.
stopping() {
  [ "$(systemctl is-system-running 2> /dev/null)" = stopping ]
}

partial=
while :; do
  if read -r -t 1 request <&9; then
    words=($partial$request)
    partial=
    case ${words[0]} in
      end) end ;;
      terminal) start_terminal "$6" "$7" "${words[@]:1}" ;;
      resize) resize_terminal "$6" "${words[@]:1}" ;;
      hang-up) hang_up_terminal "$7" ;;
    esac
  elif [ $? -le 128 ]; then
    # The host has closed the port.
    exit
  else
    # The time can be over in the middle of a line.
    partial+=$request
  fi
  if [ -z "$shell" ] || [ -d /proc/$shell ]; then
    continue
  elif stopping; then
    shell=
    echo stopping >&9
  else
    cd /tmp || cd /
    # Job control, or the shell would ignore Ctrl-C. `setsid` starts another
    # process for it then.
    set -m
    # shellcheck disable=SC2016,SC2094
    setsid bash -c 'echo $$ > "$2"; exec bash --norc "$1"' shell "$3" "$5" \
      < "$3" > "$3" 2> "$4" 8>&- 9>&- &
    wait $!
    set +m
    while ! read -r shell < "$5"; do sleep 0.05; done 2> /dev/null
    rm "$5"
    echo restarted >&9
  fi
done
