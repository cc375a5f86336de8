# For machines that import nixpkgs themselves: their packages are Debian's, too.
{
  config,
  options,
  lib,
  modulesPath,
  ...
}:
let
  cfg = config.nixpkgs;
  debian = import ./.;
  tree = debian.folderOf (toString modulesPath + "/../..");
  arguments = {
    inherit (cfg) config overlays;
    localSystem = cfg.localSystem or { inherit (cfg) system; };
  };
in
{
  _module.args.pkgs = lib.mkIf (!options.nixpkgs.pkgs.isDefined) (
    lib.mkForce (debian.nixpkgs tree arguments)
  );
}
