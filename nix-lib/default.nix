# Snowglobe for other Nix code: tests as derivations, for `checks` of flakes,
# Hydra and plain nix-build. (What the program itself evaluates is entry.nix.)
#
#   (import ./nix-lib { inherit pkgs; }).runTest { name = "…"; nodes = …; testScript = "…"; }
{
  # nixpkgs, or the built-in set.
  pkgs ? import <nixpkgs> { },
  # The program: with the overlay, nixpkgs has it.
  snowglobe ? pkgs.snowglobe,
  # For the built-in guests. NixOS' machines bring their own.
  qemu ? pkgs.qemu,
}:
let
  manifest = import ./manifest.nix;
  inherit (builtins)
    any
    attrValues
    concatStringsSep
    length
    ;

  # The one test in a value, whose machines are what `backend` says.
  theTest =
    backend: value:
    let
      adapters = import ./adapters {
        inherit pkgs backend;
        nixpkgs = null;
      };
      tests = adapters.testsIn {
        inherit value;
        path = [ ];
      };
      names = map (found: found.test.name) tests;
    in
    if length tests == 1 then
      (builtins.head tests).test
    else
      throw "snowglobe: a check is one test, and these are ${toString (length tests)}: ${concatStringsSep ", " names}";

  isContainer = node: node.backend or "vm" == "container";

  # What runs a built test: everything it needs is on PATH.
  command =
    test: built:
    let
      needsQemu = any (node: node.guest != "nixos" && !isContainer node) (attrValues test.nodes);
      programs = [
        snowglobe
      ]
      ++ (if needsQemu then [ qemu ] else [ ])
      ++ test.programs or (if test.enableOCR then [ pkgs.tesseract ] else [ ]);
    in
    ''
      export PATH=${concatStringsSep ":" (map (package: "${package}/bin") programs)}''${PATH:+:$PATH}
      exec snowglobe driver --manifest ${built} "$@"
    '';

  # A program for people: `nixos-test-driver`, as nixpkgs calls it.
  driver =
    test: built: arguments:
    pkgs.writeScriptBin "nixos-test-driver" ''
      #!${test.shell}
      set -- ${arguments} "$@"
      ${command test built}
    '';

  # A derivation that runs the test as its build. Its output is the output
  # folder of the run; a run that fails leaves its report in the build's log.
  mkCheck =
    {
      # Any test value, or a module or function that makes one.
      test,
      # Whether it may run without KVM. Then virtual machines require no feature
      # of the machine that builds it.
      allowEmulation ? false,
      # What machines are: "vm", "container", "auto", or null for what their nodes say.
      backend ? null,
    }:
    let
      adapted = theTest backend test;
      nodes = attrValues adapted.nodes;
      builtFrom = test: (manifest.make { inherit test; }).package;
      built = builtFrom adapted;
      interactive = adapted.interactive or adapted;
      plain = {
        name = "vm-test-run-${manifest.storeName adapted.name}";
        inherit (built) system;
        requiredSystemFeatures =
          (if allowEmulation then [ ] else [ "nixos-test" ])
          ++ (if !allowEmulation && !(builtins.all isContainer nodes) then [ "kvm" ] else [ ])
          # The accounts of guests are users of the build's own.
          ++ (if any isContainer nodes then [ "uid-range" ] else [ ]);
        builder = adapted.shell;
        args = [
          "-c"
          ''
            # Nix gives its builders a terminal, which no user sees.
            export HOME=$NIX_BUILD_TOP PATH= NO_COLOR=1
            set -- -o "$out" --format build-log
            ${command adapted built}
          ''
        ];
      };
      # As `overrideAttrs` of nixpkgs: a set, a function of what there was, or of what there will be and was.
      change =
        before: change:
        let
          once = if builtins.isFunction change then change before else change;
        in
        before // (if builtins.isFunction once then change changed before else once);
      changed = builtins.foldl' change plain (adapted.derivationOverrides or [ ]);
      check = derivation changed;
    in
    check
    // {
      # For `snowglobe run`, which takes what it finds here instead of building it.
      snowglobeTest = adapted;
      inherit (adapted) nodes;
      manifest = built;
      driver = driver adapted built "";
      driverInteractive = driver interactive (builtFrom interactive) "--interactive";
      meta.mainProgram = "nixos-test-driver";
    };
in
{
  inherit mkCheck;
  runTest = test: mkCheck { inherit test; };
}
