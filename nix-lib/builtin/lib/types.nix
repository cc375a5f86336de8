# Types of options: a description for messages, and how the definitions of one
# option become its value. Definitions are { file, value }, properties resolved.
{
  basics,
  strings,
  properties,
  modules,
}:
let
  inherit (builtins)
    concatMap
    concatStringsSep
    filter
    head
    isAttrs
    isBool
    isFloat
    isFunction
    isInt
    isList
    isString
    length
    mapAttrs
    typeOf
    ;

  showOption = concatStringsSep ".";

  show =
    value:
    if isString value || isInt value || isBool value then
      builtins.toJSON value
    else
      "a value of type ${typeOf value}";

  wrongType =
    location: description: definition:
    throw "the option `${showOption location}` is ${description}, but ${definition.file} defines it as ${show definition.value}";

  checked =
    { description, check, ... }:
    location: definitions:
    basics.foldl' (
      done: definition: if check definition.value then done else wrongType location description definition
    ) definitions definitions;

  # Exactly one value, or several that are equal.
  mergeEqual =
    location: definitions:
    let
      first = head definitions;
      other = basics.findFirst (definition: definition.value != first.value) null definitions;
    in
    if other == null then
      first.value
    else
      throw "the option `${showOption location}` is defined twice with different values: ${show first.value} in ${first.file} and ${show other.value} in ${other.file}; use mkForce or mkDefault to say which counts";

  mergeOne =
    location: definitions:
    if length definitions == 1 then
      (head definitions).value
    else
      throw "the option `${showOption location}` can be defined only once, and is defined in ${
        concatStringsSep " and " (map (definition: definition.file) definitions)
      }";

  mkOptionType =
    {
      name,
      description ? name,
      check ? (_: true),
      merge ? mergeEqual,
      ...
    }@type:
    type
    // {
      _type = "option-type";
      inherit name description check;
      merge =
        location: definitions: merge location (checked { inherit description check; } location definitions);
    };

  scalar =
    description: check:
    mkOptionType {
      name = description;
      inherit description check;
    };

  # The options within the items of a type.
  within =
    name: type:
    if type.nested or null == null then
      null
    else
      type.nested // { path = [ name ] ++ type.nested.path; };

  isStringLike = value: isString value || builtins.isPath value || value ? outPath;
  isSubset = value: isAttrs value && !(value ? _type && value._type == "if");

  # The values of one name or index, each resolved on its own.
  mergeInner =
    type: location: definitions:
    type.merge location (properties.resolve definitions);
