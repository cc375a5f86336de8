# What a NixOS machine is made of as a container: { config, toplevel }, where
# `config` has its options and `toplevel` is that of the container.
{
  lib,
  config,
  pkgs,
  toplevel,
}:
let
  inherit (config) virtualisation;

  # `--bind=SOURCE[:PLACE[:OPTIONS]]` of systemd-nspawn, or `--bind-ro=…`. The first
  # ones of every container are of nspawn's own way to run.
  bind =
    option:
    let
      parts = builtins.match "--bind(-ro)?=([^:]+)(:([^:]+))?(:.*)?" option;
      source = lib.elemAt parts 1;
      place = lib.elemAt parts 3;
    in
    if
      parts == null
      || lib.elem option [
        "--bind-ro=/nix/store:/nix/store"
        "--bind=/proc:/run/host/proc"
        "--bind=/sys:/run/host/sys"
      ]
    then
      [ ]
    else
      [
        {
          inherit source;
          place = if place == null then source else place;
          read_only = lib.head parts != null;
        }
      ];

  inherit (import ../hardware-addresses.nix { inherit lib; }) withAddresses;
  # What the guest's Nix is to know of the store.
  storePaths = pkgs.closureInfo {
    rootPaths = [ toplevel ] ++ virtualisation.additionalPaths or [ ];
  };
  size = virtualisation.diskSize or 1024;
in
{
  host_name = config.networking.hostName;
  # NixOS fills its root itself.
  tree = null;
  activation = null;
  init = [ "${toplevel}/init" ] ++ virtualisation.cmdline or [ ];
  root_life = "run";
  size_mib = if lib.isInt size then size else 1024;
  cards = withAddresses virtualisation.test.nodeNumber (
    map (card: { inherit (card) name vlan; }) (lib.attrValues virtualisation.allInterfaces)
  );
  credentials = lib.mapAttrs (_: credential: "${credential.source}") (
    virtualisation.credentials or { }
  );
  binds = lib.concatMap bind virtualisation.systemd-nspawn.options or [ ];
  writable_store = config.nix.enable;
  run_files = lib.optionalAttrs config.nix.enable {
    snowglobe-nix-paths = "${storePaths}/registration";
  };
}
