# services.postgresql.*: the real server, from Debian's package. Its cluster is
# made when the machine is built, initialScript included, and laid under an
# overlay at the first start: on an emulated processor, initdb takes long, and
# copying a thousand files takes seconds. A container, which has no disk images,
# copies them.
{
  lib,
  config,
  pkgs,
  backend,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.postgresql;
  # NixOS' number for the account.
  postgresId = 71;

  quoted = value: "'${lib.replaceStrings [ "'" ] [ "''" ] value}'";
  identifier = name: "\"${lib.replaceStrings [ "\"" ] [ "\"\"" ] name}\"";
  show =
    value:
    if lib.isString value then
      quoted value
    else if lib.isBool value then
      (if value then "on" else "off")
    else
      toString value;
  configuration = pkgs.writeText "postgresql.conf" (
    lib.concatStrings (lib.mapAttrsToList (name: value: "${name} = ${show value}\n") cfg.settings)
  );
  hostAuthentication = pkgs.writeText "pg_hba.conf" cfg.authentication;
  identMap = pkgs.writeText "pg_ident.conf" cfg.identMap;

  ensure = pkgs.writeText "ensure.sql" (
    lib.concatMapStrings (name: "create database ${identifier name};\n") cfg.ensureDatabases
    + lib.concatMapStrings (
      user:
      "create role ${identifier user.name} login;\n"
      + lib.optionalString user.ensureDBOwnership "alter database ${identifier user.name} owner to ${identifier user.name};\n"
      + lib.concatStrings (
        lib.mapAttrsToList (
          clause: enabled:
          lib.optionalString (enabled != null)
            "alter role ${identifier user.name} ${lib.optionalString (!enabled) "no"}${clause};\n"
        ) user.ensureClauses
      )
    ) cfg.ensureUsers
  );

  cluster =
    pkgs.runCommand "postgresql-cluster-${cfg.package.psqlSchema}"
      {
        nativeBuildInputs = [
          cfg.package
          pkgs.util-linux
        ];
        # The package's C library looks for locales where the guest has them.
        LOCPATH = "${pkgs.libc-bin}/lib/locale";
        scripts = lib.optional (cfg.initialScript != null) cfg.initialScript ++ [ ensure ];
        steps = ''
          set -euo pipefail
          initdb -D $PWD/cluster -U postgres -A trust --locale=C.UTF-8 -E UTF8 --no-sync \
            --no-instructions --wal-segsize=1 > log 2>&1 || { cat log >&2; exit 1; }
          pg_ctl -D $PWD/cluster -w -s -l log -o "-F -k $PWD -c listen_addresses= -c jit=off" start \
            || { cat log >&2; exit 1; }
          for script in $scripts; do
            psql -h $PWD -U postgres -d postgres -v ON_ERROR_STOP=1 -q -f $script > /dev/null
          done
          pg_ctl -D $PWD/cluster -w -s -m smart stop
          rm -f cluster/postmaster.opts cluster/pg_hba.conf cluster/pg_ident.conf
        '';
        passAsFile = [ "steps" ];
      }
      ''
        # initdb wants /bin/sh, which not every sandbox has, and an account of
        # its own that is not root, which builds may be: a small root of both.
        mkdir -p r/bin r/etc r/proc r/dev r/tmp r/build r/nix/store
        cp ${pkgs.bash}/bin/bash r/bin/sh
        echo 'nobody:x:65534:65534:nobody:/:/bin/sh' > r/etc/passwd
        cp $stepsPath r/steps
        unshare --map-root-user --mount bash -euc '
          mount --rbind /dev r/dev
          mount --rbind /proc r/proc
          mount --rbind /nix/store r/nix/store
          exec unshare --user --map-user=65534 --map-group=65534 --root=$PWD/r --wd=/build /bin/sh /steps
        '
        cp -r r/build/cluster $out
      '';

  # As in boot/image.nix. Nix' store keeps no modes.
  image =
    pkgs.runCommand "postgresql-cluster-${cfg.package.psqlSchema}.erofs"
      { nativeBuildInputs = [ pkgs.erofs-utils ]; }
      ''
        cp -r ${cluster} cluster
        chmod -R u=rwX,go= cluster
        LD_LIBRARY_PATH=${pkgs.libgcc-s1}/lib/x86_64-linux-gnu mkfs.erofs --quiet -T0 -U 00000000-0000-0000-0000-000000000000 \
          --force-uid=${toString postgresId} --force-gid=${toString postgresId} $out cluster
      '';

  layCluster = pkgs.writeShellScript "lay-postgresql-cluster" ''
    set -eu
    [ ! -e ${cfg.dataDir}/PG_VERSION ] || exit 0
    mkdir -p ${cfg.dataDir}
    ${lay.${backend}}
  '';
  lay = {
    vm = ''
      layers=/run/postgresql-cluster
      mkdir -p $layers/image $layers/upper $layers/work
      chown postgres:postgres $layers/upper
      chmod 700 $layers/upper
      mount -t erofs -o loop,ro ${image} $layers/image
      mount -t overlay -o lowerdir=$layers/image,upperdir=$layers/upper,workdir=$layers/work \
        postgresql-cluster ${cfg.dataDir}
    '';
    container = ''
      cp -r ${cluster}/. ${cfg.dataDir}
      chmod -R u=rwX,go= ${cfg.dataDir}
      chown -R postgres:postgres ${cfg.dataDir}
    '';
  };
