# What a NixOS machine is made of as a container: { config, pkgs, toplevel }, where
# `config` has its options and `toplevel` is that of the container.
{
  lib,
  config,
  pkgs,
  toplevel,
}:
let
  inherit (config) virtualisation;

  # NixOS makes the rest of its root itself.
  tree = pkgs.runCommand "container-root" { } ''
    mkdir -p $out/dev $out/etc $out/nix/store $out/proc $out/root $out/run $out/sys $out/tmp $out/var
  '';

  hex = number: lib.fixedWidthString 2 "0" (lib.toLower (lib.toHexString number));
  number = virtualisation.test.nodeNumber;
  size = virtualisation.diskSize or 1024;
in
{
  host_name = config.networking.hostName;
  tree = "${tree}";
  activation = null;
  init = [ "${toplevel}/init" ] ++ virtualisation.cmdline or [ ];
  root_life = "run";
  size_mib = if lib.isInt size then size else 1024;
  cards = map (card: {
    inherit (card) name vlan;
    mac = "52:54:00:12:${hex card.vlan}:${hex number}";
  }) (lib.attrValues virtualisation.allInterfaces);
}
