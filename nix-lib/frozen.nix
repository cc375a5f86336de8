# Values as plain data, for another evaluation to read. JSON holds strings without
# their contexts, which say what must be built for them: they are put beside the text.
let
  inherit (builtins)
    appendContext
    getContext
    isAttrs
    isList
    isPath
    isString
    mapAttrs
    unsafeDiscardStringContext
    ;
in
rec {
  freeze =
    value:
    if isPath value || value ? outPath || value ? __toString then
      freeze "${value}"
    else if isAttrs value then
      mapAttrs (_: freeze) value
    else if isList value then
      map freeze value
    else if isString value && getContext value != { } then
      {
        frozenText = unsafeDiscardStringContext value;
        context = getContext value;
      }
    else
      value;

  thaw =
    value:
    if value ? frozenText then
      appendContext value.frozenText value.context
    else if isAttrs value then
      mapAttrs (_: thaw) value
    else if isList value then
      map thaw value
    else
      value;
}
