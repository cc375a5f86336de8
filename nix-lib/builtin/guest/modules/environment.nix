# environment.*: packages on PATH, files in /etc, variables.
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.environment;

  etcFile =
    { name, config, ... }:
    {
      options = {
        enable = mkOption {
          type = types.bool;
          default = true;
          description = "Whether the file is made.";
        };
        target = mkOption {
          type = types.str;
          default = name;
          description = "Its path below /etc.";
        };
        text = mkOption {
          type = types.nullOr types.lines;
          default = null;
          description = "Its text.";
        };
        source = mkOption {
          type = types.path;
          description = "The file or folder it is a link to.";
        };
        mode = mkOption {
          type = types.str;
          default = "symlink";
          description = "Its mode in octal digits, if it is a copy.";
        };
        user = mkOption {
          type = types.str;
          default = "root";
          description = "The owner of a copy.";
        };
        group = mkOption {
          type = types.str;
          default = "root";
          description = "The group of a copy.";
        };
      };
      config.source = lib.mkIf (config.text != null) (
        lib.mkDefault (pkgs.writeText (baseNameOf name) config.text)
      );
    };

  shown = value: if lib.isList value then lib.concatStringsSep ":" value else toString value;
in
{
  options.environment = {
    systemPackages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      description = "Packages whose programs are in PATH for all users.";
    };
    etc = mkOption {
      type = types.attrsOf (types.submodule etcFile);
      default = { };
      description = "Files below /etc.";
    };
    variables = mkOption {
      type = types.attrsOf (
        types.oneOf [
          types.str
          types.int
          types.path
          (types.listOf types.str)
        ]
      );
      default = { };
      description = "Environment variables of login shells and of the test's shell.";
    };
  };

  config = {
    environment.etc."profile.d/test-environment.sh".text = ''
      export PATH=/run/current-system/sw/bin:$PATH
      ${lib.concatStrings (
        lib.mapAttrsToList (
          name: value: "export ${name}=${lib.escapeShellArg (shown value)}\n"
        ) cfg.variables
      )}
    '';
    # The driver of nixpkgs asks for ports with it.
    environment.systemPackages = [
      pkgs.netcat
    ]
    ++ lib.optional (config.virtualisation.guest == "tiny") pkgs.sparseCopy;
    system.path = pkgs.symlinkJoin {
      name = "system-path";
      paths = cfg.systemPackages;
    };
  };
}
