# Nix in a NixOS container: its daemon, and a database of the store paths that the
# machine is made of. The guest writes to a layer above the host's store.
{ config, lib, ... }:
{
  config = lib.mkIf config.nix.enable {
    # Not every package of Nix has it made.
    systemd.tmpfiles.rules = [ "d /nix/var/nix/daemon-socket 0755 root root - -" ];

    # A virtual machine has the file's name from its kernel's command line.
    systemd.services.register-nix-paths = {
      description = "Register the store paths of the machine";
      unitConfig.DefaultDependencies = false;
      wantedBy = [ "sysinit.target" ];
      before = [
        "nix-daemon.socket"
        "sysinit.target"
      ];
      after = [ "local-fs.target" ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
      };
      script = lib.mkOverride 5 ''
        # NixOS mounts the store read-only, above the layer to write that Nix mounts anew. Without
        # the layer (Linux before 5.19), Nix refuses to open its database.
        if grep -q '^overlay /nix/store overlay' /proc/mounts; then
          ${config.nix.package}/bin/nix-store --load-db < "$(< /run/snowglobe-nix-paths)"
        fi
      '';
    };
  };
}
