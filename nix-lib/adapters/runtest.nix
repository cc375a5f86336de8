# Tests of nixpkgs since 2022 (`runTest`, `testers.runNixOSTest`,
# `testers.nixosTest`, `makeTest`): the configuration of the test's own module
# system is at hand, beside the derivation or as the value itself.
{ backend, debianPackages }:
value:
let
  cardsOf = import ./cards.nix;
  unitsOf = import ./units.nix;

  # Whether nixpkgs gives cards of a node one hardware address.
  hasTwinCards =
    node:
    let
      networks = map (card: card.vlan) (cardsOf node);
      isTwin = vlan: builtins.length (builtins.filter (other: other == vlan) networks) > 1;
    in
    builtins.any isTwin networks;

  # The test again, with an address of its own for each card. Only the nodes that need it are taken from there.
  withOwnAddresses = extend { modules = [ (forNodes ./own-addresses.nix) ]; };
  inherit (import ./extension.nix value) extend forNodes;

  # What it is instead, or perhaps, with the module container.nix. A container shows its own system in the place of
  # each one of a virtual machine that the script names, to switch to it.
  asContainer =
    systemsIn: build:
    if !(build ? snowglobeContainer) then
      { }
    else
      let
        inherit (build.snowglobeContainer) obstacles plan;
        shown = plan // {
          binds = plan.binds ++ systemsIn;
        };
      in
      {
        inherit backend;
        container = if backend == "container" || obstacles == [ ] then shown else null;
        container_obstacles = obstacles;
      }
      // (if backend == "container" then { start_script = null; } else { });

  # What connects SSH with the machines of a test that has nixpkgs' backdoor. Before 26.05, the host's kernel does that.
  # Debian has none, so that it is looked for where Snowglobe runs.
  sshBackdoorOf =
    config:
    if !(config.driverConfiguration.enable_ssh_backdoor or false) then
      null
    else if debianPackages || !(config.hostPkgs ? vhost-device-vsock) then
      "vhost-device-vsock"
    else
      "${config.hostPkgs.vhost-device-vsock}/bin/vhost-device-vsock";

  # What nixpkgs shows of a node to the others: their hosts files have its addresses and names
  # (nixos/lib/testing/network.nix).
  factsOf =
    { networking, virtualisation, ... }:
    {
      names = [
        networking.hostName
        (networking.domain or null)
        (networking.fqdnOrHostName or null)
      ];
      addresses = [
        (networking.primaryIPAddress or null)
        (networking.primaryIPv6Address or null)
      ];
      interfaces = builtins.mapAttrs (_: interface: {
        v4 = map (it: it.address) interface.ipv4.addresses;
        v6 = map (it: it.address) interface.ipv6.addresses;
      }) networking.interfaces;
      inherit (virtualisation) vlans;
      cards = builtins.mapAttrs (_: card: card.vlan or null) (virtualisation.allInterfaces or { });
    };

  # Its state can be saved if it mounts nothing of the host over 9p.
  isSnapshotSafe =
    { virtualisation, ... }:
    let
      isServed = place: virtualisation.fileSystems.${place}.fsType or null == "virtiofs";
      shared = builtins.attrValues (virtualisation.sharedDirectories or { });
      hasHostStore = virtualisation.mountHostNixStore or (!(virtualisation.useNixStoreImage or false));
    in
    builtins.all (share: isServed (share.target or "")) shared
    && (!hasHostStore || isServed "/nix/.ro-store");

  # A node, and what it is as a container.
  virtualMachine =
    systemsIn: sshBackdoor: node:
    let
      inherit (node.system.build) vm;
      cards = cardsOf node;
    in
    {
      start_script = "${vm}/bin/run-${node.system.name}-vm";
      inherit (vm) system;
      vlans = map (card: card.vlan) cards;
      interfaces = map (card: card.name) cards;
      memory_mib = node.virtualisation.memorySize;
      cores = node.virtualisation.cores or null;
      guest = "nixos";
      # QEMU saves no vsock.
      snapshot_safe = isSnapshotSafe node && sshBackdoor == null;
      snapshot_store = node.system.build.snowglobeStore or null;
      ssh_backdoor = sshBackdoor;
      requires_kvm = node.virtualisation.qemu.forceAccel or false;
      units = unitsOf node;
      toplevel = if node.system.build ? toplevel then "${node.system.build.toplevel}" else null;
    }
    // asContainer systemsIn node.system.build;

  # A container of nixpkgs, with the module nspawn-guest.nix.
  nspawnContainer =
    hostPkgs: node:
    let
      cards = cardsOf node;
      inherit (node.system.build.snowglobeContainer) obstacles plan;
    in
    {
      start_script = null;
      backend = "container";
      container = plan;
      container_obstacles = obstacles;
      system = hostPkgs.stdenv.hostPlatform.system;
      vlans = map (card: card.vlan) cards;
      interfaces = map (card: card.name) cards;
      memory_mib = null;
      cores = null;
      guest = "nixos";
      snapshot_safe = false;
      snapshot_store = null;
      requires_kvm = false;
      ssh_backdoor = null;
      units = unitsOf node;
      toplevel = null;
    };

  # The binds for the systems of nodes that a script names. Those that it does not name are not evaluated.
  systemsNamed =
    script: nodes:
    let
      text = builtins.unsafeDiscardStringContext script;
      isNamed =
        name:
        builtins.length (builtins.split (builtins.replaceStrings [ "." "+" ] [ "[.]" "[+]" ] name) text)
        > 1;
      systemsOf =
        node:
        let
          build = node.system.build.snowglobeContainer or { systems = [ ]; };
        in
        if isNamed "-nixos-system-${node.system.name}-" then build.systems else [ ];
    in
    map
      (system: {
        source = "${system.container}";
        place = "${system.toplevel}";
        read_only = true;
      })
      (
        builtins.filter (system: isNamed (builtins.unsafeDiscardStringContext "${system.toplevel}")) (
          builtins.concatMap systemsOf (builtins.attrValues nodes)
        )
      );

  configOf = value: if value ? testScriptString then value else value.config;

  # `extended` is the configuration of `withOwnAddresses`.
  adapt =
    config: extended:
    let
      # The same for all nodes.
      systems = systemsNamed config.testScriptString config.nodes;
      sshBackdoor = sshBackdoorOf config;
    in
    {
      inherit (config)
        name
        globalTimeout
        enableOCR
        skipLint
        ;
      testScript = config.testScriptString;
      tags = config.passthru.tags or [ ];
      skipTypeCheck = config.skipTypeCheck or false;
      pythonPackages = map toString (
        (config.extraPythonPackages or (_: [ ])) config.hostPkgs.python3Packages
      );
      # As nixpkgs' driver has them on PATH.
      programs = [
        config.hostPkgs.coreutils
      ]
      ++ (if config.enableOCR then [ config.hostPkgs.tesseract4 ] else [ ]);
      # With containers, more is seen.
      facts =
        if (config.containers or { }) == { } then builtins.mapAttrs (_: factsOf) config.nodes else { };
      # They are nodes that are always containers.
      containers = { };
      system = config.hostPkgs.stdenv.hostPlatform.system;
      shell = config.hostPkgs.stdenv.shell;
      nodes =
        builtins.mapAttrs (
          name: node:
          virtualMachine systems sshBackdoor (
            if extend != null && hasTwinCards node then extended.nodes.${name} else node
          )
        ) config.nodes
        // builtins.mapAttrs (_: nspawnContainer config.hostPkgs) (config.containers or { });
      # With what the test sets for runs by hand.
      interactive = adapt config.interactive extended.interactive;
    };
in
adapt (configOf value) (configOf withOwnAddresses)
