# The store of a snapshot-safe machine as the host's own, served by virtiofsd:
# QEMU saves the state of virtiofs since 8.2, and 9p's it refuses.
{
  config,
  lib,
  ...
}:
let
  inherit (config) virtualisation;
  host = virtualisation.host.pkgs;

  # virtiofsd ends with the QEMU that it serves, also if that is killed, or does not start.
  withStore =
    qemu:
    let
      wrapped = host.runCommand "qemu-with-virtiofs-store" { } ''
        mkdir -p $out/bin
        ln -s ${qemu}/bin/* $out/bin
        for program in $out/bin/qemu-system-* $out/bin/qemu-kvm; do
          [ -e "$program" ] || continue
          real=$(readlink -f "$program")
          rm "$program"
          substitute ${starter} "$program" --subst-var-by qemu "$real"
          chmod +x "$program"
        done
      '';
    in
    qemu // { inherit (wrapped) outPath drvPath; };

  # Serves the store until virtiofsd ends. A guest whose store is gone waits for ever, so QEMU is ended then:
  # a machine whose QEMU is killed is an error of the host. QEMU, which ends virtiofsd by closing the socket,
  # ends this script, too.
  server = host.writeText "serve-store" ''
    ${host.util-linux}/bin/setpriv --pdeathsig KILL ${host.virtiofsd}/bin/virtiofsd \
      --socket-path nix-store.sock --shared-dir ${builtins.storeDir} --readonly \
      > virtiofsd.log 2>&1
    status=$?
    sleep 1
    echo "virtiofsd, which serves the store, has ended with status $status: $(tail -n 3 virtiofsd.log)" >&2
    kill -KILL "$1"
  '';

  # QEMU is started in the machine's own folder. Other uses of the program, as
  # `-version`, name no store.
  starter = host.writeText "qemu-with-virtiofs-store" ''
    #! ${host.runtimeShell}
    case " $* " in
      *" socket,id=nix-store,"*)
        rm -f nix-store.sock
        ${host.util-linux}/bin/setpriv --pdeathsig KILL ${host.runtimeShell} ${server} $$ < /dev/null &
        for _ in $(seq 100); do
          [ ! -S nix-store.sock ] || break
          sleep 0.1
        done
        if ! [ -S nix-store.sock ]; then
          echo "virtiofsd does not serve the store: $(cat virtiofsd.log)" >&2
          exit 1
        fi
        ;;
    esac
    exec @qemu@ "$@"
  '';
in
{
  imports = [ ./snapshot-safe.nix ];

  options.virtualisation.qemu.package = lib.mkOption { apply = withStore; };

  config = {
    boot.initrd.availableKernelModules = [ "virtiofs" ];
    virtualisation = {
      useNixStoreImage = lib.mkForce false;
      mountHostNixStore = lib.mkForce true;
      fileSystems."/nix/.ro-store" = {
        device = "nix-store";
        fsType = "virtiofs";
        neededForBoot = true;
      };
      qemu.options = [
        "-chardev socket,id=nix-store,path=nix-store.sock"
        "-device vhost-user-fs-pci,chardev=nix-store,tag=nix-store"
      ]
      # virtiofsd reads and writes the guest's memory.
      ++ lib.optionals (!(virtualisation.qemu.enableSharedMemory or false)) [
        "-object memory-backend-memfd,id=shared-memory,size=${toString virtualisation.memorySize}M,share=on"
        "-machine memory-backend=shared-memory"
      ];
    };
  };
}
