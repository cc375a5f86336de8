# shellcheck shell=bash
# poll ANSWER ROUND: calls `prepare_pause`; then `attempt`, and `pause` and `look_at_units` between two calls, until the
# attempt is true, it says by a status from 70 to 74 that it never will be, or
# ROUND seconds are over (status 75). Writes the status, and the output that
# the attempt has left in `output` as base64, to the file ANSWER.
poll() {
  local status
  set +eu
  answer=$1 output=
  # A pipe on which nothing comes serves for rests: to start a process, as
  # `sleep` is, may take longer than the rest.
  exec {never}<> <(:)
  prepare_pause
  while :; do
    attempt
    status=$?
    [ $status -eq 0 ] && end_poll 0
    [ $status -ge 70 ] && [ $status -lt 75 ] && end_poll $status
    [ $SECONDS -ge "$2" ] && end_poll 75
    pause
    look_at_units
  done
}

end_poll() {
  echo "$1 $output" > "$answer"
  exit
}

# Sets `seconds` to a number of milliseconds, as `read -t` takes it.
in_seconds() {
  printf -v seconds %d.%03d $(($1 / 1000)) $(($1 % 1000))
}

rest() {
  in_seconds "$1"
  read -r -t "$seconds" -u "$never"
}
