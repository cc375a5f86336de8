# Fonts, certificates, displays, and what only has to be there.
{
  debs,
  fixes,
  ...
}:
let
  inherit (debs) known;
  inherit (fixes)
    before
    editRules
    empty
    idle
    script
    unit
    ;

  dejavu = {
    debs = [ "fonts-dejavu-core" ];
    fix = "for font in $out/share/fonts/truetype/dejavu/*; do ln -s $font $out/share/fonts/truetype/; done";
  };
in
rec {
  ## Data

  dejavu-fonts = dejavu;
  dejavu-fonts-full = dejavu;
  dejavu-fonts-minimal = dejavu;
  fontconfig = known [
    "fontconfig"
    "fontconfig-config"
    "libfontconfig1"
  ];
  nss-cacert = {
    debs = [ "ca-certificates" ];
    fix = ''
      for output in $out ''${unbundled-} ''${hashed-}; do
        mkdir -p $output/etc/ssl/certs
        cat $(find -L $out/share/ca-certificates -name '*.crt') > $output/etc/ssl/certs/ca-bundle.crt
      done
    '';
  };
  man-db = {
    debs = [ "man-db" ];
    # NixOS names its configuration otherwise; groff and its files are in places of the store.
    fix = before "man" ''
      export PATH=\$PATH:${unit "groff-base"}/bin
      export GROFF_FONT_PATH=${unit "groff-base"}/share/groff/current/font
      export GROFF_TMAC_PATH=${unit "groff-base"}/share/groff/current/tmac
      [ ! -e /etc/man_db.conf ] || set -- -C /etc/man_db.conf "\$@"
    '';
  };
  texinfo = known [
    "texinfo"
    "info"
    "install-info"
  ];
  texinfo-interactive = texinfo;

  ## Display

  libxslt = known [
    "xsltproc"
    "libxslt1.1"
  ];
  tinyxxd = [ "xxd" ];
  xauth = [ "xauth" ];
  xwininfo = [ "x11-utils" ];
  alsa-utils = {
    debs = [ "alsa-utils" ];
    # NixOS refuses rules that look at Debian's places.
    fix = editRules "'s, TEST==\"/usr/sbin\",,'";
  };

  ## What only has to be there

  dvp = empty;
  gixy = idle "gixy";
  neo = empty;
  nginx-config-formatter.fix = script "nginxfmt" "exec ${unit "coreutils"}/bin/cat";
  nix-bash-completions = empty;
  nixos-option = empty;
  simple-dark-gray-bootloader.fix = "mkdir -p $out/grub";
}
