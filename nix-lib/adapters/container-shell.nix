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
    script = ''
      export USER=root HOME=/root PAGER=
      set +u
      [ ! -e /etc/profile ] || . /etc/profile
      cd /tmp
      exec < /dev/hvc0 > /dev/hvc0
      while ! exec 2> /dev/ttyS0; do sleep 0.1; done
      echo "connecting to host..." >&2
      stty -F /dev/hvc0 raw -echo
      echo "Spawning backdoor root shell..."
      PS1= exec ${pkgs.bash}/bin/bash --norc /dev/hvc0
    '';
    serviceConfig.KillSignal = "SIGHUP";
  };
}
