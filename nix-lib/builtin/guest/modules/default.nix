# The modules of every node of the built-in guests.
[
  ./boot.nix
  ./environment.nix
  ./firewall.nix
  ./network.nix
  ./nixpkgs.nix
  ./postgresql.nix
  ./system.nix
  ./systemd.nix
  ./users.nix
  ./virtualisation.nix
]
