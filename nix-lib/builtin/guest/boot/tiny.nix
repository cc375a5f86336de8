# Guest `tiny`: busybox and bash, no service manager.
{
  build,
  pkgs,
  image,
  ...
}:
let
  inherit (build) run write;
  shell = import ./shell.nix {
    inherit build;
    bash = "/bin/bash";
  };
  accounts = run "tiny-accounts" { } ''
    mkdir $out
    echo 'root:x:0:0:root:/root:/bin/bash' > $out/passwd
    echo 'nobody:x:65534:65534:nobody:/:/bin/false' >> $out/passwd
    printf 'root:x:0:\ntty:x:5:\nusers:x:100:\nnogroup:x:65534:\n' > $out/group
    printf 'root:!:19000:0:99999:7:::\nnobody:!:19000:0:99999:7:::\n' > $out/shadow
  '';
  # busybox reports a timeout by the signal it sent; others by 124.
  timeout = write "timeout" {
    executable = true;
    text = ''
      #!/bin/sh
      busybox timeout "$@"
      status=$?
      [ $status != 143 ] || status=124
      exit $status
    '';
  };
  tree = run "tiny-root" { } ''
    mkdir -p $out/bin $out/etc $out/proc $out/sys $out/dev $out/run $out/tmp $out/root $out/usr
    mkdir -p $out/nix/store $out/var/empty $out/home
    ln -s ../bin $out/usr/bin
    ln -s ../bin $out/usr/sbin
    ln -s bin $out/sbin
    cp ${pkgs.busybox}/bin/busybox ${pkgs.bash}/bin/bash $out/bin/
    busybox --list | while read -r applet; do [ $applet = busybox ] || ln -s busybox $out/bin/$applet; done
    ln -s /proc/self/mounts $out/etc/mtab
    rm $out/bin/timeout
    cp ${timeout} $out/bin/timeout
  '';
in
{
  inherit accounts tree;
  image = image.ofTree "tiny-root" tree;
  init = write "tiny-init" {
    executable = true;
    text = ''
      #!/bin/bash
      export PATH=/run/current-system/sw/bin:/bin
      # A container has them.
      if [ ! -e /dev/fd ]; then
        mkdir -p /dev/pts /dev/shm
        # What bash's process substitution opens.
        ln -s /proc/self/fd /dev/fd
        mount -t devpts devpts /dev/pts
        mount -t tmpfs -o mode=1777 shm /dev/shm
      fi
      # Orphans are reaped, and a halted or rebooted machine really is.
      trap 'poweroff -f' USR2
      trap 'reboot -f' TERM
      . /run/current-system/startup
      # Without job control it would ignore Ctrl-C, and so would all it starts.
      set -m
      setsid ${shell} &
      set +m
      while :; do wait; sleep 1000 & wait $!; done
    '';
  };
}
