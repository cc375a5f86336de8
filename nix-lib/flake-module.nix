# For flake-parts: perSystem.snowglobe.tests.NAME becomes checks.NAME.
self:
{ lib, flake-parts-lib, ... }:
{
  options.perSystem = flake-parts-lib.mkPerSystemOption (
    { config, pkgs, ... }:
    {
      options.snowglobe = {
        tests = lib.mkOption {
          type = lib.types.lazyAttrsOf lib.types.raw;
          default = { };
          description = "Tests: modules, files of one, or values that runTest and the like give.";
        };
        allowEmulation = lib.mkOption {
          type = lib.types.bool;
          default = false;
          description = "Whether the checks may run without KVM.";
        };
        backend = lib.mkOption {
          type = lib.types.nullOr (
            lib.types.enum [
              "vm"
              "container"
              "auto"
            ]
          );
          default = null;
          description = "What the machines of the checks are; null for what their nodes say.";
        };
      };
      config.checks = lib.mapAttrs (
        _: test:
        self.lib.mkCheck {
          inherit pkgs test;
          inherit (config.snowglobe) allowEmulation backend;
        }
      ) config.snowglobe.tests;
    }
  );
}
