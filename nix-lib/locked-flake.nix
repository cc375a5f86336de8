# The outputs of a flake whose inputs are resolved, as `builtins.getFlake` makes
# them (Nix: src/libflake/call-flake.nix). `file` is written by
# src/nix_cli/flake.rs: the sources of the flake in the store, and the locks.
{ file }:
let
  inherit (builtins.fromJSON (builtins.readFile file))
    source
    folder
    sourceInfo
    locks
    ;

  # An input names its node, or as a list follows the inputs of others from the root.
  nodeOf =
    input:
    if builtins.isList input then
      builtins.foldl' (key: name: nodeOf locks.nodes.${key}.inputs.${name}) locks.root input
    else
      input;

  isAbsolute = path: builtins.substring 0 1 path == "/";

  # A folder of this host whose content is in the store already is not copied again.
  fetch =
    locked:
    if locked.type == "path" && isAbsolute locked.path && locked ? narHash then
      {
        inherit (locked) narHash;
        outPath = builtins.path {
          path = /. + locked.path;
          name = "source";
          sha256 = locked.narHash;
        };
      }
      // builtins.intersectAttrs {
        lastModified = null;
        lastModifiedDate = null;
        rev = null;
        revCount = null;
      } locked
    else
      builtins.fetchTree (
        removeAttrs locked [
          "dir"
          "lastModifiedDate"
        ]
      );

  inFolder = tree: folder: if folder == "" then tree else tree + "/" + folder;

  # What a flake asks about itself is reported (src/nix_cli/reads.rs): its path in the
  # store and its commit change with every edit of any of its files.
  reportFlake = fact: builtins.trace ''snowglobe-read: ["flake","${fact}"]'';
  reported = builtins.mapAttrs reportFlake;

  # Before Nix 2.14, the path of a flake was that of its whole sources.
  knowsFolders = builtins.compareVersions builtins.nixVersion "2.14" >= 0;

  nodes = builtins.mapAttrs (
    key: node:
    let
      locked = node.locked or { };
      isRoot = key == locks.root;
      # Before Nix 2.26, such inputs had hashes of their own.
      isInParent = node ? parent && locked.type == "path" && !isAbsolute locked.path;
      parent = nodes.${nodeOf node.parent};
      tree =
        if isRoot then
          sourceInfo // { outPath = builtins.storePath source; }
        else if isInParent then
          parent.tree
        else
          fetch locked;
      inTree =
        if isRoot then
          folder
        else if isInParent then
          (if parent.inTree == "" then "" else parent.inTree + "/") + locked.path
        else
          locked.dir or "";
      path = inFolder tree.outPath inTree;
      flake = import (path + "/flake.nix");
      inputs = builtins.mapAttrs (_: input: nodes.${nodeOf input}.value) (node.inputs or { });
      outputs = flake.outputs (inputs // { self = if isRoot then reportFlake "self" whole else whole; });
      facts = if isRoot then reported else facts: facts;
      whole =
        outputs
        // facts (
          tree
          // {
            outPath = if knowsFolders then path else tree.outPath;
            sourceInfo = tree;
          }
        )
        // {
          inherit inputs outputs;
          _type = "flake";
        };
    in
    {
      inherit tree inTree path;
      value = if node.flake or true then whole else tree // { outPath = path; };
    }
  ) locks.nodes;
in
{
  flake = nodes.${locks.root}.value;
  inherit (nodes.${locks.root}) path;
}
