# Tests of nixpkgs from 2019 to 2022 (`makeTest`, `pkgs.nixosTest`): a
# derivation with its evaluated machines and its driver beside it. Timeout and
# OCR are not available as data there.
value:
let
  inherit (value.driver) testScript;

  # The driver of 20.09 runs commands without options of bash, later ones with
  # `set -euo pipefail`.
  isStrict =
    let
      trees = builtins.filter (path: path != null) (
        map (node: node.pkgs.path or null) (builtins.attrValues value.nodes)
      );
      driver = builtins.head trees + "/nixos/lib/test-driver/test-driver.py";
      parts = builtins.split "set -euo pipefail" (builtins.readFile driver);
    in
    trees == [ ] || !builtins.pathExists driver || builtins.length parts > 1;
in
{
  # The derivation is called vm-test-run-NAME.
  name =
    let
      parts = builtins.match "vm-test-run-(.*)" value.name;
    in
    if parts == null then value.name else builtins.head parts;
  inherit testScript;
  tags = value.passthru.tags or value.meta.tags or [ ];
  inherit (value) system;
  globalTimeout = 3600;
  enableOCR = false;
  skipLint = value.skipLint or false;
  skipTypeCheck = value.skipTypeCheck or false;
  # They are part of the driver there, and not available as data.
  pythonPackages = [ ];
  # nixpkgs' driver has these on PATH, and the run scripts of that time need them.
  programs = builtins.concatMap (
    node: if node ? pkgs.coreutils then [ node.pkgs.coreutils ] else [ ]
  ) (builtins.attrValues value.nodes);
  containers = { };
  shellOptions = if isStrict then "strict" else "none";
  # The builder of any derivation of nixpkgs is a shell.
  shell = value.driver.builder;
  nodes = builtins.mapAttrs (
    _: node:
    let
      inherit (node) config;
      vm = config.system.build.vm;
      vlans = config.virtualisation.vlans or [ 1 ];
    in
    {
      start_script = "${vm}/bin/run-${config.system.name or config.networking.hostName}-vm";
      system = vm.system or builtins.currentSystem;
      inherit vlans;
      interfaces = builtins.genList (n: "eth${toString (n + 1)}") (builtins.length vlans);
      memory_mib = config.virtualisation.memorySize or null;
      cores = config.virtualisation.cores or null;
      guest = "nixos";
      # Their store comes over 9p, which cannot be saved while it is mounted.
      snapshot_safe = false;
      snapshot_store = null;
      requires_kvm = false;
      ssh_backdoor = null;
      units = import ./units.nix config;
      toplevel = null;
    }
  ) value.nodes;
}
