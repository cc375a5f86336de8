# networking.firewall.*: an nftables ruleset with the meaning NixOS gives these
# options. On by default in guest `debian`, off in `tiny`.
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.networking.firewall;

  ports =
    protocol:
    mkOption {
      type = types.listOf types.port;
      default = [ ];
      description = "Open ${protocol} ports.";
    };
  portRanges =
    protocol:
    mkOption {
      type = types.listOf (
        types.submodule {
          options = lib.genAttrs [ "from" "to" ] (
            name:
            mkOption {
              type = types.port;
              description = "The range's port `${name}`.";
            }
          );
        }
      );
      default = [ ];
      description = "Open ranges of ${protocol} ports: { from, to }.";
    };
  portOptions = {
    allowedTCPPorts = ports "TCP";
    allowedUDPPorts = ports "UDP";
    allowedTCPPortRanges = portRanges "TCP";
    allowedUDPPortRanges = portRanges "UDP";
  };

  accept =
    match: protocol: single: ranges:
    let
      all = map toString single ++ map (range: "${toString range.from}-${toString range.to}") ranges;
    in
    map (port: "    ${match}${protocol} dport ${port} accept\n") all;
  rules =
    match: settings:
    lib.concatStrings (
      accept match "tcp" settings.allowedTCPPorts settings.allowedTCPPortRanges
      ++ accept match "udp" settings.allowedUDPPorts settings.allowedUDPPortRanges
    );
  trusted = interface: "    iifname \"${interface}\" accept\n";

  ruleset = pkgs.writeText "firewall.nft" ''
    table inet filter {
      chain input {
        type filter hook input priority filter; policy drop;
        iifname "lo" accept
        ct state established,related accept
    ${lib.concatMapStrings trusted cfg.trustedInterfaces}${
      if cfg.allowPing then "    icmp type echo-request accept\n" else ""
    }    icmp type != echo-request accept
        icmpv6 type ${if cfg.allowPing then "!= 255" else "!= echo-request"} accept
    ${rules "" cfg}${
      lib.concatStrings (lib.mapAttrsToList (interface: rules "iifname \"${interface}\" ") cfg.interfaces)
    }    ${if cfg.rejectPackets then "reject" else "drop"}
      }
    }
  '';
  load = "${pkgs.nftables}/bin/nft -f ${ruleset}";
in
{
  options.networking.firewall = portOptions // {
    enable = mkOption {
      type = types.bool;
      default = config.virtualisation.guest == "debian";
      description = "Whether to filter incoming packets.";
    };
    allowPing = mkOption {
      type = types.bool;
      default = true;
      description = "Whether to answer pings.";
    };
    rejectPackets = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to answer refused packets instead of dropping them.";
    };
    trustedInterfaces = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Interfaces from which everything is accepted.";
    };
    interfaces = mkOption {
      type = types.attrsOf (types.submodule { options = portOptions; });
      default = { };
      description = "Open ports of single interfaces.";
    };
  };

  config = lib.mkIf cfg.enable {
    boot.kernelModules = [
      "nf_tables"
      "nft_ct"
      "nft_reject_inet"
    ];
    environment.systemPackages = [ pkgs.nftables ];
    systemd.services.firewall = {
      description = "Firewall";
      wantedBy = [ "sysinit.target" ];
      before = [ "network-pre.target" ];
      wants = [ "network-pre.target" ];
      unitConfig.DefaultDependencies = false;
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = load;
        ExecStop = "${pkgs.nftables}/bin/nft delete table inet filter";
      };
    };
    system.tinyStartup = "${load}\n";
  };
}
