# Languages, and packages of Python that Debian names otherwise (see languages.nix).
{
  debs,
  fixes,
  tree,
  ...
}:
let
  inherit (builtins)
    concatStringsSep
    elemAt
    length
    splitVersion
    ;
  inherit (debs) known;
  inherit (fixes)
    before
    idle
    script
    unit
    ;

  firstTwo =
    list:
    if length list < 2 then
      list
    else
      [
        (elemAt list 0)
        (elemAt list 1)
      ];

  python = debs.named "python3" "python3\\.[0-9]+";
in
rec {
  perl = {
    debs = [
      "perl"
      "perl-base"
      (debs.named "perl" "perl-modules-5\\.[0-9]+")
      (debs.named "perl" "libperl5\\.[0-9]+(t64)?")
    ];
    # Debian's perl knows only its place in Debian.
    fix = ''
      real=$(readlink -f $out/bin/perl)
      folders=
      for folder in $out/lib/x86_64-linux-gnu/perl/5.* $out/share/perl/5.* $out/lib/x86_64-linux-gnu/perl-base; do
        [ ! -d $folder ] || folders=$folders:$folder
      done
      ${script "perl" ''
        export PERL5LIB="\''${PERL5LIB:+\$PERL5LIB:}''${folders#:}" PERL_BADLANG=0
        exec -a "\$0" $real "\$@"
      ''}
    '';
  };
  python3 = args: {
    debs = [
      "python3"
      "python3-minimal"
      python
      "${python}-minimal"
      "lib${python}-minimal"
      "lib${python}-stdlib"
    ];
    environment = {
      inherit python;
      # nixpkgs' name of the program: `python3.13`.
      named = "python${concatStringsSep "." (firstTwo (splitVersion (args.version or "3")))}";
      # Shows builds the modules of their inputs.
      setupHook = args.setupHook or "";
    };
    # Its program finds the library from its own place.
    fix = ''
      real=$(readlink -f $out/bin/$python)
      rm -f $out/bin/$python $out/bin/python3 $out/bin/python
      cp $real $out/bin/$python
      ln -s $python $out/bin/python3
      ln -s $python $out/bin/python
      [ -e $out/bin/$named ] || ln -s $python $out/bin/$named
      rm -f $out/lib/$python/sitecustomize.py
      sed "s,@named@,$named," \
        ${
          tree + "/pkgs/development/interpreters/python/sitecustomize.py"
        } ${../install_places.py} > $out/lib/$python/sitecustomize.py
      if [ -n "$setupHook" ]; then install -D -m 444 $setupHook $out/nix-support/setup-hook; fi
    '';
  };
  python3-minimal = python3;
  "python3-memcached-1.51" = [ "python3-memcache" ];
  python3-flake8 = known [
    "flake8"
    "python3-flake8"
  ];
  # nixpkgs adds this option to it.
  python3-installer = {
    debs = [ "python3-installer" ];
    fix = ''
      module=$out/lib/$sitePackages/site-packages/installer
      real=$(readlink -f $module)
      rm $module
      cp -r --no-preserve=mode $real $module
      sed -i 's/interpreter=sys.executable/interpreter=args.executable or sys.executable/
        s/^    return parser/    parser.add_argument("--executable")\n    return parser/' $module/__main__.py
    '';
  };
  python3-junit-xml = [ "python3-junit.xml" ];
  python3-remote-pdb = {
    debs = [ "python3" ];
    fix = "cp ${../remote_pdb.py} $out/lib/$sitePackages/site-packages/remote_pdb.py";
  };
  python3-mypy = known [
    "mypy"
    "python3-mypy"
  ];
  rustc = {
    debs = known [
      "rustc"
      "libstd-rust-dev"
    ];
    # It looks for the standard library beside its own one, which is another unit's.
    fix = ''
      for program in rustc rustdoc; do
        real=$(readlink -f $out/bin/$program)
        ${script "$program" ''
          case " \$* " in
            *" --sysroot"*) exec $real "\$@" ;;
            *) exec $real --sysroot $out "\$@" ;;
          esac
        ''}
      done
    '';
  };

  ## Linters and formatters, which builds call to check sources

  # Each release formats in its own way, which fails builds that check it.
  python3-black = idle "black" // {
    debs = [ "black" ];
  };
  # Each release has other warnings, which are not to fail builds.
  ty = {
    debs = [ "ty" ];
    fix = before "ty" ''
      for argument; do
        shift
        [ "\$argument" = --error-on-warning ] || set -- "\$@" "\$argument"
      done
      [ "\$1" != check ] || set -- "\$@" --exit-zero-on-warning
    '';
  };
  python3-ty = ty;
  # Each release formats in its own way, and has other rules.
  ruff = idle "ruff" // {
    debs = [ "ruff" ];
  };
  python3-ruff = ruff;
}
