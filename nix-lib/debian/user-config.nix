# The user's configuration of nixpkgs, from where nixpkgs takes it.
let
  home = builtins.getEnv "HOME";
  given = builtins.getEnv "NIXPKGS_CONFIG";
  places = builtins.filter builtins.pathExists (
    (if given == "" then [ ] else [ (/. + given) ])
    ++ (
      if home == "" then
        [ ]
      else
        [
          (/. + home + "/.config/nixpkgs/config.nix")
          (/. + home + "/.nixpkgs/config.nix")
        ]
    )
  );
in
if places == [ ] then { } else import (builtins.head places)
