{
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
  # The address of the repository that this template is from.
  inputs.snowglobe.url = "snowglobe";
  inputs.snowglobe.inputs.nixpkgs.follows = "nixpkgs";

  outputs =
    { nixpkgs, snowglobe, ... }:
    let
      pkgs = nixpkgs.legacyPackages.x86_64-linux;
    in
    {
      # `nix flake check` runs it; `snowglobe run .#two-machines` as well.
      checks.x86_64-linux.two-machines = snowglobe.lib.runTest pkgs ./two-machines.nix;
    };
}
