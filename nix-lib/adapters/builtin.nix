# Tests made by the built-in package set.
{
  # What machines are whose nodes do not say: `vm`, `container`, or `auto`.
  backend,
  # Whether it is meant for those that say, too.
  forAll,
}:
value:
let
  pkgs = value.pkgs;
  # What one is, with its files for that.
  wanted =
    node:
    let
      own = node.virtualisation.backend;
    in
    if forAll || own == null then backend else own;
  systemOf =
    node: if node.nixpkgs.hostPlatform == null then pkgs.system else node.nixpkgs.hostPlatform;
  isContainer =
    node:
    let
      obstacles = node.virtualisation.containerObstacles;
    in
    wanted node == "container" || wanted node == "auto" && obstacles == [ ];
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
    derivationOverrides
    ;
  tags = value.config.passthru.tags or [ ];
  inherit (pkgs) system;
  needsNodes = true;
  shell = "${pkgs.bash}/bin/bash";
  nodes = builtins.mapAttrs (name: node: {
    start_script =
      if wanted node == "container" then
        null
      else
        "${node.system.build.vm}/bin/run-${node.networking.hostName}-vm";
    backend = wanted node;
    container = if isContainer node then value.containerNodes.${name}.system.build.container else null;
    container_obstacles = node.virtualisation.containerObstacles;
    system = systemOf node;
    vlans = map (card: card.vlan) node.networking.cards;
    interfaces = map (card: card.name) node.networking.cards;
    memory_mib = node.virtualisation.memorySize;
    inherit (node.virtualisation) cores;
    inherit (node.virtualisation) guest;
    snapshot_safe = true;
    snapshot_store = null;
    requires_kvm = node.virtualisation.qemu.forceAccel;
    ssh_backdoor = null;
    units = import ./units.nix node;
    toplevel = null;
  }) value.nodes;
}
