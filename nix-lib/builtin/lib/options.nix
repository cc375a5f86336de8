# How options are declared.
{ types }:
rec {
  mkOption = attrs: attrs // { _type = "option"; };
  mkEnableOption =
    name:
    mkOption {
      type = types.bool;
      default = false;
      description = "Whether to enable ${name}.";
    };
  mkPackageOption =
    pkgs: name: _:
    mkOption {
      type = types.package;
      default = pkgs.${name};
      description = "The ${name} package to use.";
    };
  isOption = value: builtins.isAttrs value && value._type or null == "option";
  literalExpression = text: {
    _type = "literalExpression";
    inherit text;
  };
  showOption = builtins.concatStringsSep ".";
}
