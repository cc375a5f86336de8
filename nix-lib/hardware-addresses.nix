# The cards of one machine, { vlan, … } in order, with the start of their hardware addresses as `prefix`:
# that of NixOS for the first card in a network, 52:54:00:12, and another third byte for each further one
# there. With `number`, the machine's, `withAddresses` gives them whole: 52:54:00:12:NETWORK:MACHINE.
{ lib }:
let
  byte =
    what: value:
    if value > 255 then
      throw "${what} ${toString value} has no hardware address: networks and machines are numbered up to 255"
    else
      lib.optionalString (value < 16) "0" + lib.toLower (lib.toHexString value);

  withPrefixes =
    cards:
    lib.imap0 (
      index: card:
      let
        earlier = lib.count (other: other.vlan == card.vlan) (lib.take index cards);
      in
      card // { prefix = "52:54:${byte "card" earlier}:12"; }
    ) cards;
in
{
  inherit withPrefixes;
  withAddresses =
    number: cards:
    map (
      card:
      removeAttrs card [ "prefix" ]
      // {
        mac = "${card.prefix}:${byte "network" card.vlan}:${byte "machine" number}";
      }
    ) (withPrefixes cards);
}
