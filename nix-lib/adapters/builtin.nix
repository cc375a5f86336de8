# Tests made by the built-in package set.
value:
let
  pkgs = value.pkgs;
in
{
  inherit (value)
    name
    testScript
    globalTimeout
    enableOCR
    skipLint
    skipTypeCheck
    containers
    pythonPackages
    ;
  inherit (pkgs) system;
  needsNodes = true;
  shell = "${pkgs.bash}/bin/bash";
  nodes = builtins.mapAttrs (_: node: {
    start_script = "${node.system.build.vm}/bin/run-${node.networking.hostName}-vm";
    inherit (pkgs) system;
    vlans = map (card: card.vlan) node.networking.cards;
    interfaces = map (card: card.name) node.networking.cards;
    memory_mib = node.virtualisation.memorySize;
    inherit (node.virtualisation) guest;
    snapshot_safe = true;
  }) value.nodes;
}
