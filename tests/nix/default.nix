# Unit tests of nix-lib: { NAME = { expr; expected; }; }. tests/suite/nix_lib.rs
# evaluates them, without nixpkgs and without a store.
let
  # Each file beside this one, but for what tests import, by its name without `.nix`.
  files = builtins.listToAttrs (
    builtins.concatMap (
      name:
      let
        parts = builtins.match "(.+)\\.nix" name;
      in
      if parts == null || name == "default.nix" || name == "imported-module.nix" then
        [ ]
      else
        [
          {
            name = builtins.head parts;
            value = ./. + "/${name}";
          }
        ]
    ) (builtins.attrNames (builtins.readDir ./.))
  );
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
