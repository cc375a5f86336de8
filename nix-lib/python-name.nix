# The name of a node in the script: what Python takes for a name. The same as
# `python_name` in src/model/manifest.rs; tests/suite/nix_lib.rs compares them.
name:
let
  inherit (builtins)
    concatStringsSep
    filter
    isString
    match
    split
    substring
    ;
  safe = concatStringsSep "_" (filter isString (split "[^A-Za-z0-9_]" name));
in
if match "[0-9].*" safe == null then safe else "_" + substring 1 (-1) safe