in
{
  options.services.postgresql = {
    enable = lib.mkEnableOption "the PostgreSQL server";
    package = mkOption {
      type = types.package;
      default = pkgs.postgresql;
      description = "The package.";
    };
    port = mkOption {
      type = types.port;
      default = 5432;
      description = "The port.";
    };
    dataDir = mkOption {
      type = types.path;
      default = "/var/lib/postgresql/${cfg.package.psqlSchema}";
      description = "The folder of the databases.";
    };
    enableTCPIP = mkOption {
      type = types.bool;
      default = false;
      description = "Whether to listen on all addresses instead of localhost.";
    };
    initialScript = mkOption {
      type = types.nullOr types.path;
      default = null;
      description = "SQL that is run once, when the cluster is made.";
    };
    authentication = mkOption {
      type = types.lines;
      default = "";
      description = "Lines of pg_hba.conf, before the default ones.";
    };
    identMap = mkOption {
      type = types.lines;
      default = "";
      description = "Lines of pg_ident.conf.";
    };
    ensureDatabases = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Databases that exist.";
    };
    ensureUsers = mkOption {
      type = types.listOf (
        types.submodule {
          options = {
            name = mkOption {
              type = types.str;
              description = "The role's name.";
            };
            ensureDBOwnership = mkOption {
              type = types.bool;
              default = false;
              description = "Whether it owns the database of the same name.";
            };
            ensureClauses = mkOption {
              type = types.attrsOf (types.nullOr types.bool);
              default = { };
              description = "Attributes of the role, such as superuser.";
            };
          };
        }
      );
      default = [ ];
      description = "Roles that exist.";
    };
    settings = mkOption {
      type = types.attrsOf (
        types.oneOf [
          types.bool
          types.int
          types.float
          types.str
        ]
      );
      default = { };
      description = "Lines of postgresql.conf.";
    };
  };

  config = lib.mkIf cfg.enable {
    services.postgresql = {
      settings = {
        port = lib.mkDefault cfg.port;
        listen_addresses = lib.mkDefault (if cfg.enableTCPIP then "*" else "localhost");
        unix_socket_directories = lib.mkDefault "/run/postgresql";
        hba_file = "${hostAuthentication}";
        ident_file = "${identMap}";
        log_line_prefix = lib.mkDefault "[%p] ";
        # Just-in-time compilation would need LLVM, which the guest has not.
        jit = lib.mkDefault false;
        # Nothing outlives the machine: do not wait for its disk.
        fsync = lib.mkDefault false;
      };
      authentication = lib.mkAfter ''
        local all all peer
        host all all 127.0.0.1/32 md5
        host all all ::1/128 md5
      '';
    };

    boot.kernelModules = lib.optional (backend == "vm") "loop";
    environment.systemPackages = [ cfg.package ];
    users.users.postgres = {
      uid = postgresId;
      group = "postgres";
      home = cfg.dataDir;
      shell = "/bin/bash";
      isSystemUser = true;
    };
    users.groups.postgres.gid = postgresId;

    systemd.tmpfiles.rules = [ "d ${dirOf cfg.dataDir} 0750 postgres postgres -" ];
    systemd.services.postgresql = {
      description = "PostgreSQL server";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ];
      serviceConfig = {
        Type = "notify";
        User = "postgres";
        Group = "postgres";
        RuntimeDirectory = "postgresql";
        StateDirectory = "postgresql";
        # As root, hence the plus sign.
        ExecStartPre = "+${layCluster}";
        ExecStart = "${cfg.package}/bin/postgres -D ${cfg.dataDir} -c config_file=${configuration}";
        ExecReload = "/bin/kill -HUP $MAINPID";
        KillSignal = "SIGINT";
        KillMode = "mixed";
        TimeoutSec = "infinity";
      };
    };
  };
}
