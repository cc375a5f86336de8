# The cards of a NixOS node, { name, vlan }, in the order in which QEMU gets them. Before 2023 a node had only
# `vlans`.
{ virtualisation, ... }:
if virtualisation ? allInterfaces then
  map (card: { inherit (card) name vlan; }) (builtins.attrValues virtualisation.allInterfaces)
else
  builtins.genList (n: {
    name = "eth${toString (n + 1)}";
    vlan = builtins.elemAt virtualisation.vlans n;
  }) (builtins.length virtualisation.vlans)
