# The built-in package set: stands in for nixpkgs if there is none. It is
# called as nixpkgs is, and offers what integration tests use of it.
{
  system ? "x86_64-linux",
  config ? { },
  overlays ? [ ],
  # What `snowglobe guest fetch` found and put into the store.
  index ? null,
  ...
}:
let
  found = builtins.tryEval <snowglobe-guest-index>;
  actualIndex =
    if index != null then
      index
    else if found.success then
      checked (builtins.fromJSON (builtins.readFile found.value))
    else
      throw "the built-in guests are not set up on this machine: run `snowglobe guest fetch` once";

  # The version that src/guest/fetch.rs writes.
  checked =
    content:
    if content.version == 1 then
      content
    else
      throw "the index of the built-in guests is of another version: run `snowglobe guest fetch` again";

  lib = import ./lib;
  build = import ../debs/build.nix { index = actualIndex; };
  units = import ../debs/units.nix {
    index = actualIndex;
    inherit build;
  };
  base = import ./pkgs {
    inherit lib build config;
    index = actualIndex;
    inherit (units) packages closure;
  };
  # What guests of each system are made of.
  ofSystems = {
    ${system} = {
      inherit lib build pkgs;
      index = actualIndex;
    };
  }
  // builtins.mapAttrs foreign actualIndex.foreign or { };
  foreign =
    name: index:
    let
      foreignBuild = import ../debs/build.nix {
        index = actualIndex;
        target = name;
        inherit (index) debs;
      };
      foreignUnits = import ../debs/units.nix {
        inherit index;
        build = foreignBuild;
        inherit (units) python;
      };
    in
    {
      inherit lib index;
      build = foreignBuild;
      pkgs = import ./pkgs/foreign.nix {
        inherit lib;
        build = foreignBuild;
        inherit (foreignUnits) packages;
        own = base;
      };
    };
  guests = import ./guest {
    inherit lib system ofSystems;
    inherit (units) python;
    tools = pkgs;
  };
  testing = import ./testing.nix { inherit lib pkgs guests; };

  apply = previous: overlay: previous // overlay pkgs previous;
  pkgs = builtins.foldl' apply (base // testing // { inherit system; }) overlays;
in
if system != "x86_64-linux" then
  throw "the built-in guests are x86_64-linux only, and `${system}` was asked for"
else
  pkgs
