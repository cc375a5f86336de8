# `import` for test files, and for all that they import: what they read is reported.
#
# An evaluation may be remembered if everything that its result depends on is known.
# Besides the texts of Nix files, these are files that builtins read and variables of
# the environment. Each file is evaluated in a scope whose builtins report what they
# read, by `trace`, which src/nix_cli/reads.rs parses. Paths that become strings with
# the store's copy are no calls: with `-vv`, Nix prints these itself.
{
  # As in entry.nix.
  nixpkgs ? null,
  # The sources of a flake in the store, whose path changes with every edit; or null.
  changing ? null,
}:
let
  inherit (builtins)
    concatLists
    dirOf
    filter
    isPath
    listToAttrs
    pathExists
    readDir
    stringLength
    substring
    ;
  native = builtins;

  members = import ./builtins.nix {
    inherit
      textOf
      isIn
      isFixed
      report
      ;
  };
  # Says what was read, and returns the result of the reading.
  report =
    kind: subject:
    builtins.trace "snowglobe-read: ${
      builtins.toJSON [
        kind
        subject
      ]
    }";
  # The text of a path, without its context.
  textOf = path: builtins.unsafeDiscardStringContext (toString path);
  isIn = folder: path: substring 0 (stringLength folder + 1) path == folder + "/";
  # Nothing in the store changes, and none of our own files.
  isFixed = path: isIn builtins.storeDir path && !isChanging path || isIn ownFolder path;
  isChanging = path: changing != null && (path == changing || isIn changing path);
  ownFolder = toString ../.;

  # Names that are in scope without `builtins`, besides those with `__` before them.
  short = {
    fetchGit = null;
    fetchMercurial = null;
    fetchTarball = null;
    fetchTree = null;
  };
  globals =
    builtins.intersectAttrs short members
    // listToAttrs (
      map (name: {
        name = "__${name}";
        value = members.${name};
      }) (builtins.attrNames members)
    );

  # What a file sees whose imports are made by `import`.
  scopeOf =
    import:
    let
      importers = {
        import = path: reportImport path (import path);
        scopedImport = scope: path: reportImport path (native.scopedImport (everything // scope) path);
      };
      observed = members // importers // { builtins = observed; };
      everything =
        globals
        // importers
        // {
          builtins = observed;
          __import = importers.import;
          __scopedImport = importers.scopedImport;
        };
    in
    everything;

  # Nix prints the file itself, and not the links that lead to it.
  reportImport =
    path: result:
    let
      text = textOf path;
    in
    if isFixed text then result else report "import" text result;

  # Files that come with Nix, such as <nix/fetchurl.nix>.
  isOfNix =
    let
      folder = builtins.tryEval (dirOf (textOf (builtins.findFile [ ] "nix/fetchurl.nix")));
    in
    path: folder.success && dirOf path == folder.value;

  # `import` of a file, which remembers those in `memo`. `scopedImport` remembers nothing,
  # and nixpkgs imports some of its files dozens of times.
  importWith =
    {
      memo,
      otherwise ? null,
    }:
    let
      plain = path: native.scopedImport (scopeOf import) path;
      import =
        path:
        let
          text = textOf path;
        in
        known.${text} or (
          if isOfNix text then
            native.import path
          else if otherwise == null then
            plain path
          else
            otherwise plain path
        );
      known = listToAttrs (
        map (path: {
          name = textOf path;
          value = plain path;
        }) memo
      );
    in
    import;

  # The Nix files below a folder, and the folders that `import` takes.
  nixFilesBelow =
    folder:
    let
      entries = readDir folder;
      below =
        name:
        if entries.${name} == "directory" then
          nixFilesBelow (folder + "/${name}")
        else if builtins.match ".*\\.nix" name == null then
          [ ]
        else
          [ (folder + "/${name}") ];
    in
    (if entries ? "default.nix" then [ folder ] else [ ])
    ++ concatLists (map below (builtins.attrNames entries));

  # The files of a nixpkgs that are imported often. Those that it lacks are never imported.
  oftenIn =
    root:
    [ root ]
    ++ filter isPath (native.import (root + moduleList))
    ++ map (path: root + "/${path}") (native.import ./often.nix);
  moduleList = "/nixos/modules/module-list.nix";

  # The nixpkgs that a path is in, or null.
  rootOf =
    folder:
    if folder == "/" || folder == builtins.storeDir then
      null
    else if pathExists (folder + moduleList) then
      folder
    else
      rootOf (dirOf folder);

  # Files of nixpkgs import modules and packages of the user's as well: once in a
  # nixpkgs, its memo is used for everything.
  importInNixpkgs =
    root:
    importWith {
      memo = oftenIn (/. + root) ++ own;
    };
  given =
    let
      found = builtins.tryEval <nixpkgs>;
    in
    (if nixpkgs == null || nixpkgs == "builtin" then [ ] else [ nixpkgs ])
    ++ (if found.success then [ (textOf found.value) ] else [ ]);
  importersOfGiven = listToAttrs (
    map (name: {
      inherit name;
      value = importInNixpkgs name;
    }) given
  );

  own = nixFilesBelow ../.;
in
# Nix shows that it prints what it copies (src/nix_cli/reads.rs).
builtins.seq (builtins.stringLength "${./often.nix}") importWith {
  memo = own;
  otherwise =
    plain: path:
    let
      root = rootOf (textOf path);
    in
    if root == null then plain path else (importersOfGiven.${root} or (importInNixpkgs root)) path;
}
