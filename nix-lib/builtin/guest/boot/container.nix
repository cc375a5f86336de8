# What a node is as a container: the tree of its root, and what prepares it.
{
  lib,
  build,
  pkgs,
  guests,
}:
{
  name,
  config,
  toplevel,
}:
let
  cfg = config.virtualisation;

  # In the place of the first stage of a boot: the root's path is the argument.
  activation = build.write "activate-${name}" {
    executable = true;
    text = ''
      #!${pkgs.busybox}/bin/sh
      set -e
      export PATH=${pkgs.busybox}/bin
      root=$1
      system=${toplevel}
      chmod 1777 $root/tmp
      ln -s $system $root/run/current-system
      . $system/activate
    '';
  };
in
{
  host_name = config.networking.hostName;
  tree = "${guests.${cfg.guest}.tree}";
  activation = "${activation}";
  init = [ "${toplevel}/init" ];
  root_life = "boot";
  size_mib = if cfg.diskSize == "auto" then 1024 else cfg.diskSize;
  cards = [
    # QEMU's user-mode network, which leads nowhere here.
    {
      name = "eth0";
      mac = "52:54:00:12:34:56";
      vlan = null;
    }
  ]
  ++ config.networking.cards;
  credentials = { };
  binds = [ ];
  run_files = { };
  writable_store = false;
}
