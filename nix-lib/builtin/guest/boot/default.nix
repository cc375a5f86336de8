# What every built-in guest boots from: kernel, first stage, images, and the
# script that starts QEMU.
{
  lib,
  # For guests of one system, which `platform` describes.
  platform,
  build,
  pkgs,
  index,
  # The machine's own packages, and its Python.
  tools,
  python,
}:
let
  kernel = import ./kernel.nix {
    inherit
      build
      tools
      python
      index
      ;
  };
  image = import ./image.nix { inherit build tools; };
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
    ]
    ++ platform.modules;
  };
  initrd = import ./initrd.nix {
    inherit build pkgs;
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
    debian =
      if index ? root then
        import ./debian.nix arguments
      else
        throw "the guest `debian` is of the machine's own system alone, and a node is of ${pkgs.system}: use the guest `tiny`";
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
      platform
      build
      tools
      kernel
      image
      initrd
      guests
      ;
  };
}
