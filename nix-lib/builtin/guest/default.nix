# The built-in guests: evaluates one node's modules and makes its VM.
{
  lib,
  build,
  pkgs,
  index,
}:
let
  boot = import ./boot {
    inherit
      lib
      build
      pkgs
      index
      ;
  };
  modules = import ./modules;
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
    lib.evalModules {
      context = " in the built-in guests (node `${name}`)";
      modules =
        modules
        ++ [
          {
            _file = "<the test's node ${name}>";
            _module.args = {
              inherit
                pkgs
                nodes
                name
                backend
                ;
              guestBoot = boot;
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
}
