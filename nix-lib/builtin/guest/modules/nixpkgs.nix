# nixpkgs.*: of which system a node is.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
  accepted =
    type: default:
    mkOption {
      inherit type default;
      description = "Accepted for compatibility; has no effect.";
    };
  system = types.nullOr (types.coercedTo types.raw (platform: platform.system or platform) types.str);
in
{
  options.nixpkgs = {
    hostPlatform = mkOption {
      type = system;
      default = config.nixpkgs.system;
      description = "The system of the machine, such as `aarch64-linux`, or a set with `system`; null means the host's. Guest `tiny` can be of another one: `snowglobe guest fetch --system aarch64-linux`.";
    };
    system = mkOption {
      type = system;
      default = null;
      description = "The older name of `nixpkgs.hostPlatform`.";
    };
    buildPlatform = accepted types.raw null;
    config = accepted (types.lazyAttrsOf types.raw) { };
    overlays = accepted (types.listOf types.raw) [ ];
    pkgs = accepted types.raw null;
  };
}
