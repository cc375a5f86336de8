# Which of Debian's packages a package of nixpkgs is made of, by its pname.
#
# An entry is a list of Debian's packages, or a set as `link` in packages.nix
# takes it (`debs`, `fix`, `program`, `content`, `isFile`, `environment`), or a
# function from the arguments of the derivation to one of these. What has no
# entry and is called as Debian calls it needs none. --packages-table FILE adds
# a file like this one.
{
  debs,
  # Makes a package of an entry, to be named in a fix.
  entryPackage,
  link,
  toolchain,
  tree,
  ...
}:
let
  inherit (builtins)
    concatStringsSep
    elemAt
    genList
    head
    length
    match
    splitVersion
    stringLength
    ;
  inherit (debs) known;
  unit = name: "${debs.package name}";
  firstTwo = list: if length list < 2 then list else [ (elemAt list 0) (elemAt list 1) ];

  # A package whose programs the scripts of an initrd copy.
  inInitrd = debs: {
    inherit debs;
    content = "programs";
  };

  # Nothing of the package is needed but that it is there.
  empty = { };
  # For a fix: a shell script as a program of the package. Variables of the fix
  # are put in; those of the script have a backslash before them.
  script = name: lines: ''
    rm -f $out/bin/${name}
    cat > $out/bin/${name} <<EOF
    #!${unit "bash"}/bin/bash
    ${lines}
    EOF
    sed -i 's/^ *//' $out/bin/${name}
    chmod +x $out/bin/${name}
  '';
  # A program that does nothing.
  idle = name: { fix = script name "exit 0"; };
  # For a fix: changes the rules for udev by arguments for sed.
  editRules = command: ''
    for rules in $out/lib/udev/rules.d/*; do
      sed ${command} $rules > $rules.new
      mv $rules.new $rules
    done
  '';
  # For a fix: changes a text that is compiled into a program to one that is not longer.
  editProgram =
    program: from: to:
    let
      zeros = concatStringsSep "" (genList (_: "\\x00") (stringLength from - stringLength to));
    in
    ''
      sed 's,${from},${to}${zeros},' $(readlink -f $out/bin/${program}) > $NIX_BUILD_TOP/${program}
      rm $out/bin/${program}
      install -m 555 $NIX_BUILD_TOP/${program} $out/bin/
    '';
  # For a fix: a program finds those of other packages.
  withPath = program: packages: ''
    real=$(readlink -f $out/bin/${program})
    ${script program ''
      export PATH=${concatStringsSep ":" (map (package: "${package}/bin") packages)}:\$PATH
      exec $real "\$@"
    ''}
  '';
  # The output is a text.
  text = content: {
    isFile = true;
    fix = "printf '%s' '${content}' > $out";
  };

  systemdTable = import ./systemd.nix {
    inherit
      debs
      link
      tree
      ;
  };
  kernel = import ./kernel.nix { inherit debs; };
  python = debs.named "python3" "python3\\.[0-9]+";

  qemu = {
    debs = known [
      "qemu-system-x86"
      "qemu-system-common"
      "qemu-system-data"
      "qemu-utils"
      "seabios"
      "ipxe-qemu"
      "qemu-guest-agent"
    ];
    # Debian's QEMU looks for its parts where Debian has them. A /dev/kvm that
    # opens says little: without vmx or svm it hangs guests.
    fix = ''
      real=$(readlink -f $out/bin/qemu-system-x86_64)
      ${script "qemu-system-x86_64" ''
        export QEMU_MODULE_DIR=$out/lib/x86_64-linux-gnu/qemu
        if ! ${unit "grep"}/bin/grep -qwE 'vmx|svm' /proc/cpuinfo; then
          set -- "\$@" -machine accel=tcg -cpu qemu64
        fi
        exec $real -L $out/share/qemu -L $out/share/seabios -L $out/lib/ipxe/qemu "\$@"
      ''}
      ln -sfn qemu-system-x86_64 $out/bin/qemu-kvm
      mkdir -p $out/lib/udev/rules.d
    '';
  };

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

  dejavu = {
    debs = [ "fonts-dejavu-core" ];
    fix = "for font in $out/share/fonts/truetype/dejavu/*; do ln -s $font $out/share/fonts/truetype/; done";
  };
in
rec {
  ## The environment of builds

  bash = {
    debs = [ "bash" ];
    fix = "ln -sfn bash $out/bin/sh";
  };
  bash-interactive = bash;
  binutils = toolchain.binutilsEntry;
  coreutils = {
    debs = [ "coreutils" ];
    fix = "ln -s ${unit "procps"}/bin/kill ${unit "procps"}/bin/uptime $out/bin/";
  };
  coreutils-full = coreutils;
  gawk = {
    debs = [ "gawk" ];
    fix = "ln -sfn gawk $out/bin/awk";
  };
  gcc = toolchain.gccEntry;
  glibc = toolchain.glibcEntry;
  glibc-nolibgcc = glibc;
  glibc-locales = {
    debs = [ ];
    environment.I18NPATH = "${debs.package "locales"}/share/i18n";
    fix = ''
      root=$NIX_BUILD_TOP/root
      mkdir -p $root/usr/lib/locale $out/lib/locale
      for locale in en_US; do
        ${unit "libc-bin"}/bin/localedef --prefix=$root --no-archive -i $locale -f UTF-8 $root/usr/lib/locale/$locale.utf8 || true
      done
      cp -r --no-preserve=mode ${unit "libc-bin"}/lib/locale/. $root/usr/lib/locale/. $out/lib/locale/
      touch $out/lib/locale/locale-archive
    '';
  };
  gnugrep = [ "grep" ];
  gnumake = [ "make" ];
  gnupatch = [ "patch" ];
  gnused = [ "sed" ];
  gnutar = [ "tar" ];
  clippy = [ "rust-clippy" ];
  lndir.fix = "cp -L ${unit "xutils-dev"}/bin/lndir $out/bin/";
  pkg-config = [
    "pkgconf"
    "pkgconf-bin"
  ];
  linux-headers = [ "linux-libc-dev" ];
  ShellCheck = [ "shellcheck" ];
  which = {
    debs = [ (if debs.isKnown "gnu-which" then "gnu-which" else "debianutils") ];
    fix = "for name in which.gnu which.debianutils; do [ ! -e $out/bin/$name ] || ln -sfn $name $out/bin/which; done";
  };
  xz = [ "xz-utils" ];

  ## Languages

  perl = {
    debs = [
      "perl"
      "perl-base"
      (debs.named "perl" "perl-modules-5\\.[0-9]+")
      (debs.named "perl" "libperl5\\.[0-9]+(t64)?")
    ];
    # Debian's perl knows only its place in Debian.
    fix = ''
      real=$(readlink -f $out/bin/perl)
      folders=
      for folder in $out/lib/x86_64-linux-gnu/perl/5.* $out/share/perl/5.* $out/lib/x86_64-linux-gnu/perl-base; do
        [ ! -d $folder ] || folders=$folders:$folder
      done
      ${script "perl" ''
        export PERL5LIB="\''${PERL5LIB:+\$PERL5LIB:}''${folders#:}" PERL_BADLANG=0
        exec -a "\$0" $real "\$@"
      ''}
    '';
  };
  python3 = args: {
    debs = [
      "python3"
      "python3-minimal"
      python
      "${python}-minimal"
      "lib${python}-minimal"
      "lib${python}-stdlib"
    ];
    environment = {
      inherit python;
      # nixpkgs' name of the program: `python3.13`.
      named = "python${concatStringsSep "." (firstTwo (splitVersion (args.version or "3")))}";
      # Shows builds the modules of their inputs.
      setupHook = args.setupHook or "";
    };
    # Its program finds the library from its own place.
    fix = ''
      real=$(readlink -f $out/bin/$python)
      rm -f $out/bin/$python $out/bin/python3 $out/bin/python
      cp $real $out/bin/$python
      ln -s $python $out/bin/python3
      ln -s $python $out/bin/python
      [ -e $out/bin/$named ] || ln -s $python $out/bin/$named
      rm -f $out/lib/$python/sitecustomize.py
      sed "s,@named@,$named," \
        ${tree + "/pkgs/development/interpreters/python/sitecustomize.py"} ${./install_places.py} > $out/lib/$python/sitecustomize.py
      if [ -n "$setupHook" ]; then install -D -m 444 $setupHook $out/nix-support/setup-hook; fi
    '';
  };
  python3-minimal = python3;
  "python3-memcached-1.51" = [ "python3-memcache" ];
  python3-flake8 = known [
    "flake8"
    "python3-flake8"
  ];
  # nixpkgs adds this option to it.
  python3-installer = {
    debs = [ "python3-installer" ];
    fix = ''
      module=$out/lib/$sitePackages/site-packages/installer
      real=$(readlink -f $module)
      rm $module
      cp -r --no-preserve=mode $real $module
      sed -i 's/interpreter=sys.executable/interpreter=args.executable or sys.executable/
        s/^    return parser/    parser.add_argument("--executable")\n    return parser/' $module/__main__.py
    '';
  };
  python3-junit-xml = [ "python3-junit.xml" ];
  python3-remote-pdb = {
    debs = [ "python3" ];
    fix = "cp ${./remote_pdb.py} $out/lib/$sitePackages/site-packages/remote_pdb.py";
  };
  python3-mypy = known [
    "mypy"
    "python3-mypy"
  ];
  rustc = {
    debs = known [
      "rustc"
      "libstd-rust-dev"
    ];
    # It looks for the standard library beside its own one, which is another unit's.
    fix = ''
      for program in rustc rustdoc; do
        real=$(readlink -f $out/bin/$program)
        ${script "$program" ''
          case " \$* " in
            *" --sysroot"*) exec $real "\$@" ;;
            *) exec $real --sysroot $out "\$@" ;;
          esac
        ''}
      done
    '';
  };

  ## The system

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
    # They name programs of Debian's initrd.
    fix = "for rules in $out/lib/udev/rules.d/*; do rm $rules; touch $rules; done";
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
      "dbus-system-bus-common"
      "libdbus-1-3"
      "libdbus-1-dev"
    ];
    fix = ''
      mkdir -p $out/libexec
      ln -s $out/lib/dbus-1.0/dbus-daemon-launch-helper $out/libexec/ || true
    '';
  };
  dhcpcd = if match "(.:)?9\\..*" (debs.available.dhcpcd-base or "") != null then leaseClient else dhcpcdOfDebian;
  dosfstools = inInitrd [ "dosfstools" ];
  doas = {
    debs = [ "opendoas" ];
    # What others run as root is looked for where NixOS has it.
    fix = editProgram "doas" "/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin" "/run/wrappers/bin:/run/current-system/sw/bin";
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
  kmod = inInitrd [ "kmod" ];
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
    fix = ''
      real=$(readlink -f $out/bin/resolvconf)
      rm $out/bin/resolvconf
      sed "s,^LIBEXECDIR=.*,LIBEXECDIR=$out/lib/resolvconf," $real > $out/bin/resolvconf
      chmod +x $out/bin/resolvconf
    '';
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
    program = ./su.py;
    environment.suUnits = map debs.package [
      "util-linux"
      "login"
    ];
    fix = "for name in newgrp sg; do [ -e $out/bin/$name ] || ln -s ${unit "util-linux-extra"}/bin/$name $out/bin/; done";
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

  ## Virtual machines

  inherit qemu;
  qemu-host-cpu-only = qemu;
  qemu-host-cpu-only-for-vm-tests = qemu;
  qemu-utils = qemu;

  vde2 = known [
    "vde2"
    "vde-switch"
    "libvdeplug2"
  ];

  ## Services and their tools

  apache-httpd = {
    debs = [
      "apache2"
      "apache2-bin"
      "apache2-data"
      "apache2-utils"
    ];
    # Debian's has some modules built in, and refuses to load them.
    fix = ''
      real=$(readlink -f $out/bin/apache2)
      ${script "httpd" ''
        previous= folder="\''${RUNTIME_DIRECTORY:-/tmp}"
        for argument; do
          shift
          if [ "\$previous" = -f ]; then
            own="\''${folder%%:*}/debian-\''${argument##*/}"
            ${unit "sed"}/bin/sed -E '/^LoadModule (log_config|logio|unixd|version|watchdog)_module /d' "\$argument" > "\$own"
            set -- "\$@" "\$own"
          else
            set -- "\$@" "\$argument"
          fi
          previous="\$argument"
        done
        exec $real "\$@"
      ''}
      ln -sfn lib/apache2/modules $out/modules
      mkdir -p $out/conf/extra
      ln -s ../etc/apache2/magic ${unit "media-types"}/etc/mime.types $out/conf/
      for name in default autoindex multilang-errordoc languages; do touch $out/conf/extra/httpd-$name.conf; done
    '';
  };
  avahi = known [
    "avahi-daemon"
    "avahi-utils"
    "libavahi-client3"
    "libavahi-common3"
    "libavahi-core7"
  ];
  cyrus-sasl = known [
    "sasl2-bin"
    "libsasl2-2"
    "libsasl2-modules"
  ];
  dovecot = known [
    "dovecot-core"
    "dovecot-imapd"
    "dovecot-lmtpd"
    "dovecot-pop3d"
  ];
  # It looks for its commands in /usr/lib/git-core.
  git = {
    debs = [ "git" ];
    fix = ''
      real=$(readlink -f $out/bin/git)
      ${script "git" ''
        export GIT_EXEC_PATH="\''${GIT_EXEC_PATH-$out/lib/git-core}"
        exec $real "\$@"
      ''}
    '';
  };
  knot-dns = known [
    "knot"
    "knot-dnssecutils"
    "knot-dnsutils"
    "knot-host"
    "knot-keymgr"
  ];
  mailcap = {
    debs = [ "media-types" ];
    fix = ''
      mkdir -p $out/etc/nginx
      {
        echo 'types {'
        sed -n 's/^\([a-z][^[:space:]#]*\)[[:space:]][[:space:]]*\([a-z0-9].*\)$/  \1 \2;/p' $out/etc/mime.types
        echo '}'
      } > $out/etc/nginx/mime.types
    '';
  };
  nginx = {
    debs = [
      "nginx"
      "nginx-common"
    ];
    # It has folders of its own below /tmp, as in nixpkgs.
    fix = ''
      ln -sfn etc/nginx $out/conf
      sed 's,/var/lib/nginx/,/tmp/////nginx-,g' $(readlink -f $out/bin/nginx) > $NIX_BUILD_TOP/nginx
      rm $out/bin/nginx
      install -m 555 $NIX_BUILD_TOP/nginx $out/bin/
    '';
  };
  openssl = {
    debs = known [
      "openssl"
      "libssl-dev"
      "libssl3"
      "libssl3t64"
    ];
    # It looks for its configuration in /usr/lib/ssl.
    fix = ''
      real=$(readlink -f $out/bin/openssl)
      ${script "openssl" ''
        export OPENSSL_CONF="\''${OPENSSL_CONF-$out/etc/ssl/openssl.cnf}"
        exec $real "\$@"
      ''}
    '';
  };
  openssh = [
    "openssh-client"
    "openssh-server"
    "openssh-sftp-server"
  ];
  postgresql =
    args:
    let
      major = head (match "([0-9]+).*" args.version);
      # The suite has one of them.
      version =
        if debs.isKnown "postgresql-${major}" then
          "postgresql-${major}"
        else
          debs.named "postgresql" "postgresql-[0-9]+";
    in
    {
      debs = known [
        version
        (builtins.replaceStrings [ "postgresql-" ] [ "postgresql-client-" ] version)
        "libpq5"
      ];
    };
  openldap = known [
    "slapd"
    "ldap-utils"
    "libldap-2.5-0"
    "libldap2"
  ];
  redis = [
    "redis-server"
    "redis-tools"
  ];

  ## Data

  dejavu-fonts = dejavu;
  dejavu-fonts-full = dejavu;
  dejavu-fonts-minimal = dejavu;
  fontconfig = known [
    "fontconfig"
    "fontconfig-config"
    "libfontconfig1"
  ];
  nss-cacert = {
    debs = [ "ca-certificates" ];
    fix = ''
      for output in $out ''${unbundled-} ''${hashed-}; do
        mkdir -p $output/etc/ssl/certs
        cat $(find -L $out/share/ca-certificates -name '*.crt') > $output/etc/ssl/certs/ca-bundle.crt
      done
    '';
  };
  texinfo = known [
    "texinfo"
    "info"
    "install-info"
  ];
  texinfo-interactive = texinfo;

  ## Display

  libxslt = known [
    "xsltproc"
    "libxslt1.1"
  ];
  tinyxxd = [ "xxd" ];
  xauth = [ "xauth" ];
  xwininfo = [ "x11-utils" ];
  alsa-utils = {
    debs = [ "alsa-utils" ];
    # NixOS refuses rules that look at Debian's places.
    fix = editRules "'s, TEST==\"/usr/sbin\",,'";
  };

  # Each release has other warnings, which are not to fail builds.
  ty = {
    debs = [ "ty" ];
    fix = ''
      real=$(readlink -f $out/bin/ty)
      ${script "ty" ''
        for argument; do
          shift
          [ "\$argument" = --error-on-warning ] || set -- "\$@" "\$argument"
        done
        [ "\$1" != check ] || set -- "\$@" --exit-zero-on-warning
        exec $real "\$@"
      ''}
    '';
  };
  python3-ty = ty;
  # Each release formats in its own way, and has other rules.
  ruff = idle "ruff" // {
    debs = [ "ruff" ];
  };
  python3-ruff = ruff;

  ## What only has to be there

  dvp = empty;
  gixy = idle "gixy";
  neo = empty;
  nginx-config-formatter.fix = script "nginxfmt" "exec ${unit "coreutils"}/bin/cat";
  nix-bash-completions = empty;
  nixos-option = empty;
  nixos-rebuild-ng = idle "nixos-rebuild";
  # Each release formats in its own way, which fails builds that check it.
  python3-black = {
    debs = [ "black" ];
    fix = script "black" "exit 0";
  };
  simple-dark-gray-bootloader.fix = "mkdir -p $out/grub";
}
