# Packages that nixpkgs makes of sources which are not there.
packages:
let
  # Without the evaluation of all Haskell packages.
  shellcheck = packages.stdenv.mkDerivation {
    pname = "shellcheck";
    version = "0.10";
    meta.mainProgram = "shellcheck";
    passthru.compiler.bootstrapAvailable = false;
  };
in
{
  inherit shellcheck;
  shellcheck-minimal = shellcheck;

  # Its check is one of style, by the clippy of its time.
  switch-to-configuration-ng = packages.switch-to-configuration-ng.overrideAttrs (_: {
    doCheck = false;
    nativeCheckInputs = [ ];
  });

  # The wrappers for set-user-ID programs take a header out of the C library's source.
  srcOnly =
    arguments:
    if (arguments.isFromDebian or false) then
      packages.writeTextDir "unsecvars.h" ''
        #define UNSECURE_ENVVARS "GCONV_PATH\0" "GETCONF_DIR\0" "GLIBC_TUNABLES\0" "HOSTALIASES\0" "LD_AUDIT\0" "LD_BIND_NOT\0" "LD_BIND_NOW\0" "LD_DEBUG\0" "LD_DEBUG_OUTPUT\0" "LD_DYNAMIC_WEAK\0" "LD_LIBRARY_PATH\0" "LD_ORIGIN_PATH\0" "LD_PRELOAD\0" "LD_PROFILE\0" "LD_SHOW_AUXV\0" "LOCALDOMAIN\0" "LOCPATH\0" "MALLOC_TRACE\0" "NIS_PATH\0" "NLSPATH\0" "RESOLV_HOST_CONF\0" "RES_OPTIONS\0" "TMPDIR\0" "TZDIR\0"
      ''
    else
      packages.callPackage (packages.path + "/pkgs/build-support/src-only") { } arguments;
}
