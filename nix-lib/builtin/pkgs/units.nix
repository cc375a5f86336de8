# Debian packages as store packages: one derivation for each .deb (for those
# that need each other in a circle, such as the C library's, one for the
# circle), with programs made independent of the machine's own libraries: their
# interpreter and library paths point into the store.
{ index, build }:
let
  inherit (builtins) concatStringsSep listToAttrs mapAttrs;
  inherit (build) deb run;

  unpack = packages: concatStringsSep "\n" (map (name: "dpkg-deb -x ${deb name} x") packages);

  # What patches the others can itself not be patched: it runs through the
  # loader by hand.
  patchelf =
    let
      libraries = "x/lib/x86_64-linux-gnu:x/usr/lib/x86_64-linux-gnu";
    in
    run "debian-patchelf-unpatched" { } ''
      ${unpack [
        "patchelf"
        "libc6"
        "libgcc-s1"
        "libstdc++6"
      ]}
      mkdir -p $out/lib
      for library in libc.so.6 libm.so.6 libgcc_s.so.1 libstdc++.so.6 ld-linux-x86-64.so.2; do
        for directory in $(echo ${libraries} | tr : ' '); do
          [ ! -e $directory/$library ] || cp -L $directory/$library $out/lib/$library
        done
      done
      cp x/usr/bin/patchelf $out/patchelf
    '';

  # busybox unpacks every kind of .deb that Debian 12 has, but slowly where the
  # payload is xz: that is left as it is, since each package unpacks once.
  buildUnit =
    name: unit:
    let
      dependencies = map (dependency: units.${dependency}) unit.depends;
      main = builtins.head unit.debs;
    in
    run "debian-${name}" { inherit dependencies; } ''
      patchelf() { ${patchelf}/lib/ld-linux-x86-64.so.2 --library-path ${patchelf}/lib ${patchelf}/patchelf "$@"; }
      ${unpack unit.debs}

      # One tree without /usr, and one folder for programs, as in nixpkgs.
      mkdir -p $out/bin $out/lib
      # A link never takes the place of a file: Debian's /sbin/ip is a link to
      # /bin/ip, and both come to the same folder.
      merge() {
        [ -d $1 ] || return 0
        mkdir -p $2
        (cd $1; find . -type l) | while read -r link; do
          [ -L "$2/$link" ] || [ ! -e "$2/$link" ] || rm "$1/$link"
        done
        cp -a $1/. $2/
        rm -rf $1
      }
      for directory in bin sbin usr/bin usr/sbin usr/games; do merge x/$directory $out/bin; done
      merge x/lib $out/lib
      merge x/usr/lib $out/lib
      merge x/usr/libexec $out/libexec
      merge x/etc $out/etc
      merge x/usr/include $out/include
      merge x/usr/share $out/share
      rm -rf $out/share/doc $out/share/man $out/share/locale $out/share/info $out/share/lintian
      rm -rf $out/lib/x86_64-linux-gnu/gconv $out/lib/postgresql/*/lib/bitcode
      ln -s bin $out/sbin
      for program in $out/lib/postgresql/*/bin/*; do
        [ ! -e "$program" ] || ln -s "$program" $out/bin/
      done
      # What Debian's alternatives would choose when it is installed.
      [ ! -e $out/bin/nc.openbsd ] || ln -s nc.openbsd $out/bin/nc

      interpreter=
      libraries=$out/lib/x86_64-linux-gnu
      for unit in $out $dependencies; do
        loader=$unit/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
        [ ! -e $loader ] || interpreter=$loader
        [ $unit = $out ] || libraries=$libraries:$unit/lib/x86_64-linux-gnu
      done

      find $out/bin $out/lib -type f \( -perm -100 -o -name '*.so*' \) | while read -r file; do
        case $(head -c 4 "$file" | od -An -tx1 | tr -d ' \n') in
          7f454c46) ;;
          *) continue ;;
        esac
        # The C library and its circle find each other, and the loader must
        # stay as it is.
        case $file in
          */x86_64-linux-gnu/*) [ ! -e ''${file%/*}/ld-linux-x86-64.so.2 ] || continue ;;
        esac
        mode=$(stat -c %a "$file")
        chmod u+w "$file"
        if patchelf --print-interpreter "$file" > /dev/null 2>&1; then
          patchelf --set-interpreter "$interpreter" "$file"
        fi
        # Static programs and object files have no library path to set.
        patchelf --set-rpath "$libraries" "$file" 2> /dev/null || true
        chmod $mode "$file"
      done

      # Scripts whose interpreter comes from a dependency, and links that lead
      # out of the package, are pointed at the store.
      find $out/bin -type f | while read -r file; do
        program=$(sed -n '1s,^#! */usr/bin/\([^ ]*\).*,\1,p' "$file" | head -n 1)
        [ -n "$program" ] || continue
        for unit in $out $dependencies; do
          [ -x $unit/bin/$program ] || continue
          chmod u+w "$file"
          sed -i "1s,^#! */usr/bin/$program,#!$unit/bin/$program," "$file"
          break
        done
      done
      find $out -type l | while read -r link; do
        [ ! -e "$link" ] || continue
        target=$(readlink "$link")
        case $target in
          /*) target=''${target#/usr}; target=''${target#/} ;;
          *) target=''${link%/*}/$target; target=''${target#$out/} ;;
        esac
        for unit in $out $dependencies; do
          [ -e "$unit/$target" ] || continue
          ln -sf "$unit/$target" "$link"
          break
        done
      done
    ''
    // {
      pname = name;
      version = index.debs.${main}.version;
    };

  units = mapAttrs buildUnit index.units;
in
{
  # Debian's package names: each gives the unit that holds it.
  packages = listToAttrs (
    builtins.concatLists (
      builtins.attrValues (
        mapAttrs (
          unit:
          { debs, ... }:
          map (name: {
            inherit name;
            value = units.${unit} // {
              pname = name;
              meta.mainProgram = name;
            };
          }) debs
        ) index.units
      )
    )
  );
}
