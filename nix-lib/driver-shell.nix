# The shell that the driver talks to, on the guest's first virtio console: the
# protocol of NixOS' test instrumentation. `profile` is sourced if it is readable.
# (The program puts the same file into containers that were built without it.)
{ bash, profile }:
builtins.replaceStrings [ "@bash@" "@profile@" ] [ bash profile ] (
  builtins.readFile ./driver-shell.sh
)
