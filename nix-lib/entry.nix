# The entry: what `snowglobe` evaluates. From a test file it makes a list of
# tests, each with its manifest (plain data) and the derivation that builds it.
{
  # The test file, as an absolute path in a string.
  file,
  # The file of a flake that is resolved (locked-flake.nix), whose outputs are taken
  # instead of the file's value; or the reference of a flake.
  flakeLock ? null,
  flake ? null,
  # Attribute paths, each as the names to follow from the file's value, as `nix-build -A` does.
  attributes ? [ [ ] ],
  # Of the tests that they lead to, the paths of those that are wanted; null for all.
  chosen ? null,
  # Whether the tests are some of several: errors name the test then.
  isPart ? false,
  # Arguments for functions met on the way.
  arguments ? { },
  # "builtin", a path in a string, or null to use the test's own nixpkgs.
  nixpkgs ? null,
  # "manifest" for everything, "names" where machines need not be evaluated,
  # "check" for the derivations that run the tests, "build" for those that build
  # their machines, or for a derivation that is no test; "part" for some nodes of
  # the only test, where other processes evaluate the others.
  want ? "manifest",
  # For a part: the names of its nodes.
  nodes ? [ ],
  # Whether tests are taken as they are for runs by hand.
  interactive ? false,
  # For machines whose state can be saved, what their store becomes: "image",
  # "virtiofs", "auto"; null for machines as they are.
  snapshotStore ? null,
  # Whether NixOS machines can be switched to another system.
  isSwitchable ? false,
  # Whether the packages of machines are Debian's.
  debianPackages ? false,
  # What machines are: "vm", "container", "auto", or null for what their nodes say.
  backend ? null,
  # For checks: the program's store path, where the index of the guests has
  # none, and whether builders without KVM will do.
  program ? null,
  allowEmulation ? false,
  # Whether what is read is reported. Errors in a builtin that reports are at its place in
  # our library, and not at the user's: they are evaluated once more without.
  isObserved ? true,
}:
let
  # What is read from here on is reported.
  import = if isObserved then observedImport else builtins.import;
  observedImport = builtins.import ./observe {
    inherit nixpkgs;
    changing =
      if flakeLock == null then null else (builtins.fromJSON (builtins.readFile flakeLock)).source;
  };
  load = import ./load.nix { inherit nixpkgs debianPackages; };
  adapters = import ./adapters {
    inherit
      nixpkgs
      snapshotStore
      isSwitchable
      debianPackages
      backend
      ;
  };
  say = import ./present.nix;

  # As Nix does, a flake's attribute is looked for among its checks and
  # packages, too. Without one, all checks are meant.
  inFlake =
    outputs: attribute:
    let
      system = builtins.currentSystem;
      prefixes = [
        [
          "checks"
          system
        ]
        [
          "packages"
          system
        ]
        [ ]
      ];
      known = builtins.filter (path: load.has path outputs) (map (prefix: prefix ++ attribute) prefixes);
    in
    if known != [ ] then
      builtins.head known
    else if builtins.length attribute == 1 && outputs ? checks.${system} then
      throw "snowglobe: the flake has no check, package or output `${load.showPath attribute}`; of checks ${
        load.others (builtins.head attribute) (builtins.attrNames outputs.checks.${system})
      }"
    else
      attribute;

  isFlake = flake != null || flakeLock != null;
  source =
    if flakeLock != null then
      load.flake (import ./locked-flake.nix { file = flakeLock; })
    else if flake != null then
      load.flake { flake = builtins.getFlake flake; }
    else
      load.import file;
  locate =
    attribute:
    let
      path = if isFlake then inFlake source attribute else attribute;
    in
    {
      inherit path;
      value = load.follow {
        inherit arguments;
        inherit (adapters) enter;
      } path source;
    };
  located = builtins.filter ({ path, ... }: load.leadsTo chosen path) (map locate attributes);
  # Paths may lead to the same test.
  unique = builtins.foldl' (
    seen: found: if builtins.any (other: other.path == found.path) seen then seen else seen ++ [ found ]
  ) [ ];
  testsIn = place: adapters.testsIn (place // { inherit chosen; });
  tests = unique (builtins.concatMap testsIn located);
  # Only what nixpkgs makes has another form for runs by hand.
  asWanted =
    found: if interactive then found // { test = found.test.interactive or found.test; } else found;
  builtinSet = import ./builtin { };
  checkOf =
    test:
    (import ./. {
      pkgs = builtinSet;
      snowglobe = if program == null then builtinSet.snowglobe else builtins.storePath program;
    }).mkCheck
      {
        inherit allowEmulation;
        test.snowglobeTest = test;
      };
  present =
    { path, test }:
    let
      attribute = load.showPath path;
    in
    if want == "names" && builtins.length tests > 1 then
      say.outlineOfSome { inherit attribute test; }
    else if want == "names" then
      say.outline { inherit attribute test; }
    else if want == "part" then
      import ./part.nix { inherit attribute test nodes; }
    else if want == "check" then
      say.outline { inherit attribute test; } // { derivation = (checkOf test).drvPath; }
    else
      say.whole {
        inherit
          attribute
          test
          file
          backend
          ;
      };
  # Nix does not say which of several tests an error comes from: what is traced
  # last before it does (src/nix_cli/message.rs).
  mark =
    { path, ... }:
    if isPart || builtins.length tests > 1 then
      builtins.trace "snowglobe: evaluating ${load.showPath path}"
    else
      value: value;
  present' = found: mark found (present (asWanted found));
  buildable =
    { path, value }@place:
    if adapters.isOtherDerivation value then
      [
        {
          attribute = load.showPath path;
          name = value.name or "derivation";
          derivation = value.drvPath;
        }
      ]
    else
      map present' (testsIn place);
in
if want == "build" then builtins.concatMap buildable located else map present' tests
