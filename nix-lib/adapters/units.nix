# The names of the systemd units that a machine's configuration defines, for editors:
# { systemd, ... } -> [ "nginx.service" ... ]
node:
let
  suffixes = {
    services = "service";
    sockets = "socket";
    timers = "timer";
    paths = "path";
    targets = "target";
  };
  systemd = node.systemd or { };
in
builtins.concatMap (
  kind: map (name: "${name}.${suffixes.${kind}}") (builtins.attrNames (systemd.${kind} or { }))
) (builtins.attrNames suffixes)
