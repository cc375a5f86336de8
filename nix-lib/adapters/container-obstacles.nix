# The options of a NixOS machine that a container cannot do, by name: those that say
# so by their values, and those that a module of the user defines.
{
  config,
  lib,
  modulesPath,
  options,
}:
let
  inherit (config) virtualisation;
  # A specialisation that does not inherit has none of the modules here.
  specialisations = lib.partition (special: special.inheritParentConfig or true) (
    lib.attrValues config.specialisation
  );

  # What these options of the machine, or its test, say.
  byValue = {
    "security.audit.enable" = config.security.audit.enable or false == true;
    "services.xserver.enable" = config.services.xserver.enable;
    "specialisation" = specialisations.wrong != [ ];
    "swapDevices" = config.swapDevices != [ ];
    "testing.initrdBackdoor" = config.testing.initrdBackdoor or false;
    "virtualisation.emptyDiskImages" = virtualisation.emptyDiskImages or [ ] != [ ];
    "virtualisation.forwardPorts" = virtualisation.forwardPorts or [ ] != [ ];
    "virtualisation.useBootLoader" = virtualisation.useBootLoader or false;
    "virtualisation.useEFIBoot" = virtualisation.useEFIBoot or false;
  };

  # Options of the kernel, of devices, clocks and other machines, which a user's module
  # defines with a purpose. NixOS defines most of them itself for every machine.
  byUser = [
    "boot.binfmt.emulatedSystems"
    "boot.binfmt.registrations"
    "boot.blacklistedKernelModules"
    "boot.crashDump.enable"
    "boot.extraModprobeConfig"
    "boot.extraModulePackages"
    "boot.growPartition"
    "boot.hardwareScan"
    "boot.initrd.availableKernelModules"
    "boot.initrd.extraFiles"
    "boot.initrd.extraUtilsCommands"
    "boot.initrd.kernelModules"
    "boot.initrd.luks.devices"
    "boot.initrd.network.enable"
    "boot.initrd.postDeviceCommands"
    "boot.initrd.postMountCommands"
    "boot.initrd.preDeviceCommands"
    "boot.initrd.preLVMCommands"
    "boot.initrd.secrets"
    "boot.initrd.supportedFilesystems"
    "boot.initrd.systemd.contents"
    "boot.initrd.systemd.enable"
    "boot.initrd.systemd.initrdBin"
    "boot.initrd.systemd.services"
    "boot.initrd.systemd.storePaths"
    "boot.initrd.systemd.users"
    "boot.kernel.sysctl"
    "boot.kernel.sysfs"
    "boot.kernelModules"
    "boot.kernelPackages"
    "boot.kernelParams"
    "boot.kernelPatches"
    "boot.loader.efi.canTouchEfiVariables"
    "boot.loader.grub.enable"
    "boot.loader.systemd-boot.enable"
    "boot.plymouth.enable"
    "boot.resumeDevice"
    "boot.supportedFilesystems"
    "boot.swraid.enable"
    "boot.zfs.extraPools"
    "fileSystems"
    "hardware.alsa.enable"
    "hardware.bluetooth.enable"
    "hardware.deviceTree.enable"
    "hardware.firmware"
    "hardware.graphics.enable"
    "hardware.opengl.enable"
    "hardware.pulseaudio.enable"
    "hardware.uinput.enable"
    "services.chrony.enable"
    "services.ntp.enable"
    "services.ntpd-rs.enable"
    "services.openntpd.enable"
    "services.udev.extraRules"
    "services.zfs.autoScrub.enable"
    "time.hardwareClockInLocalTime"
    "virtualisation.docker.enable"
    "virtualisation.fileSystems"
    "virtualisation.incus.enable"
    "virtualisation.libvirtd.enable"
    "virtualisation.lxc.enable"
    "virtualisation.lxd.enable"
    "virtualisation.mountHostNixStore"
    "virtualisation.podman.enable"
    "virtualisation.qemu.drives"
    "virtualisation.qemu.guestAgent.enable"
    "virtualisation.qemu.options"
    "virtualisation.rootDevice"
    "virtualisation.sharedDirectories"
    "virtualisation.tpm.enable"
    "virtualisation.useDefaultFilesystems"
    "virtualisation.useNixStoreImage"
    "virtualisation.useSecureBoot"
    "virtualisation.virtualbox.host.enable"
    "virtualisation.vmware.host.enable"
    "virtualisation.vswitch.enable"
    "virtualisation.waydroid.enable"
    "virtualisation.xen.enable"
    "zramSwap.enable"
  ];

  # Where modules are that every machine has: NixOS', those of its tests, and ours.
  own = map (folder: "${toString folder}/") [
    modulesPath
    (dirOf modulesPath + "/lib")
    ../.
  ];
  isOwn = file: lib.any (folder: lib.hasPrefix folder (toString file)) own;

  isOwnSetting = import ../own-kernel-setting.nix { inherit lib; };

  wants =
    name: value:
    if name == "boot.kernel.sysctl" then
      !(lib.isAttrs value && lib.all isOwnSetting (lib.attrNames value))
    else
      !lib.elem value [
        false
        null
        ""
        [ ]
        { }
      ];
  isDefinedByUser =
    name:
    let
      option = lib.attrByPath (lib.splitString "." name) null options;
      definitions = option.definitionsWithLocations or [ ];
    in
    lib.isOption option && lib.any ({ file, value, ... }: !isOwn file && wants name value) definitions;
  ofSpecialisations = lib.concatMap (
    special: special.configuration.system.build.snowglobeContainer.obstacles or [ ]
  ) specialisations.right;
in
lib.unique (
  lib.filter (name: byValue.${name}) (lib.attrNames byValue)
  ++ lib.filter isDefinedByUser byUser
  ++ ofSpecialisations
)
