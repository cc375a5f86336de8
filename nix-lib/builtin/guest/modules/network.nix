# networking.*: names, addresses, routes. The addresses are those that NixOS
# gives test machines: 192.168.<network>.<number of the node>.
{
  lib,
  config,
  nodes,
  name,
  nodeNumber,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.networking;
  inherit (import ../../../hardware-addresses.nix { inherit lib; }) withAddresses;
  vlansAsInterfaces = lib.listToAttrs (
    lib.imap1 (
      n: vlan:
      lib.nameValuePair "eth${toString n}" {
        name = "eth${toString n}";
        inherit vlan;
        assignIP = true;
      }
    ) config.virtualisation.vlans
  );
  byName =
    if config.virtualisation.interfaces != { } then
      config.virtualisation.interfaces
    else
      vlansAsInterfaces;
  onNetworks = map (interface: byName.${interface}) (lib.attrNames byName);
  # eth10 comes before eth2 by name; the order of `vlans` is the order of cards.
  inOrder =
    if config.virtualisation.interfaces != { } then
      onNetworks
    else
      lib.imap1 (n: _: byName."eth${toString n}") config.virtualisation.vlans;

  address = prefixLength: {
    options = {
      address = mkOption {
        type = types.str;
        description = "The address.";
      };
      prefixLength = mkOption {
        type = types.int;
        default = prefixLength;
        description = "The length of the network's prefix in bits.";
      };
    };
  };
  addresses =
    prefixLength:
    mkOption {
      type = types.listOf (types.submodule (address prefixLength));
      default = [ ];
      description = "Addresses of the interface.";
    };
  route.options = {
    address = mkOption {
      type = types.str;
      description = "The network's address.";
    };
    prefixLength = mkOption {
      type = types.int;
      description = "The length of the network's prefix in bits.";
    };
    via = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "The router.";
    };
  };
  gateway.options.address = mkOption {
    type = types.str;
    description = "The router's address.";
  };
  interface.options = {
    ipv4.addresses = addresses 24;
    ipv6.addresses = addresses 64;
    ipv4.routes = mkOption {
      type = types.listOf (types.submodule route);
      default = [ ];
      description = "Routes through the interface: { address, prefixLength, via }.";
    };
    ipv6.routes = mkOption {
      type = types.listOf (types.submodule route);
      default = [ ];
      description = "Routes through the interface: { address, prefixLength, via }.";
    };
    useDHCP = mkOption {
      type = types.nullOr types.bool;
      default = null;
      description = "Not supported by the built-in guests: true is an error.";
    };
    mtu = mkOption {
      type = types.nullOr types.int;
      default = null;
      description = "The largest packet in bytes.";
    };
  };
  hostsOf =
    node:
    let
      other = node.networking;
    in
    lib.concatMapStrings
      (
        ip:
        lib.optionalString (ip != "")
          "${ip} ${
            lib.optionalString (other.domain != null) "${other.hostName}.${other.domain} "
          }${other.hostName}\n"
      )
      [
        other.primaryIPAddress
        other.primaryIPv6Address
      ];
  first =
    family:
    let
      own = lib.concatMap (card: cfg.interfaces.${card.name}.${family}.addresses or [ ]) inOrder;
    in
    if own == [ ] then "" else (lib.head own).address;
  text =
    description: default:
    mkOption {
      type = types.str;
      inherit default description;
    };
