# Debian's C library, compiler and linker in the shape that nixpkgs' wrappers expect.
{ debs, link }:
let
  inherit (builtins) head match;
  inherit (debs) known;

  gccName = debs.named "gcc" "gcc-[0-9]+";
  gccVersion =
    let
      found = match "gcc-([0-9]+)" gccName;
    in
    if found == null then "0" else head found;
  plainVersion =
    name:
    let
      parts = match "([0-9]+:)?([0-9.]+).*" (debs.available.${name} or "0");
    in
    builtins.elemAt parts 1;
in
rec {
  glibcEntry = {
    debs = known [
      "libc6"
      "libc6-dev"
      "linux-libc-dev"
      "libc-bin"
      "libcrypt1"
      "libcrypt-dev"
      "locales"
      "nscd"
    ];
    # The linker reads these texts.
    fix = ''
      for script in $out/lib/x86_64-linux-gnu/*.so $out/lib/x86_64-linux-gnu/*.a; do
        real=$(readlink -f "$script")
        grep -qaI 'GNU ld script' "$real" || continue
        rm "$script"
        sed -E "s,(^|[( ])(/usr)?/lib(64)?/(x86_64-linux-gnu/)?,\1$out/lib/,g" "$real" > "$script"
      done
    '';
  };

  glibc =
    link (
      {
        name = "glibc-debian";
        outputs = [
          "out"
          "bin"
          "dev"
          "static"
          "getent"
        ];
      }
      // glibcEntry
    )
    // {
      pname = "glibc";
      version = plainVersion "libc6";
    };

  gccEntry = {
    # The compiler finds its parts from the place of its program.
    content = "copies";
    debs = known [
      "gcc-${gccVersion}"
      "gcc-${gccVersion}-x86-64-linux-gnu"
      "cpp-${gccVersion}"
      "cpp-${gccVersion}-x86-64-linux-gnu"
      "libgcc-${gccVersion}-dev"
      "libgcc-s1"
    ];
    environment.gccVersion = gccVersion;
    fix = ''
      cd $out/bin
      for program in gcc cpp gcc-ar gcc-nm gcc-ranlib gcov; do
        for debian in x86_64-linux-gnu-$program-$gccVersion $program-$gccVersion; do
          [ ! -e $debian ] || ln -sfn $(basename $(readlink -f $debian)) $program
        done
      done
      ln -sfn gcc cc
    '';
  };

  gcc =
    link (
      {
        name = "gcc-debian";
        outputs = [ "out" ];
      }
      // gccEntry
    )
    // {
      pname = "gcc";
      version = gccVersion;
      isGNU = true;
      langC = true;
      langCC = false;
      hardeningUnsupportedFlags = [ ];
    };

  binutilsEntry.debs = [
    "binutils"
    "binutils-x86-64-linux-gnu"
  ];

  binutils = link ({ name = "binutils-debian"; } // binutilsEntry) // {
    pname = "binutils";
    version = plainVersion "binutils";
  };
}
