# From any value a test file may have to the tests in it, in one form:
# { name, nodes, testScript, shell, … } (what manifest.nix takes). One adapter
# for each kind of test value.
{
  nixpkgs,
  # The package set, if there is one.
  pkgs ? null,
  # For machines whose state can be saved, what their store becomes: "image",
  # "virtiofs", "auto"; null for machines as they are.
  snapshotStore ? null,
  # Whether they can be switched to another system.
  isSwitchable ? false,
  # Whether their packages are to be Debian's.
  debianPackages ? false,
  # What machines are: `vm`, `container`, `auto`; null for VMs unless a node says otherwise.
  backend ? null,
}@given:
let
  inherit (builtins)
    attrNames
    concatLists
    concatStringsSep
    filter
    isAttrs
    isFunction
    length
    ;
  fail = message: throw "snowglobe: ${message}";

  load = import ../load.nix { inherit nixpkgs debianPackages; };
  builtinTest = import ./builtin.nix {
    backend = if backend == null then "vm" else backend;
    forAll = backend == "vm" || backend == "container";
  };
  runTest = import ./runtest.nix { inherit backend debianPackages; };
  nixos2020 = import ./nixos-2020.nix;

  # The package set for tests that do not bring one.
  pkgs =
    if given ? pkgs then
      given.pkgs
    else if nixpkgs == "builtin" then
      import ../builtin { }
    else if nixpkgs != null then
      packagesOf (/. + nixpkgs)
    else if (builtins.tryEval <nixpkgs>).success then
      packagesOf <nixpkgs>
    else
      fail "the test brings no nixpkgs: give one with -I nixpkgs=PATH or --nixpkgs PATH, or --nixpkgs builtin for the built-in guests";
  packagesOf =
    folder:
    let
      isReadable = builtins.pathExists folder && builtins.pathExists (folder + "/default.nix");
      set = load.import folder;
      packages = set { };
    in
    if isReadable && isFunction set && isAttrs packages && packages ? lib && packages ? stdenv then
      packages
    else
      fail "${toString folder} is no nixpkgs";

  # A module is made a test by whatever nixpkgs offers for it.
  fromModule =
    module:
    if pkgs ? testers.runNixOSTest then
      pkgs.testers.runNixOSTest (withScript module)
    else
      pkgs.nixosTest (withScript (if isFunction module then module { inherit pkgs lib; } else module));
  # A script may be a path to a file of Python, which nixpkgs does not take.
  withScript =
    module:
    if isAttrs module && builtins.isPath module.testScript or null then
      module // { testScript = builtins.readFile module.testScript; }
    else
      module;
  inherit (pkgs) lib;
  system = pkgs.stdenv.hostPlatform.system or pkgs.system;

  # What files of nixpkgs' own tests may ask for.
  offered = {
    inherit pkgs lib;
    inherit system;
    runTest = fromModule;
    runTestOn = systems: module: if builtins.elem system systems then fromModule module else { };
    handleTest = path: arguments: load.import path ({ inherit (offered) pkgs system; } // arguments);
    handleTestOn =
      systems: path: arguments:
      if builtins.elem system systems then offered.handleTest path arguments else { };
  };

  isDerivation = value: isAttrs value && value.type or null == "derivation";
  isModule =
    value:
    isAttrs value
    && (
      value ? testScript || value ? nodes || value ? machine || value ? containers || value ? imports
    );
  isRunTest = value: value ? nodes && value ? testScriptString || value ? config.testScriptString;
  is2020 = value: isDerivation value && value ? nodes && value ? driver.testScript;

  # The adapter for a value that is one test, or null.
  adapterFor =
    value:
    if !isAttrs value then
      null
    else if value ? snowglobeTest then
      ({ snowglobeTest, ... }: snowglobeTest)
    else if value._type or null == "snowglobe-test" then
      builtinTest
    else if isRunTest value then
      runTest
    else if is2020 value then
      nixos2020
    else
      null;

  # Tests of nixpkgs since 2023 can be extended, as derivations or as the
  # configuration of the test's module system; others stay as they are.
  asked =
    value:
    let
      inherit (import ./extension.nix value) extend forNodes hasContainers;
      modules =
        testModules
        ++ map forNodes nodeModules
        ++ (if hasContainers then [ { containerDefaults = ./nspawn-guest.nix; } ] else [ ]);
    in
    # Built-in guests are what is wanted without such modules.
    if modules != [ ] && extend != null && value._type or null != "snowglobe-test" then
      extend { inherit modules; }
    else
      value;
  testModules = if debianPackages then [ ../debian/test-module.nix ] else [ ];
  # Of Debian's packages, "auto" takes what is fetched.
  store =
    let
      inherit (builtins.fromJSON (builtins.readFile <snowglobe-debian-index>)) debs;
    in
    if snapshotStore != "auto" || !debianPackages || debs ? virtiofsd then
      snapshotStore
    else if debs ? erofs-utils then
      "image"
    else
      null;
  # What is wanted of virtual machines.
  nodeModules =
    (
      if store != null && backend != "container" then
        [ (import ./snapshot-safe.nix { inherit store; }) ]
      else
        [ ]
    )
    ++ (if isSwitchable then [ ./switchable.nix ] else [ ])
    ++ (if backend == "container" || backend == "auto" then [ ./container.nix ] else [ ]);

  # Tests are side by side in sets, not deep in them: what is deeper is a
  # package set that the caller passes.
  deepest = 3;

  # What a function asks for that it can have no value for.
  missingFor =
    function:
    let
      wanted = builtins.functionArgs function;
    in
    filter (name: !wanted.${name} && !(offered ? ${name})) (attrNames wanted);
  # What it gives with what is offered.
  resultOf =
    function:
    if load.takesOne function then
      function pkgs
    else
      function (builtins.intersectAttrs (builtins.functionArgs function) offered);

  # What is in a file, or behind a function, as far as that can be had.
  enter =
    value:
    if builtins.isPath value then
      enter (load.import value)
    else if isFunction value && missingFor value == [ ] then
      enter (resultOf value)
    else
      value;

  # All tests in a value, as { path, test }; if some are `chosen`, only these, whose
  # paths are known: nothing else of a large set is looked at.
  search =
    chosen: path: value:
    let
      searchIn = search chosen;
      adapter = adapterFor value;
      missing = missingFor value;
      result = resultOf value;
      # Helpers are beside tests, too: a test's function asks for what is offered.
      isCallable =
        value:
        missingFor value == [ ]
        && builtins.any (name: offered ? ${name}) (attrNames (builtins.functionArgs value));
      # What throws is a test, too: when it is evaluated, it says so.
      member =
        path: inside:
        let
          tests = searchIn path inside;
          tried = builtins.tryEval tests;
        in
        if tried.success then
          tests
        else
          [
            {
              inherit path;
              test = builtins.seq tests null;
            }
          ];
      isHelper = name: (builtins.tryEval (isFunction value.${name} && !isCallable value.${name})).value;
      isWanted = name: load.leadsTo chosen (path ++ [ name ]);
      inner = filter (name: isWanted name && !isHelper name) (attrNames value);
    in
    if builtins.isPath value then
      searchIn path (load.import value)
    else if adapter != null then
      [ (checked path (adapter (asked value))) ]
    else if isFunction value && missing != [ ] && !load.takesMore value then
      fail "${show path} wants ${concatStringsSep ", " missing}: give it with --arg"
    else if isFunction value && (missing != [ ] || isModule result && adapterFor result == null) then
      searchIn path (fromModule value)
    else if isFunction value then
      searchIn path result
    else if isDerivation value || !isAttrs value || value ? callPackage then
      [ ]
    else if isModule value then
      searchIn path (fromModule value)
    else if length path >= deepest then
      [ ]
    else
      concatLists (map (name: member (path ++ [ name ]) value.${name}) inner);

  testsIn =
    {
      path,
      value,
      chosen ? null,
    }:
    let
      tests = search chosen path value;
      isOnlyModule = isModule value && !(value ? imports) && adapterFor value == null;
    in
    if isOnlyModule && !(value ? testScript) then
      fail "${show path} has no testScript"
    else if isOnlyModule && !(value ? nodes || value ? machine || value ? containers) then
      fail "${show path} has no nodes: a test needs at least one machine"
    else if tests == [ ] then
      fail "${show path} is ${describe value}: ${accepted}"
    else
      tests;

  show = path: if path == [ ] then "the file's value" else "`${load.showPath path}`";

  describe =
    value:
    if isDerivation value then
      "the derivation ${value.name or "?"}, and not a test"
    else if isAttrs value then
      "a set (${concatStringsSep ", " (attrNames value)}) without a test in it"
    else
      "of type ${builtins.typeOf value}, and not a test";

  accepted = "a test is what runTest, testers.runNixOSTest, nixosTest or makeTest give, a module or set with name, nodes and testScript, a function to one of these, or a set of them";

  # Node names are host names, and the script sees them as Python names.
  checked =
    path: test:
    let
      names = attrNames test.nodes;
      pythonName = import ../python-name.nix;
      invalid = filter (
        name: builtins.match "[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?" name == null
      ) names;
      clashing = filter (
        name: length (filter (other: pythonName other == pythonName name) names) > 1
      ) names;
      quote = name: "`${name}`";
    in
    {
      inherit path;
      # Tests of nixpkgs may make all their machines in their script.
      test =
        if names == [ ] && test.needsNodes or false then
          fail "the test `${test.name}` has no nodes: a test needs at least one machine"
        else if invalid != [ ] then
          fail "the node name ${quote (builtins.head invalid)} is no valid host name: it takes letters, digits, `-` and `_`, begins and ends with a letter or digit, and has at most 63 characters"
        else if clashing != [ ] then
          fail "the nodes ${concatStringsSep " and " (map quote clashing)} would have the same name in the script, `${pythonName (builtins.head clashing)}`: rename one"
        else
          test;
    };
in
{
  inherit enter testsIn;
  # Whether a value is a derivation, and no test. The driver of a test has all of the
  # test's attributes.
  isOtherDerivation =
    value:
    isDerivation value
    && (adapterFor value == null || builtins.match "nixos-test-driver-.*" value.name != null);
}
