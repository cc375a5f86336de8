# The properties a definition can be wrapped in: conditions, merges,
# priorities and order. Smaller priority numbers win, as in nixpkgs.
rec {
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkOrder = priority: content: {
    _type = "order";
    inherit priority content;
  };

  defaultOverridePriority = 100;
  defaultOrderPriority = 1000;
  mkOptionDefault = mkOverride 1500;
  mkDefault = mkOverride 1000;
  mkImageMediaOverride = mkOverride 60;
  mkForce = mkOverride 50;
  mkVMOverride = mkOverride 10;
  mkBefore = mkOrder 500;
  mkAfter = mkOrder 1500;

  # Splits a set of definitions that is wrapped in properties into plain sets
  # whose values carry them, so that names are known before conditions are.
  pushDown =
    value:
    let
      kind = value._type or null;
      wrap = f: map (builtins.mapAttrs (_: f)) (pushDown value.content);
    in
    if kind == "merge" then
      builtins.concatMap pushDown value.contents
    else if kind == "if" then
      wrap (mkIf value.condition)
    else if kind == "override" then
      wrap (mkOverride value.priority)
    else if kind == "order" then
      wrap (mkOrder value.priority)
    else
      [ value ];

  # Removes the properties of one option's definitions: those switched off and
  # those of a lower priority are gone, the rest is sorted by order.
  resolve =
    definitions:
    let
      expand =
        definition:
        let
          inherit (definition) value;
          kind = value._type or null;
          again = changes: expand (definition // changes);
        in
        if kind == "merge" then
          builtins.concatMap (content: again { value = content; }) value.contents
        else if kind == "if" then
          if value.condition then again { value = value.content; } else [ ]
        else if kind == "override" then
          again {
            value = value.content;
            inherit (value) priority;
          }
        else if kind == "order" then
          again {
            value = value.content;
            order = value.priority;
          }
        else
          [ definition ];
      expanded = builtins.concatMap expand (
        map (
          definition:
          {
            priority = defaultOverridePriority;
            order = defaultOrderPriority;
          }
          // definition
        ) definitions
      );
      strongest = builtins.foldl' (
        best: definition: if definition.priority < best then definition.priority else best
      ) 9999 expanded;
      kept = builtins.filter (definition: definition.priority == strongest) expanded;
    in
    builtins.sort (a: b: a.order < b.order) kept;
}
