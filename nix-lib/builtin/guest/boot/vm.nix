# The script `run-NAME-vm` that starts a machine, with the environment and
# arguments of NixOS' own (see docs/src/architecture.md), and the image of the
# store paths that the machine uses.
{
  lib,
  platform,
  build,
  tools,
  kernel,
  image,
  initrd,
  guests,
}:
{
  name,
  config,
  toplevel,
  references,
}:
let
  inherit (lib) escapeShellArg concatStrings;
  cfg = config.virtualisation;
  guest = guests.${cfg.guest};
  hostName = config.networking.hostName;
  store = image.ofClosure name ([ "${toplevel}" ] ++ references);
  size = if cfg.diskSize == "auto" then 1024 else cfg.diskSize;

  parameters = lib.concatStringsSep " " (
    [
      "console=${platform.console}"
      "panic=-1"
      "net.ifnames=0"
      "quiet"
      "loglevel=4"
      "audit=0"
      "mitigations=off"
      "snowglobe.system=${toplevel}"
      "snowglobe.size=${toString size}"
    ]
    ++ platform.parameters
    ++ config.boot.kernelParams
  );

  # Devices are put in front of the arguments that the script was given, the
  # last one first: their order is the one in which the guest finds them.
  device = arguments: "set -- ${arguments} \"$@\"\n";
  readOnlyDisk =
    serial: file:
    device "-drive if=none,id=${serial},file=${file},format=raw,readonly=on -device virtio-blk-pci,drive=${serial},serial=${serial}";
  emptyDisks = lib.imap0 (
    n: disk:
    let
      id = "empty${toString n}";
      file = "${id}.qcow2";
      inherit (disk.driveConfig) driveExtraOpts deviceExtraOpts;
      drive = {
        format = "qcow2";
        cache = "unsafe";
        discard = "unmap";
      }
      // driveExtraOpts
      // {
        "if" = "none";
        inherit id file;
      };
      # In QEMU's options a comma ends a value, unless there are two.
      settings = lib.concatMapAttrsStringSep "," (
        name: value: "${name}=${lib.replaceStrings [ "," ] [ ",," ] value}"
      );
    in
    "[ -e ${file} ] || qemu-img create -q -f qcow2 ${file} ${toString disk.size}M\n"
    + device (
      lib.escapeShellArgs [
        "-drive"
        (settings drive)
        "-device"
        "virtio-blk-pci,${settings (deviceExtraOpts // { drive = id; })}"
      ]
    )
  ) cfg.emptyDiskImages;
  cards = lib.imap1 (
    n: card:
    let
      id = "vlan${toString n}";
      vlan = toString card.vlan;
    in
    device "-device virtio-net-pci,netdev=${id},mac=${card.mac},romfile="
    + ''
      if [ -n "''${SNOWGLOBE_STREAM_SOCKET_${vlan}:-}" ]; then
        set -- -netdev "stream,id=${id},server=off,addr.type=unix,addr.path=''${SNOWGLOBE_STREAM_SOCKET_${vlan}//,/,,}" "$@"
      elif [ -n "''${QEMU_VDE_SOCKET_${vlan}:-}" ]; then
        set -- -netdev "vde,id=${id},sock=''${QEMU_VDE_SOCKET_${vlan}//,/,,}" "$@"
      else
        set -- -netdev hubport,id=${id},hubid=${toString n} "$@"
      fi
    ''
  ) config.networking.cards;
  userNetwork = device "-netdev \"user,id=user.0${restriction}${forwards}\${QEMU_NET_OPTS:+,$QEMU_NET_OPTS}\" -device virtio-net-pci,netdev=user.0,romfile=";
  # A folder of the host, for the guest to mount. In QEMU's options a comma
  # ends a value, unless there are two.
  hostFolder =
    tag: path:
    device "-fsdev \"local,id=${tag},path=\${${path}//,/,,},security_model=none,multidevs=remap\" -device virtio-9p-pci,fsdev=${tag},mount_tag=${tag}";
  devices = [
    (readOnlyDisk "root" guest.image)
  ]
  ++ emptyDisks
  ++ [
    (readOnlyDisk "store" store)
    userNetwork
  ]
  ++ cards
  ++ [
    # One that all guests share, and one that only this guest has: as NixOS'
    # test machines have them. The second one is mounted when it is needed.
    (hostFolder "shared" "SHARED_DIR")
    (hostFolder "xchg" "EXCHANGE_DIR")
  ]
  ++ lib.optional (platform.devices != "") (device platform.devices)
  ++ lib.optional cfg.graphics (device platform.display);
  # The firmware writes its variables into a file of the machine's own.
  firmware = lib.optionalString cfg.useEFIBoot (
    assert lib.assertMsg platform.hasFirmware
      "node `${name}`: `virtualisation.useEFIBoot` is for machines of x86_64-linux alone";
    let
      folder = "${tools.debianPackage "ovmf"}/share/OVMF";
      variables = "${name}-efi-vars.fd";
    in
    ''
      [ -e ${escapeShellArg variables} ] || install -m 644 ${folder}/OVMF_VARS_4M.fd ${escapeShellArg variables}
      set -- \
        -drive if=pflash,format=raw,unit=0,readonly=on,file=${folder}/OVMF_CODE_4M.fd \
        -drive if=pflash,format=raw,unit=1,file=${escapeShellArg variables} "$@"
    ''
  );
  restriction = lib.optionalString cfg.restrictNetwork ",restrict=on";
  forwards = lib.concatMapStrings (
    {
      from,
      proto,
      host,
      guest,
    }:
    if from == "host" then
      ",hostfwd=${proto}:${host.address}:${toString host.port}-${guest.address}:${toString guest.port}"
    else
      ",guestfwd=${proto}:${guest.address}:${toString guest.port}-cmd:nc ${host.address} ${toString host.port}"
  ) cfg.forwardPorts;

  script = build.write "run-${name}-vm" {
    executable = true;
    text = ''
      #!${build.busybox} sh
      # Starts the test machine ${name}.
      set -eu
      if [ "''${USE_TMPDIR:-}" = 1 ]; then
        : "''${TMPDIR:?}"
      else
        TMPDIR=$(mktemp -d)
      fi
      cd "$TMPDIR"
      : "''${SHARED_DIR:=$TMPDIR/shared}"
      EXCHANGE_DIR=$TMPDIR/xchg
      mkdir -p "$SHARED_DIR" "$EXCHANGE_DIR"

      accelerator=tcg
      processor=${platform.emulated}
      if ${platform.isNative} && [ -w /dev/kvm ]; then
        accelerator=kvm
        processor=${platform.native}
      fi

      ${concatStrings (lib.reverseList devices)}${firmware}
      # shellcheck disable=SC2086
      exec ${platform.qemu} \
        -name ${escapeShellArg hostName} \
        -machine "${platform.machine},accel=$accelerator" -cpu "$processor" \
        -m ${toString cfg.memorySize} -smp ${toString cfg.cores} \
        -nodefaults -no-user-config \
        -display none \
        -kernel ${if cfg.useEFIBoot then kernel.vmlinuz else kernel.vmlinux} -initrd ${initrd} \
        -append ${escapeShellArg parameters}" ''${QEMU_KERNEL_PARAMS:-}" \
        ${lib.concatStringsSep " " (cfg.qemu.options ++ cfg.qemu.networkingOptions)} \
        ''${QEMU_OPTS:-} "$@"
    '';
  };
in
build.run "vm-${name}" { } ''
  mkdir -p $out/bin
  ln -s ${script} $out/bin/${escapeShellArg "run-${hostName}-vm"}
  ln -s ${toplevel} $out/system
''
