# The module system: collects modules, matches definitions with declared
# options and merges them by type. Values stay lazy, so that a definition may
# read any other option through `config`.
{
  basics,
  strings,
  properties,
  types,
}:
let
  inherit (builtins)
    attrNames
    concatLists
    concatMap
    concatStringsSep
    filter
    isAttrs
    isFunction
    mapAttrs
    ;
  inherit (properties) pushDown resolve;

  showOption = concatStringsSep ".";
  isOption = value: isAttrs value && value._type or null == "option";

  # The arguments of a module that is a function, each looked up when it is asked for: one that
  # comes from `_module.args` may itself depend on `config`.
  call =
    arguments: missing: module:
    module (
      mapAttrs (name: _: arguments.${name} or (missing name)) (basics.functionArgs module) // arguments
    );

  structuredNames = [
    "_file"
    "key"
    "imports"
    "options"
    "config"
    "disabledModules"
    "freeformType"
    "meta"
    "_class"
  ];

  # One module in its full form: { file, imports, options, config }. It is given twice: its
  # `shape`, what it imports and which parts it has, is needed before there is a configuration.
  normalise =
    file:
    { shape, module }:
    let
      structured = shape ? options || shape ? config;
      surplus = filter (name: !basics.elem name structuredNames) (attrNames shape);
    in
    if !isAttrs shape then
      throw "a module in ${file} is ${article shape}, where a set or a function to one is expected"
    else if structured && surplus != [ ] then
      throw "the module in ${file} has `options` or `config`, and beside them the unexpected `${builtins.head surplus}`: move it into `config`"
    else
      {
        file = shape._file or file;
        imports = basics.imap0 (n: shape: {
          inherit shape;
          module = builtins.elemAt module.imports n;
        }) (shape.imports or [ ]);
        options = module.options or { };
        freeformType = module.freeformType or null;
        config =
          if structured then
            module.config or { }
          else
            removeAttrs module [
              "_file"
              "_class"
              "key"
              "imports"
              "disabledModules"
              "freeformType"
            ];
      };

  article = value: "a value of type ${builtins.typeOf value}";

  # All modules reachable by `imports`, each file once. `special` arguments are there from the
  # start; what others `given` in the configuration cannot decide is a module's shape.
  collect =
    {
      special,
      given,
      config,
      options,
    }:
    roots:
    let
      whole = special // {
        inherit config options;
      };
      early =
        file: name:
        throw "the module in ${file} asks for the argument `${name}` to say what it imports or defines, and that must be known before: give it with `specialArgs` (of a test's nodes: `node.specialArgs.${name}`)";
      late =
        file: name:
        given.${name}
          or (throw "the module in ${file} asks for the argument `${name}`, which nothing gives: give it with `specialArgs` (of a test's nodes: `node.specialArgs.${name}`), or `_module.args.${name}`");
      shapeOnly =
        file:
        special
        // {
          config = early file "config";
          options = early file "options";
        };
      enter =
        file:
        { shape, module }:
        load file {
          shape = call (shapeOnly file) (early file) shape;
          module = call whole (late file) module;
        };
      load =
        file:
        { shape, module }@both:
        if isFunction shape then
          enter file both
        else if isAttrs shape && shape ? __functor then
          enter file {
            shape = shape.__functor shape;
            module = module.__functor module;
          }
        else if builtins.isPath shape || (builtins.isString shape && strings.hasPrefix "/" shape) then
          load (toString shape) (twice (import shape))
        else
          normalise file both;
      twice = value: {
        shape = value;
        module = value;
      };
      node =
        file:
        { shape, ... }@both:
        {
          # Only what is a path can be imported twice by two modules that do not
          # know of each other; everything else is unique by its place.
          key = if builtins.isPath shape || builtins.isString shape then toString shape else null;
          module = load file both;
        };
      walk =
        state:
        { key, module }:
        if key != null && state.seen ? ${key} then
          state
        else
          let
            entered = {
              seen = state.seen // (if key == null then { } else { ${key} = true; });
              modules = state.modules ++ [ module ];
            };
          in
          builtins.foldl' walk entered (map (node module.file) module.imports);
    in
    (builtins.foldl' walk {
      seen = { };
      modules = [ ];
    } (map (root: node "<the test file>" (twice root)) roots)).modules;

  # The place of one name in a set, for messages; the set's own if Nix does
  # not know it, as after a property was pushed down.
  placeIn =
    set: name: outer:
    let
      found = builtins.unsafeGetAttrPos name set;
    in
    if found == null then outer else "${found.file}:${toString found.line}:${toString found.column}";

  # The position of an option's definition in the source, or the module's file.
  placeOf =
    location: module:
    let
      go =
        path: value:
        let
          kind = value._type or null;
          name = builtins.head path;
          here = placeIn value name null;
          deeper = go (builtins.tail path) value.${name};
          contents = if kind == "merge" then value.contents else [ value.content ];
        in
        if path == [ ] || !isAttrs value then
          null
        else if kind == "merge" || kind == "if" || kind == "override" || kind == "order" then
          basics.findFirst (place: place != null) null (map (go path) contents)
        else if !(value ? ${name}) then
          null
        else if deeper != null then
          deeper
        else
          here;
      found = go location module.config;
    in
    if found == null then module.file else found;

  unknownOption =
    {
      prefix,
      location,
      modules,
      siblings,
      context,
    }:
    let
      name = basics.last location;
      culprits = filter (place: place.found) (
        map (module: {
          found = basics.hasAttrByPath location (flattenProperties location module.config);
          text = placeOf location module;
        }) modules
      );
      near = strings.nearest name siblings;
      parent = prefix ++ basics.init location;
      hint =
        if near != null then
          "did you mean `${showOption (parent ++ [ near ])}`?"
        else if basics.length siblings <= 12 then
          "known here: ${concatStringsSep ", " siblings}"
        else
          "there is none of a similar name";
    in
    throw (
      "the option `${showOption (prefix ++ location)}` does not exist${context}"
      + "; it is defined at ${concatStringsSep ", " (map (place: place.text) culprits)}; ${hint}"
    );

  # The set with properties removed along one path, conditions ignored: good
  # enough to ask whether a name is defined in it.
  flattenProperties =
    location: value:
    let
      sets = filter isAttrs (pushDown value);
      name = builtins.head location;
      inner = filter (set: set ? ${name}) sets;
    in
    if location == [ ] then
      value
    else if inner == [ ] then
      { }
    else
      {
        ${name} = flattenProperties (builtins.tail location) (builtins.head inner).${name};
      };

  evalModules =
    {
      modules,
      specialArgs ? { },
      prefix ? [ ],
      # Said after the name of an unknown option: " (node `server`)".
      context ? "",
    }:
    let
      internal = {
        _file = "<the module system>";
        options._module.args = {
          _type = "option";
          type = types.lazyAttrsOf types.raw;
          default = { };
        };
      };
      all = collect {
        special = specialArgs;
        given = config._module.args;
        inherit config options;
      } (modules ++ [ internal ]);
      freeform = basics.findFirst (type: type != null) null (map (module: module.freeformType) all);
      definitions = map (module: {
        inherit (module) file;
        value = module.config;
      }) all;
      tree = evalTree {
        inherit prefix freeform;
        location = [ ];
        declarations = map (module: module.options) all;
        inherit definitions;
        report =
          { location, siblings }:
          unknownOption {
            inherit
              prefix
              location
              siblings
              context
              ;
            modules = all;
          };
      };
      inherit (tree) config;
      options = removeAttrs tree.options [ "_module" ];
    in
    {
      inherit options;
      config = builtins.seq tree.known (removeAttrs config [ "_module" ]);
      type = types.submoduleWith { inherit modules specialArgs; };
    };

  # One level of the tree of options, with what is defined for it.
  evalTree =
    {
      prefix,
      location,
      freeform,
      declarations,
      definitions,
      report,
    }:
    let
      declared = builtins.zipAttrsWith (_: values: values) declarations;
      sets = concatMap (
        definition:
        concatMap (
          value:
          if isAttrs value then
            [
              {
                inherit (definition) file;
                inherit value;
              }
            ]
          else
            throw "in ${definition.file}, `${
              showOption (prefix ++ location)
            }` is ${article value}, where a set of options is expected"
        ) (pushDown definition.value)
      ) definitions;
      defined = builtins.zipAttrsWith (_: values: values) (
        map (
          { file, value }:
          mapAttrs (name: inner: {
            file = placeIn value name file;
            value = inner;
          }) value
        ) sets
      );
      unknown = filter (name: !(declared ? ${name})) (attrNames defined);
      evaluated = mapAttrs (
        name: declarations:
        let
          place = location ++ [ name ];
          leaves = filter isOption declarations;
        in
        if leaves == [ ] then
          evalTree {
            inherit prefix report;
            freeform = null;
            location = place;
            inherit declarations;
            definitions = defined.${name} or [ ];
          }
        else
          evalOption (prefix ++ place) (mergeDeclarations leaves) (defined.${name} or [ ])
      ) declared;
      free =
        if unknown == [ ] then
          { }
        else if freeform == null then
          report {
            location = location ++ [ (builtins.head unknown) ];
            siblings = filter (name: name != "_module") (attrNames declared);
          }
        else
          freeform.merge (prefix ++ location) (
            map (
              { file, value }:
              {
                inherit file;
                value = removeAttrs value (attrNames declared);
              }
            ) sets
          );
    in
    {
      options = mapAttrs (_: value: value.options) evaluated;
      config = builtins.seq free (mapAttrs (_: value: value.config) evaluated // free);
      # Fails where a name is unknown, also in a set of options that no module reads.
      known = builtins.seq free (
        builtins.all (name: evaluated.${name}.known or true) (attrNames evaluated)
      );
    };

  # Several declarations of one option add up; of `type` the last one counts.
  mergeDeclarations = builtins.foldl' (a: b: a // b) { };

  evalOption =
    location: option: definitions:
    let
      type = option.type or types.unspecified;
      withDefault =
        definitions
        ++ basics.optional (option ? default) {
          file = "<default>";
          value = properties.mkOptionDefault option.default;
        };
      resolved = resolve withDefault;
      merged =
        if resolved != [ ] then
          type.merge location resolved
        else if type ? emptyValue then
          type.emptyValue
        else
          throw "the option `${showOption location}` is used but has no value: define it";
      value = (option.apply or (value: value)) merged;
    in
    {
      config = value;
      options = option // {
        inherit value definitions;
        loc = location;
        isDefined = resolved != [ ];
        definitionsWithLocations = definitions;
      };
    };

  # An option that has moved: what is defined for the old name goes to the new.
  mkRenamedOptionModule =
    from: to:
    {
      options,
      config,
      ...
    }:
    {
      options = basics.setAttrByPath from {
        _type = "option";
        type = types.raw;
      };
      config = basics.setAttrByPath to (
        properties.mkIf (basics.getAttrFromPath from options).isDefined (basics.getAttrFromPath from config)
      );
    };
in
{
  inherit evalModules mkRenamedOptionModule;
}
