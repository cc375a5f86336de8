# Debian's kernel, as QEMU starts it at once, and selections of its modules.
{
  build,
  tools,
  python,
  index,
}:
let
  inherit (build) run deb;
  vmlinux = ../../../debs/vmlinux.py;

  # On x86 an ELF file with a PVH entry point, which the guest need not unpack first. Others are not packed.
  ready =
    if build.platform.system == "x86_64-linux" then
      "${python.command} ${vmlinux} x/boot/vmlinuz-* $out/vmlinux ${tools.zstd}/bin/zstd"
    else
      "cp x/boot/vmlinuz-* $out/vmlinux";

  package = run "debian-kernel" { inherit (index) kernel; } ''
    dpkg-deb -x ${deb index.kernel} x
    mkdir $out
    # Since Debian 13 all of it is below /usr.
    [ ! -d x/usr/lib ] || ln -s usr/lib x/lib
    tree=$(echo x/lib/modules/*)
    # Of graphics, what QEMU's standard display needs.
    find $tree/kernel/drivers/gpu -type f ! -name 'bochs.ko*' ! -name 'drm*.ko*' ! -name 'ttm.ko*' -exec rm {} +
    for folder in drivers/media drivers/net/ethernet drivers/net/wireless sound; do
      rm -rf $tree/kernel/$folder
    done
    depmod -b x ''${tree##*/}
    mv $tree $out/modules

    ${ready}
  '';

  # As the firmware of EFI wants it.
  packed = run "debian-vmlinuz" { } ''
    dpkg-deb -x ${deb index.kernel} x
    mkdir $out
    cp x/boot/vmlinuz-* $out/vmlinuz
  '';
in
{
  vmlinux = "${package}/vmlinux";
  vmlinuz = "${packed}/vmlinuz";

  # The modules of these names and all they need, with the order to load them
  # in. One that the kernel has built in is none; a name that it does not know
  # is an error. What is `loaded` already, another such selection, is left out.
  modules =
    {
      name,
      names,
      loaded ? null,
    }:
    run "modules-${name}" { inherit names; } ''
      mkdir $out
      : > $out/order
      loaded=${if loaded == null then "/dev/null" else "${loaded}/order"}
      tree=${package}/modules
      add() {
        local name=$(echo $1 | tr - _) file line pattern
        pattern="/$(echo $name | sed 's/_/[-_]/g')\.ko\(\.xz\)\?"
        ! grep -qx $name $loaded $out/order || return 0
        # modules.dep spells names with - or _ as the files do.
        line=$(grep "$pattern:" $tree/modules.dep | head -n 1)
        if [ -z "$line" ]; then
          ! grep -q "$pattern$" $tree/modules.builtin || return 0
          echo "the kernel has no module $1" >&2
          exit 1
        fi
        for file in $(echo "$line" | cut -d: -f2); do
          file=''${file%.xz}
          add $(basename $file .ko)
        done
        ! grep -qx $name $out/order || return 0
        file=$tree/''${line%%:*}
        case $file in
          *.xz) ${tools.xz-utils}/bin/xz -dc < $file > $out/$name.ko ;;
          *) cp $file $out/$name.ko ;;
        esac
        echo $name >> $out/order
      }
      for module in $names; do add $module; done
    '';
}
