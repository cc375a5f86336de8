# A NixOS machine as a container, beside what it is as a virtual machine.
{
  config,
  extendModules,
  lib,
  pkgs,
  ...
}:
let
  inherit (config) virtualisation;
  asContainer = (extendModules { modules = [ ./container-guest.nix ]; }).config;

  # NixOS makes the rest of its root itself.
  tree = pkgs.runCommand "container-root" { } ''
    mkdir -p $out/dev $out/etc $out/nix/store $out/proc $out/root $out/run $out/sys $out/tmp $out/var
  '';

  hex = number: lib.fixedWidthString 2 "0" (lib.toLower (lib.toHexString number));
  number = virtualisation.test.nodeNumber;

  obstacles = {
    "services.xserver.enable" = config.services.xserver.enable;
    "specialisation" = config.specialisation != { };
    "swapDevices" = config.swapDevices != [ ];
    "virtualisation.emptyDiskImages" = virtualisation.emptyDiskImages != [ ];
    "virtualisation.forwardPorts" = virtualisation.forwardPorts or [ ] != [ ];
    "virtualisation.useBootLoader" = virtualisation.useBootLoader;
    "virtualisation.useEFIBoot" = virtualisation.useEFIBoot or false;
  };
in
{
  system.build.snowglobeContainer = {
    obstacles = lib.filter (name: obstacles.${name}) (lib.attrNames obstacles);
    plan = {
      host_name = config.networking.hostName;
      tree = "${tree}";
      activation = null;
      init = [ "${asContainer.system.build.toplevel}/init" ];
      root_life = "run";
      size_mib = if lib.isInt virtualisation.diskSize then virtualisation.diskSize else 1024;
      cards = map (card: {
        inherit (card) name vlan;
        mac = "52:54:00:12:${hex card.vlan}:${hex number}";
      }) (lib.attrValues virtualisation.allInterfaces);
    };
  };
}
