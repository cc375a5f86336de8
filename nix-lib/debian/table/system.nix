# The system that NixOS' modules make, from systemd to tools for disks.
{
  debs,
  entryPackage,
  fixes,
  link,
  tree,
  ...
}:
let
  inherit (builtins) match;
  inherit (debs) known;
  inherit (fixes)
    edit
    editProgram
    editRules
    idle
    inInitrd
    script
    text
    unit
    withPath
    withVariable
    ;

  systemdTable = import ../systemd.nix {
    inherit
      debs
      link
      tree
      ;
  };

  kernel = import ../kernel.nix { inherit debs; };

  util-linux = {
    content = "programs";
    debs = known [
      "util-linux"
      "util-linux-extra"
      "mount"
      "login"
      "uuid-runtime"
      "fdisk"
      "eject"
      "bsdextrautils"
      "libuuid1"
      "libblkid1"
      "libmount1"
      "libsmartcols1"
      "libfdisk1"
    ];
    # Of several outputs only one may have units.
    environment.lastlogUnits = map debs.package (known [
      "libpam-lastlog2"
      "lastlog2"
    ]);
    fix = ''
      if [ -n "''${lastlog-}" ]; then
        for unit in $lastlogUnits; do
          cp -r --no-preserve=mode $unit/. $lastlog/
        done
        chmod -R u+w $lastlog
        find $lastlog -name '*.service' -exec sed -i "s,/usr/bin/,$lastlog/bin/,g" {} +
        chmod +x $lastlog/bin/* || true
        mkdir -p $lastlog/lib/security $lastlog/lib/tmpfiles.d
        ln -sf $lastlog/lib/x86_64-linux-gnu/security/* $lastlog/lib/security/
        echo "d /var/lib/lastlog 0755 root root -" > $lastlog/lib/tmpfiles.d/lastlog2-tmpfiles.conf
      fi
    '';
  };

  netcat = {
    debs = [ "netcat-openbsd" ];
    fix = "ln -sfn nc.openbsd $out/bin/nc";
  };

  # Its unit forbids chown, which nixpkgs' build does not call.
  dhcpcdOfDebian = {
    debs = [ "dhcpcd-base" ];
    fix = ''
      cd $out
      cp --remove-destination $(readlink -f bin/dhcpcd) bin/dhcpcd
      chmod u+w bin/dhcpcd
      cat > $NIX_BUILD_TOP/idle.c <<EOF
      int chown(const char *path, unsigned user, unsigned group) { return 0; }
      int fchown(int file, unsigned user, unsigned group) { return 0; }
      EOF
      mkdir -p lib
      gcc -O1 -fPIC -shared -nostdlib -o lib/libidlechown.so $NIX_BUILD_TOP/idle.c
      patchelf --add-needed $out/lib/libidlechown.so bin/dhcpcd
    '';
  };

  # dhcpcd 9 of Debian 12 separates privileges in a way that ends in a crash in
  # NixOS' service: busybox' client under its name.
  leaseClient.fix =
    script "lease" ''
      [ "\$1" = bound ] || [ "\$1" = renew ] || exit 0
      ${unit "iproute2"}/bin/ip addr replace \$ip/\$mask dev \$interface
      [ -z "\$router" ] || ${unit "iproute2"}/bin/ip route replace default via \$router dev \$interface
    ''
    + script "dhcpcd" ''
      case " \$* " in *" -x "* | *" -n "* | *--rebind* | *" -g "*) exit 0 ;; esac
      ${unit "iproute2"}/bin/ip link set eth0 up 2> /dev/null
      exec ${unit "busybox-static"}/bin/busybox udhcpc -b -i eth0 -p /run/dhcpcd.pid -s $out/bin/lease
    '';
in
rec {
  inherit (systemdTable) systemd;
  systemd-minimal = systemd;
  systemd-minimal-libs = [
    "libsystemd0"
    "libudev1"
    "libsystemd-dev"
  ];
  libudev-zero = systemd-minimal-libs;
  inherit (kernel) linux linux-config;

  audit = known [
    "auditd"
    "libaudit1"
    "libauparse0"
  ];
  bcache-tools = {
    debs = [ "bcache-tools" ];
    # They name programs of Debian's initrd. An empty file would make udev read all rules again every few seconds.
    fix = "for rules in $out/lib/udev/rules.d/*; do rm $rules; echo '# None' > $rules; done";
  };
  bind = known [
    "bind9"
    "bind9-host"
    "bind9-dnsutils"
    "bind9-utils"
  ];
  busybox = {
    debs = known [
      "busybox-static"
      "bash-static"
    ];
    content = "programs";
    # Debian's ash runs its own applets whatever PATH says, and an initrd has
    # better programs of some names: another shell, and what it lacks.
    fix = ''
      cd $out/bin
      for applet in $(./busybox --list); do [ "$applet" = busybox ] || ln -sfn busybox $applet; done
      mv bash-static ash.new
      rm -f ash
      mv ash.new ash
      ln -sfn ash sh
      rm -rf $out/lib $out/share
      cp -L ${unit "util-linux"}/bin/fsck ${unit "procps"}/bin/pgrep ${unit "procps"}/bin/pkill ${unit "kbd"}/bin/kbd_mode .
    '';
  };
  btrfs-progs = inInitrd [ "btrfs-progs" ];
  cryptsetup = inInitrd (known [
    "cryptsetup-bin"
    "libcryptsetup12"
  ]);
  dbus = {
    debs = known [
      "dbus"
      "dbus-daemon"
      "dbus-bin"
      "dbus-session-bus-common"
      # The units of a user's bus.
      "dbus-user-session"
      "dbus-system-bus-common"
      "libdbus-1-3"
      "libdbus-1-dev"
    ];
    fix = ''
      mkdir -p $out/libexec
      ln -s $out/lib/dbus-1.0/dbus-daemon-launch-helper $out/libexec/ || true
    '';
  };
  dhcpcd =
    if match "(.:)?9\\..*" (debs.available.dhcpcd-base or "") != null then
      leaseClient
    else
      dhcpcdOfDebian;
  dosfstools = inInitrd [ "dosfstools" ];
  doas = {
    debs = [ "opendoas" ];
    # What others run as root is looked for where NixOS has it.
    fix =
      editProgram "doas" "/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin"
        "/run/wrappers/bin:/run/current-system/sw/bin";
  };
  e2fsprogs = inInitrd (known [
    "e2fsprogs"
    "logsave"
    "libext2fs2"
    "libcom-err2"
    "libss2"
  ]);
  f2fs-tools = inInitrd [ "f2fs-tools" ];
  ferm = {
    debs = [ "ferm" ];
    fix = withPath "ferm" [ (entryPackage "iptables") ];
  };
  fuse = [ "fuse3" ];
  grub = known [
    "grub-common"
    "grub2-common"
    "grub-pc-bin"
  ];
  hostname-debian = [ "hostname" ];
  iana-etc = [ "netbase" ];
  incron = {
    debs = [ "incron" ];
    fix = editProgram "incrond" "/bin/bash" "/bin/sh";
  };
  inetutils = [ "hostname" ];
  iproute2 = [ "iproute2" ];
  iptables = {
    debs = known [
      "iptables"
      "libxtables12"
      "libip4tc2"
      "libip6tc2"
    ];
    fix = ''
      cd $out/bin
      for family in iptables ip6tables arptables ebtables; do
        for action in "" -save -restore; do ln -sfn xtables-nft-multi $family$action; done
      done
    '';
  };
  iputils = known [
    "iputils-ping"
    "iputils-tracepath"
  ];
  kbd = {
    content = "programs";
    debs = known [
      "kbd"
      "console-data"
    ];
    # nixpkgs calls the maps otherwise.
    fix = "find -L $out/share/keymaps -name '*.kmap.gz' 2> /dev/null | while read -r map; do ln -s $map \${map%.kmap.gz}.map.gz || true; done";
  };
  kmod = inInitrd [
    "kmod"
    "libkmod2"
  ];
  kmod-blacklist.fix = "touch $out/modprobe.conf";
  "kmod-debian-aliases.conf" = text "";
  kmod-debian-aliases = text "";
  libcap = known [
    "libcap2-bin"
    "libcap2"
    "libcap-dev"
    "libpam-cap"
  ];
  libcap-ng = known [
    "libcap-ng0"
    "libcap-ng-dev"
  ];
  libfido2 = {
    debs = [ "libfido2-1" ];
    fix = "mkdir -p $out/lib/udev/rules.d $out/etc/udev/rules.d";
  };
  libressl = netcat;
  linux-pam = known [
    "libpam-modules"
    "libpam-modules-bin"
    "libpam0g"
    "libpam-runtime"
  ];
  lvm2 = {
    content = "programs";
    debs = known [
      "lvm2"
      "dmsetup"
      "dmeventd"
      "libdevmapper1.02.1"
      "liblvm2cmd2.03"
    ];
    # NixOS refuses rules that name Debian's places, and looks for its own to replace them.
    fix = ''
      ${editRules ''"s,/usr/bin/systemd-run,/run/current-system/systemd/bin/systemd-run,g; s,$out/bin/,''${bin-$out}/bin/,g"''}
      if [ -n "''${bin-}" ]; then
        mkdir $bin
        mv $out/bin $bin/bin
        ln -s bin $bin/sbin
        ln -s $bin/bin $out/bin
      fi
    '';
  };
  "lvm2with-dmeventd" = lvm2;
  mdadm = inInitrd [ "mdadm" ] // {
    # As in the rules' source, where NixOS replaces them.
    fix = editRules ''-E "s,$out/bin/,$out/sbin/,g; s,([^r])/bin/(readlink|basename),\1/usr/bin/\2,g"'';
  };
  mkpasswd = [ "whois" ];
  ncurses = known [
    "ncurses-bin"
    "ncurses-base"
    "ncurses-term"
    "libtinfo6"
    "libncursesw6"
  ];
  net-tools = [
    "net-tools"
    "hostname"
  ];
  netcat-gnu = netcat;
  inherit netcat;
  nix = {
    debs = known [
      "nix-bin"
      "nix-setup-systemd"
    ];
    # NixOS has these users and folders of its own.
    fix = ''
      rm -rf $out/lib/tmpfiles.d $out/lib/sysusers.d
      mkdir -p $out/lib/tmpfiles.d
      touch $out/lib/tmpfiles.d/nix-daemon.conf
    '';
  };
  nsncd = {
    debs = [ "nsncd" ];
    fix = "ln -sfn ../libexec/nsncd $out/bin/nsncd";
  };
  openresolv = {
    debs = [ "openresolv" ];
    fix = edit "resolvconf" ''"s,^LIBEXECDIR=.*,LIBEXECDIR=$out/lib/resolvconf,"'';
  };
  polkit = known [
    "polkitd"
    "libpolkit-gobject-1-0"
    "libpolkit-agent-1-0"
  ];
  procps = [ "procps" ];
  rng-tools = known [
    "rng-tools5"
    "rng-tools-debian"
  ];
  # Debian's `su` asks PAM for the service `su-l`, which NixOS does not have.
  shadow = {
    debs = known [
      "passwd"
      "login.defs"
      "login"
      "uidmap"
    ];
    program = ../su.py;
    environment.suUnits = map debs.package [
      "util-linux"
      "login"
    ];
    fix = "for name in newgrp sg; do [ -e $out/bin/$name ] || ln -s ${unit "util-linux-extra"}/bin/$name $out/bin/; done";
  };
  # Ends its threads, for which Debian's C library looks for this one in /usr/lib.
  squashfs = {
    debs = [ "squashfs-tools" ];
    fix =
      withVariable "mksquashfs" "LD_PRELOAD"
        "${unit "libgcc-s1"}/lib/x86_64-linux-gnu/libgcc_s.so.1";
  };
  tpm2-tss = {
    debs = known [
      "libtss2-esys-3.0.2-0"
      "libtss2-rc0"
      "libtss2-mu-4.0.1-0"
      "libtss2-tcti-device0"
    ];
    fix = "mkdir -p $out/lib/udev/rules.d";
  };
  udisks = {
    debs = known [
      "udisks2"
      "libudisks2-0"
    ];
    environment.others = [
      (entryPackage "bash")
    ]
    ++ map debs.package [
      "coreutils"
      "mdadm"
      "sed"
    ];
  };
  xfsprogs = inInitrd [ "xfsprogs" ];
  inherit util-linux;
  util-linux-minimal = util-linux;
}
