# Helpers on strings.
let
  lib = import ../../nix-lib/builtin/lib;
in
{
  "parts at the start, at the end and inside" = {
    expr = [
      (lib.hasPrefix "ab" "abc")
      (lib.hasSuffix "bc" "abc")
      (lib.hasSuffix "abcd" "abc")
      (lib.hasInfix "." "abc")
    ];
    expected = [
      true
      true
      false
      false
    ];
  };
  "removing what is at the start" = {
    expr = [
      (lib.removePrefix "ab" "abc")
      (lib.removePrefix "x" "abc")
    ];
    expected = [
      "c"
      "abc"
    ];
  };
  "shell arguments are quoted" = {
    expr = lib.escapeShellArg "it's";
    expected = "'it'\\''s'";
  };
  "upper and lower case" = {
    expr = [
      (lib.toUpper "aZ1")
      (lib.toLower "aZ1")
    ];
    expected = [
      "AZ1"
      "az1"
    ];
  };
}
