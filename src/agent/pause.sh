# shellcheck shell=bash
# The pauses of a poll: short ones while the guest has nothing else to do;
# longer and longer ones while it is busy, as at boot, so that polling does not
# delay what is waited for. `interval` is the first one, in milliseconds.
idle_interval=40
longest_interval=500

prepare_pause() { :; }

pause() {
  local before after _
  # The fifth word of /proc/stat counts hundredths of a second in which the
  # processors had nothing to do: half of the pause is idle.
  read -r _ _ _ _ before _ < /proc/stat
  rest "$interval"
  read -r _ _ _ _ after _ < /proc/stat
  if [ $(((after - before) * 20)) -ge "$interval" ]; then
    interval=$idle_interval
  else
    interval=$((interval * 3 / 2))
    [ $interval -le $longest_interval ] || interval=$longest_interval
  fi
}
