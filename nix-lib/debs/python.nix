# What builds the units: Debian's Python and patchelf, unpacked by busybox and
# not patched yet. They run through the loader by hand.
{ index, build }:
let
  inherit (builtins)
    attrNames
    concatStringsSep
    filter
    head
    match
    ;

  version = head (
    match "python(3\\.[0-9]+)-minimal" (
      head (filter (name: match "python3\\.[0-9]+-minimal" name != null) (attrNames index.debs))
    )
  );

  packages = filter (name: index.debs ? ${name}) [
    "patchelf"
    "libc6"
    "libgcc-s1"
    "libstdc++6"
    "zlib1g"
    "liblzma5"
    "libexpat1"
    "libexpat1t64"
    "python${version}-minimal"
    "libpython${version}-minimal"
    "libpython${version}-stdlib"
  ];

  tree = build.run "debian-python-unpatched" { } ''
    ${concatStringsSep "\n" (map (name: "dpkg-deb -x ${build.deb name} x") packages)}
    mkdir -p $out/lib $out/bin
    for library in x/lib/x86_64-linux-gnu/* x/usr/lib/x86_64-linux-gnu/*; do
      [ ! -f $library ] || cp -L $library $out/lib/''${library##*/}
    done
    cp -a x/usr/lib/python3* $out/lib/
    # A link of Debian's that leads out of the tree.
    rm -f $out/lib/python3*/sitecustomize.py
    cp x/usr/bin/patchelf $out/bin/
    cp -L x/usr/bin/python${version} $out/bin/python3
  '';

  throughLoader = program: [
    "${tree}/lib/ld-linux-x86-64.so.2"
    "--library-path"
    "${tree}/lib"
    program
  ];
  python = throughLoader "${tree}/bin/python3";
in
{
  # For shell scripts.
  command = concatStringsSep " " ([ "PYTHONHOME=${tree}" ] ++ python);
  patchelf = concatStringsSep " " (throughLoader "${tree}/bin/patchelf");

  # The attributes of a derivation that a script in Python builds.
  runs = script: {
    builder = head python;
    args = builtins.tail python ++ [ script ];
    PYTHONHOME = tree;
    PYTHONDONTWRITEBYTECODE = "1";
    PYTHON_COLORS = "0";
  };
}
