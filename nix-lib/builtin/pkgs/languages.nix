# The languages that services are written in. Debian's programs look for their libraries in Debian's places, which the
# guests do not have: variables or links name the places in the store.
{
  lib,
  index,
  packages,
  build,
  bash,
  symlinkJoin,
  closure,
  debianPackage,
  npm,
  withLibraries,
}:
let
  inherit (build) run;

  # The fetched packages whose names a pattern describes: a version is in their names.
  named = pattern: lib.filter (name: builtins.match pattern name != null) (lib.attrNames packages);

  # What `names` is in, if Debian's package `meta` is fetched.
  tree =
    meta: names:
    builtins.seq (debianPackage meta) (symlinkJoin {
      name = "debian-${meta}-tree";
      paths = map (name: packages.${name}) names;
    });

  # Programs of a tree with a variable that names all folders which patterns of the shell describe.
  withFolders =
    {
      name,
      tree,
      programs,
      variable,
      folders,
      settings ? "",
    }:
    run name
      {
        inherit
          tree
          programs
          variable
          settings
          ;
        folders = toString folders;
      }
      ''
        mkdir -p $out/bin
        found=
        for folder in $folders; do
          for place in $tree/$folder; do
            [ ! -d $place ] || found=$found:$place
          done
        done
        for program in $programs; do
          for real in $tree/bin/$program; do
            [ -e $real ] || continue
            {
              echo "#!${bash}/bin/bash"
              echo "export $variable=\"\''${$variable:+\$$variable:}''${found#:}\" $settings"
              echo "exec -a \"\$0\" $real \"\$@\""
            } > $out/bin/''${real##*/}
            chmod +x $out/bin/''${real##*/}
          done
        done
      '';

  # A program's name in nixpkgs, and what the set is called there.
  as =
    pname: mainProgram: package:
    package
    // {
      inherit pname;
      meta = { inherit mainProgram; };
    };

  # Debian's python3-NAME by NAME.
  python3Packages = lib.listToAttrs (
    lib.concatMap (
      name:
      let
        parts = builtins.match "python3-(.+)" name;
      in
      lib.optionals (parts != null) [ (lib.nameValuePair (lib.head parts) packages.${name}) ]
    ) (lib.attrNames packages)
  );

  # Python with its standard library and modules. It looks for both beside its program, so that the program is a copy.
  pythonWith =
    units:
    let
      versionOf = builtins.match "python(3[.][0-9]+)-minimal";
      version = lib.head (versionOf (lib.head (named "python3[.][0-9]+-minimal")));
      modules = symlinkJoin {
        name = "python3-modules";
        paths = map debianPackage [
          "libpython${version}-minimal"
          "libpython${version}-stdlib"
        ];
      };
    in
    builtins.seq (debianPackage "python3-minimal") (
      as "python3" "python3" (
        run "python3-${version}" { inherit units; } ''
          mkdir -p $out/bin $out/lib/python3/dist-packages
          cp ${debianPackage "python${version}-minimal"}/bin/python${version} $out/bin/
          ln -s python${version} $out/bin/python3
          ln -s python3 $out/bin/python
          for entry in ${modules}/lib/*; do
            [ -e $out/lib/''${entry##*/} ] || ln -s $entry $out/lib/
          done
          for unit in $units; do
            for module in $unit/lib/python3/dist-packages/*; do
              place=$out/lib/python3/dist-packages/''${module##*/}
              [ ! -e $module ] || [ -e $place ] || ln -s $module $place
            done
          done
        ''
      )
      // {
        inherit version;
        pkgs = python3Packages;
        withPackages = choose: pythonWith (closure (map (package: package.pname) (choose python3Packages)));
      }
    );
  python3 = pythonWith [ ];

  perl = as "perl" "perl" (withFolders {
    name = "perl";
    tree = tree "perl" (named "perl|perl-base|perl-modules-.*|libperl5.*|lib.*-perl");
    programs = "perl";
    variable = "PERL5LIB";
    folders = [
      "lib/x86_64-linux-gnu/perl/5.*"
      "lib/x86_64-linux-gnu/perl5/5.*"
      "share/perl/5.*"
      "share/perl5"
      "lib/x86_64-linux-gnu/perl-base"
    ];
    # It finds no locales of Debian's.
    settings = "PERL_BADLANG=0";
  });

  rubyTree = tree "ruby" (named "ruby|ruby[0-9].*|libruby.*|ruby-.*|rubygems-integration");
  ruby = as "ruby" "ruby" (withFolders {
    name = "ruby";
    tree = rubyTree;
    settings = "GEM_PATH=${rubyTree}/share/rubygems-integration/all";
    programs = "ruby ruby[0-9]* erb irb gem bundle rake";
    variable = "RUBYLIB";
    folders = [
      "lib/ruby/vendor_ruby"
      "lib/ruby/vendor_ruby/3.*"
      "lib/ruby/3.*"
      "lib/x86_64-linux-gnu/ruby/3.*"
      "lib/x86_64-linux-gnu/ruby/vendor_ruby/3.*"
    ];
  });

  # Java finds its own parts from the place of its programs, which are copies for that.
  java =
    meta: pattern:
    let
      units = named pattern;
      version = lib.head (builtins.match "openjdk-([0-9]+)-.*" (lib.head units));
      home = symlinkJoin {
        name = "openjdk-home";
        paths = map (name: "${packages.${name}}/lib/jvm/java-${version}-openjdk-amd64") units;
      };
    in
    builtins.seq (debianPackage meta) (
      run "openjdk-${version}" { } ''
        mkdir -p $out/bin $out/lib/openjdk/bin
        for entry in ${home}/*; do
          [ ''${entry##*/} = bin ] || ln -s $entry $out/lib/openjdk/
        done
        for program in ${home}/bin/*; do
          cp -L $program $out/lib/openjdk/bin/
          ln -s ../lib/openjdk/bin/''${program##*/} $out/bin/
        done
      ''
    );
  jre = as "openjdk" "java" (java "default-jre-headless" "openjdk-[0-9]+-jre-headless");
  jdk = as "openjdk" "java" (java "default-jdk-headless" "openjdk-[0-9]+-j(re|dk)-headless");

  php = as "php" "php" (
    builtins.seq (debianPackage "php-cli") (
      run "php" { units = map (name: packages.${name}) (named "php[0-9.]+-cli"); } ''
        mkdir -p $out/bin
        for unit in $units; do
          for program in $unit/bin/php[0-9]*; do ln -s $program $out/bin/php; done
        done
      ''
    )
  );

  # Node.js comes from npm: Debian's looks for parts of itself in /usr/share/nodejs, and has no setting for it.
  nodejs =
    if index.npm ? nodejs then
      as "nodejs" "node" (withLibraries {
        name = "nodejs-${index.npm.nodejs.version}";
        program = "${npm "nodejs"}/bin/node";
        libraries = map debianPackage [
          "libstdc++6"
          "libgcc-s1"
          "libc6"
        ];
      })
      // {
        inherit (index.npm.nodejs) version;
      }
    else
      throw "Node.js is not set up here: run `snowglobe guest fetch nodejs`";
in
{
  inherit
    jdk
    jre
    nodejs
    perl
    php
    python3
    python3Packages
    ruby
    ;
  openjdk = jdk;
  jdk_headless = jdk;
  jre_headless = jre;
}
