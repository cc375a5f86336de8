# How a test of nixpkgs since 2023 takes further modules: as a derivation, or as the configuration of the test's
# module system.
value:
let
  containers = value.config.containers or value.containers or { };
in
{
  # Null for other tests.
  extend = value.extend or value.passthru.extend or null;
  hasContainers = containers != { };
  # A module of the test with one for its virtual machines. `nodeDefaults` is as new as `containers`, and `defaults`
  # are for both.
  forNodes = module: if containers == { } then { defaults = module; } else { nodeDefaults = module; };
}
