# What differs in a machine that is a container: it has no kernel, no disks and no
# devices of its own.
{
  config,
  lib,
  options,
  ...
}:
let
  # Over those of the virtual machine (`mkVMOverride`).
  override = lib.mkOverride 5;

  # What the container has when its init starts. Its root may not mount these anew, as NixOS would.
  present = [
    "/dev"
    "/dev/pts"
    "/dev/shm"
    "/proc"
    "/run"
    "/sys"
  ];
  mount = system: ''
    mkdir -p ${system.mountPoint}
    mountpoint -q ${system.mountPoint} || mount -t ${system.fsType} -o ${lib.concatStringsSep "," system.options} ${system.device} ${system.mountPoint}
  '';
in
{
  imports = [
    ./container-nix.nix
    ./container-shell.nix
  ];

  boot.isContainer = override true;
  fileSystems = override { };
  swapDevices = override [ ];
  networking.useHostResolvConf = override false;
  system.activationScripts.specialfs = override (
    lib.concatMapStrings mount (
      lib.filter (system: !lib.elem system.mountPoint present) (
        lib.attrValues config.boot.specialFileSystems
      )
    )
  );
  # The kernel's audit is the host's.
  security.audit.enable = override false;
  # There is no initrd.
  testing = lib.optionalAttrs (options.testing or { } ? initrdBackdoor) {
    initrdBackdoor = override false;
  };
  # QEMU's user-mode network, whose lease the boot would wait for, is not there.
  networking.dhcpcd.wait = override "background";
  # The groups that a container has.
  boot.kernel.sysctl."net.ipv4.ping_group_range" = override "0 65535";
  # As in a virtual machine, unless the test says otherwise.
  services.openssh.startWhenNeeded = lib.mkOverride 999 false;
}
