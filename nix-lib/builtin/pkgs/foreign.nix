# The packages of guests of another system than the machine's: Debian's of that system, and what builds.
{
  lib,
  build,
  packages,
  # The machine's own packages.
  own,
}:
let
  inherit (build.platform) system;
  ofSystem = import ./of-system.nix {
    inherit lib build;
    packages = lib.mapAttrs absent own // packages;
  };
  absent =
    name: _:
    throw "the package `${name}` is not set up here for ${system}: if it is one of Debian, run `snowglobe guest fetch --system ${system} ${name}`";
in
ofSystem
// {
  inherit (own)
    lib
    config
    runCommand
    runCommandLocal
    runCommandNoCC
    symlinkJoin
    ;
}
