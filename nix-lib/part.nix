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

  # Those attributes of a set that have one of some names.
  pick =
    names: set:
    builtins.intersectAttrs (builtins.listToAttrs (
      map (name: {
        inherit name;
        value = null;
      }) names
    )) set;
  # All that manifest.nix and present.nix take, and nothing that they do not.
  common = pick [
    "name"
    "tags"
    "containers"
    "testScript"
    "globalTimeout"
    "enableOCR"
    "skipLint"
    "skipTypeCheck"
    "pythonPackages"
    "shellOptions"
    "shell"
    "system"
  ] test;
  hasFirst = builtins.elem (builtins.head (builtins.attrNames test.nodes)) nodes;
in
{
  nodes = freeze (pick nodes test.nodes);
  # What the others see of each (src/nix_cli/node_parts.rs).
  facts = freeze (pick nodes (test.facts or { }));
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
