# system.*: what a node's options come to: the folder that the guest starts
# from, and the script that starts the machine.
{
  lib,
  config,
  options,
  pkgs,
  name,
  guestBoot,
  scriptReferences,
  ...
}:
let
  inherit (lib) mkOption types;
  guest = config.virtualisation.guest;
  internal =
    type:
    mkOption {
      inherit type;
      description = "Internal.";
    };

  # Options that only mean something to systemd.
  systemdOnly = [
    [
      "services"
      "postgresql"
      "enable"
    ]
    [
      "systemd"
      "services"
    ]
    [
      "systemd"
      "sockets"
    ]
    [
      "systemd"
      "timers"
    ]
    [
      "systemd"
      "paths"
    ]
    [
      "systemd"
      "targets"
    ]
    [
      "systemd"
      "tmpfiles"
      "rules"
    ]
  ];
  own = definition: lib.hasPrefix (toString ./.) definition.file;
  misplaced =
    if guest != "tiny" then
      [ ]
    else
      lib.concatMap (
        path:
        let
          foreign = lib.filter (definition: !own definition) (lib.getAttrFromPath path options).definitions;
        in
        map (definition: {
          inherit path;
          inherit (definition) file;
        }) foreign
      ) systemdOnly;
  problem = lib.head misplaced;

  etcFiles = lib.filter (file: file.enable) (lib.attrValues config.environment.etc);
  etcLine =
    file:
    lib.concatStringsSep "\t" [
      file.target
      "${file.source}"
      file.mode
      file.user
      file.group
    ];

  # Homes and copies get their owners at boot: an image has none but root.
  homes = lib.filter (account: account.createHome && account.home != "/var/empty") (
    lib.attrValues config.users.users
  );

  toplevel =
    pkgs.runCommand "guest-${name}"
      {
        etcLines = lib.concatMapStrings (file: "${etcLine file}\n") etcFiles;
        activation = ''
          # Sourced by the first stage of the boot, in busybox, with the new root at $root.
          # Unlike cp, it puts links in the place of links.
          tar -C $system/etc -cf - . | tar -C $root/etc -xf -
          while IFS=$'\t' read -r path owner mode; do
            # Names of accounts are known inside the new root only.
            chroot $root /bin/chown "$owner" "/etc/$path"
            chmod "$mode" "$root/etc/$path"
          done < $system/etc-owners
          hostname ${lib.escapeShellArg config.networking.hostName}
          ip link set lo up
          ${lib.optionalString (guest == "tiny") (
            lib.concatStrings (
              lib.mapAttrsToList (
                key: value:
                "echo ${lib.escapeShellArg (toString value)} > ${lib.escapeShellArg "/proc/sys/${lib.replaceStrings [ "." ] [ "/" ] key}"}\n"
              ) config.boot.kernel.sysctl
            )
          )}
          ${config.networking.setup}
          ${lib.concatMapStrings (account: ''
            home=${lib.escapeShellArg account.home}
            mkdir -p "$root$home"
            chmod ${lib.escapeShellArg account.homeMode} "$root$home"
            chroot $root /bin/chown ${lib.escapeShellArg "${account.name}:"} "$home"
          '') homes}
        '';
        startup = config.system.tinyStartup;
        passAsFile = [
          "etcLines"
          "activation"
          "startup"
        ];
      }
      ''
        mkdir -p $out/etc
        : > $out/etc-owners
        while IFS=$'\t' read -r target source mode user group; do
          mkdir -p "$out/etc/$(dirname "$target")"
          if [ "$mode" = symlink ]; then
            ln -s "$source" "$out/etc/$target"
          else
            cp -r "$source" "$out/etc/$target"
            printf '%s\t%s\t%s\n' "$target" "$user:$group" "$mode" >> $out/etc-owners
          fi
        done < $etcLinesPath
        for file in passwd group shadow; do
          cp ${config.system.accounts}/$file $out/etc/$file
        done
        printf '%s\t%s\t%s\n' shadow root:root 600 >> $out/etc-owners
        ${lib.optionalString (config.time.timeZone != null) ''
          ln -sf /usr/share/zoneinfo/${lib.escapeShellArg config.time.timeZone} $out/etc/localtime
        ''}
        ln -s ${config.system.path} $out/sw
        ln -s ${guestBoot.modules "guest-${name}" config.boot.kernelModules} $out/modules
        cp $activationPath $out/activate
        cp $startupPath $out/startup
        ln -s ${guestBoot.guests.${guest}.init} $out/init
      '';
in
{
  options = {
    system.build = mkOption {
      type = types.lazyAttrsOf types.raw;
      default = { };
      description = "Derivations: toplevel, vm; and container, what the machine is made of as one.";
    };
    system.path = internal types.package;
    system.tinyStartup = mkOption {
      type = types.lines;
      default = "";
      description = "Commands that guest `tiny` runs at its start (internal).";
    };
    system.stateVersion = mkOption {
      type = types.str;
      default = "";
      description = "Accepted for compatibility; has no effect.";
    };
    documentation.enable = mkOption {
      type = types.bool;
      default = false;
      description = "Accepted for compatibility; has no effect.";
    };
    # Other modules in nixpkgs' tests add checks of their own.
    assertions = mkOption {
      type = types.listOf types.raw;
      default = [ ];
      description = "Conditions that must hold: { assertion, message }.";
    };
    warnings = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Warnings shown at evaluation.";
    };
  };

  config.system.build =
    let
      failed = map (entry: entry.message) (lib.filter (entry: !entry.assertion) config.assertions);
      checked =
        if misplaced != [ ] then
          throw "the option `${lib.showOption problem.path}` needs systemd, which the guest `tiny` of node `${name}` has not; it is defined in ${problem.file}; use the guest `debian`"
        else if failed != [ ] then
          throw "node `${name}`: ${lib.concatStringsSep "; " failed}"
        else
          lib.foldl' (value: message: lib.warn "node `${name}`: ${message}" value) toplevel config.warnings;
    in
    {
      toplevel = checked;
      container = guestBoot.container {
        inherit name config;
        toplevel = checked;
      };
      vm = guestBoot.vm {
        inherit name config;
        toplevel = checked;
        references = scriptReferences;
      };
    };
}
