# The testing part of the built-in set: nixosTest and runNixOSTest, with the
# options of a test that nixpkgs knows.
{
  lib,
  pkgs,
  guests,
}:
let
  inherit (lib) mkOption types;
  option =
    type: default: description:
    mkOption { inherit type default description; };
  accepted = default: option types.raw default "Accepted for compatibility; has no effect.";

  testOptions = {
    options = {
      name = option types.str "unnamed" "The test's name.";
      nodes = option (types.lazyAttrsOf types.deferredModule) { } "The machines, as modules.";
      machine = option (types.nullOr types.deferredModule) null "A single machine, named `machine`.";
      defaults = option types.deferredModule { } "A module for every machine.";
      testScript = mkOption {
        type = types.raw;
        description = "The script: a string, or a function of { nodes, ... } to one.";
      };
      globalTimeout = option types.ints.positive 3600 "How long the test may take, in seconds.";
      enableOCR = option types.bool false "Whether the test reads text off screens.";
      skipLint = option types.bool false "Whether the script is spared the check for bad style.";
      skipTypeCheck = option types.bool false "Whether the script is spared the check of types.";
      node.specialArgs = option (types.lazyAttrsOf types.raw) { } "Arguments for the machines' modules.";
      containers = option (types.lazyAttrsOf types.raw) { } "Not supported by the built-in guests.";
      extraPythonPackages = option types.raw (
        _: [ ]
      ) "From Python's packages to those that the script imports.";
      derivationOverrides =
        option (types.listOf types.raw) [ ]
          "Changes of the derivation that runs the test (internal).";
      interactive = accepted { };
      passthru = accepted { };
      meta = accepted { };
      system = accepted null;
      hostPkgs = accepted null;
      extraBaseModules = option types.deferredModule { } "A module for every machine, as `defaults`.";
    };
  };

  # The store paths that a script names. They go into every machine's store;
  # the script itself does not, so that editing it rebuilds no machine.
  pathsIn =
    script:
    let
      context = builtins.getContext script;
      parts = builtins.split "(/nix/store/[0-9a-z]{32}-[-+._?=0-9A-Za-z]+)" (
        builtins.unsafeDiscardStringContext script
      );
      paths = lib.unique (lib.concatMap (part: lib.optionals (lib.isList part) part) parts);
    in
    if context == { } then [ ] else map (path: builtins.appendContext path context) paths;

  evalTest = module: evalWith { inherit lib pkgs; } [ module ];

  evalWith =
    specialArgs: modules:
    let
      test =
        (lib.evalModules {
          context = " of a test";
          modules = [ testOptions ] ++ modules;
          inherit specialArgs;
        }).config;
      extend =
        {
          modules,
          specialArgs ? { },
        }:
        evalWith (given // specialArgs) (own ++ modules);
      given = specialArgs;
      own = modules;
      definitions = test.nodes // lib.optionalAttrs (test.machine != null) { inherit (test) machine; };
      # They are numbered as their addresses are, 192.168.NETWORK.1 to .254.
      most = 254;
      names =
        let
          names = lib.attrNames definitions;
        in
        if lib.length names > most then
          throw "the test `${test.name}` has ${toString (lib.length names)} nodes, and networks have addresses for ${toString most}"
        else
          names;
      nodesWith =
        backend: references:
        let
          evaluated = lib.listToAttrs (
            lib.imap1 (
              number: name:
              lib.nameValuePair name (
                guests.evalNode {
                  inherit
                    name
                    number
                    references
                    backend
                    ;
                  definitions = [
                    test.defaults
                    test.extraBaseModules
                    definitions.${name}
                  ];
                  nodes = configs;
                  specialArgs = test.node.specialArgs;
                }
              )
            ) names
          );
          configs = lib.mapAttrs (_: node: node.config // { inherit (node) config options; }) evaluated;
        in
        configs;
      scriptArguments = {
        nodes = nodesWith "vm" [ ];
        inherit pkgs lib;
      };
      # As nixpkgs does, a function gets what it asks for; `args: …` gets all of it.
      called =
        let
          wanted = lib.functionArgs test.testScript;
        in
        if !lib.isFunction test.testScript then
          test.testScript
        else if wanted == { } then
          test.testScript scriptArguments
        else
          test.testScript (lib.intersectAttrs wanted scriptArguments);
      script =
        if lib.isPath called then
          builtins.readFile called
        else if lib.isString called then
          called
        else
          throw "the `testScript` of the test `${test.name}` is a value of type ${builtins.typeOf called}: it is text, a path to a file of Python, or a function of { nodes, ... } to one of these";
    in
    {
      _type = "snowglobe-test";
      inherit (test)
        name
        globalTimeout
        enableOCR
        skipLint
        skipTypeCheck
        containers
        ;
      inherit pkgs;
      pythonPackages = map (package: "${package}") (
        let
          chosen = test.extraPythonPackages pkgs.python3Packages;
          debian = lib.filter (package: lib.elem package.pname or null known) chosen;
          known = map (package: package.pname) (lib.attrValues pkgs.python3Packages);
          # For machine code. On a host without Debian's Python, packages in Python need none.
          python = builtins.tryEval (pkgs.python3.withPackages (_: debian));
        in
        chosen ++ (if chosen != [ ] && python.success then [ python.value ] else [ ])
      );
      config = test;
      inherit extend;
      inherit (test) derivationOverrides;
      overrideTestDerivation = change: extend { modules = [ { derivationOverrides = [ change ]; } ]; };
      extendNixOS =
        {
          module,
          specialArgs ? { },
        }:
        extend {
          modules = [
            {
              extraBaseModules = module;
              node = { inherit specialArgs; };
            }
          ];
        };
      nodes = nodesWith "vm" (pathsIn script);
      # The same machines as containers.
      containerNodes = nodesWith "container" (pathsIn script);
      testScript = script;
    };
  withPackages = test: if lib.isFunction test then test { inherit pkgs lib; } else test;
in
rec {
  nixosTest = test: evalTest (withPackages test);
  testers = {
    inherit nixosTest;
    runNixOSTest = evalTest;
  };
  nixos.runTest = evalTest;
}
