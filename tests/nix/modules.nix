# The module system of the built-in guests.
let
  lib = import ../../nix-lib/builtin/lib;
  inherit (lib) mkOption types;

  option =
    type:
    mkOption {
      inherit type;
    };
  withDefault = type: default: mkOption { inherit type default; };

  # The configuration of modules over a few options.
  configOf =
    modules:
    (lib.evalModules {
      modules = [
        {
          options.number = withDefault types.int 1;
          options.list = withDefault (types.listOf types.str) [ ];
          options.set = withDefault (types.attrsOf (
            types.submodule (
              { name, ... }:
              {
                options.name = withDefault types.str name;
                options.size = option types.int;
              }
            )
          )) { };
        }
      ]
      ++ modules;
    }).config;

  fails = value: !(builtins.tryEval (builtins.deepSeq value value)).success;
in
{
  "a default is the value if nothing is defined" = {
    expr = (configOf [ ]).number;
    expected = 1;
  };
  "a definition replaces the default" = {
    expr = (configOf [ { number = 2; } ]).number;
    expected = 2;
  };
  "two different definitions fail" = {
    expr =
      fails
        (configOf [
          { number = 2; }
          { number = 3; }
        ]).number;
    expected = true;
  };
  "mkForce wins over a definition, and mkDefault loses" = {
    expr =
      (configOf [
        { number = lib.mkDefault 2; }
        { number = 3; }
        { number = lib.mkForce 4; }
      ]).number;
    expected = 4;
  };
  "lists are joined in the order of mkBefore and mkAfter" = {
    expr =
      (configOf [
        { list = lib.mkAfter [ "c" ]; }
        { list = [ "b" ]; }
        { list = lib.mkBefore [ "a" ]; }
      ]).list;
    expected = [
      "a"
      "b"
      "c"
    ];
  };
  "a definition under a false condition is none" = {
    expr = (
      configOf [
        (lib.mkIf false { number = 2; })
        { list = lib.mkIf true [ "a" ]; }
      ]
    );
    expected = {
      number = 1;
      list = [ "a" ];
      set = { };
    };
  };
  "a condition may depend on another option" = {
    expr =
      (configOf [
        (
          { config, ... }:
          {
            list = lib.mkIf (config.number == 5) [ "five" ];
          }
        )
        { number = 5; }
      ]).list;
    expected = [ "five" ];
  };
  "mkMerge holds several definitions" = {
    expr =
      (configOf [
        (lib.mkMerge [
          { list = [ "a" ]; }
          { list = [ "b" ]; }
        ])
      ]).list;
    expected = [
      "a"
      "b"
    ];
  };
  "modules import others, each file once" = {
    expr =
      (configOf [
        { imports = [ ./imported-module.nix ]; }
        { imports = [ ./imported-module.nix ]; }
      ]).list;
    expected = [ "once" ];
  };
  "arguments come from _module.args" = {
    expr =
      (configOf [
        { _module.args.extra = 7; }
        ({ extra, ... }: { number = extra; })
      ]).number;
    expected = 7;
  };
  "submodules know their name and merge" = {
    expr =
      (configOf [
        { set.a.size = 1; }
        { set.b.size = 2; }
        { set.b.name = "other"; }
      ]).set;
    expected = {
      a = {
        name = "a";
        size = 1;
      };
      b = {
        name = "other";
        size = 2;
      };
    };
  };
  "an option that does not exist fails" = {
    expr = fails (configOf [ { numbr = 2; } ]);
    expected = true;
  };
  "a value of another type fails" = {
    expr = fails (configOf [ { number = "two"; } ]).number;
    expected = true;
  };
  "definitions beside config fail" = {
    expr = fails (configOf [
      {
        config.number = 2;
        list = [ ];
      }
    ]);
    expected = true;
  };
  "a name that is unknown in a set of options that no module reads fails" = {
    expr = fails (
      (lib.evalModules {
        modules = [
          { options.group.known = withDefault types.int 1; }
          { group.unknown = 2; }
        ];
      }).config.group or null
    );
    expected = true;
  };
  "an argument that nothing gives fails only if it is used" = {
    expr =
      let
        used = configOf [ ({ missing, ... }: { number = missing; }) ];
        unused = configOf [ ({ missing, ... }: { number = 3; }) ];
      in
      [
        (fails used.number)
        unused.number
      ];
    expected = [
      true
      3
    ];
  };
  "cards of one machine in one network have addresses of their own" = {
    expr = map (card: card.mac) (
      (import ../../nix-lib/hardware-addresses.nix { inherit lib; }).withAddresses 1 [
        { vlan = 1; }
        { vlan = 1; }
        { vlan = 255; }
      ]
    );
    expected = [
      "52:54:00:12:01:01"
      "52:54:01:12:01:01"
      "52:54:00:12:ff:01"
    ];
  };
}
