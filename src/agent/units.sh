# shellcheck shell=bash
# systemd's units.

# user_systemctl USER QUERY: runs systemctl for a user's manager.
user_systemctl() {
  su -l "$1" --shell /bin/sh -c "XDG_RUNTIME_DIR=/run/user/\$(id -u) systemctl --user $2"
}

# unit_active UNIT [USER]: an attempt of a poll: whether the unit is active, or
# never will be: 70 if it has failed, 71 if it is inactive with no job that
# could start it. Sets `id` to the unit's own name.
unit_active() {
  local state user=${2-}
  state=$(ask_systemd "$user" show --property=Id,ActiveState -- "$1")
  id=${state#*Id=}
  id=${id%%$'\n'*}
  case $state in
    *ActiveState=active*) return 0 ;;
    *ActiveState=failed*) return 70 ;;
    *ActiveState=inactive*) ;;
    *) return 1 ;;
  esac
  ask_systemd "$user" list-jobs --full 2>&1 | grep -q 'No jobs' || return 1
  # A job may have ended between the two questions.
  state=$(ask_systemd "$user" show --property=Id,ActiveState -- "$1")
  [[ $state != *ActiveState=inactive* ]] || return 71
  return 1
}

# quoted ARGUMENT…: the arguments as /bin/sh reads them, whatever shell it is.
quoted() {
  local argument
  for argument in "$@"; do
    printf "'%s' " "${argument//\'/\'\\\'\'}"
  done
}

# ask_systemd USER ARGUMENT…: runs systemctl, for the system if USER is empty.
ask_systemd() {
  local user=$1
  shift
  if [ -n "$user" ]; then
    user_systemctl "$user" "$(quoted "$@")"
  else
    systemctl "$@"
  fi
}
