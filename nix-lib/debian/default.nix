# Any nixpkgs with Debian's packages in the place of its own: no binary cache, no
# compiler for what Debian has, and no file of the tree changed.
#
# nixpkgs is called with stages of its standard environment (`stdenvStages`) that
# are made of Debian's tools, and whose `mkDerivation` replaces each package that
# the table or Debian knows (see packages.nix). Modules, library, package
# expressions and build helpers stay those of the tree.
let
  index =
    let
      content = builtins.fromJSON (builtins.readFile <snowglobe-debian-index>);
    in
    # The version that src/guest/debian_index.rs writes.
    if content.version == 1 then
      content
    else
      throw "snowglobe: the index of Debian's packages is of another version: run `snowglobe guest fetch --for FILE` again";
  # Every package of the suite, with its version.
  available = builtins.fromJSON (builtins.readFile <snowglobe-debian-names>);

  debs = import ./debs.nix { inherit index available; };

  userTable =
    let
      file = builtins.getEnv "SNOWGLOBE_PACKAGES_TABLE";
    in
    if file == "" then null else /. + file;

  # One stage, where nixpkgs has its bootstrap.
  stagesFor =
    tree:
    {
      lib,
      localSystem,
      config,
      overlays,
      ...
    }:
    [
      (_: {
        inherit config overlays;
        stdenv = import ./stdenv.nix {
          inherit lib config;
          path = tree;
          platform = localSystem;
          packages = import ./packages.nix { inherit debs tree userTable; };
        };
      })
    ];

  withOverrides =
    config: packages: (config.packageOverrides or (_: { })) packages // import ./overrides.nix packages;

  # The configuration may be a function of the packages.
  withOwn =
    given: packages:
    let
      config = if builtins.isFunction given then given packages else given;
    in
    config // { packageOverrides = withOverrides config; };
in
rec {
  # What `import TREE` gives otherwise.
  nixpkgs =
    tree: arguments:
    import tree (
      arguments
      // {
        stdenvStages = stagesFor tree;
        config = withOwn (arguments.config or (import ./user-config.nix));
      }
    );

  # Whether this is what `import` is given for nixpkgs.
  isNixpkgs =
    path:
    let
      folder = folderOf path;
    in
    builtins.pathExists (folder + "/pkgs/top-level/impure.nix");
  folderOf =
    path:
    let
      plain = builtins.match "(.*)/default\\.nix" (toString path);
    in
    /.
    + builtins.unsafeDiscardStringContext (
      if plain == null then toString path else builtins.head plain
    );
}
