# Modules of Python and Perl: Debian names them after a rule.
{
  debs,
  pname,
  name,
}:
let
  inherit (builtins)
    head
    match
    replaceStrings
    stringLength
    substring
    ;
  lower = replaceStrings (characters "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") (
    characters "abcdefghijklmnopqrstuvwxyz-"
  );
  characters = text: builtins.genList (n: substring n 1 text) (stringLength text);

  inherit (debs) known;
  python = match "python3\\.?([0-9]*)-.*" name;
  perl = match "perl5\\.[0-9.]+-(.*)-[^-]+" name;

  pythonNames = known [
    "python3-${lower pname}"
    "${lower pname}"
  ];
  # The pname of older releases has perl's version in it.
  perlNames = known (
    if perl == null then
      [ ]
    else
      [
        "lib${lower (head perl)}-perl"
        (lower (head perl))
      ]
  );
in
if python != null && pythonNames != [ ] then
  {
    debs = [ (head pythonNames) ];
    environment.sitePackages = "python3.${head python}";
    fix = ''
      # Debian's modules, where nixpkgs' and Debian's Python look.
      mkdir -p $out/lib/$sitePackages/site-packages
      for module in $out/lib/python3/dist-packages/*; do
        [ ! -e "$module" ] || ln -sfn $(readlink -f "$module") $out/lib/$sitePackages/site-packages/
      done
    '';
  }
else if perl != null && perlNames != [ ] then
  {
    debs = [ (head perlNames) ];
    fix = ''
      site=$out/lib/perl5/site_perl
      mkdir -p $site
      for folder in $out/share/perl5 $out/lib/x86_64-linux-gnu/perl5/5.*; do
        [ ! -d $folder ] || cp -rs $folder/. $site/
      done
    '';
  }
else
  null
