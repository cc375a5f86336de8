# The options of the built-in guests as data, for the manual: a list of
# { name, type, default, description }. Evaluates no configuration; a default
# that depends on one is null.
let
  lib = import ../lib;
  inherit (builtins)
    attrNames
    concatMap
    filter
    functionArgs
    isAttrs
    isFunction
    isList
    mapAttrs
    ;

  unknown = throw "this depends on the configuration";
  arguments = {
    inherit lib;
  };

  # A module's own set. What it asks for beyond `lib` is not known here.
  called =
    module:
    if isFunction module then
      module (mapAttrs (name: _: arguments.${name} or unknown) (functionArgs module))
    else if isAttrs module then
      module
    else
      called (import module);

  isSimple =
    value:
    if isList value then
      lib.all isSimple value
    else if isAttrs value then
      value == { }
    else
      builtins.elem (builtins.typeOf value) [
        "bool"
        "int"
        "null"
        "string"
      ];

  default =
    option:
    let
      simple = builtins.tryEval (isSimple option.default);
    in
    if option ? default && simple.success && simple.value then builtins.toJSON option.default else null;

  isInternal = option: builtins.match ".*[Ii]nternal.*" (option.description or "") != null;

  entries =
    path: options:
    concatMap (
      name:
      let
        option = options.${name};
        here = path ++ [ name ];
        nested = option.type.nested or null;
      in
      if !(lib.isOption option) then
        entries here option
      else if isInternal option then
        [ ]
      else
        [
          {
            name = lib.showOption here;
            type = option.type.description;
            default = default option;
            description = option.description or "";
          }
        ]
        ++ (
          if nested == null then
            [ ]
          else
            concatMap (module: entries (here ++ nested.path) ((called module).options or { })) nested.modules
        )
    ) (filter (name: name != "_module") (attrNames options));
in
concatMap (module: entries [ ] ((called module).options or { })) (import ./modules)
