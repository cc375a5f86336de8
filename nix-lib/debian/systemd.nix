# Debian's systemd in nixpkgs' shape: units where NixOS takes them from, and
# links for the places that are compiled into Debian's programs.
{
  debs,
  link,
  tree,
}:
let
  inherit (debs) known;
  inherit (builtins)
    attrNames
    concatMap
    concatStringsSep
    filter
    isList
    match
    pathExists
    readDir
    readFile
    split
    ;

  # The units that NixOS takes from the package: the texts of its modules name them.
  modules = tree + "/nixos/modules";
  nixFilesIn =
    folder:
    if pathExists folder then
      map (name: folder + "/${name}") (
        filter (name: match ".*\\.nix" name != null) (attrNames (readDir folder))
      )
    else
      [ ];
  texts = map readFile (
    concatMap (folder: nixFilesIn (modules + folder)) [
      "/services/ttys"
      "/system/boot"
      "/system/boot/systemd"
    ]
    ++ filter pathExists (
      map (file: modules + file) [
        "/config/console.nix"
        "/services/hardware/udev.nix"
        "/services/networking/ifstate.nix"
        "/virtualisation/lxc-container.nix"
      ]
    )
  );
  namedUnits = concatMap (
    text:
    concatMap (part: if isList part then part else [ ]) (
      split "\"([A-Za-z0-9@:._-]+\\.(service|socket|target|mount|automount|timer|path|slice|wants))\"" text
    )
  ) texts;
  unitNames = filter (name: match ".*\\..*" name != null) namedUnits;

  utilLinux = link {
    name = "util-linux-programs";
    debs = known [
      "util-linux"
      "util-linux-extra"
      "mount"
      "login"
    ];
  };

  # Libraries that Debian's programs look for below /usr/lib: name services, PAM, packet filters.
  plugins = map debs.package (known [
    "libc6"
    "libnss-systemd"
    "libnss-myhostname"
    "libnss-mymachines"
    "libnss-resolve"
    "libpam-modules"
    "libpam-systemd"
    "libpam0g"
    "libssl3"
    "libsystemd-shared"
    "iptables"
    "libxtables12"
  ]);

  # What Debian's programs have compiled in. A `?` means: only if it is there. A `!`
  # means: only if nothing is at the place.
  linked = [
    "/usr/lib/locale=!/run/current-system/sw/lib/locale"
    "/lib/modules=!/run/booted-system/kernel-modules/lib/modules"
    "/usr/lib/modules=!/run/booted-system/kernel-modules/lib/modules"
    "/usr/share/dbus-1=/etc/dbus-1"
    "/usr/share/zoneinfo=/etc/zoneinfo"
    "/usr/share/terminfo=?${debs.package "ncurses-base"}/share/terminfo"
    "/usr/sbin/unix_chkpwd=/run/wrappers/bin/unix_chkpwd"
    "/usr/sbin/unix_update=/run/wrappers/bin/unix_chkpwd"
    "/usr/lib/openssh=?${debs.package "openssh-server"}/lib/openssh"
    "/usr/bin/dbus-broker=?${debs.package "dbus-broker"}/bin/dbus-broker"
    "/usr/libexec/dhcpcd-run-hooks=?${debs.package "dhcpcd-base"}/libexec/dhcpcd-run-hooks"
    # Where mount looks for mount.cifs and its like.
    "/sbin/fs=!/run/current-system/sw/bin"
    "/usr/libexec/sudo=?${debs.package "sudo"}/libexec/sudo"
    "/usr/lib/sudo=?${debs.package "sudo"}/lib/sudo"
  ]
  ++ map (name: "/usr/bin/${name}=?${utilLinux}/bin/${name}") [
    "mount"
    "umount"
  ]
  ++ map (name: "/usr/bin/${name}=?${debs.package "coreutils"}/bin/${name}") [
    "true"
    "false"
  ]
  ++ map (name: "/usr/sbin/${name}=?${debs.package "e2fsprogs"}/bin/${name}") [
    "fsck.ext2"
    "fsck.ext3"
    "fsck.ext4"
  ]
  ++ map (name: "/usr/sbin/${name}=?${utilLinux}/bin/${name}") [
    "swapon"
    "swapoff"
    "sulogin"
    "agetty"
    "fsck"
    "nologin"
  ]
  ++ (if isBeforeMerge then linkedBeforeMerge else [ ]);

  # Debian 12 and older have these places without /usr compiled in.
  isBeforeMerge = match "25[0-4][^0-9].*" (debs.available.systemd or "") != null;
  linkedBeforeMerge = [
    "/lib/systemd=?/usr/lib/systemd"
    "/lib/udev=?/usr/lib/udev"
    "/lib/x86_64-linux-gnu=?/usr/lib/x86_64-linux-gnu"
    "/bin/mount=?${utilLinux}/bin/mount"
    "/bin/umount=?${utilLinux}/bin/umount"
  ]
  ++ map (name: "/sbin/${name}=?${utilLinux}/bin/${name}") [
    "swapon"
    "swapoff"
    "sulogin"
    "agetty"
    "fsck"
  ];
in
{
  systemd = {
    debs = known [
      "systemd"
      "udev"
      "libsystemd0"
      "libudev1"
      "libsystemd-dev"
      "libnss-systemd"
      "libnss-myhostname"
      "libnss-mymachines"
      "libnss-resolve"
      "libpam-systemd"
      "systemd-sysv"
      "systemd-boot-efi"
      "systemd-boot-tools"
      "systemd-container"
      "systemd-coredump"
      "systemd-cryptsetup"
      "systemd-homed"
      "systemd-imds"
      "systemd-journal-remote"
      "systemd-oomd"
      "systemd-repart"
      "systemd-resolved"
      "systemd-timesyncd"
      "systemd-tpm"
      "systemd-ukify"
      "systemd-userdbd"
    ];
    content = "programs";
    program = ./systemd.py;
    # The program does it, for units that enable each other, too.
    changesTexts = false;
    environment = {
      unitNames = concatStringsSep " " unitNames;
      # Where texts find programs that systemd does not have.
      others = [
        utilLinux
        (debs.package "coreutils")
        (debs.package "kmod")
      ];
      inherit linked plugins;
    };
    fix = ''
      gcc -O1 -fPIC -shared -nostdlib "-DTREE=\"$out\"" -I$NIX_BUILD_TOP -o $out/lib/libnixplaces.so ${./places.c}
      for program in lib/systemd/systemd bin/systemctl; do
        patchelf --add-needed $out/lib/libnixplaces.so $out/$program
      done
      ln -sfn ../lib/systemd/systemd $out/bin/systemd
    '';
  };
}
