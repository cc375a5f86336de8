# The packages and build helpers of the built-in set, under nixpkgs' names.
{
  lib,
  index,
  build,
  config,
  packages,
  # All that packages of these names need, and they themselves.
  closure,
}:
let
  inherit (build) run;

  ofSystem = import ./of-system.nix { inherit lib build packages; };
  inherit (ofSystem) bash busybox writeScriptBin;

  npm =
    name:
    build.required {
      inherit (index.npm.${name}) name sha256;
      mode = "recursive";
    };

  postgrest = import ./postgrest.nix {
    inherit run writeScriptBin bash;
    inherit (packages) socat;
    source = npm "postgrest";
    inherit (index.npm.postgrest) version;
  };

  librariesOfSnowglobe = [
    "libc6"
    "libgcc-s1"
    "libffi8"
  ];

  # The program itself, which `snowglobe guest pin` puts into the store, made
  # independent of the machine's own libraries.
  snowglobe =
    let
      program = build.required {
        inherit (index.program) name sha256;
        mode = "recursive";
      };
      libraries = debianPackages librariesOfSnowglobe;
    in
    if !(index ? program) then
      throw "the index of the built-in guests names no program: take a file that `snowglobe guest pin` has written"
    else
      withLibraries {
        name = "snowglobe";
        program = "${program}/bin/snowglobe";
        inherit libraries;
      };

  # A program that was built for some other system, made to use the libraries of these packages, the C library among them.
  withLibraries =
    {
      name,
      program,
      libraries,
    }:
    let
      place = "$out/bin/${baseNameOf program}";
    in
    run name { inherit libraries; } ''
      mkdir -p $out/bin
      cp ${program} $out/bin/
      chmod u+w ${place}
      path=
      for library in $libraries; do
        path=$path:$library/lib/x86_64-linux-gnu
        loader=$library/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
        [ ! -e $loader ] || interpreter=$loader
      done
      ${packages.patchelf}/bin/patchelf --set-interpreter $interpreter --set-rpath ''${path#:} ${place}
    '';

  # QEMU from Debian, which looks for its parts where Debian has them. Builds that run it need Snowglobe, too: one error
  # names all that is missing.
  qemu = builtins.seq (debianPackages (packagesOfQemu ++ librariesOfSnowglobe)) (symlinkJoin {
    name = "qemu";
    paths = [
      (writeScriptBin "qemu-system-x86_64" ''
        #!${bash}/bin/bash
        export QEMU_MODULE_DIR=${debianPackage "qemu-system-common"}/lib/x86_64-linux-gnu/qemu
        exec ${debianPackage "qemu-system-x86"}/bin/qemu-system-x86_64 \
          -L ${debianPackage "qemu-system-data"}/share/qemu -L ${debianPackage "seabios"}/share/seabios "$@"
      '')
      (debianPackage "qemu-utils")
    ];
  });

  # What brings the others that QEMU needs.
  packagesOfQemu = [
    "qemu-system-x86"
    "qemu-utils"
    "seabios"
  ];

  # Any Debian package by its name, as a store package.
  debianPackage = name: lib.head (debianPackages [ name ]);

  # Several ones; the error names all that are missing.
  debianPackages =
    names:
    let
      missing = lib.filter (name: !(packages ? ${name})) names;
      listed = lib.concatMapStringsSep ", " (name: "`${name}`") missing;
      subject =
        if lib.length missing == 1 then
          "the Debian package ${listed} is"
        else
          "the Debian packages ${listed} are";
    in
    if missing == [ ] then
      map (name: packages.${name}) names
    else
      throw "${subject} not set up here: run `snowglobe guest fetch ${lib.concatStringsSep " " missing}`";

  # Runs a script under bash, with busybox and the given packages on PATH.
  runCommand =
    name: environment: script:
    let
      inputs = environment.nativeBuildInputs or [ ] ++ environment.buildInputs or [ ];
    in
    derivation (
      build.local
      // removeAttrs environment [
        "meta"
        "passthru"
      ]
      // {
        inherit name;
        buildCommand = script;
        passAsFile = [ "buildCommand" ] ++ environment.passAsFile or [ ];
        builder = "${bash}/bin/bash";
        PATH = lib.makeBinPath (
          inputs
          ++ [
            bash
            busybox
          ]
        );
        args = [
          "-euo"
          "pipefail"
          "-c"
          ''. "$buildCommandPath"''
        ];
      }
    )
    // environment.passthru or { };

  # Server and clients come in two .debs. The set's `postgresql` is the meta
  # package, whose version gives the major one.
  postgresqlMajor = builtins.head (builtins.split "[+.]" index.debs.postgresql.version);
  postgresql =
    symlinkJoin {
      name = "postgresql-${postgresqlMajor}";
      paths = [
        packages."postgresql-${postgresqlMajor}"
        packages."postgresql-client-${postgresqlMajor}"
      ];
    }
    // {
      pname = "postgresql";
      inherit (packages."postgresql-${postgresqlMajor}") version;
      psqlSchema = postgresqlMajor;
      meta.mainProgram = "psql";
    };

  symlinkJoin =
    { name, paths, ... }:
    run name { inherit paths; } ''
      mkdir $out
      for path in $paths; do
        ( cd $path; find . -type d ) | while read -r directory; do mkdir -p $out/$directory; done
        ( cd $path; find . ! -type d ) | while read -r file; do
          [ -e $out/$file ] || [ -L $out/$file ] || ln -s $path/$file $out/$file
        done
      done
    '';

  languages = import ./languages.nix {
    inherit
      lib
      index
      packages
      build
      bash
      symlinkJoin
      closure
      debianPackage
      npm
      withLibraries
      ;
  };

  aliases = {
    inherit postgrest qemu snowglobe;
    haskellPackages = { inherit postgrest; };
    inherit postgresql;
    "postgresql_${postgresqlMajor}" = postgresql;
  };
in
ofSystem
// languages
// aliases
// {
  inherit
    lib
    config
    debianPackage
    runCommand
    symlinkJoin
    ;

  runCommandLocal = runCommand;
  runCommandNoCC = runCommand;
}
