# What differs in a machine that is a container: it has no kernel, no disks and no
# devices of its own, and a shell for the driver without waiting for a device.
{ lib, pkgs, ... }:
let
  # Over those of the virtual machine (`mkVMOverride`).
  override = lib.mkOverride 5;
in
{
  boot.isContainer = override true;
  fileSystems = override { };
  swapDevices = override [ ];
  networking.useHostResolvConf = override false;
  # QEMU's user-mode network, whose lease the boot would wait for, is not there.
  networking.dhcpcd.wait = override "background";
  # The groups that a container has.
  boot.kernel.sysctl."net.ipv4.ping_group_range" = override "0 65535";
  # As in a virtual machine, unless the test says otherwise.
  services.openssh.startWhenNeeded = lib.mkOverride 999 false;
  # It would have the console, where the driver reads.
  systemd.services.console-getty.enable = override false;

  # As the test instrumentation of nixpkgs, which a container's does not have.
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
