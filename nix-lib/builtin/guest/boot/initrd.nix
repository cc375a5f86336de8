# The first stage of the boot, the same for all guests and nodes: finds the
# images by their serial numbers, lays a tmpfs over the root, runs the node's
# activation and hands over.
{
  build,
  pkgs,
  modules,
}:
let
  init = build.write "first-stage" {
    executable = true;
    text = ''
      #!/bin/sh
      export PATH=/bin
      fail() { echo "snowglobe: boot failed: $1" > /dev/console; reboot -f; }
      mount -t proc proc /proc
      mount -t sysfs sysfs /sys
      mount -t devtmpfs dev /dev
      mount -t tmpfs -o mode=755 run /run
      while read -r module; do insmod /modules/$module.ko; done < /modules/order

      # Prints the disk with this serial number, waiting for it.
      disk() {
        tries=0
        while [ $tries -lt 500 ]; do
          for candidate in /sys/block/vd*; do
            [ "$(cat $candidate/serial 2> /dev/null)" != $1 ] || { echo /dev/''${candidate##*/}; return; }
          done
          usleep 20000
          tries=$((tries + 1))
        done
        fail "no disk $1"
      }
      for word in $(cat /proc/cmdline); do
        case $word in
          snowglobe.system=*) system=''${word#*=} ;;
          snowglobe.size=*) size=''${word#*=} ;;
        esac
      done

      root=/root
      mkdir -p /image $root
      mount -t erofs -o ro $(disk root) /image || fail "the root image cannot be mounted"
      mkdir /layers
      mount -t tmpfs -o mode=755,size=''${size}m layers /layers
      mkdir /layers/upper /layers/work
      mount -t overlay -o lowerdir=/image,upperdir=/layers/upper,workdir=/layers/work,metacopy=on,redirect_dir=on,xino=off root $root \
        || fail "the overlay cannot be mounted"
      mount -t erofs -o ro $(disk store) $root/nix/store || fail "the store image cannot be mounted"
      # Links in the store are absolute.
      mkdir /nix
      ln -s $root/nix/store /nix/store
      chmod 1777 $root/tmp
      mkdir -p $root/tmp/shared
      mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 shared $root/tmp/shared

      at=$root$system
      while read -r module; do insmod $at/modules/$module.ko; done < $at/modules/order
      ln -s $system /run/current-system
      ( system=$at; . $at/activate )

      mount --move /proc $root/proc
      mount --move /sys $root/sys
      mount --move /dev $root/dev
      mount --move /run $root/run
      exec switch_root $root $system/init
    '';
  };
in
build.run "initrd" { } ''
  mkdir -p r/bin r/modules r/proc r/sys r/dev r/run
  cp ${pkgs.busybox}/bin/busybox r/bin/
  busybox --list | while read -r applet; do [ $applet = busybox ] || ln -s busybox r/bin/$applet; done
  cp ${modules}/*.ko ${modules}/order r/modules/
  cp ${init} r/init
  ( cd r; find . | sort | cpio -o -H newc -R 0:0 ) > $out
''
