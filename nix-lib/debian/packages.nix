# Which derivations of nixpkgs become Debian's, and what they are made of.
#
# `hook` takes the place of `derivation` in the tree's make-derivation.nix. A
# derivation whose pname has an entry in the table, or is the name of a Debian
# package, becomes a tree of links into the units of .debs, with the same name
# and outputs. What nixpkgs says of the package (version, passthru, meta,
# overrideAttrs) stays; its sources and inputs are not evaluated.
{
  debs,
  # The tree of nixpkgs.
  tree,
  # A file with further entries, or null.
  userTable,
}:
let
  inherit (builtins)
    head
    isFunction
    isList
    listToAttrs
    map
    parseDrvName
    ;

  arguments = {
    inherit
      debs
      entryPackage
      link
      toolchain
      tree
      ;
    fixes = import ./fixes.nix { inherit debs; };
  };
  entries =
    import ./table.nix arguments // (if userTable == null then { } else import userTable arguments);

  # What fixes may call. The compiler is made without one.
  basicTools = map debs.package [
    "bash"
    "coreutils"
    "findutils"
    "grep"
    "sed"
    "gawk"
  ];
  allTools = basicTools ++ [
    toolchain.gcc
    toolchain.binutils
  ];

  scripts = builtins.filterSource (path: _: baseNameOf path == "tree.py") ./.;

  # A package in nixpkgs' shape.
  link =
    {
      name,
      outputs ? [ "out" ],
      # Debian's packages.
      debs ? [ ],
      # A shell script that finishes the tree, which is `$out`.
      fix ? "",
      # The same in Python, a file; it runs first.
      program ? "",
      # "links" to the units, "programs" as copies and the rest as links (the
      # scripts of an initrd copy programs), or all as "copies".
      content ? "links",
      # The output is what `fix` makes, and no tree.
      isFile ? false,
      # Whether units, rules and the like are changed to name the tree's own paths.
      changesTexts ? true,
      # More variables for `fix`.
      environment ? { },
      tools ? allTools,
    }:
    derivation (
      build.local
      // python.runs "${scripts}/tree.py"
      // environment
      // {
        inherit
          name
          outputs
          fix
          program
          content
          tools
          ;
        inherit (python) patchelf;
        main = head outputs;
        units = map package debs;
        isFile = if isFile then "1" else "";
        inherit (scriptsOf debs) interpreters modules;
        changesTexts = if changesTexts then "1" else "";
        passAsFile = [ "fix" ];
      }
    );
  inherit (debs) build package python;

  # For scripts in Python and Perl: their interpreters, and the units with their modules.
  scriptsOf =
    names:
    let
      languages =
        builtins.filter (language: !(builtins.elem language names) && debs.need language names)
          [
            "perl"
            "python3"
          ];
    in
    {
      interpreters = map entryPackage languages;
      modules = if languages == [ ] then [ ] else debs.closure names;
    };

  # A package of the table beside those of the tree.
  entryPackage = pname: link ({ name = pname; } // entryOf entries.${pname} { });

  # Packages that older releases fetch as they are to be installed.
  fetched = builtins.mapAttrs (_: long) (
    builtins.intersectAttrs {
      iana-etc = true;
      nss-cacert = true;
      mailcap = true;
      dejavu-fonts = true;
    } entries
  );

  # An entry of the table in its long form.
  long = entry: if isList entry then { debs = entry; } else entry;
  entryOf = entry: args: long (if isFunction entry then entry args else entry);

  entryFor =
    args:
    let
      # The context of a name is of no use here.
      plain = builtins.unsafeDiscardStringContext;
      # What is made of no source and has only a name is no package: `linux-6.1-modules-shrunk`.
      isSource = args ? src || args ? srcs || args ? unpackPhase || args ? unpackCmd;
      pname = plain (args.pname or (if isSource then (parseDrvName args.name).name else ""));
      name = plain (args.name or "${args.pname}-${args.version}");
      entry = entries.${pname} or null;
      language = import ./languages.nix {
        inherit
          debs
          entries
          name
          pname
          ;
        propagated = args.propagatedBuildInputs or [ ];
      };
    in
    # What is fetched by its hash is what it is, but for whole packages.
    if args ? outputHash then
      fetched.${(parseDrvName (plain args.name)).name} or null
    else if pname == "" then
      null
    else if language != null then
      language
    else if entry != null then
      entryOf entry args
    else if debs.isKnown pname then
      { debs = [ pname ]; }
    else
      null;

  hook =
    args:
    let
      entry = entryFor args;
      name = args.name or "${args.pname}-${args.version}";
      outputs = args.outputs or [ "out" ];
      made = link ({ inherit name outputs; } // entry);
      # As `derivation` gives it: each output is the whole with another path.
      values = map (output: {
        name = output;
        value = asOutput made.${output};
      }) outputs;
      asOutput =
        output:
        args
        // listToAttrs values
        // {
          inherit (output) outPath drvPath outputName;
          type = "derivation";
          all = map (value: value.value) values;
          drvAttrs = args;
          inherit outputs name;
          isFromDebian = true;
        };
    in
    if entry == null then derivation args else asOutput made.${head outputs};

  toolchain = import ./toolchain.nix {
    inherit debs;
    link = package: link (package // { tools = basicTools; });
  };
in
{
  inherit entryPackage hook link;
  inherit (toolchain) gcc binutils;
  libc = toolchain.glibc;
}
