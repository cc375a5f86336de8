# What builds take: the shell, its tools, the compiler.
{
  debs,
  fixes,
  toolchain,
  ...
}:
let
  inherit (fixes) unit;
in
rec {
  bash = {
    debs = [ "bash" ];
    fix = "ln -sfn bash $out/bin/sh";
  };
  bash-interactive = bash;
  binutils = toolchain.binutilsEntry;
  coreutils = {
    debs = [ "coreutils" ];
    fix = "ln -s ${unit "procps"}/bin/kill ${unit "procps"}/bin/uptime $out/bin/";
  };
  coreutils-full = coreutils;
  gawk = {
    debs = [ "gawk" ];
    fix = "ln -sfn gawk $out/bin/awk";
  };
  gcc = toolchain.gccEntry;
  glibc = toolchain.glibcEntry;
  glibc-nolibgcc = glibc;
  glibc-locales = {
    debs = [ ];
    environment.I18NPATH = "${debs.package "locales"}/share/i18n";
    fix = ''
      root=$NIX_BUILD_TOP/root
      mkdir -p $root/usr/lib/locale $out/lib/locale
      # It unpacks the list of characters with gzip, and ends with 1 after a warning.
      PATH=$PATH:${unit "gzip"}/bin \
        ${unit "libc-bin"}/bin/localedef --prefix=$root --no-archive -i en_US -f UTF-8 en_US.utf8 || [ $? = 1 ]
      [ -s $root/usr/lib/locale/en_US.utf8/LC_CTYPE ]
      cp -r --no-preserve=mode ${unit "libc-bin"}/lib/locale/. $root/usr/lib/locale/. $out/lib/locale/
      touch $out/lib/locale/locale-archive
    '';
  };
  gnugrep = [ "grep" ];
  gnumake = [ "make" ];
  gnupatch = [ "patch" ];
  gnused = [ "sed" ];
  gnutar = [ "tar" ];
  clippy = [ "rust-clippy" ];
  libffi = debs.known [
    "libffi-dev"
    "libffi8"
  ];
  lndir.fix = "cp -L ${unit "xutils-dev"}/bin/lndir $out/bin/";
  pkg-config = [
    "pkgconf"
    "pkgconf-bin"
  ];
  linux-headers = [ "linux-libc-dev" ];
  ShellCheck = [ "shellcheck" ];
  which = {
    debs = [ (if debs.isKnown "gnu-which" then "gnu-which" else "debianutils") ];
    fix = "for name in which.gnu which.debianutils; do [ ! -e $out/bin/$name ] || ln -sfn $name $out/bin/which; done";
  };
  xz = [ "xz-utils" ];
}
