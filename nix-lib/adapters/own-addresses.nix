# A virtual machine with several cards in one network: nixpkgs gives all of them one hardware address, which no
# switch and no udev rule can tell apart. Each gets its own, at both places that name the address.
{ config, lib, ... }:
let
  inherit (import ../hardware-addresses.nix { inherit lib; }) withPrefixes;
  cards = withPrefixes (import ./cards.nix config);
  shared = "52:54:00:12:";

  # QEMU's options number the cards, beginning with 1.
  inOptions =
    let
      number = index: "netdev=vlan${toString (index + 1)},mac=";
    in
    builtins.replaceStrings (lib.imap0 (index: _: "${number index}${shared}") cards) (
      lib.imap0 (index: card: "${number index}${card.prefix}:") cards
    );

  # A rule is a line, which names the card.
  inRule =
    rule:
    let
      card = lib.findFirst (card: lib.hasInfix ''NAME="${card.name}"'' rule) { prefix = null; } cards;
    in
    if card.prefix == null then rule else builtins.replaceStrings [ shared ] [ "${card.prefix}:" ] rule;
in
{
  options = {
    virtualisation.qemu.options = lib.mkOption { apply = map inOptions; };
    boot.initrd.services.udev.rules = lib.mkOption {
      apply = rules: lib.concatMapStringsSep "\n" inRule (lib.splitString "\n" rules);
    };
  };
}
