# shellcheck shell=bash disable=SC2034
# Commands in the background: a folder has the output, the process ID, and at
# the end the exit status of each.

# start_background PARENT LINE: starts a simple command; prints its folder, which is
# in PARENT, and its process ID.
start_background() {
  local folder
  folder=$(mktemp -d "$1/snowglobe-XXXXXX")
  # shellcheck disable=SC2016
  setsid bash -c '
    (eval "exec $2") > "$1/output" 2>&1
    echo $? > "$1/status.new"
    mv "$1/status.new" "$1/status"
  ' background "$folder" "$2" < /dev/null > /dev/null 2>&1 &
  echo "$folder" $!
  echo $! > "$folder/pid"
}

# background_ended FOLDER: an attempt of a poll: whether the command has ended.
# Keeps its status in `output` as base64: 137 if it was killed.
background_ended() {
  local gone
  kill -0 "$(cat "$1/pid")" 2> /dev/null
  gone=$?
  # What is gone has written its status before, unless it was killed.
  if [ -e "$1/status" ]; then
    output=$(base64 -w 0 "$1/status")
  elif [ $gone -ne 0 ]; then
    output=$(echo 137 | base64)
  else
    false
  fi
}
