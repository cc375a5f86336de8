# Snowglobe as a flake: the program, an overlay, and tests as checks.
{
  description = "Runs NixOS integration tests: quicker to the verdict, and saying why a test failed";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs.lib) genAttrs;
      forSystems =
        make:
        genAttrs [
          "x86_64-linux"
          "aarch64-linux"
        ] (system: make nixpkgs.legacyPackages.${system});
      # nix-lib for a package set, whether it has the overlay or not.
      libraryFor =
        pkgs:
        import ./nix-lib {
          inherit pkgs;
          snowglobe = pkgs.snowglobe or (pkgs.callPackage ./package.nix { });
        };
    in
    {
      packages = forSystems (pkgs: rec {
        snowglobe = pkgs.callPackage ./package.nix { };
        default = snowglobe;
      });

      overlays.default = final: _: {
        snowglobe = final.callPackage ./package.nix { };
      };
      # nixpkgs' own tests and drivers, run by Snowglobe (nixpkgs of 2026).
      overlays.driver =
        final: previous:
        self.overlays.default final previous
        // {
          nixos-test-driver = final.callPackage ./nix-lib/nixos-test-driver.nix { };
        };

      lib = {
        # { pkgs, test, allowEmulation ? false, backend ? null }: a derivation that runs the test.
        mkCheck = { pkgs, ... }@arguments: (libraryFor pkgs).mkCheck (removeAttrs arguments [ "pkgs" ]);
        # pkgs: test: the same, for any test value, module or file.
        runTest = pkgs: (libraryFor pkgs).runTest;
      };

      # For flake-parts: perSystem.snowglobe.tests.NAME becomes checks.NAME.
      flakeModules.default = import ./nix-lib/flake-module.nix self;

      templates.default = {
        path = ./templates/flake;
        description = "A flake whose check is a test on two machines";
      };
    };
}
