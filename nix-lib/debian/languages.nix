# Modules of Python and Perl: Debian names them after a rule. The table has those of
# Python that it names otherwise, as `python3-NAME`.
{
  debs,
  entries,
  pname,
  name,
  # What the package propagates to builds, in nixpkgs.
  propagated,
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
  first = names: if names == [ ] then [ ] else [ (head names) ];
  python = match "python3\\.([0-9]+)-.*" name;
  perl = match "perl5\\.[0-9.]+-(.*)-[^-]+" name;

  inTable = entries."python3-${pname}" or null;
  pythonEntry =
    if builtins.isAttrs inTable then
      inTable
    else
      {
        debs =
          if inTable != null then
            inTable
          else
            first (known [
              "python3-${lower pname}"
              "${lower pname}"
            ]);
      };
  # The pname of older releases has perl's version in it.
  perlDebs =
    if perl == null then
      [ ]
    else
      first (known [
        "lib${lower (head perl)}-perl"
        (lower (head perl))
      ]);
in
if python != null && pythonEntry.debs != [ ] then
  {
    inherit (pythonEntry) debs;
    environment = {
      sitePackages = "python3.${head python}";
      # Python itself, whose hook shows builds the modules.
      interpreter = builtins.filter (input: input.pname or null == "python3") propagated;
    };
    fix = ''
      # Debian's modules and what they need, where nixpkgs' and Debian's Python look.
      mkdir -p $out/lib/$sitePackages/site-packages $out/nix-support
      echo $interpreter > $out/nix-support/propagated-build-inputs
      for unit in $units $modules; do
        for module in $unit/lib/python3/dist-packages/*; do
          [ ! -e "$module" ] || ln -sfn $module $out/lib/$sitePackages/site-packages/
        done
      done
    ''
    + pythonEntry.fix or "";
  }
else if perlDebs != [ ] then
  {
    debs = perlDebs;
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
