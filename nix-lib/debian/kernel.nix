# Debian's kernel in nixpkgs' shape.
{ debs }:
let
  inherit (builtins) head match;
  inherit (debs) known;
  image = debs.named "linux-image-amd64" "linux-image-[0-9].*";
  release =
    let
      found = match "linux-image-(.*)" image;
    in
    if found == null then "unknown" else head found;
  # Newer suites have them apart.
  parts = known [
    image
    "linux-binary-${release}"
    "linux-modules-${release}"
    "linux-base-${release}"
  ];
in
{
  linux = {
    debs = parts;
    program = ./kernel.py;
    # QEMU boots the kernel unpacked (see the table's qemu), so that no guest has
    # to. The list of modules is what an installation makes in Debian.
    fix = ''
      for image in $out/lib/modules/*/vmlinuz $out/boot/vmlinuz-*; do [ ! -e $image ] || break; done
      cp -L $image $out/bzImage
      ${debs.python.command} ${debs.scripts}/vmlinux.py $image $out/vmlinux ${debs.package "zstd"}/bin/zstd
      for release in $out/lib/modules/*; do
        ${debs.package "kmod"}/bin/depmod -b $out -a ''${release##*/}
      done
      # nixpkgs has them apart since 2024.
      if [ -n "''${modules-}" ]; then
        mkdir -p $modules
        mv $out/lib $modules/lib
      fi
    '';
  };
  linux-config = {
    debs = [ ];
    isFile = true;
    environment.parts = map debs.package parts;
    fix = ''
      for part in $parts; do
        for config in $part/boot/config-* $part/lib/modules/*/config; do
          [ ! -e $config ] || cp -L $config $out
        done
      done
      [ -e $out ]
    '';
  };
}
