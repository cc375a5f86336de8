# Adapters: from test values to what manifest.nix takes.
let
  pythonName = import ../../nix-lib/python-name.nix;

  # A test as `nixosTest` of nixpkgs 20.09 gives it.
  legacy = import ../../nix-lib/adapters/nixos-2020.nix {
    name = "vm-test-run-login";
    system = "x86_64-linux";
    driver = {
      testScript = "machine.succeed()";
      builder = "/shell";
    };
    nodes.machine.config = {
      networking.hostName = "host";
      virtualisation = {
        vlans = [
          1
          4
        ];
        memorySize = 512;
      };
      system.build.vm = {
        outPath = "/vm";
        system = "x86_64-linux";
      };
    };
  };

  # Whether a checkpoint can save the only machine of a test of `runTest`.
  isSaved =
    virtualisation:
    (import ../../nix-lib/adapters/runtest.nix
      {
        backend = null;
        debianPackages = false;
      }
      {
        config = {
          testScriptString = "";
          nodes.machine = {
            system.name = "machine";
            system.build.vm = "/vm";
            virtualisation = {
              vlans = [ ];
            }
            // virtualisation;
          };
        };
      }
    ).nodes.machine.snapshot_safe;
  shared = {
    nix-store.target = "/nix/.ro-store";
    xchg.target = "/tmp/xchg";
  };
  mounted = store: exchange: {
    "/nix/.ro-store".fsType = store;
    "/tmp/xchg".fsType = exchange;
  };
in
{
  "machines with folders over 9p are not saved" = {
    expr = map isSaved [
      {
        sharedDirectories = shared;
        mountHostNixStore = true;
      }
      {
        sharedDirectories = { inherit (shared) xchg; };
        mountHostNixStore = false;
      }
      {
        sharedDirectories = shared;
        mountHostNixStore = true;
        fileSystems = mounted "virtiofs" "9p";
      }
      {
        sharedDirectories = { };
        mountHostNixStore = true;
      }
    ];
    expected = [
      false
      false
      false
      false
    ];
  };
  "machines whose folders are all mounted over virtiofs are saved, and those without" = {
    expr = map isSaved [
      # nixpkgs of autumn 2026, as it is.
      {
        sharedDirectories = shared;
        mountHostNixStore = true;
        fileSystems = mounted "virtiofs" "virtiofs";
      }
      {
        sharedDirectories = { };
        mountHostNixStore = false;
        useNixStoreImage = true;
      }
      # Before `mountHostNixStore`.
      { useNixStoreImage = true; }
    ];
    expected = [
      true
      true
      true
    ];
  };
  "a test of nixpkgs 20.09 is named without its prefix" = {
    expr = legacy.name;
    expected = "login";
  };
  "its machines are those of its evaluated nodes" = {
    expr = legacy.nodes.machine;
    expected = {
      start_script = "/vm/bin/run-host-vm";
      system = "x86_64-linux";
      vlans = [
        1
        4
      ];
      interfaces = [
        "eth1"
        "eth2"
      ];
      memory_mib = 512;
      cores = null;
      guest = "nixos";
      snapshot_safe = false;
      snapshot_store = null;
      requires_kvm = false;
      ssh_backdoor = null;
      units = [ ];
      toplevel = null;
    };
  };
  "names of nodes become names of Python" = {
    expr = map pythonName [
      "web-server.1"
      "3com"
      "server"
    ];
    expected = [
      "web_server_1"
      "_com"
      "server"
    ];
  };
}
