# Helpers on strings.
{ basics }:
let
  inherit (builtins)
    concatStringsSep
    elemAt
    filter
    genList
    isString
    replaceStrings
    split
    stringLength
    substring
    ;
  inherit (basics)
    foldl'
    length
    min
    mod
    range
    ;
  lower = "abcdefghijklmnopqrstuvwxyz";
  upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
in
rec {
  inherit (builtins)
    concatStringsSep
    hashString
    match
    replaceStrings
    split
    stringLength
    substring
    ;

  optionalString = condition: text: if condition then text else "";
  concatStrings = concatStringsSep "";
  concatMapStrings = f: list: concatStrings (map f list);
  concatMapStringsSep =
    separator: f: list:
    concatStringsSep separator (map f list);
  concatImapStringsSep =
    separator: f: list:
    concatStringsSep separator (basics.imap1 f list);
  concatMapAttrsStringSep =
    separator: f: attrs:
    concatStringsSep separator (basics.mapAttrsToList f attrs);
  concatLines = concatMapStrings (line: "${line}\n");
  stringToCharacters = text: genList (n: substring n 1 text) (stringLength text);
  toLower = replaceStrings (stringToCharacters upper) (stringToCharacters lower);
  toUpper = replaceStrings (stringToCharacters lower) (stringToCharacters upper);
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  hasSuffix =
    suffix: text:
    let
      start = stringLength text - stringLength suffix;
    in
    start >= 0 && substring start (-1) text == suffix;
  hasInfix = infix: text: length (split (escapeRegex infix) text) > 1;
  removePrefix =
    prefix: text: if hasPrefix prefix text then substring (stringLength prefix) (-1) text else text;
  removeSuffix =
    suffix: text:
    if hasSuffix suffix text then substring 0 (stringLength text - stringLength suffix) text else text;
  splitString = separator: text: filter isString (split (escapeRegex separator) text);
  trim =
    text:
    let
      parts = builtins.match "[ \t\r\n]*(.*[^ \t\r\n])[ \t\r\n]*" text;
    in
    if parts == null then "" else builtins.head parts;
  fileContents = path: removeSuffix "\n" (builtins.readFile path);
  replicateString = count: text: concatStrings (genList (_: text) count);
  fixedWidthString =
    width: filler: text:
    replicateString (width - stringLength text) filler + text;
  fixedWidthNumber = width: number: fixedWidthString width "0" (toString number);
  escape = characters: replaceStrings characters (map (c: "\\${c}") characters);
  escapeRegex = escape (stringToCharacters "\\[{()^$?*+|.");

  # Quoted for a POSIX shell, whatever the value holds.
  escapeShellArg = value: "'${replaceStrings [ "'" ] [ "'\\''" ] (toString value)}'";
  escapeShellArgs = values: concatMapStringsSep " " escapeShellArg values;
  toShellVar = name: value: "${name}=${escapeShellArg value}";
  makeBinPath = concatMapStringsSep ":" (package: "${package}/bin");
  makeSearchPath = directory: concatMapStringsSep ":" (package: "${package}/${directory}");
  toInt = text: builtins.fromJSON text;
  toHexString =
    number:
    let
      digit = substring (mod number 16) 1 "0123456789abcdef";
    in
    if number < 16 then digit else toHexString (number / 16) + digit;

  # The candidate that differs least from `word`, or null if none is near.
  nearest =
    word: candidates:
    let
      ranked = builtins.sort (a: b: a.distance < b.distance) (
        map (candidate: {
          inherit candidate;
          distance = editDistance word candidate;
        }) candidates
      );
      best = builtins.head ranked;
      limit = basics.max 2 (stringLength word / 3);
    in
    if ranked == [ ] || best.distance > limit then null else best.candidate;

  # Levenshtein distance, row by row.
  editDistance =
    a: b:
    let
      columns = range 1 (stringLength b);
      nextRow =
        row: n:
        foldl' (
          done: column:
          let
            same = substring (n - 1) 1 a == substring (column - 1) 1 b;
            diagonal = elemAt row (column - 1) + (if same then 0 else 1);
            beside = min (elemAt row column) (elemAt done (column - 1)) + 1;
          in
          done ++ [ (min diagonal beside) ]
        ) [ n ] columns;
    in
    basics.last (foldl' nextRow ([ 0 ] ++ columns) (range 1 (stringLength a)));
}
