# Services and their tools, and what runs virtual machines.
{
  debs,
  fixes,
  ...
}:
let
  inherit (builtins)
    head
    match
    ;
  inherit (debs) known;
  inherit (fixes)
    before
    edit
    script
    unit
    withVariable
    ;

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
    # opens says little: without vmx or svm it hangs guests. Debian's kernel has
    # itself unpacked beside it (PVH).
    fix = ''
      real=$(readlink -f $out/bin/qemu-system-x86_64)
      ${script "qemu-system-x86_64" ''
        export QEMU_MODULE_DIR=$out/lib/x86_64-linux-gnu/qemu
        if ! ${unit "grep"}/bin/grep -qwE 'vmx|svm' /proc/cpuinfo; then
          set -- "\$@" -machine accel=tcg -cpu qemu64
        fi
        previous=
        for argument; do
          shift
          if [ "\$previous" = -kernel ]; then
            kernel=\$(${unit "coreutils"}/bin/readlink -f "\$argument")
            [ ! -e "\''${kernel%/*}/vmlinux" ] || argument="\''${kernel%/*}/vmlinux"
          fi
          set -- "\$@" "\$argument"
          previous="\$argument"
        done
        exec $real -L $out/share/qemu -L $out/share/seabios -L $out/lib/ipxe/qemu "\$@"
      ''}
      ln -sfn qemu-system-x86_64 $out/bin/qemu-kvm
      mkdir -p $out/lib/udev/rules.d
    '';
  };
in
rec {
  ## Virtual machines

  inherit qemu;
  qemu-host-cpu-only = qemu;
  qemu-host-cpu-only-for-vm-tests = qemu;
  qemu-utils = qemu;

  virtiofsd = {
    debs = [ "virtiofsd" ];
    fix = "ln -s ../libexec/virtiofsd $out/bin/";
  };

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
  cowsay = {
    debs = [ "cowsay" ];
    fix = withVariable "cowsay" "COWPATH" "$out/share/cowsay/cows";
  };
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
    fix = withVariable "git" "GIT_EXEC_PATH" "$out/lib/git-core";
  };
  lighttpd = {
    debs = [ "lighttpd" ];
    # It looks for its modules in /usr/lib/lighttpd, and Debian makes the list of types as it starts.
    fix = ''
      ${before "lighttpd" ''set -- -m $out/lib/lighttpd "\$@"''}
      types=$out/share/lighttpd/doc/config/conf.d
      mkdir -p $types
      awk 'BEGIN { print "mimetype.assign = (" }
        !/^#/ { for (n = 2; n <= NF; n++) if (!seen[tolower($n)]++) printf "  \".%s\" => \"%s\",\n", $n, $1 }
        END { print "  \"\" => \"application/octet-stream\"\n)" }' ${unit "media-types"}/etc/mime.types > $types/mime.conf
    '';
  };
  knot-dns = {
    debs = known [
      "knot"
      "knot-dnssecutils"
      "knot-dnsutils"
      "knot-host"
      "knot-keymgr"
    ];
    # A wrapper of the module links to the folder.
    fix = "mkdir -p $out/share/man";
  };
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
  mosquitto = [
    "mosquitto"
    "mosquitto-clients"
  ];
  nginx = {
    debs = [
      "nginx"
      "nginx-common"
    ];
    # It has folders of its own below /tmp, as in nixpkgs.
    fix = edit "nginx" "'s,/var/lib/nginx/,/tmp/////nginx-,g'" + "ln -sfn etc/nginx $out/conf";
  };
  openssl = {
    debs = known [
      "openssl"
      "libssl-dev"
      "libssl3"
      "libssl3t64"
    ];
    # It looks for its configuration in /usr/lib/ssl.
    fix = withVariable "openssl" "OPENSSL_CONF" "$out/etc/ssl/openssl.cnf";
  };
  openssh = {
    debs = known [
      "openssh-client"
      "openssh-common"
      "openssh-server"
      "openssh-sftp-server"
    ];
    # Debian's unit makes this folder.
    fix = before "sshd" "${unit "coreutils"}/bin/mkdir -p /run/sshd";
  };
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
  # Its confdir is $out/etc, as nixpkgs installs it.
  privoxy = {
    debs = [ "privoxy" ];
    fix = "ln -s $out/etc/privoxy/* $out/etc/";
  };
  redis = [
    "redis-server"
    "redis-tools"
  ];
  samba = known [
    "samba"
    "samba-common-bin"
    "smbclient"
    "winbind"
  ];
}
