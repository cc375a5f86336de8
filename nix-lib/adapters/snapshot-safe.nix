# A NixOS machine whose state QEMU can save: no folder of the host is mounted over
# 9p when it boots. The shared one and the machine's own are there to be mounted for
# a while, as copies between host and guest do. Where its store comes from is said
# by store-image.nix or store-virtiofs.nix.
{ lib, ... }:
{
  virtualisation = {
    useHostCerts = lib.mkForce false;
    sharedDirectories = lib.mkForce { };
    qemu.options = [
      ''-virtfs local,path="''${SHARED_DIR:-$TMPDIR/xchg}",security_model=none,mount_tag=shared''
      ''-virtfs local,path="$TMPDIR/xchg",security_model=none,mount_tag=xchg''
    ];
  };
}