in
{
  options.networking = {
    hostName = text "The machine's name." name;
    domain = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "The machine's domain.";
    };
    interfaces = mkOption {
      type = types.attrsOf (types.submodule interface);
      default = { };
      description = "Addresses and routes, by interface.";
    };
    extraHosts = mkOption {
      type = types.lines;
      default = "";
      description = "Lines added to /etc/hosts.";
    };
    hosts = mkOption {
      type = types.attrsOf (types.listOf types.str);
      default = { };
      description = "Names by address, added to /etc/hosts.";
    };
    nameservers = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Name servers for /etc/resolv.conf.";
    };
    search = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Domains to search, for /etc/resolv.conf.";
    };
    defaultGateway = mkOption {
      type = types.nullOr (
        types.coercedTo types.str (address: { inherit address; }) (types.submodule gateway)
      );
      default = null;
      description = "The router to everywhere else.";
    };
    useDHCP = mkOption {
      type = types.bool;
      default = false;
      description = "Not supported by the built-in guests: true is an error.";
    };
    primaryIPAddress = text "The first IPv4 address on the virtual networks." (first "ipv4");
    primaryIPv6Address = text "The first IPv6 address on the virtual networks." (first "ipv6");
    # What the run script and the boot need: { name, vlan, mac }, in the order of cards.
    cards = mkOption {
      type = types.raw;
      description = "The network cards, in order (internal).";
    };
    setup = mkOption {
      type = types.lines;
      description = "Commands for busybox `ip` that set up the network (internal).";
    };
  };

  config = {
    networking.cards = withAddresses nodeNumber (map (card: { inherit (card) name vlan; }) inOrder);

    networking.interfaces = lib.listToAttrs (
      map (
        card:
        lib.nameValuePair card.name {
          ipv4.addresses = (
            lib.optional (card.assignIP) {
              address = "192.168.${toString card.vlan}.${toString nodeNumber}";
              prefixLength = 24;
            }
          );
          ipv6.addresses = (
            lib.optional card.assignIP {
              address = "2001:db8:${toString card.vlan}::${toString nodeNumber}";
              prefixLength = 64;
            }
          );
        }
      ) inOrder
    );

    networking.setup =
      let
        dhcp = lib.filterAttrs (_: interface: interface.useDHCP == true) cfg.interfaces;
        # The kernel of a virtual machine names cards by their order. Each gets a name of its own
        # first, which no other card has.
        named = lib.any (card: card.called != card.name) (
          lib.imap1 (n: card: card // { called = "eth${toString n}"; }) cfg.cards
        );
        rename = nameOf: ''
          for card in /sys/class/net/*; do
            case $(cat "$card/address") in
            ${lib.concatStrings (
              lib.imap1 (n: card: "${card.mac}) name=${lib.escapeShellArg (nameOf n card)} ;;\n") cfg.cards
            )}
              *) continue ;;
            esac
            [ "''${card##*/}" = "$name" ] || ip link set "''${card##*/}" name "$name"
          done
        '';
        onInterface =
          interface: settings:
          let
            quoted = lib.escapeShellArg;
            device = quoted interface;
            withPrefix = { address, prefixLength, ... }: quoted "${address}/${toString prefixLength}";
          in
          lib.concatStrings (
            lib.optional (settings.mtu != null) "ip link set ${device} mtu ${toString settings.mtu}\n"
            ++ map (address: "ip addr add ${withPrefix address} dev ${device}\n") settings.ipv4.addresses
            # The kernel would hold back an address until it has asked the
            # network whether it is taken, and here no other machine can have it.
            ++ [ "echo 0 > ${quoted "/proc/sys/net/ipv6/conf/${interface}/accept_dad"}\n" ]
            ++ map (address: "ip -6 addr add ${withPrefix address} dev ${device}\n") settings.ipv6.addresses
            ++ [ "ip link set ${device} up\n" ]
            ++ map (
              route:
              "ip route add ${withPrefix route}${
                lib.optionalString (route.via != null) " via ${quoted route.via}"
              } dev ${device}\n"
            ) (settings.ipv4.routes ++ settings.ipv6.routes)
          );
      in
      if cfg.useDHCP || dhcp != { } then
        throw "the built-in guests have no DHCP client: remove useDHCP from node `${name}`"
      else
        # The card of QEMU's user-mode network, with the addresses that its
        # built-in DHCP server would give.
        lib.optionalString named (rename (n: _: "card${toString n}") + rename (_: card: card.name))
        + ''
          ip addr add 10.0.2.15/24 dev eth0
          ip link set eth0 up
        ''
        + lib.optionalString (
          !config.virtualisation.restrictNetwork
        ) "ip route add default via 10.0.2.2 dev eth0\n"
        + lib.concatStrings (lib.mapAttrsToList onInterface cfg.interfaces)
        + lib.optionalString (
          cfg.defaultGateway != null
        ) "ip route replace default via ${lib.escapeShellArg cfg.defaultGateway.address}\n";

    environment.etc = {
      hostname.text = "${cfg.hostName}\n";
      hosts.text =
        "127.0.0.1 localhost\n::1 localhost\n"
        + lib.concatMapStrings hostsOf (lib.attrValues nodes)
        + lib.concatStrings (
          lib.mapAttrsToList (address: names: "${address} ${lib.concatStringsSep " " names}\n") cfg.hosts
        )
        + cfg.extraHosts;
      "resolv.conf".text =
        lib.optionalString (cfg.search != [ ]) "search ${lib.concatStringsSep " " cfg.search}\n"
        + lib.concatMapStrings (server: "nameserver ${server}\n") cfg.nameservers;
    };
  };
}
