# How the built-in packages are built: derivations whose only builder is the
# busybox of the bootstrap, so that neither /bin/sh in the sandbox nor nixpkgs
# is needed. `index` is what `snowglobe guest fetch` wrote (see docs).
{
  index,
  # The system that the packages are of, and the packages. What builds is always this machine's own.
  target ? "x86_64-linux",
  debs ? index.debs,
}:
let
  system = "x86_64-linux";

  # A file that `snowglobe guest fetch` has put into the store under its hash.
  # The address is only looked at when the file is missing; its text is then
  # in Nix's message and says what to do.
  required =
    {
      name,
      sha256,
      mode ? "flat",
    }:
    derivation {
      inherit name;
      system = "builtin";
      builder = "builtin:fetchurl";
      url = "file:///run-snowglobe-guest-fetch/${name}";
      outputHash = sha256;
      outputHashAlgo = "sha256";
      outputHashMode = mode;
      preferLocalBuild = true;
      allowSubstitutes = false;
    };

  busybox = "${
    required {
      inherit (index.busybox) name sha256;
      mode = "recursive";
    }
  }/bin/busybox";

  deb =
    name:
    required {
      inherit (debs.${name}) name sha256;
    };

  # Nothing here is in any binary cache: do not ask one.
  local = {
    inherit system;
    preferLocalBuild = true;
    allowSubstitutes = false;
  };

  # A derivation from a script for busybox sh, every applet on its PATH.
  run =
    name: environment: script:
    derivation (
      local
      // environment
      // {
        inherit name script;
        passAsFile = [ "script" ] ++ environment.passAsFile or [ ];
        builder = busybox;
        args = [
          "sh"
          "-euc"
          ''
            applets=$NIX_BUILD_TOP/.applets
            ${busybox} mkdir $applets
            ${busybox} --install -s $applets
            export PATH=$applets
            . $scriptPath
          ''
        ];
      }
    );

  # A file in the store with this text.
  write =
    name:
    {
      text,
      executable ? false,
      # Where in the output the text goes: "" makes the output the file itself.
      destination ? "",
    }:
    derivation (
      local
      // {
        name = import ../store-name.nix name;
        inherit text destination;
        mode = if executable then "755" else "644";
        passAsFile = [ "text" ];
        builder = busybox;
        args = [
          "sh"
          "-euc"
          ''
            [ -z "$destination" ] || ${busybox} mkdir -p "$out''${destination%/*}"
            ${busybox} cp "$textPath" "$out$destination"
            ${busybox} chmod $mode "$out$destination"
          ''
        ];
      }
    );
in
{
  platform = (import ./platforms.nix).${target} // {
    system = target;
  };
  inherit
    system
    required
    busybox
    deb
    local
    run
    write
    ;
}
