# Debian's packages of one suite as units of the store, also those that are not
# fetched yet: they are derivations that cannot be built, by whose names
# `snowglobe guest fetch --for` learns what a test needs (src/guest/fetch_for.rs).
{ index, available }:
let
  inherit (builtins) filter match;

  build = import ../debs/build.nix { inherit index; };
  units = import ../debs/units.nix {
    inherit index build;
    shell = "bash";
    # Not systemd's small libraries, which those need that are opened.
    opens =
      unit:
      if match "(systemd.*|udev|libsystemd-shared|libpam-systemd)" unit != null then
        openedBySystemd
      else if unit == "kmod" || unit == "libkmod2" then
        fetched [
          "liblzma5"
          "libzstd1"
        ]
      else
        [ ];
  };

  # What systemd opens by name when it first needs it.
  openedBySystemd = fetched [
    "libacl1"
    "libapparmor1"
    "libarchive13"
    "libaudit1"
    "libblkid1"
    "libbpf1"
    "libcap2"
    "libcrypt1"
    "libcryptsetup12"
    "libcurl4"
    "libdw1"
    "libelf1"
    "libfdisk1"
    "libfido2-1"
    "libgcrypt20"
    "libgnutls30"
    "libgpg-error0"
    "libidn2-0"
    "libip4tc2"
    "libkmod2"
    "liblz4-1"
    "liblzma5"
    "libmicrohttpd12"
    "libmount1"
    "libp11-kit0"
    "libpam0g"
    "libpcre2-8-0"
    "libpwquality1"
    "libqrencode4"
    "libseccomp2"
    "libselinux1"
    "libssl3"
    "libsystemd-shared"
    "libtss2-esys-3.0.2-0"
    "libtss2-mu-4.0.1-0"
    "libtss2-rc0"
    "libtss2-tcti-device0"
    "libxkbcommon0"
    "libzstd1"
  ];

  # The units of those that are there.
  fetched =
    names: map (name: units.unitOf.${name}) (filter (name: units.unitOf ? ${name}) (map nameOf names));

  # Debian renamed libraries for times after 2038.
  nameOf =
    name:
    if available ? ${name} then
      name
    else if available ? "${name}t64" then
      "${name}t64"
    else
      name;

  missing =
    name:
    derivation (
      build.local
      // {
        name = "debian-package-${builtins.replaceStrings [ "~" ] [ "-" ] name}-is-not-fetched";
        builder = "builtin:fetchurl";
        system = "builtin";
        url = "file:///run-snowglobe-guest-fetch-for-the-test/${name}";
        outputHash = "0000000000000000000000000000000000000000000000000000";
        outputHashAlgo = "sha256";
        outputHashMode = "flat";
      }
    );

  # A package by Debian's name.
  package =
    given:
    let
      name = nameOf given;
    in
    units.packages.${name} or (missing name);

  # The fetched package whose name a pattern describes: its name has a version in it.
  # `meta` is the package that brings it.
  named =
    meta: pattern:
    let
      name = units.named pattern;
    in
    if name == null then meta else name;
  isKnown = name: available ? ${name} || available ? "${name}t64";
in
{
  inherit
    available
    build
    isKnown
    named
    package
    ;
  inherit (units) python scripts;
  closure = names: units.closure (map nameOf names);
  need = other: names: units.need other (map nameOf names);
  # Those of the list that the suite has.
  known = filter isKnown;
}