in
rec {
  inherit mkOptionType;

  raw = mkOptionType {
    name = "raw value";
    merge = mergeOne;
  };
  unspecified = anything;
  bool = scalar "a boolean" isBool;
  int = scalar "an integer" isInt;
  float = scalar "a floating point number" isFloat;
  number = scalar "a number" (value: isInt value || isFloat value);
  str = scalar "a string" isString;
  singleLineStr = scalar "a string of one line" (
    value: isString value && builtins.match "[^\n]*\n?" value != null
  );
  nonEmptyStr = scalar "a string that is not empty" (value: isString value && value != "");
  path = scalar "an absolute path" (
    value: isStringLike value && strings.hasPrefix "/" "${toString value}"
  );
  package = scalar "a package" (value: basics.isDerivation value || isStringLike value);
  shellPackage = package;
  pathInStore = path;
  strMatching =
    pattern:
    scalar "a string that matches ${pattern}" (
      value: isString value && builtins.match pattern value != null
    );
  ints = {
    unsigned = scalar "an integer of at least 0" (value: isInt value && value >= 0);
    positive = scalar "an integer of at least 1" (value: isInt value && value >= 1);
    between =
      low: high:
      scalar "an integer from ${toString low} to ${toString high}" (
        value: isInt value && value >= low && value <= high
      );
    u8 = ints.between 0 255;
    u16 = ints.between 0 65535;
    u32 = ints.between 0 4294967295;
  };
  port = ints.u16;
  enum =
    values:
    scalar "one of ${concatStringsSep ", " (map show values)}" (value: basics.elem value values);

  separatedString =
    separator:
    mkOptionType {
      name = "a string";
      check = isString;
      merge = _: definitions: concatStringsSep separator (map (definition: definition.value) definitions);
    };
  lines = separatedString "\n";
  commas = separatedString ",";
  envVar = separatedString ":";

  attrs =
    mkOptionType {
      name = "a set";
      check = isAttrs;
      merge = _: basics.foldl' (set: definition: set // definition.value) { };
    }
    // {
      emptyValue = { };
    };

  # Any value: sets are merged name by name, lists joined, the rest must agree.
  anything = mkOptionType {
    name = "anything";
    merge =
      location: definitions:
      let
        values = map (definition: definition.value) definitions;
      in
      if basics.all isSubset values && !basics.any basics.isDerivation values then
        (attrsOf anything).merge location definitions
      else if basics.all isList values then
        basics.concatLists values
      else if basics.all isFunction values then
        (functionTo anything).merge location definitions
      else
        mergeEqual location definitions;
  };

  functionTo =
    type:
    mkOptionType {
      name = "a function to ${type.description}";
      check = isFunction;
      merge =
        location: definitions: argument:
        type.merge location (
          map (definition: definition // { value = definition.value argument; }) definitions
        );
    };

  nullOr =
    type:
    mkOptionType {
      name = "null or ${type.description}";
      nested = type.nested or null;
      check = value: value == null || type.check value;
      merge =
        location: definitions:
        let
          present = filter (definition: definition.value != null) definitions;
        in
        if present == [ ] then
          null
        else if length present == length definitions then
          type.merge location definitions
        else
          mergeEqual location definitions;
    };

  listOf =
    type:
    mkOptionType {
      name = "a list, each item ${type.description}";
      nested = within "*" type;
      check = isList;
      merge =
        location: definitions:
        concatMap (
          definition:
          basics.concatLists (
            basics.imap1 (
              n: value:
              let
                resolved = properties.resolve [ (definition // { inherit value; }) ];
              in
              if resolved == [ ] then [ ] else [ (type.merge (location ++ [ "[item ${toString n}]" ]) resolved) ]
            ) definition.value
          )
        ) definitions;
    }
    // {
      emptyValue = [ ];
    };
  nonEmptyListOf = type: addCheck (listOf type) (value: value != [ ]);

  attrsOf = attrsOfBy (
    type: location: definitions:
    let
      resolved = properties.resolve definitions;
    in
    {
      keep = resolved != [ ];
      value = type.merge location resolved;
    }
  );

  # As attrsOf, but a name that is only defined under a false condition stays,
  # so that the names do not depend on conditions.
  lazyAttrsOf = attrsOfBy (
    type: location: definitions: {
      keep = true;
      value = mergeInner type location definitions;
    }
  );

  attrsOfBy =
    mergeName: type:
    mkOptionType {
      name = "a set, each value ${type.description}";
      nested = within "<name>" type;
      check = isAttrs;
      merge =
        location: definitions:
        let
          byName = builtins.zipAttrsWith (_: values: values) (
            concatMap (
              definition:
              map (mapAttrs (_: value: definition // { inherit value; })) (properties.pushDown definition.value)
            ) definitions
          );
          plain = mapAttrs (
            _:
            map (definition: {
              inherit (definition) file value;
            })
          ) byName;
        in
        mapAttrs (_: merged: merged.value) (
          basics.filterAttrs (_: merged: merged.keep) (
            mapAttrs (name: mergeName type (location ++ [ name ])) plain
          )
        );
    }
    // {
      emptyValue = { };
    };

  either =
    a: b:
    mkOptionType {
      name = "${a.description} or ${b.description}";
      check = value: a.check value || b.check value;
      merge =
        location: definitions:
        if basics.all (definition: a.check definition.value) definitions then
          a.merge location definitions
        else
          b.merge location definitions;
    };
  oneOf = choices: basics.foldl' either (head choices) (builtins.tail choices);
  uniq = type: type // { merge = mergeOne; };
  unique = _: uniq;
  addCheck =
    type: check:
    mkOptionType (
      type
      // {
        check = value: type.check value && check value;
      }
    );
  coercedTo =
    from: coerce: to:
    mkOptionType {
      name = "${to.description}, or ${from.description} that is converted to it";
      nested = to.nested or null;
      check = value: from.check value || to.check value;
      merge =
        location: definitions:
        to.merge location (
          map (
            definition:
            if to.check definition.value then definition else definition // { value = coerce definition.value; }
          ) definitions
        );
    };

  # A module, not evaluated here: `imports` of several definitions.
  deferredModule =
    mkOptionType {
      name = "a module";
      check = value: isAttrs value || isFunction value || builtins.isPath value || isString value;
      merge = _: definitions: {
        imports = map (definition: {
          _file = definition.file;
          imports = [ definition.value ];
        }) definitions;
      };
    }
    // {
      emptyValue = { };
    };

  submodule =
    modules:
    submoduleWith {
      modules = basics.toList modules;
      shorthandOnlyDefinesConfig = true;
    };
  submoduleWith =
    {
      modules,
      specialArgs ? { },
      # Whether a set is what its options are, also where a name is `options`, `config` or `imports`.
      shorthandOnlyDefinesConfig ? false,
      ...
    }:
    mkOptionType {
      name = "a set of options";
      # For the list of options in the manual.
      nested = {
        path = [ ];
        inherit modules;
      };
      check = value: isAttrs value || isFunction value || builtins.isPath value;
      merge =
        location: definitions:
        (evalSubmodule {
          modules =
            modules
            ++ map (definition: {
              _file = definition.file;
              imports = [
                (
                  if shorthandOnlyDefinesConfig && isAttrs definition.value then
                    { config = definition.value; }
                  else
                    definition.value
                )
              ];
            }) definitions;
          specialArgs = {
            name = basics.last location;
          }
          // specialArgs;
          prefix = location;
        }).config;
    };
  evalSubmodule = modules.evalModules;
}
