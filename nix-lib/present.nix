# What is said of a test to the program that evaluates it.
rec {
  # Without evaluating a machine.
  outline =
    { attribute, test }:
    {
      inherit attribute;
      inherit (test) name;
      nodes = builtins.attrNames test.nodes;
      containers = builtins.attrNames test.containers;
      tags = test.tags or [ ];
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
