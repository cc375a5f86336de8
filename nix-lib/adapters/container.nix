# A NixOS machine as a container, beside what it is as a virtual machine.
{
  config,
  extendModules,
  lib,
  modulesPath,
  options,
  pkgs,
  ...
}:
let
  asContainer = (extendModules { modules = [ ./container-guest.nix ]; }).config;
in
{
  system.build.snowglobeContainer = {
    obstacles = import ./container-obstacles.nix {
      inherit
        config
        lib
        modulesPath
        options
        ;
    };
    plan = import ./container-plan.nix {
      inherit lib config pkgs;
      inherit (asContainer.system.build) toplevel;
    };
    # The systems of the virtual machine that a script may switch to, each with that of the container.
    systems = [
      {
        inherit (config.system.build) toplevel;
        container = asContainer.system.build.toplevel;
      }
    ]
    ++ lib.mapAttrsToList (name: special: {
      inherit (special.configuration.system.build) toplevel;
      container = asContainer.specialisation.${name}.configuration.system.build.toplevel;
    }) config.specialisation;
  };
}
