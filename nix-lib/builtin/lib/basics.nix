# Helpers on values, lists and attribute sets that know nothing of modules.
let
  inherit (builtins)
    attrNames
    concatLists
    concatMap
    elem
    elemAt
    filter
    foldl'
    genList
    getAttr
    hasAttr
    isAttrs
    isList
    length
    listToAttrs
    mapAttrs
    ;
in
rec {
  inherit (builtins)
    add
    all
    any
    attrNames
    attrValues
    baseNameOf
    bitAnd
    bitOr
    catAttrs
    compareVersions
    concatLists
    concatMap
    deepSeq
    div
    elem
    elemAt
    filter
    foldl'
    fromJSON
    functionArgs
    genList
    genericClosure
    getAttr
    groupBy
    hasAttr
    head
    intersectAttrs
    isAttrs
    isBool
    isFloat
    isFunction
    isInt
    isList
    isPath
    isString
    length
    lessThan
    listToAttrs
    map
    mapAttrs
    mul
    partition
    pathExists
    readFile
    removeAttrs
    seq
    sort
    sub
    tail
    toJSON
    toString
    trace
    tryEval
    typeOf
    zipAttrsWith
    ;

  # ── values ────────────────────────────────────────────────────────────────
  id = value: value;
  const = value: _: value;
  flip =
    f: a: b:
    f b a;
  pipe = foldl' (value: f: f value);
  max = a: b: if a > b then a else b;
  min = a: b: if a < b then a else b;
  mod = a: b: a - b * (a / b);
  throwIf = condition: message: if condition then throw message else id;
  throwIfNot = condition: throwIf (!condition);
  assertMsg = condition: message: condition || throw message;
  warn = message: value: builtins.trace "warning: ${message}" value;
  warnIf = condition: message: if condition then warn message else id;
  importJSON = path: builtins.fromJSON (builtins.readFile path);
  versionOlder = a: b: builtins.compareVersions b a == 1;
  versionAtLeast = a: b: !versionOlder a b;
  boolToString = value: if value then "true" else "false";
  isDerivation = value: isAttrs value && value.type or null == "derivation";
  setFunctionArgs = f: args: {
    __functor = _: f;
    __functionArgs = args;
  };

  # A derivation's `bin` output in nixpkgs; packages here have one output.
  getBin = package: package;
  getExe = package: "${package}/bin/${package.meta.mainProgram or package.pname or package.name}";
  getExe' = package: program: "${package}/bin/${program}";

  # ── lists ─────────────────────────────────────────────────────────────────
  singleton = value: [ value ];
  optional = condition: value: if condition then [ value ] else [ ];
  optionals = condition: values: if condition then values else [ ];
  flatten = value: if isList value then concatMap flatten value else [ value ];
  toList = value: if isList value then value else [ value ];
  range = first: last: if first > last then [ ] else genList (n: first + n) (last - first + 1);
  imap0 = f: list: genList (n: f n (elemAt list n)) (length list);
  imap1 = f: imap0 (n: f (n + 1));
  last = list: elemAt list (length list - 1);
  init = list: take (length list - 1) list;
  take = count: list: genList (elemAt list) (min count (length list));
  drop =
    count: list:
    let
      start = min count (length list);
    in
    genList (n: elemAt list (start + n)) (length list - start);
  reverseList = list: genList (n: elemAt list (length list - n - 1)) (length list);
  foldr =
    f: initial: list:
    foldl' (acc: value: f value acc) initial (reverseList list);
  fold = foldr;
  unique = foldl' (acc: value: if elem value acc then acc else acc ++ [ value ]) [ ];
  remove = value: filter (other: other != value);
  subtractLists = without: filter (value: !elem value without);
  intersectLists = a: filter (value: elem value a);
  forEach = list: f: map f list;
  count = predicate: list: length (filter predicate list);
  replicate = count: value: genList (_: value) count;
  findFirst =
    predicate: default: list:
    let
      found = filter predicate list;
    in
    if found == [ ] then default else builtins.head found;
  zipListsWith =
    f: a: b:
    genList (n: f (elemAt a n) (elemAt b n)) (min (length a) (length b));
  zipLists = zipListsWith (fst: snd: { inherit fst snd; });
  cartesianProduct =
    sets:
    foldl' (acc: name: concatMap (attrs: map (value: attrs // { ${name} = value; }) sets.${name}) acc) [
      { }
    ] (attrNames sets);

  # ── attribute sets ────────────────────────────────────────────────────────
  nameValuePair = name: value: { inherit name value; };
  optionalAttrs = condition: attrs: if condition then attrs else { };
  genAttrs = names: f: listToAttrs (map (name: nameValuePair name (f name)) names);
  mapAttrs' = f: attrs: listToAttrs (mapAttrsToList f attrs);
  mapAttrsToList = f: attrs: map (name: f name attrs.${name}) (attrNames attrs);
  attrsToList = mapAttrsToList nameValuePair;
  concatMapAttrs = f: attrs: mergeAttrsList (mapAttrsToList f attrs);
  mergeAttrsList = foldl' (a: b: a // b) { };
  mergeAttrs = a: b: a // b;
  filterAttrs =
    predicate: attrs:
    removeAttrs attrs (filter (name: !predicate name attrs.${name}) (attrNames attrs));
  foldAttrs =
    f: initial: sets:
    builtins.zipAttrsWith (_: foldr f initial) sets;
  attrByPath =
    path: default: attrs:
    if path == [ ] then
      attrs
    else if isAttrs attrs && hasAttr (builtins.head path) attrs then
      attrByPath (builtins.tail path) default (getAttr (builtins.head path) attrs)
    else
      default;
  hasAttrByPath =
    path: attrs:
    path == [ ]
    || (
      isAttrs attrs
      && hasAttr (builtins.head path) attrs
      && hasAttrByPath (builtins.tail path) attrs.${builtins.head path}
    );
  getAttrFromPath = path: attrs: foldl' (set: name: set.${name}) attrs path;
  setAttrByPath = path: value: foldr (name: inner: { ${name} = inner; }) value path;
  recursiveUpdate =
    old: new:
    if isAttrs old && isAttrs new && !isDerivation old && !isDerivation new then
      old
      // mapAttrs (name: value: if hasAttr name old then recursiveUpdate old.${name} value else value) new
    else
      new;
  mapAttrsRecursive =
    f: attrs:
    let
      go =
        path:
        mapAttrs (
          name: value: if isAttrs value then go (path ++ [ name ]) value else f (path ++ [ name ]) value
        );
    in
    go [ ] attrs;
  collect =
    predicate: value:
    if predicate value then
      [ value ]
    else if isAttrs value then
      concatLists (map (collect predicate) (builtins.attrValues value))
    else
      [ ];
}
