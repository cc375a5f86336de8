# A NixOS machine whose state QEMU can save: with a store of its own instead of
# the host's, and no folder of the host mounted when it boots. The shared one and
# the machine's own are there to be mounted for a while, as copies between host
# and guest do.
{ lib, ... }:
{
  virtualisation = {
    useNixStoreImage = lib.mkForce true;
    useHostCerts = lib.mkForce false;
    sharedDirectories = lib.mkForce { };
    qemu.options = [
      ''-virtfs local,path="''${SHARED_DIR:-$TMPDIR/xchg}",security_model=none,mount_tag=shared''
      ''-virtfs local,path="$TMPDIR/xchg",security_model=none,mount_tag=xchg''
    ];
  };
}
