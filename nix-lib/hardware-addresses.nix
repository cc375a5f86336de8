# The cards of one machine, { vlan, … } in order, with their hardware addresses: that of NixOS for the
# first card in a network, 52:54:00:12:NETWORK:MACHINE, and another third byte for each further one there.
{ lib }:
number: cards:
let
  byte =
    what: value:
    if value > 255 then
      throw "${what} ${toString value} has no hardware address: networks and machines are numbered up to 255"
    else
      lib.optionalString (value < 16) "0" + lib.toLower (lib.toHexString value);
in
lib.imap0 (
  index: card:
  let
    earlier = lib.count (other: other.vlan == card.vlan) (lib.take index cards);
  in
  card
  // {
    mac = "52:54:${byte "card" earlier}:12:${byte "network" card.vlan}:${byte "machine" number}";
  }
) cards
