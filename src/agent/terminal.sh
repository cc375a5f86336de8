# shellcheck shell=bash
# A shell for people, on a terminal of its own.

# start_terminal DEVICE FILE ROWS COLUMNS END: starts it. FILE gets its process
# ID; it prints END when it has ended.
start_terminal() {
  # Without job control, what runs in the background ignores Ctrl-C.
  set -m
  # It leads a session of its own, whose terminal the first one becomes that it
  # opens.
  # shellcheck disable=SC2016
  setsid bash -c '
    exec < "$1" > "$1" 2>&1
    echo $$ > "$2"
    stty sane rows "$3" cols "$4"
    cd
    TERM=${TERM:-linux} PS1="\u@\h:\w\\\$ " bash --norc -i
    echo "$5"
  ' terminal "$@" < /dev/null > /dev/null 2>&1 &
}

# resize_terminal DEVICE ROWS COLUMNS
resize_terminal() {
  stty -F "$1" rows "$2" cols "$3"
}

# hang_up_terminal FILE: ends the shell that start_terminal has started.
hang_up_terminal() {
  kill -HUP -- "-$(cat "$1")" 2> /dev/null || true
}
