# Guest `debian`: systemd and Debian's userland. No maintainer script runs:
# what they would do is done here, once, for all nodes.
{
  lib,
  build,
  pkgs,
  index,
  image,
}:
let
  inherit (build) run write deb;
  shell = import ./shell.nix {
    inherit build;
    bash = "/bin/bash";
  };

  unpacked = run "debian-tree" { } ''
    mkdir -p $out/usr
    for directory in bin sbin lib lib64; do
      mkdir $out/usr/$directory
      ln -s usr/$directory $out/$directory
    done
    ${lib.concatMapStringsSep "\n" (name: ''
      dpkg-deb -x ${deb name} x
      for directory in bin sbin lib lib64; do
        [ ! -d x/$directory ] || { cp -a x/$directory/. $out/usr/$directory/; rm -rf x/$directory; }
      done
      cp -a x/. $out/
      chmod -R u+w x
      rm -rf x
    '') index.root}
    cd $out/usr
    rm -rf share/doc share/man share/locale share/info share/lintian share/bug
    rm -rf lib/udev/hwdb.d lib/udev/hwdb.bin lib/x86_64-linux-gnu/gconv
    # Rules for hardware that is not there, each of which costs time for each
    # device at boot.
    for rules in lib/udev/rules.d/*; do
      case ''${rules##*/} in
        50-udev-default.rules | 60-persistent-storage.rules | 99-systemd.rules) ;;
        *) rm $rules ;;
      esac
    done
  '';

  # Accounts that maintainer scripts make, where no sysusers file does.
  configure = write "configure" {
    executable = true;
    text = ''
      #!/bin/bash
      set -eu
      export PATH=/usr/sbin:/usr/bin
      cp /usr/share/base-passwd/passwd.master /etc/passwd
      cp /usr/share/base-passwd/group.master /etc/group
      number=120
      for group in input kvm render sgx; do
        echo "$group:x:$number:" >> /etc/group
        number=$((number + 1))
      done
      echo 'messagebus:x:101:101::/nonexistent:/usr/sbin/nologin' >> /etc/passwd
      echo 'messagebus:x:101:' >> /etc/group
      sed -i 's/^\([^:]*\):\*:/\1:x:/' /etc/passwd /etc/group
      systemd-sysusers
      sed 's/:.*/:!:19000:0:99999:7:::/' /etc/passwd > /etc/shadow
      rm -f /etc/gshadow
      ldconfig
      ln -sf /proc/self/mounts /etc/mtab
      ln -sf bash /usr/bin/sh
      ln -sf mawk /usr/bin/awk
      : > /etc/fstab
      # Every machine would make its own at its first boot, which takes time.
      echo 736e6f77676c6f6265 | sed 's/$/00000000000000/' > /etc/machine-id
      ln -sf /usr/share/zoneinfo/UTC /etc/localtime

      # Common part of what services ask for at login, as pam-auth-update makes it.
      for kind in auth account password session session-noninteractive; do
        type=''${kind%%-*}
        {
          [ $type != auth ] || echo "auth sufficient pam_rootok.so"
          [ $type != auth ] || echo "auth required pam_unix.so nullok"
          [ $type = auth ] || echo "$type required pam_unix.so"
        } > /etc/pam.d/common-$kind
      done

      mkdir -p /etc/systemd/journald.conf.d /etc/systemd/system/multi-user.target.wants
      # Tests read what services say from the console.
      printf '[Journal]\nStorage=volatile\nForwardToConsole=yes\nTTYPath=/dev/ttyS0\nMaxLevelConsole=info\nRateLimitIntervalSec=0\n' \
        > /etc/systemd/journald.conf.d/test.conf
      mkdir -p /etc/systemd/system.conf.d
      # The journal says on the console what starts.
      printf '[Manager]\nShowStatus=auto\nStatusUnitFormat=name\n' > /etc/systemd/system.conf.d/test.conf
      cd /etc/systemd/system
      ln -sf /lib/systemd/system/multi-user.target default.target
      # Both are started by socket or bus activation.
      rm -f /lib/systemd/system/multi-user.target.wants/dbus.service
      rm -f /lib/systemd/system/multi-user.target.wants/systemd-logind.service
      # What a machine that lives for minutes and whose root is new at every
      # boot needs no time for.
      for unit in systemd-firstboot.service systemd-timesyncd.service systemd-hwdb-update.service \
        systemd-journal-catalog-update.service systemd-update-done.service ldconfig.service \
        systemd-sysusers.service systemd-boot-update.service fstrim.timer apt-daily.timer \
        dpkg-db-backup.timer systemd-pstore.service getty-static.service getty@tty1.service \
        serial-getty@ttyS0.service serial-getty@hvc0.service console-getty.service systemd-random-seed.service \
        systemd-journal-flush.service systemd-pcrphase.service systemd-pcrphase-sysinit.service \
        systemd-machine-id-commit.service systemd-update-utmp.service \
        systemd-update-utmp-runlevel.service systemd-binfmt.service \
        proc-sys-fs-binfmt_misc.automount dev-hugepages.mount sys-kernel-debug.mount \
        sys-kernel-tracing.mount sys-fs-fuse-connections.mount sys-kernel-config.mount \
        dev-mqueue.mount rc-local.service modprobe@.service hwclock.service systemd-network-generator.service; do
        ln -sf /dev/null $unit
      done
      {
        echo '[Unit]'
        echo 'Description=Shell of the test driver'
        echo 'DefaultDependencies=no'
        echo 'Conflicts=shutdown.target'
        echo 'Before=shutdown.target'
        echo '[Service]'
        echo 'ExecStart=/run/backdoor'
        echo 'KillSignal=SIGHUP'
        echo 'SuccessExitStatus=SIGHUP'
      } > backdoor.service
      mkdir -p sysinit.target.wants
      ln -s ../backdoor.service sysinit.target.wants/backdoor.service
      touch /etc/.updated /var/.updated
    '';
  };

  tree = run "debian-root" { } ''
    cp -a ${unpacked} r
    chmod -R u+w r
    mkdir -p r/proc r/dev r/sys r/run r/tmp r/nix/store r/root r/var/empty r/home r/usr/local/bin
    cp ${configure} r/configure
    ln -sf bash r/usr/bin/sh
    unshare -r -m sh -euc "
      mount --rbind /dev r/dev
      mount --rbind /proc r/proc
      chroot r /bin/bash /configure
    "
    rm r/configure r/etc/.pwd.lock
    # Secrets get their modes back at boot.
    chmod -R u+rX r
    cp -a r $out
  '';
in
{
  inherit tree;
  image = image.ofTree "debian-root" tree;
  accounts = run "debian-accounts" { } ''
    mkdir $out
    cp ${tree}/etc/passwd ${tree}/etc/group ${tree}/etc/shadow $out/
  '';
  init = write "debian-init" {
    executable = true;
    text = ''
      #!/bin/bash
      # An image can hold neither set-user-ID bits nor owners.
      chmod 4755 /usr/bin/su /usr/bin/passwd /usr/bin/newgrp
      ln -s ${shell} /run/backdoor
      exec /lib/systemd/systemd
    '';
  };
}
