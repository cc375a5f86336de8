# Parts of entries in the table of packages: shell scripts that finish a tree.
{ debs }:
let
  inherit (builtins) concatStringsSep genList stringLength;

  # A package of Debian in the store.
  unit = name: "${debs.package name}";
  # A package whose programs the scripts of an initrd copy.
  inInitrd = debs: {
    inherit debs;
    content = "programs";
  };
  # Nothing of the package is needed but that it is there.
  empty = { };
  # For a fix: a shell script as a program of the package. Variables of the fix
  # are put in; those of the script have a backslash before them.
  script = name: lines: ''
    rm -f $out/bin/${name}
    cat > $out/bin/${name} <<EOF
    #!${unit "bash"}/bin/bash
    ${lines}
    EOF
    sed -i 's/^ *//' $out/bin/${name}
    chmod +x $out/bin/${name}
  '';
  # A program that does nothing.
  idle = name: { fix = script name "exit 0"; };
  # For a fix: changes the rules for udev by arguments for sed.
  editRules = command: ''
    for rules in $out/lib/udev/rules.d/*; do
      sed ${command} $rules > $rules.new
      mv $rules.new $rules
    done
  '';
  # For a fix: changes a program by arguments for sed.
  edit = program: command: ''
    sed ${command} $(readlink -f $out/bin/${program}) > $NIX_BUILD_TOP/${program}
    rm $out/bin/${program}
    install -m 555 $NIX_BUILD_TOP/${program} $out/bin/
  '';
  # For a fix: changes a text that is compiled into a program to one that is not longer.
  editProgram =
    program: from: to:
    let
      zeros = concatStringsSep "" (genList (_: "\\x00") (stringLength from - stringLength to));
    in
    edit program "'s,${from},${to}${zeros},'";
  # For a fix: lines of a shell before the start of a program, which has another place then.
  before = program: lines: ''
    real=$(readlink -f $out/bin/${program})
    case $real in
      $out/*)
        mv $real $out/bin/.${program}-wrapped
        real=$out/bin/.${program}-wrapped
        ;;
    esac
    ${script program ''
      ${lines}
      exec $real "\$@"
    ''}
  '';
  # For a fix: a program finds those of other packages.
  withPath =
    program: packages:
    before program "export PATH=${
      concatStringsSep ":" (map (package: "${package}/bin") packages)
    }:\\$PATH";
  # For a fix: a program has a variable, unless the user has set it.
  withVariable =
    program: name: value:
    before program "export ${name}=\"\\\${${name}-${value}}\"";
  # The output is a text.
  text = content: {
    isFile = true;
    fix = "printf '%s' '${content}' > $out";
  };
in
{
  inherit
    before
    edit
    editProgram
    editRules
    empty
    idle
    inInitrd
    script
    text
    unit
    withPath
    withVariable
    ;
}
