# What every built-in guest boots from: kernel, first stage, images, and the
# script that starts QEMU.
{
  lib,
  build,
  pkgs,
  index,
}:
let
  kernel = import ./kernel.nix { inherit build pkgs index; };
  image = import ./image.nix { inherit build pkgs; };
  firstModules = kernel.modules {
    name = "first-stage";
    names = [
      "virtio_pci"
      "virtio_blk"
      "virtio_console"
      "virtio_net"
      "virtio_rng"
      "9pnet_virtio"
      "9p"
      "overlay"
      # What libcrc32c, and so erofs, looks up by name instead of depending on it.
      "crc32c_generic"
      "erofs"
      "af_packet"
      "autofs4"
    ];
  };
  initrd = import ./initrd.nix {
    inherit build;
    modules = firstModules;
  };
  arguments = {
    inherit
      lib
      build
      pkgs
      index
      image
      ;
  };
  guests = {
    debian = import ./debian.nix arguments;
    tiny = import ./tiny.nix arguments;
  };
in
{
  inherit guests;
  container = import ./container.nix {
    inherit
      lib
      build
      pkgs
      guests
      ;
  };
  # Modules for one node, beside those that every guest loads.
  modules =
    name: names:
    kernel.modules {
      inherit name names;
      loaded = firstModules;
    };
  vm = import ./vm.nix {
    inherit
      lib
      build
      pkgs
      kernel
      image
      initrd
      guests
      ;
  };
}
