# Which of Debian's packages modules of Python and Perl are made of.
let
  packages = [
    "libtext-iconv-perl"
    "libwww-perl"
    "python3-requests"
    "ruff"
  ];
  debsOf =
    name: pname:
    let
      entry = import ../../nix-lib/debian/languages.nix {
        debs.known = builtins.filter (package: builtins.elem package packages);
        entries.python3-odd = [ "python3-even" ];
        inherit name pname;
        propagated = [ ];
      };
    in
    if entry == null then null else entry.debs;
in
{
  modulesOfPython = {
    expr = debsOf "python3.13-requests-2.32.3" "requests";
    expected = [ "python3-requests" ];
  };
  modulesOfPythonInTheTable = {
    expr = debsOf "python3.13-odd-1" "odd";
    expected = [ "python3-even" ];
  };
  programsInPython = {
    expr = debsOf "python3.13-ruff-0.5" "ruff";
    expected = [ "ruff" ];
  };
  modulesOfPerl = {
    expr = debsOf "perl5.42.0-Text-Iconv-1.7" "Text-Iconv";
    expected = [ "libtext-iconv-perl" ];
  };
  modulesOfPerlInOlderReleases = {
    expr = debsOf "perl5.30.3-Text-Iconv-1.7" "perl5.30.3-Text-Iconv";
    expected = [ "libtext-iconv-perl" ];
  };
  modulesOfPerlThatAreCalledAsInDebian = {
    expr = debsOf "perl5.42.0-libwww-perl-6.72" "libwww-perl";
    expected = [ "libwww-perl" ];
  };
  modulesThatDebianLacks = {
    expr = debsOf "python3.13-nothing-1" "nothing";
    expected = null;
  };
  pythonItself = {
    expr = debsOf "python3-3.13.2" "python3";
    expected = null;
  };
  packagesOfNoLanguage = {
    expr = debsOf "ruff-0.5" "ruff";
    expected = null;
  };
}
