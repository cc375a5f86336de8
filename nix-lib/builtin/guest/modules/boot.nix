# boot.* and time.*: the kernel's parameters and modules, the time zone.
{ lib, config, ... }:
let
  inherit (lib) mkOption types;
in
{
  options = {
    boot.kernelParams = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Parameters added to the kernel's command line.";
    };
    boot.kernelModules = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Kernel modules to load before the first process starts.";
    };
    boot.kernel.sysctl = mkOption {
      type = types.attrsOf (
        types.nullOr (
          types.oneOf [
            types.bool
            types.str
            types.int
          ]
        )
      );
      default = { };
      description = "Kernel settings by their sysctl name.";
    };
    time.timeZone = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "The time zone, such as Europe/Ljubljana; null means UTC.";
    };
  };

  config = {
    environment.etc = lib.mkIf (config.virtualisation.guest == "debian") {
      "sysctl.d/60-test.conf".text = lib.concatStrings (
        lib.mapAttrsToList (
          name: value:
          let
            text =
              if value == true then
                "1"
              else if value == false then
                "0"
              else
                toString value;
          in
          lib.optionalString (value != null) "${name} = ${text}\n"
        ) config.boot.kernel.sysctl
      );
      # In place of Debian's own, which would empty /tmp at boot: the shell
      # that the driver talks to is up before that and may have used it.
      "tmpfiles.d/tmp.conf".text = ''
        q /tmp 1777 root root 10d
        q /var/tmp 1777 root root 30d
      '';
    };
  };
}
