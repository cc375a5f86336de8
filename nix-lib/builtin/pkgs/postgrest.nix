# PostgREST, the program itself from its npm package, behind a gate.
#
# It listens some time before it can answer, and until then says 503: on an
# emulated processor that is a second or more. Tests that wait for its port and
# then ask would fail, though they are right on a quick machine. So it listens
# on a socket of its own, and the port opens when its admin server says that it
# is ready. Where the configuration has more than a port, it runs as it is.
{
  run,
  writeScriptBin,
  bash,
  socat,
  source,
  version,
}:
let
  program = run "postgrest-${version}" { } ''
    mkdir -p $out/bin
    cp ${source}/postgrest $out/bin/postgrest
    chmod 755 $out/bin/postgrest
  '';
in
writeScriptBin "postgrest" ''
  #!${bash}/bin/bash
  configuration=''${1:-/dev/null}
  if [ $# -gt 1 ] || [[ $configuration = -* ]] \
    || grep -qE '^ *(server-unix-socket|server-host|admin-server-port)' "$configuration" \
    || env | grep -qE '^PGRST_(SERVER_UNIX_SOCKET|SERVER_HOST|ADMIN_SERVER_PORT)='; then
    exec ${program}/bin/postgrest "$@"
  fi
  port=$(sed -n 's/^ *server-port *= *"\{0,1\}\([0-9]*\).*/\1/p' "$configuration")
  port=''${port:-''${PGRST_SERVER_PORT:-3000}}
  folder=$(mktemp -d)
  trap 'kill $(jobs -p); rm -rf $folder' EXIT
  trap 'exit 143' TERM
  trap 'exit 130' INT
  # The admin server's port is out of the range that the kernel hands out.
  export PGRST_SERVER_UNIX_SOCKET=$folder/socket PGRST_ADMIN_SERVER_PORT=$((port + 20000 > 32767 ? port - 1 : port + 20000))
  ${program}/bin/postgrest "$@" &
  ready() {
    exec 3<> /dev/tcp/localhost/$PGRST_ADMIN_SERVER_PORT || return 1
    printf 'GET /ready HTTP/1.0\r\n\r\n' >&3
    read -r _ status _ <&3
    exec 3>&-
    [ "$status" = 200 ]
  }
  until ready 2> /dev/null; do
    kill -0 $! 2> /dev/null || { wait $!; exit; }
    sleep 0.3
  done
  ${socat}/bin/socat TCP6-LISTEN:$port,fork,reuseaddr,ipv6only=0,backlog=128 UNIX-CONNECT:$folder/socket &
  # Either one's end is the end of both.
  wait -n
''
