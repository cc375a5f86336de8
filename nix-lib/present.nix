# What is said of a test to the program that evaluates it.
rec {
  # Without evaluating a machine.
  outline =
    { attribute, test }:
    let
      tags = test.tags or [ ];
    in
    {
      inherit attribute;
      inherit (test) name;
      nodes = builtins.attrNames test.nodes;
      containers = builtins.attrNames test.containers;
      tags =
        if builtins.isList tags && builtins.all builtins.isString tags then
          tags
        else
          throw "snowglobe: passthru.tags of `${test.name}` is no list of strings";
    };

  # The same of one of several tests. One that throws has no name: evaluated apart, it
  # says why.
  outlineOfSome =
    { attribute, ... }@found:
    let
      whole = outline found;
      tried = builtins.tryEval (builtins.deepSeq whole whole);
    in
    if tried.success then
      whole
    else
      {
        inherit attribute;
        name = "";
        nodes = [ ];
        containers = [ ];
        tags = [ ];
      };

  whole =
    {
      attribute,
      test,
      file,
      backend,
    }:
    let
      made = (import ./manifest.nix).make { inherit file test backend; };
    in
    outline { inherit attribute test; }
    // {
      inherit (made) manifest script;
      derivation = made.package.drvPath;
    };
}
