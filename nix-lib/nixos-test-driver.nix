# Takes the place of nixpkgs' package `nixos-test-driver`, with its arguments:
# nixpkgs' own `driver` derivations then run Snowglobe.
{
  lib,
  writeShellScriptBin,
  snowglobe,
  tesseract,
  enableOCR ? false,
  # What scripts import is for CPython there.
  extraPythonPackages ? (_: [ ]),
  enableNspawn ? false,
}:
writeShellScriptBin "nixos-test-driver" ''
  export PATH=${lib.makeBinPath ([ snowglobe ] ++ lib.optional enableOCR tesseract)}''${PATH:+:$PATH}
  exec snowglobe driver "$@"
''
