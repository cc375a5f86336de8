# virtualisation.*: the machine that QEMU, or a container, shows to the guest.
{
  lib,
  config,
  options,
  hostSystem,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.virtualisation;
  system = config.nixpkgs.hostPlatform;
  own = definition: lib.hasPrefix (toString ./.) definition.file;
  isOwnSetting = import ../../../own-kernel-setting.nix { inherit lib; };
  obstacles = {
    "boot.kernelModules" = lib.any (definition: !own definition) options.boot.kernelModules.definitions;
    "boot.kernelParams" = config.boot.kernelParams != [ ];
    "boot.kernel.sysctl" = lib.any (name: !isOwnSetting name) (lib.attrNames config.boot.kernel.sysctl);
    "nixpkgs.hostPlatform" = system != null && system != hostSystem;
    "virtualisation.emptyDiskImages" = cfg.emptyDiskImages != [ ];
    "virtualisation.forwardPorts" = cfg.forwardPorts != [ ];
    "virtualisation.qemu.options" = cfg.qemu.options != [ ];
    "virtualisation.qemu.networkingOptions" = cfg.qemu.networkingOptions != [ ];
    "virtualisation.restrictNetwork" = !cfg.restrictNetwork;
    "virtualisation.useEFIBoot" = cfg.useEFIBoot;
  };
  option =
    type: default: description:
    mkOption { inherit type default description; };
in
{
  options.virtualisation = {
    guest = option (types.enum [
      "debian"
      "tiny"
    ]) "debian" "The built-in guest: `debian` (systemd) or `tiny` (busybox and bash).";
    backend =
      option
        (types.nullOr (
          types.enum [
            "vm"
            "container"
            "auto"
          ]
        ))
        null
        "What the machine is: `vm`, `container`, or `auto` for a container if it can be one; null for what the command line says.";
    containerObstacles = mkOption {
      type = types.listOf types.str;
      description = "The options that a container cannot do (internal).";
    };
    memorySize = mkOption {
      type = types.ints.positive;
      default = if config.virtualisation.guest == "tiny" then 192 else 1024;
      description = "Memory in MiB.";
    };
    cores = option types.ints.positive 1 "Number of processors.";
    diskSize = option (types.either types.ints.positive (
      types.enum [
        "auto"
      ]
    )) 1024 "How much the guest can write, in MiB. Its root is a read-only image under a tmpfs.";
    graphics = mkOption {
      type = types.bool;
      default = config.virtualisation.guest == "debian";
      description = "Whether the machine has a display adapter.";
    };
    vlans = option (types.listOf types.ints.u8) [
      1
    ] "The virtual networks, in order: eth1, eth2, …";
    interfaces = option (types.attrsOf (
      types.submodule (
        { name, ... }:
        {
          options = {
            vlan = mkOption {
              type = types.ints.u8;
              description = "The virtual network of this interface.";
            };
            assignIP = option types.bool false "Whether to give it the network's address.";
            name = option types.str name "The interface's name in the guest.";
          };
        }
      )
    )) { } "Network interfaces by name, instead of `vlans`.";
    emptyDiskImages = option (types.listOf (
      types.coercedTo types.ints.positive (size: { inherit size; }) (
        types.submodule {
          options = {
            size = mkOption {
              type = types.ints.positive;
              description = "The disk's size in MiB.";
            };
            driveConfig = {
              name = option (types.nullOr types.str) null "A name for the disk. QEMU does not get it.";
              driveExtraOpts = option (types.attrsOf types.str) { } "More options of QEMU's `-drive`.";
              deviceExtraOpts =
                option (types.attrsOf types.str) { }
                  "More options of QEMU's `-device`, such as `serial`.";
            };
          };
        }
      )
    )) [ ] "Empty disks, /dev/vdb, /dev/vdc, …: their sizes in MiB, or sets.";
    forwardPorts = option (types.listOf (
      types.submodule {
        options = {
          from = option (types.enum [
            "host"
            "guest"
          ]) "host" "Which side connects.";
          proto = option (types.enum [
            "tcp"
            "udp"
          ]) "tcp" "The protocol.";
          host.address = option types.str "" "The host's address; empty means all.";
          host.port = option types.port 0 "The host's port.";
          guest.address = option types.str "" "The guest's address; empty means its first.";
          guest.port = option types.port 0 "The guest's port.";
        };
      }
    )) [ ] "Ports of the host that lead into the guest, over its user-mode network.";
    qemu = {
      options = option (types.listOf types.str) [ ] "More arguments for QEMU.";
      networkingOptions = option (types.listOf types.str) [ ] "More network arguments for QEMU.";
      forceAccel =
        option types.bool false
          "Whether the machine may not be emulated: a host without KVM is an error.";
      package = option types.raw null "Not used: QEMU is the machine's own.";
    };
    useEFIBoot =
      option types.bool false
        "Whether the firmware is EFI's, EDK2 out of the package ovmf (`snowglobe guest fetch ovmf`).";
    restrictNetwork =
      option types.bool true
        "Whether the guest is kept from the host's network; what `forwardPorts` says works all the same.";
    writableStore = option types.bool false "Not used: the guest's store is read-only.";
  };
  config.virtualisation.containerObstacles = lib.filter (name: obstacles.${name}) (
    lib.attrNames obstacles
  );
}
