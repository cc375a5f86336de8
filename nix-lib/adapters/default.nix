# From any value a test file may have to the tests in it, in one form:
# { name, nodes, testScript, shell, … } (what manifest.nix takes). One adapter
# for each kind of test value.
{ nixpkgs }:
let
  inherit (builtins)
    attrNames
    concatLists
    concatStringsSep
    filter
    isAttrs
    isFunction
    length
    ;
  fail = message: throw "snowglobe: ${message}";

  builtinTest = import ./builtin.nix;
  nixos2020 = import ./nixos-2020.nix;

  # The package set for tests that do not bring one.
  pkgs =
    if nixpkgs == "builtin" then
      import ../builtin { }
    else if nixpkgs != null then
      import (/. + nixpkgs) { }
    else if (builtins.tryEval <nixpkgs>).success then
      import <nixpkgs> { }
    else
      fail "the test brings no nixpkgs: give one with -I nixpkgs=PATH or --nixpkgs PATH, or --nixpkgs builtin for the built-in guests";

  # A module or plain set is made a test by whatever nixpkgs offers for it.
  fromPlain =
    value:
    if pkgs ? testers.runNixOSTest then pkgs.testers.runNixOSTest value else pkgs.nixosTest value;

  show = path: if path == [ ] then "the file's value" else "`${concatStringsSep "." path}'";

  isPlain = value: value ? testScript || value ? nodes || value ? machine;

  testsIn =
    {
      file,
      path,
      value,
    }:
    if value._type or null == "snowglobe-test" then
      [ (checked path (builtinTest value)) ]
    else if isAttrs value && value.type or null == "derivation" && value ? nodes && value ? driver then
      [ (checked path (nixos2020 value)) ]
    else if isAttrs value && value.type or null == "derivation" then
      fail "${show path} is the derivation ${value.name or "?"}, and not a test: a test has `nodes' and `driver' beside it"
    else if isFunction value then
      testsIn {
        inherit file path;
        value = value (
          builtins.intersectAttrs (builtins.functionArgs value) {
            inherit pkgs;
            inherit (pkgs) lib system;
          }
        );
      }
    else if !isAttrs value then
      fail "${show path} is of type ${builtins.typeOf value}, and not a test"
    else if isPlain value && !(value ? testScript) then
      fail "${show path} has no testScript"
    else if isPlain value && !(value ? nodes || value ? machine) then
      fail "${show path} has no nodes: a test needs at least one machine"
    else if isPlain value then
      testsIn {
        inherit file path;
        value = fromPlain value;
      }
    else
      let
        inner = filter (name: isAttrs value.${name} || isFunction value.${name}) (attrNames value);
        tests = concatLists (
          map (
            name:
            testsIn {
              inherit file;
              path = path ++ [ name ];
              value = value.${name};
            }
          ) inner
        );
      in
      if tests == [ ] then
        fail "${show path} holds no test: one is a set with name, nodes and testScript"
      else
        tests;

  # Node names are host names, and the script sees them as Python names.
  checked =
    path: test:
    let
      names = attrNames test.nodes;
      pythonName =
        name:
        let
          safe = concatStringsSep "_" (filter builtins.isString (builtins.split "[^A-Za-z0-9_]" name));
        in
        if builtins.match "[0-9].*" safe == null then safe else "_" + builtins.substring 1 (-1) safe;
      invalid = filter (
        name: builtins.match "[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?" name == null
      ) names;
      clashing = filter (
        name: length (filter (other: pythonName other == pythonName name) names) > 1
      ) names;
      quote = name: "`${name}'";
    in
    if names == [ ] then
      fail "the test `${test.name}' has no nodes: a test needs at least one machine"
    else if invalid != [ ] then
      fail "the node name ${quote (builtins.head invalid)} is no valid host name: it takes letters, digits, `-' and `_', begins and ends with a letter or digit, and has at most 63 characters"
    else if clashing != [ ] then
      fail "the nodes ${concatStringsSep " and " (map quote clashing)} would have the same name in the script, `${pythonName (builtins.head clashing)}': rename one"
    else
      {
        inherit path test;
      };
in
{
  inherit testsIn;
}
