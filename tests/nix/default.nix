# Unit tests of nix-lib: { NAME = { expr; expected; }; }. tests/suite/nix_lib.rs
# evaluates them, without nixpkgs and without a store.
let
  files = {
    adapters = ./adapters.nix;
    debian = ./debian.nix;
    modules = ./modules.nix;
    strings = ./strings.nix;
    types = ./types.nix;
  };
  named =
    file: tests:
    builtins.listToAttrs (
      map (name: {
        name = "${file}: ${name}";
        value = tests.${name};
      }) (builtins.attrNames tests)
    );
in
builtins.foldl' (all: file: all // named file (import files.${file})) { } (builtins.attrNames files)
