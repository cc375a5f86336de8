# Reads the test file and follows an attribute path through its value. Where
# the built-in guests stand in for nixpkgs, a `fetchTarball` of nixpkgs in the
# file or in what it imports gives them. Where the packages are Debian's, an
# `import` of nixpkgs there gives it with these.
{
  nixpkgs,
  debianPackages ? false,
}:
let
  inherit (builtins)
    functionArgs
    isAttrs
    isFunction
    isList
    ;

  standIn = ./builtin;

  isNixpkgs =
    source:
    let
      address = toString (if isAttrs source then source.url or "" else source);
    in
    builtins.match ".*(/[Nn]ix[Oo][Ss]/nixpkgs|channels\\.nixos\\.org|releases\\.nixos\\.org).*" address
    != null;

  debian = import ./debian;

  # Whether a file belongs to a nixpkgs that imports itself only in its tests.
  isInNixpkgs =
    path:
    let
      folder = dirOf path;
    in
    if builtins.match ".*/nixos/(tests|lib/testing).*" path != null then
      false
    else
      # Nix looks at nothing in the store's own folder that is no store path.
      folder != "/" && folder != builtins.storeDir && (debian.isNixpkgs folder || isInNixpkgs folder);

  # `import` for a file that is to see other builtins, and for what it imports:
  # `globals` beside `builtins`, and `members` in it. `importIn` says what comes of
  # a path; our own files need no other scope, and `import` remembers what it read.
  importWith =
    {
      importIn ? scopedImport: scopedImport,
      globals ? { },
      members ? globals,
    }:
    let
      import = path: if isOwn path then builtins.import path else importIn scopedImport path;
      scopedImport = builtins.scopedImport (
        globals
        // {
          inherit import;
          builtins = builtins // members // { inherit import; };
        }
      );
    in
    import;

  importBuiltin = importWith rec {
    globals = {
      fetchTarball = source: if isNixpkgs source then standIn else builtins.fetchTarball source;
    };
    members = globals // {
      fetchGit = source: if isNixpkgs source then { outPath = standIn; } else builtins.fetchGit source;
    };
  };

  importDebian = importWith {
    importIn =
      scopedImport: path:
      if debian.isNixpkgs path then
        debian.nixpkgs (debian.folderOf path)
      else if isInNixpkgs (toString path) then
        builtins.import path
      else
        scopedImport path;
  };

  # A flake whose inputs that are nixpkgs give Debian's packages, and those of its inputs.
  # `path` is where its file is: what asks for `outPath` depends on all of the flake.
  flakeWithDebian =
    {
      flake,
      path ? flake.outPath,
    }:
    let
      withDebian =
        input:
        if debian.isNixpkgs input then
          input
          // {
            legacyPackages = builtins.mapAttrs (
              system: _: debian.nixpkgs (debian.folderOf input) { inherit system; }
            ) input.legacyPackages;
          }
        else if input._type or null == "flake" then
          flakeWithDebian { flake = input; }
        else
          input;
      file = importDebian (path + "/flake.nix");
      outputs = file.outputs (
        builtins.mapAttrs (_: withDebian) flake.inputs
        // {
          self = builtins.trace ''snowglobe-read: ["flake","self"]'' self;
        }
      );
      self = flake // outputs // { inherit outputs; };
    in
    self;

  isOwn =
    path:
    let
      own = toString ./. + "/";
    in
    builtins.substring 0 (builtins.stringLength own) (toString path) == own;

  # Only the XML of a function names its arguments: `x: …`, or `{ …, ... }: …`.
  takesOne = value: isFunction value && builtins.match ".*<varpat .*" (builtins.toXML value) != null;
  takesMore =
    value:
    isFunction value && builtins.match ".*<attrspat [^>]*ellipsis=.*" (builtins.toXML value) != null;

  # An attribute path as it is written after -A.
  showPath =
    path:
    builtins.concatStringsSep "." (
      map (
        name:
        if builtins.match "[A-Za-z_][A-Za-z0-9_'-]*" name == null then
          "\"${builtins.replaceStrings [ "\\" "\"" ] [ "\\\\" "\\\"" ] name}\""
        else
          name
      ) path
    );

  # Calls a function as nix-build does: with those of the given arguments that
  # it takes, and only if it has defaults for the rest.
  call =
    arguments: value:
    let
      wanted = functionArgs value;
      missing = builtins.filter (name: !wanted.${name} && !(arguments ? ${name})) (
        builtins.attrNames wanted
      );
    in
    if !isFunction value || takesOne value then
      value
    else if wanted == { } && arguments == { } then
      value
    else if missing != [ ] then
      value
    else
      call arguments (
        value (if takesMore value then arguments else builtins.intersectAttrs wanted arguments)
      );

  # Of many names, those that are like one.
  others =
    name: known:
    let
      count = builtins.length known;
      isLike = other: builtins.replaceStrings [ name ] [ "" ] other != other;
      like = builtins.filter isLike known;
      list = builtins.concatStringsSep ", ";
    in
    if count <= 20 then
      "there are: ${list known}"
    else if like == [ ] || builtins.length like > 20 then
      "there are ${toString count} others, such as ${builtins.head known}"
    else
      "there are ${toString count} others; like it: ${list like}";

  # What an attribute path leads to. What is no set is `enter`ed on the way.
  follow =
    { arguments, enter }@how:
    names: value:
    let
      # What `{ ... }:` gives is the same whatever it is called with.
      isOpen = isFunction value && functionArgs value == { } && !takesOne value;
      outside = if isOpen && names != [ ] then value arguments else call arguments value;
      isSet = isAttrs outside || isList outside;
      called = if isSet || names == [ ] then outside else enter outside;
      name = builtins.head names;
      next = follow how (builtins.tail names);
      known = builtins.attrNames called;
      isIndex = builtins.match "[0-9]+" name != null;
    in
    if names == [ ] then
      called
    else if isList called && isIndex && builtins.fromJSON name < builtins.length called then
      next (builtins.elemAt called (builtins.fromJSON name))
    else if !isAttrs called then
      throw "snowglobe: there is no attribute `${name}` in a value of type ${builtins.typeOf called}"
    else if !(called ? ${name}) then
      throw "snowglobe: there is no attribute `${name}`; ${others name known}"
    else
      next called.${name};
  # Whether an attribute path leads to one of some; null is all of them.
  leadsTo =
    chosen: path:
    let
      isOnTheWay =
        other:
        builtins.length path <= builtins.length other
        && builtins.all (index: builtins.elemAt path index == builtins.elemAt other index) (
          builtins.genList (index: index) (builtins.length path)
        );
    in
    chosen == null || builtins.any isOnTheWay chosen;
  has =
    names: value:
    names == [ ]
    || (
      isAttrs value
      && value ? ${builtins.head names}
      && has (builtins.tail names) value.${builtins.head names}
    );
in
{
  inherit
    follow
    has
    leadsTo
    others
    showPath
    takesMore
    takesOne
    ;
  flake = found: if debianPackages then flakeWithDebian found else found.flake;
  import =
    file:
    if nixpkgs == "builtin" then
      importBuiltin file
    else if debianPackages then
      importDebian file
    else
      builtins.import file;
}
