# systemd.*: units, made of options or of raw sections, and tmpfiles rules.
{
  lib,
  config,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.systemd;
  strings =
    description:
    mkOption {
      type = types.listOf types.str;
      default = [ ];
      inherit description;
    };
  script =
    description:
    mkOption {
      type = types.lines;
      default = "";
      inherit description;
    };
  atom = types.nullOr (
    types.oneOf [
      types.bool
      types.int
      types.float
      types.str
      types.path
      types.package
    ]
  );
  section =
    description:
    mkOption {
      type = types.attrsOf (types.either atom (types.listOf atom));
      default = { };
      inherit description;
    };

  unitOptions = {
    enable = mkOption {
      type = types.bool;
      default = true;
      description = "Whether the unit exists; false masks it.";
    };
    description = mkOption {
      type = types.str;
      default = "";
      description = "What the unit is, for people.";
    };
    documentation = strings "Addresses of documentation.";
    wantedBy = strings "Units that want this one.";
    requiredBy = strings "Units that require this one.";
    aliases = strings "Other names of the unit.";
    requires = strings "Units this one requires.";
    wants = strings "Units this one wants.";
    after = strings "Units that start before this one.";
    before = strings "Units that start after this one.";
    bindsTo = strings "Units without which this one is stopped.";
    partOf = strings "Units whose stop or restart this one follows.";
    conflicts = strings "Units that cannot run beside this one.";
    requisite = strings "Units that must be active already.";
    onFailure = strings "Units started when this one fails.";
    onSuccess = strings "Units started when this one ends well.";
    unitConfig = section "The section [Unit] as it is.";
    restartTriggers = mkOption {
      type = types.listOf types.raw;
      default = [ ];
      description = "Accepted for compatibility; has no effect.";
    };
    startLimitBurst = mkOption {
      type = types.nullOr types.int;
      default = null;
      description = "How many starts are allowed in the interval.";
    };
    startLimitIntervalSec = mkOption {
      type = types.nullOr types.int;
      default = null;
      description = "The interval in seconds.";
    };
  };

  serviceOptions = {
    serviceConfig = section "The section [Service] as it is.";
    environment = mkOption {
      type = types.attrsOf (
        types.nullOr (
          types.oneOf [
            types.str
            types.path
            types.package
            types.int
          ]
        )
      );
      default = { };
      description = "Environment variables of the service.";
    };
    path = mkOption {
      type = types.listOf (types.either types.package types.str);
      default = [ ];
      description = "Packages on the service's PATH.";
    };
    script = script "A shell script that is the service.";
    scriptArgs = mkOption {
      type = types.str;
      default = "";
      description = "Arguments of the script.";
    };
    preStart = script "A shell script run before the service starts.";
    postStart = script "A shell script run after the service has started.";
    preStop = script "A shell script run to stop the service.";
    postStop = script "A shell script run after the service has stopped.";
    reload = script "A shell script run to reload the service.";
    restartIfChanged = mkOption {
      type = types.bool;
      default = true;
      description = "Accepted for compatibility; has no effect.";
    };
    startAt = mkOption {
      type = types.coercedTo types.str (time: [ time ]) (types.listOf types.str);
      default = [ ];
      description = "When a timer starts the service.";
    };
  };

  unitsOf =
    sectionOption: description:
    mkOption {
      type = types.attrsOf (
        types.submodule {
          options = unitOptions // sectionOption;
        }
      );
      default = { };
      inherit description;
    };

  # One line for each value; a list gives several.
  showSection =
    name: attrs:
    let
      show =
        value:
        if value == true then
          "true"
        else if value == false then
          "false"
        else
          toString value;
      line = key: value: lib.optionalString (value != null) "${key}=${show value}\n";
      lines =
        key: value: if lib.isList value then lib.concatMapStrings (line key) value else line key value;
      body = lib.concatStrings (lib.mapAttrsToList lines attrs);
    in
    lib.optionalString (body != "") "[${name}]\n${body}";

  unitSection =
    unit:
    let
      names = values: lib.optionalAttrs (values != [ ]);
      list = key: values: names values { ${key} = lib.concatStringsSep " " values; };
      number = key: value: lib.optionalAttrs (value != null) { ${key} = value; };
    in
    showSection "Unit" (
      lib.optionalAttrs (unit.description != "") { Description = unit.description; }
      // list "Documentation" unit.documentation
      // list "Requires" unit.requires
      // list "Wants" unit.wants
      // list "After" unit.after
      // list "Before" unit.before
      // list "BindsTo" unit.bindsTo
      // list "PartOf" unit.partOf
      // list "Conflicts" unit.conflicts
      // list "Requisite" unit.requisite
      // list "OnFailure" unit.onFailure
      // list "OnSuccess" unit.onSuccess
      // number "StartLimitBurst" unit.startLimitBurst
      // number "StartLimitIntervalSec" unit.startLimitIntervalSec
      // unit.unitConfig
    );

  systemPath = "/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

  serviceSection =
    name: unit:
    let
      shell =
        phase: text:
        let
          # The journal names the process after the file. In a unit, `\` and `%` begin something else.
          file = import ../../../store-name.nix "${baseNameOf name}-${phase}";
        in
        "${pkgs.writeShellScriptBin file "set -e\n${text}"}/bin/${file}";
      phase =
        key: phaseName: text:
        lib.optionalAttrs (text != "") { ${key} = "${shell phaseName text}"; };
      environment =
        lib.optionalAttrs (unit.path != [ ] || unit.script != "") {
          PATH = lib.concatStringsSep ":" (map (package: "${package}/bin") unit.path ++ [ systemPath ]);
        }
        // lib.filterAttrs (_: value: value != null) unit.environment;
    in
    showSection "Service" (
      lib.optionalAttrs (environment != { }) {
        Environment = lib.mapAttrsToList (
          key: value: builtins.toJSON "${key}=${toString value}"
        ) environment;
      }
      // lib.optionalAttrs (unit.script != "") {
        ExecStart = "${shell "start" unit.script} ${unit.scriptArgs}";
      }
      // phase "ExecStartPre" "pre-start" unit.preStart
      // phase "ExecStartPost" "post-start" unit.postStart
      // phase "ExecStop" "pre-stop" unit.preStop
      // phase "ExecStopPost" "post-stop" unit.postStop
      // phase "ExecReload" "reload" unit.reload
      // unit.serviceConfig
    );

  kinds = {
    services = {
      suffix = "service";
      text = serviceSection;
    };
    sockets = {
      suffix = "socket";
      text =
        _: unit:
        showSection "Socket" (
          lib.optionalAttrs (unit.listenStreams != [ ]) { ListenStream = unit.listenStreams; }
          // lib.optionalAttrs (unit.listenDatagrams != [ ]) { ListenDatagram = unit.listenDatagrams; }
          // unit.socketConfig
        );
    };
    timers = {
      suffix = "timer";
      text = _: unit: showSection "Timer" unit.timerConfig;
    };
    paths = {
      suffix = "path";
      text = _: unit: showSection "Path" unit.pathConfig;
    };
    targets = {
      suffix = "target";
      text = _: _: "";
    };
  };

  # { "name.service" = { text, wantedBy, requiredBy, aliases, enable }; }
  allUnits = lib.concatMapAttrs (
    kind:
    { suffix, text }:
    lib.mapAttrs' (
      name: unit:
      lib.nameValuePair "${name}.${suffix}" {
        inherit (unit)
          enable
          wantedBy
          requiredBy
          aliases
          ;
        text = unitSection unit + text name unit;
      }
    ) (lib.getAttr kind cfg)
  ) kinds;

  links =
    kind: name: targets:
    map (
      target:
      lib.nameValuePair "systemd/system/${target}.${kind}/${name}" {
        source = "/etc/systemd/system/${name}";
      }
    ) targets;

  etcOf =
    name: unit:
    if !unit.enable then
      [ (lib.nameValuePair "systemd/system/${name}" { source = "/dev/null"; }) ]
    else
      [
        (lib.nameValuePair "systemd/system/${name}" {
          # Under another name it would be an alias.
          source = "${
            pkgs.writeTextFile {
              name = "unit-${name}";
              inherit (unit) text;
              destination = "/${name}";
            }
          }/${name}";
        })
      ]
      ++ links "wants" name unit.wantedBy
      ++ links "requires" name unit.requiredBy
      ++ map (
        alias: lib.nameValuePair "systemd/system/${alias}" { source = "/etc/systemd/system/${name}"; }
      ) unit.aliases;
in
{
  options.systemd = {
    services = unitsOf serviceOptions "Services.";
    sockets = unitsOf {
      socketConfig = section "The section [Socket] as it is.";
      listenStreams = strings "Stream addresses to listen on.";
      listenDatagrams = strings "Datagram addresses to listen on.";
    } "Sockets.";
    timers = unitsOf { timerConfig = section "The section [Timer] as it is."; } "Timers.";
    paths = unitsOf { pathConfig = section "The section [Path] as it is."; } "Path units.";
    targets = unitsOf { } "Targets.";
    tmpfiles.rules = strings "Rules for files and folders made at boot, in the format of tmpfiles.d.";
  };

  config = {
    systemd.timers = lib.mapAttrs (name: service: {
      wantedBy = [ "timers.target" ];
      timerConfig.OnCalendar = service.startAt;
    }) (lib.filterAttrs (_: service: service.startAt != [ ]) cfg.services);

    environment.etc = lib.mkIf (config.virtualisation.guest == "debian") (
      lib.listToAttrs (lib.concatLists (lib.mapAttrsToList etcOf allUnits))
      // {
        "tmpfiles.d/test.conf".text = lib.concatLines cfg.tmpfiles.rules;
      }
    );
  };
}
