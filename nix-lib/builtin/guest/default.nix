# The built-in guests: evaluates one node's modules and makes its VM.
{
  lib,
  # The machine's own system, Python and packages, which build.
  system,
  python,
  tools,
  # By system, what guests are made of: { lib, build, pkgs, index }.
  ofSystems,
}:
let
  modules = import ./modules;
  platforms = import ./boot/platforms.nix;
  boots = builtins.mapAttrs (
    of: parts:
    import ./boot (
      parts
      // {
        inherit tools python;
        platform = platforms.${of};
      }
    )
  ) ofSystems;

  # The one system of a node, as `nixpkgs.hostPlatform` names it.
  checked =
    name: of:
    if ofSystems ? ${of} then
      of
    else if platforms ? ${of} then
      throw "node `${name}` is of ${of}, whose guests are not set up here: run `snowglobe guest fetch --system ${of}` once"
    else
      throw "node `${name}` is of ${of}, and the built-in guests are of ${lib.concatStringsSep " or " (lib.attrNames platforms)}";
in
{
  # Evaluates the node `name`, the `number`th of its test, counted from 1.
  # `addresses` are those of all nodes; `references` are store paths that the
  # test script names, which the guest's store must hold. `backend` is `vm` or
  # `container`.
  evalNode =
    {
      name,
      number,
      definitions,
      nodes,
      references,
      backend ? "vm",
      specialArgs ? { },
    }:
    let
      of =
        chosen:
        lib.evalModules {
          context = " in the built-in guests (node `${name}`)";
          modules =
            modules
            ++ [
              {
                _file = "<the test's node ${name}>";
                _module.args = {
                  inherit nodes name backend;
                  hostSystem = system;
                  inherit (ofSystems.${chosen}) pkgs;
                  guestBoot = boots.${chosen};
                  nodeNumber = number;
                  scriptReferences = references;
                };
              }
            ]
            ++ definitions;
          specialArgs = {
            inherit lib;
            modulesPath = toString ./modules;
          }
          // specialArgs;
        };
      # The node itself says of which system it is, and its packages depend on that.
      own = of system;
      wanted = own.config.nixpkgs.hostPlatform;
    in
    if wanted == null || wanted == system then own else of (checked name wanted);
}
