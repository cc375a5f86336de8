# shellcheck shell=bash
# set_clock SECONDS MILLISECONDS: sets the clock to this time since 1970.
set_clock() {
  # Not every `date` takes parts of a second.
  date -u -s "@$1.$2" > /dev/null 2>&1 || date -u -s "@$1" > /dev/null
}
