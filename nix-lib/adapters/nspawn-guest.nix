# A container of nixpkgs (`containers.NAME`, 26.05 or newer), for Snowglobe's own engine.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (config) virtualisation;
  # Those that every container has are of systemd-nspawn's own way to run.
  isUsual =
    option:
    lib.any (prefix: lib.hasPrefix prefix option) [
      "--bind="
      "--bind-ro="
      "--keep-unit"
      "--load-credential="
      "--machine="
      "--notify-ready="
      "--private-network"
      "--private-users="
      "--register="
    ];
  obstacles = {
    "virtualisation.systemd-nspawn.options" = !lib.all isUsual virtualisation.systemd-nspawn.options;
  };
in
{
  imports = [
    ./container-nix.nix
    ./container-shell.nix
  ];

  boot.kernel.sysctl."net.ipv4.ping_group_range" = lib.mkOverride 5 "0 65535";
  system.build.snowglobeContainer = {
    obstacles = lib.filter (name: obstacles.${name}) (lib.attrNames obstacles);
    plan = import ./container-plan.nix {
      inherit lib config pkgs;
      inherit (config.system.build) toplevel;
    };
  };
}
