# Read-only erofs images, uncompressed: quicker to make and to read.
{ build, tools }:
let
  # The seed of what mkfs would take at random, so that equal content gives
  # equal images.
  identity = "-T0 -U 00000000-0000-0000-0000-000000000000 --all-root";
  # Since 1.8, mkfs.erofs has threads, whose end the C library leaves to libgcc.
  makeImage = tree: ''
    LD_LIBRARY_PATH=${tools.libgcc-s1}/lib/x86_64-linux-gnu \
      ${tools.erofs-utils}/bin/mkfs.erofs --quiet ${identity} $out ${tree} > log 2>&1 || { cat log >&2; exit 1; }
  '';
in
{
  # An image of a folder.
  ofTree = name: tree: build.run "${name}.erofs" { } (makeImage "${tree}");

  # An image of these store paths and all they refer to; its root is what the
  # guest mounts at /nix/store.
  ofClosure =
    name: paths:
    build.run "${name}-store.erofs"
      {
        exportReferencesGraph = builtins.concatLists (
          builtins.genList (n: [
            "closure-${toString n}"
            (builtins.elemAt paths n)
          ]) (builtins.length paths)
        );
      }
      ''
        mkdir tree
        grep -h '^/nix/store/' closure-* | sort -u | while read -r path; do cp -a $path tree/; done
        ${makeImage "tree"}
        chmod -R u+w tree
      '';
}
