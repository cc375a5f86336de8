# The packages that differ with the system of a guest: Debian's under nixpkgs' names, the static shells, and scripts
# that these run.
{
  lib,
  # Builds with what the machine itself has, from Debian's packages of the guest's system.
  build,
  packages,
}:
let
  inherit (build) run write;

  # A program that needs nothing else, and the other names that it has. Its path depends on whether Debian has merged
  # /usr yet.
  static =
    {
      package,
      program,
      link,
    }:
    run program { } ''
      dpkg-deb -x ${build.deb package} x
      mkdir -p $out/bin
      for found in x/bin x/usr/bin; do
        [ ! -f $found/${package} ] || cp $found/${package} $out/bin/${program}
        [ ! -f $found/${program} ] || cp $found/${program} $out/bin/${program}
      done
      ${link}
    '';

  bash = static {
    package = "bash-static";
    program = "bash";
    link = "ln -s bash $out/bin/sh";
  };

  # The names are those of the machine's own, which is of the same version: the guest's may not run here.
  busybox = static {
    package = "busybox-static";
    program = "busybox";
    link = ''
      busybox --list | while read -r applet; do
        [ $applet = busybox ] || ln -s busybox $out/bin/$applet
      done
    '';
  };

  # The cp of coreutils alone: that of busybox writes the holes of files out.
  sparseCopy = run "sparse-copy" { } ''
    mkdir -p $out/bin
    ln -s ${packages.coreutils}/bin/cp $out/bin/cp
  '';

  writeText = name: text: write name { inherit text; };
  writeScript =
    name: text:
    write name {
      inherit text;
      executable = true;
    };
  writeScriptBin =
    name: text:
    write name {
      inherit text;
      executable = true;
      destination = "/bin/${name}";
    }
    // {
      meta.mainProgram = name;
    };
  shell = text: "#!${bash}/bin/bash\n${text}";
in
packages
// {
  inherit
    bash
    busybox
    sparseCopy
    writeText
    writeScript
    writeScriptBin
    ;
  bashInteractive = bash;
  netcat = packages.netcat-openbsd;
  libressl.nc = packages.netcat-openbsd;
  gnugrep = packages.grep;
  gnused = packages.sed;
  gnutar = packages.tar;
  gawk = packages.mawk;
  iputils = packages.iputils-ping;
  inetutils = packages.iputils-ping;

  writeShellScript = name: text: writeScript name (shell text);
  writeShellScriptBin = name: text: writeScriptBin name (shell text);
  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
      ...
    }:
    writeScriptBin name (shell ''
      set -o errexit -o nounset -o pipefail
      export PATH=${lib.makeBinPath runtimeInputs}:$PATH
      ${text}
    '');
  writeTextFile =
    {
      name,
      text,
      executable ? false,
      destination ? "",
      ...
    }:
    write name { inherit text executable destination; };
  writeTextDir =
    path: text:
    write (baseNameOf path) {
      inherit text;
      destination = "/${path}";
    };
  stdenv =
    let
      inherit (build.platform) system;
      facts = {
        isLinux = true;
        isDarwin = false;
        isx86_64 = system == "x86_64-linux";
        isAarch64 = system == "aarch64-linux";
      };
    in
    facts
    // {
      hostPlatform = facts // {
        inherit system;
        isx86 = facts.isx86_64;
      };
    };
  inherit (build.platform) system;
}
