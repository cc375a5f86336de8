# The entry: what `snowglobe` evaluates. From a test file it makes a list of
# tests, each with its manifest (plain data) and the derivation that builds it.
{
  # The test file, as an absolute path in a string.
  file,
  # Names to follow from the file's value, as `nix-build -A` does.
  attribute ? [ ],
  # Arguments for functions met on the way.
  arguments ? { },
  # "builtin", a path in a string, or null where nothing stands in for nixpkgs.
  nixpkgs ? null,
  # "manifest" for everything, "names" where machines need not be evaluated.
  want ? "manifest",
}:
let
  load = import ./load.nix { inherit nixpkgs; };
  adapters = import ./adapters { inherit nixpkgs; };
  manifest = import ./manifest.nix;

  value = load.follow attribute arguments (load.import file);
  tests = adapters.testsIn {
    inherit value;
    path = attribute;
  };
  present =
    { path, test }:
    {
      attribute = builtins.concatStringsSep "." path;
      name = test.name;
      nodes = builtins.attrNames test.nodes;
    }
    // (
      if want == "names" then
        { }
      else
        let
          made = manifest.make { inherit file test; };
        in
        {
          inherit (made) manifest script;
          derivation = made.package.drvPath;
        }
    );
in
map present tests
