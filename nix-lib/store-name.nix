# A name as a store path may have it: what it must not hold becomes `-`.
name:
let
  parts = builtins.filter builtins.isString (builtins.split "[^-A-Za-z0-9+._?=]+" name);
  text = builtins.concatStringsSep "-" parts;
in
# A file is hidden if its name begins with a dot.
if text == "" || builtins.substring 0 1 text == "." then "x${text}" else text
