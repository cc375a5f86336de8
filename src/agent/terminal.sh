# shellcheck shell=bash
# A shell for people, or a command, on a terminal of its own.

# start_terminal DEVICE FILE ROWS COLUMNS NUMBER [COMMAND]: starts it, in place
# of the one before. FILE gets its process ID. The host loses its output until a
# user is connected: it prints that it waits until it reads a line with NUMBER.
# Its output begins and ends with a mark.
# COMMAND is in base64; without one it is a shell.
start_terminal() {
  hang_up_terminal "$2"
  # Without job control, what runs in the background ignores Ctrl-C.
  set -m
  # It leads a session of its own, whose terminal the first one becomes that it
  # opens.
  # shellcheck disable=SC2016
  setsid bash -c '
    exec < "$1" > "$1" 2>&1 8>&- 9>&-
    echo $$ > "$2"
    if [ $# = 5 ]; then stty sane rows "$3" cols "$4"; else stty raw -echo; fi
    until read -r -t 0.3 line && [ "$line" = "$5" ]; do
      printf "[terminal %s waits]" "$5" || exit
    done
    printf "[terminal %s begins]" "$5"
    cd
    if [ $# = 5 ]; then
      TERM=${TERM:-linux} PS1="\u@\h:\w\\\$ " bash --norc -i
      code=$?
    else
      bash -c "$(base64 -d <<< "$6")" < /dev/null 2>&1 | cat
      code=${PIPESTATUS[0]}
    fi
    rm -f "$2"
    printf "[terminal %s ends %s]" "$5" "$code"
  ' terminal "$@" < /dev/null > /dev/null 2>&1 &
  set +m
  # Until then nothing can end it.
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ ! -s "$2" ] || return 0
    sleep 0.05
  done
}

# resize_terminal DEVICE ROWS COLUMNS
resize_terminal() {
  stty -F "$1" rows "$2" cols "$3"
}

# hang_up_terminal FILE: ends what start_terminal has started.
hang_up_terminal() {
  local leader
  leader=$(cat "$1") && rm -f "$1" && kill -HUP -- "-$leader" || return 0
  # Not two may read at once.
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -d "/proc/$leader" ] || return 0
    sleep 0.05
  done
  kill -KILL -- "-$leader"
} 2> /dev/null
