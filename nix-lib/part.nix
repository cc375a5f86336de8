# A part of a test that several processes evaluate: some of its nodes, and with the
# first of them what else there is. whole.nix puts the parts together.
{
  attribute,
  test,
  # The names of the nodes.
  nodes,
}:
let
  inherit (import ./frozen.nix) freeze;

  isWanted = builtins.listToAttrs (
    map (name: {
      inherit name;
      value = null;
    }) nodes
  );
  # All that manifest.nix and present.nix take, and nothing that they do not.
  common = builtins.intersectAttrs {
    name = null;
    tags = null;
    containers = null;
    testScript = null;
    globalTimeout = null;
    enableOCR = null;
    skipLint = null;
    skipTypeCheck = null;
    pythonPackages = null;
    shellOptions = null;
    shell = null;
    system = null;
  } test;
  hasFirst = builtins.elem (builtins.head (builtins.attrNames test.nodes)) nodes;
in
{
  nodes = freeze (builtins.intersectAttrs isWanted test.nodes);
  rest =
    if hasFirst then
      {
        inherit attribute;
        test = freeze common;
        names = builtins.attrNames test.nodes;
      }
    else
      null;
}
