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
    plan = import ./container-plan.nix {
      inherit lib config pkgs;
      inherit (asContainer.system.build) toplevel;
    };
  };
}
