#!/usr/bin/env bash
# Runs the tests of the suite whose names contain a text. Fails if there is none.
#
#     scripts/test-matching.sh TEXT [OPTION OF THE TEST PROGRAM…]
set -euo pipefail
cd "$(dirname "$0")/.."

text=$1
shift
run=(cargo --locked test --ignore-rust-version --test suite --)
# All of the list is read: its writer fails where no reader is left.
if ! "${run[@]}" --list "$@" "$text" | grep ': test$' > /dev/null; then
  echo "test-matching: the suite has no test whose name contains \`$text\`" >&2
  exit 1
fi
exec "${run[@]}" "$@" "$text"
