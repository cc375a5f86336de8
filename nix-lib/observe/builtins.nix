# The builtins of Nix, where those whose result depends on more than their arguments report
# what they read. A builtin that is not listed as pure makes the evaluation one that
# cannot be remembered: a new release of Nix may have anything.
{
  textOf,
  isIn,
  isFixed,
  report,
}:
let
  inherit (builtins)
    concatMap
    isAttrs
    listToAttrs
    stringLength
    substring
    ;
  native = builtins;

  # A function of a path that reads what is there.
  reading =
    kind: function: path:
    let
      text = textOf path;
    in
    if isFixed text then function path else report kind text (function path);

  unknown = name: report "doubt" name;

  # A function whose result may be another each time, unless something in its argument fixes it.
  fetching =
    fixedBy: name: source:
    let
      isSet = name: isAttrs source && source ? ${name} && source.${name} != null && source.${name} != "";
    in
    if native.any isSet fixedBy then native.${name} source else unknown name (native.${name} source);

  # What a filter of sources lets through is read.
  filtered =
    filter: path: type:
    let
      isKept = filter path type;
    in
    if isKept then report "entry" (textOf path) isKept else isKept;

  # The places where a name of a search path may be.
  placesOf =
    name: entry:
    let
      path = textOf entry.path;
      prefix = entry.prefix or "";
      rest = substring (stringLength prefix + 1) (stringLength name) name;
    in
    if prefix == "" then
      [ "${path}/${name}" ]
    else if name == prefix then
      [ path ]
    else if isIn prefix name then
      [ "${path}/${rest}" ]
    else
      [ ];
  isAddress = path: native.match ".*://.*|(flake|channel):.*" path != null;
  reportPlace =
    result: path: if isAddress path then unknown "findFile" result else report "kind" path result;

  hashes = [
    "sha256"
    "hash"
    "narHash"
  ];
  revisions = hashes ++ [ "rev" ];

  observed = {
    currentTime = unknown "currentTime" native.currentTime;
    getEnv = name: report "variable" name (native.getEnv name);

    readFile = reading "file" native.readFile;
    readDir = reading "folder" native.readDir;
    readFileType = reading "kind" native.readFileType;
    hashFile = type: reading "file" (native.hashFile type);
    storePath =
      path:
      let
        text = textOf path;
        result = native.storePath path;
      in
      # Links from elsewhere lead into the store.
      if isIn native.storeDir text then result else report "file" text result;
    pathExists =
      path:
      let
        exists = native.pathExists path;
        text = textOf path;
      in
      if exists && isFixed text then exists else report "kind" text exists;
    findFile =
      search: name:
      native.foldl' reportPlace (native.findFile search name) (concatMap (placesOf name) search);

    path =
      given:
      let
        text = textOf given.path;
        observed = given // (if given ? filter then { filter = filtered given.filter; } else { });
        kind = if given ? filter then "entry" else "tree";
      in
      if (given.sha256 or "") != "" || isFixed text then
        native.path given
      else
        report kind text (native.path observed);
    filterSource =
      filter: path:
      let
        text = textOf path;
      in
      if isFixed text then
        native.filterSource filter path
      else
        report "entry" text (native.filterSource (filtered filter) path);

    fetchurl = fetching hashes "fetchurl";
    fetchTarball = fetching hashes "fetchTarball";
    fetchGit = fetching revisions "fetchGit";
    fetchMercurial = fetching revisions "fetchMercurial";
    fetchTree = fetching revisions "fetchTree";

    # An edit of a file moves what is below it.
    unsafeGetAttrPos =
      name: set:
      let
        position = native.unsafeGetAttrPos name set;
        moved = report "position" (textOf position.file);
      in
      if position == null then
        null
      else
        position
        // {
          line = moved position.line;
          column = moved position.column;
        };
  };

  # Of Nix 2.8 to 2.34: their results depend on nothing but their arguments, this Nix and its settings.
  pure = listToAttrs (
    map
      (name: {
        inherit name;
        value = null;
      })
      [
        "abort"
        "add"
        "addDrvOutputDependencies"
        "addErrorContext"
        "all"
        "any"
        "appendContext"
        "attrNames"
        "attrValues"
        "baseNameOf"
        "bitAnd"
        "bitOr"
        "bitXor"
        "break"
        "catAttrs"
        "ceil"
        "compareVersions"
        "concatLists"
        "concatMap"
        "concatStringsSep"
        "convertHash"
        "currentSystem"
        "deepSeq"
        "derivation"
        "derivationStrict"
        "dirOf"
        "div"
        "elem"
        "elemAt"
        "false"
        "filter"
        "flakeRefToString"
        "floor"
        "foldl'"
        "fromJSON"
        "fromTOML"
        "functionArgs"
        "genList"
        "genericClosure"
        "getAttr"
        "getContext"
        "groupBy"
        "hasAttr"
        "hasContext"
        "hashString"
        "head"
        "intersectAttrs"
        "isAttrs"
        "isBool"
        "isFloat"
        "isFunction"
        "isInt"
        "isList"
        "isNull"
        "isPath"
        "isString"
        "langVersion"
        "length"
        "lessThan"
        "listToAttrs"
        "map"
        "mapAttrs"
        "match"
        "mul"
        "nixPath"
        "nixVersion"
        "null"
        "outputOf"
        "parseDrvName"
        "parseFlakeRef"
        "partition"
        "placeholder"
        "removeAttrs"
        "replaceStrings"
        "seq"
        "sort"
        "split"
        "splitVersion"
        "storeDir"
        "stringLength"
        "sub"
        "substring"
        "tail"
        "throw"
        "toFile"
        "toJSON"
        "toPath"
        "toString"
        "toXML"
        "trace"
        "traceVerbose"
        "true"
        "tryEval"
        "typeOf"
        "unsafeDiscardOutputDependency"
        "unsafeDiscardStringContext"
        "warn"
        "zipAttrsWith"
      ]
  );
in
native.mapAttrs (
  name: value: if pure ? ${name} then value else observed.${name} or (unknown name value)
) native
