# shellcheck shell=bash disable=SC2034
# capture COMMAND…: runs a command and keeps its output in `output` as base64.
# Its statuses are its own: none says that a poll is hopeless.
capture() {
  output=$(
    "$@" | base64 -w 0
    exit "${PIPESTATUS[0]}"
  ) || false
}
