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
  initrd = import ./initrd.nix { inherit build kernel; };
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
  inherit (kernel) modules;
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
