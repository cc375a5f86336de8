# `lib` of the built-in package set: the helpers and the part of the module
# system that tests use, under the names nixpkgs users know.
let
  basics = import ./basics.nix;
  strings = import ./strings.nix { inherit basics; };
  properties = import ./properties.nix;
  types = import ./types.nix {
    inherit
      basics
      strings
      properties
      modules
      ;
  };
  modules = import ./modules.nix {
    inherit
      basics
      strings
      properties
      types
      ;
  };
  options = import ./options.nix { inherit types; };
in
basics
// strings
// properties
// options
// {
  inherit types;
  inherit (modules) evalModules mkRenamedOptionModule;
  lists = basics;
  attrsets = basics;
  trivial = basics;
  inherit strings;
  inherit options;
  modules = modules // properties;
}
