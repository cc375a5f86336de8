# The store of a snapshot-safe machine as an image, made when the machine starts.
{ lib, ... }:
{
  imports = [ ./snapshot-safe.nix ];
  virtualisation.useNixStoreImage = lib.mkForce true;
}
