# For tests whose machines import nixpkgs themselves: with Debian's packages.
{ config, lib, ... }:
{
  defaults = lib.mkIf (config.node.pkgs or null == null) ./module.nix;
}
