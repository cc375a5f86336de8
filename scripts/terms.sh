#!/usr/bin/env bash
# Fails if a text uses a private word instead of the term that NixOS, QEMU,
# pytest or cargo use for the same thing. `make lint` runs it.
set -euo pipefail
cd "$(dirname "$0")/.."

# Left: how the project once put it. CONTRIBUTING.md has the terms to use.
words='\b(told|tells? (of|the|what|it|whoever|everybody)|telling|whoever|nobody|somebody'
words+='|own words?|sickness(es)?|MachineSick|(falls?|is) sick|to be had|at the begin'
words+='|deadlines? that the script|by how much|what is kept|is another thing|goes? on from'
words+='|lent|lends?|floors?|the machinery|do(es)? not suffice|remarks?|surroundings|errands?'
words+='|kind of 20[0-9]{2}|driver of 20[0-9]{2}|prelude|janitor)\b'
words+='|\bwords? of (a|the|our|its|one|test|script)'
words+='|where (it|they|there|that|nothing|none|something|one|Nix|a|the) (is|are|has|have|was|were|can|cannot|does|do)\b'
# Quotes `like this`, not `like this'.
words+="|\`[^\`'\" ]+'"

# The user names and the user's own page are not ours to word.
ours=(src nix-lib docs tests fixtures benches scripts README.md CONTRIBUTING.md CHANGELOG.md
  ':!scripts/terms.sh' ':!fixtures/integration-testing.md' ':!fixtures/postgrest.nix')
# 1 says that nothing was found; more, that it was not looked for.
found=$(git grep -InEi "$words" -- "${ours[@]}") || [ $? = 1 ]
for path in "${ours[@]}"; do
  case $path in ':!'*) ;; *) git ls-files --error-unmatch -- "$path" > /dev/null ;; esac
done
if grep -vE 'nobody:x:65534|user nobody|proptest::prelude|observe/builtins.nix:[0-9]+: *"floor"' <<< "$found" | grep .; then
  echo 'error: these lines use words that CONTRIBUTING.md replaces' >&2
  exit 1
fi
