# The driver's shell in a NixOS container: as the test instrumentation of nixpkgs
# has it in virtual machines, without waiting for devices.
{ lib, pkgs, ... }:
{
  # It would have the console, where the driver reads.
  systemd.services.console-getty.enable = lib.mkForce false;

  systemd.services.backdoor = lib.mkForce {
    description = "Shell of the test driver";
    wantedBy = [ "multi-user.target" ];
    # A virtual machine is slow enough to have it by then.
    after = [ "nss-user-lookup.target" ];
    script =
      "set +u\n"
      + import ../driver-shell.nix {
        bash = "${pkgs.bash}/bin/bash";
        profile = "/etc/profile";
      };
    serviceConfig.KillSignal = "SIGHUP";
  };
}
