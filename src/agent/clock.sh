# shellcheck shell=bash
# set_clock SECONDS FRACTION: sets the clock to this time since 1970; FRACTION has the digits after the point.
set_clock() {
  # Not every `date` takes parts of a second.
  date -u -s "@$1.$2" > /dev/null 2>&1 || date -u -s "@$1" > /dev/null
}
