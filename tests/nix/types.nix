# The types of options.
let
  lib = import ../../nix-lib/builtin/lib;
  inherit (lib) types;

  merged =
    type: values:
    let
      value = type.merge [ "option" ] (
        map (value: {
          file = "test";
          inherit value;
        }) values
      );
      result = builtins.tryEval (builtins.deepSeq value value);
    in
    if result.success then result.value else "refused";
in
{
  "ports are numbers up to 65535" = {
    expr = map (value: merged types.port [ value ]) [
      0
      65535
      65536
      (-1)
      "80"
    ];
    expected = [
      0
      65535
      "refused"
      "refused"
      "refused"
    ];
  };
  "null stands beside a value of the type" = {
    expr = map (value: merged (types.nullOr types.str) [ value ]) [
      null
      "a"
      1
    ];
    expected = [
      null
      "a"
      "refused"
    ];
  };
  "one of two types" = {
    expr = map (value: merged (types.either types.int types.bool) [ value ]) [
      1
      true
      "a"
    ];
    expected = [
      1
      true
      "refused"
    ];
  };
  "lines are joined" = {
    expr = merged types.lines [
      "a"
      "b"
    ];
    expected = "a\nb";
  };
  "sets are merged by name" = {
    expr = merged (types.attrsOf types.int) [
      { a = 1; }
      { b = 2; }
    ];
    expected = {
      a = 1;
      b = 2;
    };
  };
  "an enumeration takes its values only" = {
    expr = map (value: merged (types.enum [ "debian" ]) [ value ]) [
      "debian"
      "tiny"
    ];
    expected = [
      "debian"
      "refused"
    ];
  };
}
