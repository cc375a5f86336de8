# The second entry: a test whose parts were evaluated by several processes
# (part.nix), as the first one gives it. No nixpkgs is needed for that.
{
  # The file with what the processes have given, a list of their lists.
  parts,
  # As in entry.nix.
  file,
  backend ? null,
}:
let
  inherit (import ./frozen.nix) thaw;

  all = builtins.concatLists (builtins.fromJSON (builtins.readFile parts));
  inherit (builtins.head (builtins.filter (part: part.rest != null) all)) rest;
  nodes = builtins.foldl' (nodes: part: nodes // part.nodes) { } all;
in
# The test may have changed since its nodes were named.
assert builtins.attrNames nodes == rest.names;
[
  ((import ./present.nix).whole {
    inherit (rest) attribute;
    inherit file backend;
    test = thaw (rest.test // { inherit nodes; });
  })
]
