# The tree's own generic standard environment around Debian's tools: its
# setup.sh, its compiler and linker wrappers, and its make-derivation.nix with
# another `derivation` in it.
{
  lib,
  # The tree of nixpkgs.
  path,
  config,
  platform,
  packages,
}:
let
  inherit (builtins) functionArgs intersectAttrs;
  inherit (packages) entryPackage hook link;

  # `derivation` is what every package of the tree ends in.
  replacing = scopedImport {
    derivation = hook;
    import =
      file:
      if baseNameOf (toString file) == "make-derivation.nix" then
        scopedImport { derivation = hook; } file
      else
        import file;
  };
  genericFile = replacing (path + "/pkgs/stdenv/generic");
  # Newer trees take the configuration first.
  generic =
    if functionArgs genericFile ? defaultConfig then
      genericFile { defaultConfig = config; }
    else
      genericFile;

  bash = entryPackage "bash";
  coreutils = entryPackage "coreutils";
  gnugrep = entryPackage "gnugrep";
  others = link {
    name = "stdenv-tools";
    debs = [
      "bzip2"
      "diffutils"
      "file"
      "findutils"
      "gawk"
      "gzip"
      "make"
      "patch"
      "patchelf"
      "sed"
      "tar"
      "xz-utils"
    ];
    fix = "ln -sfn gawk $out/bin/awk";
  };

  # bash 5.2 reads nothing for -N 0, which older trees use.
  setupText = builtins.readFile (path + "/pkgs/stdenv/generic/setup.sh");
  setupScript = builtins.toFile "setup.sh" (
    builtins.replaceStrings [ "read -r -N 0 $1" ] [ "read -r -d '' $1" ] setupText
  );

  common = {
    buildPlatform = platform;
    hostPlatform = platform;
    targetPlatform = platform;
    inherit config setupScript;
    shell = "${bash}/bin/bash";
    initialPath = [
      bash
      coreutils
      gnugrep
      others
    ];
    preHook = ''
      export NIX_ENFORCE_PURITY="''${NIX_ENFORCE_PURITY-1}"
      export NIX_ENFORCE_NO_NATIVE="''${NIX_ENFORCE_NO_NATIVE-1}"
    '';
    fetchurlBoot =
      let
        file = import (path + "/pkgs/build-support/fetchurl/boot.nix");
        arguments = {
          inherit (platform) system;
          rewriteURL = config.rewriteURL or null;
        };
      in
      # Older trees take the system alone.
      file (intersectAttrs (functionArgs file) arguments);
  };

  withoutCompiler = generic (
    common
    // {
      name = "stdenv-debian-nocc";
      cc = null;
      hasCC = false;
    }
  );

  # The wrappers of all releases: each takes what it knows.
  wrapper =
    folder: arguments:
    let
      file = import (path + "/pkgs/build-support/${folder}");
      shared = {
        stdenvNoCC = withoutCompiler;
        inherit lib coreutils gnugrep;
        nativeTools = false;
        nativeLibc = false;
        expand-response-params = "";
        runtimeShell = common.shell;
        shell = common.shell;
        propagateDoc = false;
        # Older trees ask for these.
        buildPackages = {
          stdenv = withoutCompiler;
        };
        inherit (packages) libc;
        name = "";
      };
    in
    lib.makeOverridable file (intersectAttrs (functionArgs file) (shared // arguments));

  bintools = wrapper "bintools-wrapper" { bintools = packages.binutils; };
  cc = wrapper "cc-wrapper" {
    cc = packages.gcc;
    inherit bintools;
    isGNU = true;
    # Debian's compiler leaves out libraries that are named before they are needed.
    extraBuildCommands = ''
      echo ' -Wl,--no-as-needed' >> $out/nix-support/cc-cflags-before
    '';
  };
in
generic (
  common
  // {
    name = "stdenv-debian";
    inherit cc;
    extraAttrs = { };
    overrides = _: _: { };
  }
)
