# A NixOS machine whose state QEMU can save: no folder of the host is mounted over
# 9p when it boots. The shared one and the machine's own are there to be mounted for
# a while, as copies between host and guest do. Folders that a test shares itself stay
# mounted. QEMU saves the state of virtiofs since 8.2, and 9p's it refuses.
{
  # What its store becomes: "image", made when the machine starts; "virtiofs", the host's
  # own, served by virtiofsd; "auto", the second one where QEMU saves it, and the first one
  # elsewhere, unless the test has chosen a store itself.
  store,
}:
{
  config,
  lib,
  modulesPath,
  ...
}:
let
  inherit (config) virtualisation;
  host = virtualisation.host.pkgs;

  # nixpkgs mounts all shared folders over virtiofs since September 2026: nothing has to be changed.
  servesByItself =
    let
      module = modulesPath + "/virtualisation/qemu-vm.nix";
      text = builtins.readFile module;
    in
    builtins.pathExists module && builtins.length (builtins.split "useVirtiofs" text) > 1;

  canServe = qemu: host ? virtiofsd && lib.versionAtLeast (lib.getVersion qemu) "8.2";
  wantsServer = qemu: store == "virtiofs" || store == "auto" && canServe qemu;
  isServed = wantsServer virtualisation.qemu.package;
  # The test has its store in an image or on a disk: that is no 9p.
  hasOwnStore = store == "auto" && !virtualisation.mountHostNixStore;

  # Those that nixpkgs shares with each machine.
  ofNixpkgs = [
    "nix-store"
    "xchg"
    "shared"
    "certs"
  ];

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

  # Serves the store until virtiofsd ends. What is in the store does not change, so that the guest may keep it. A guest whose store is gone waits for ever, so QEMU is ended then:
  # a machine whose QEMU is killed is an error of the host. QEMU, which ends virtiofsd by closing the socket,
  # ends this script, too.
  server = host.writeText "serve-store" ''
    ${host.util-linux}/bin/setpriv --pdeathsig KILL ${host.virtiofsd}/bin/virtiofsd \
      --socket-path nix-store.sock --shared-dir ${builtins.storeDir} --readonly --cache always \
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

  unmounted = {
    useHostCerts = lib.mkForce false;
    qemu.options = [
      ''-virtfs local,path="''${SHARED_DIR:-$TMPDIR/xchg}",security_model=none,mount_tag=shared''
      ''-virtfs local,path="$TMPDIR/xchg",security_model=none,mount_tag=xchg''
    ];
  };
  image = {
    useNixStoreImage = lib.mkForce true;
    # As nixpkgs has it with the host's store, unless the test says otherwise.
    writableStore = lib.mkOverride 1200 true;
  };
  served = {
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
  forced = {
    useNixStoreImage = lib.mkForce false;
    mountHostNixStore = lib.mkForce true;
  };
in
{
  options.virtualisation = lib.optionalAttrs (!servesByItself) {
    # What is mounted decides on nothing here: the options below that decide on it do not read it.
    sharedDirectories = lib.mkOption { apply = shared: removeAttrs shared ofNixpkgs; };
    qemu.package = lib.mkOption {
      apply = qemu: if wantsServer qemu then withStore qemu else qemu;
    };
  };

  config = lib.optionalAttrs (!servesByItself) {
    virtualisation = lib.mkMerge [
      unmounted
      (lib.mkIf (store == "virtiofs") forced)
      (lib.mkIf (isServed && !hasOwnStore) served)
      (lib.mkIf (!isServed && !(store == "auto" && virtualisation.useBootLoader)) image)
    ];
    # The adapter says which store it has become.
    system.build.snowglobeStore =
      if isServed && !hasOwnStore then
        "virtiofs"
      else if !isServed && virtualisation.useNixStoreImage then
        "image"
      else
        null;
  };
}
