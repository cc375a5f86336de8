# A NixOS machine that can be switched to another system. Those of tests cannot by themselves
# since 24.11.
{ lib, options, ... }:
{
  config = lib.optionalAttrs (options.system ? switch) {
    system.switch.enable = lib.mkOverride 900 true;
  };
}
