# A NixOS machine as a container, beside what it is as a virtual machine.
{
  config,
  extendModules,
  lib,
  ...
}:
let
  inherit (config) virtualisation;
  asContainer = (extendModules { modules = [ ./container-guest.nix ]; }).config;

  obstacles = {
    "security.audit.enable" = config.security.audit.enable or false == true;
    "services.xserver.enable" = config.services.xserver.enable;
    "specialisation" = config.specialisation != { };
    "swapDevices" = config.swapDevices != [ ];
    "testing.initrdBackdoor" = config.testing.initrdBackdoor or false;
    "virtualisation.emptyDiskImages" = virtualisation.emptyDiskImages or [ ] != [ ];
    "virtualisation.forwardPorts" = virtualisation.forwardPorts or [ ] != [ ];
    "virtualisation.useBootLoader" = virtualisation.useBootLoader or false;
    "virtualisation.useEFIBoot" = virtualisation.useEFIBoot or false;
  };
in
{
  system.build.snowglobeContainer = {
    obstacles = lib.filter (name: obstacles.${name}) (lib.attrNames obstacles);
    plan = import ./container-plan.nix {
      inherit lib config;
      inherit (asContainer.system.build) toplevel;
    };
  };
}
