# The manifest of a test: plain data for the Rust side (src/model/manifest.rs), and
# the one derivation that builds everything it names.
let
  version = 9;

  # A file written by nothing but the shell's own commands.
  write =
    {
      name,
      shell,
      system,
      text,
    }:
    derivation {
      inherit name system text;
      builder = shell;
      args = [
        "-c"
        ''printf '%s\n' "$(<"$textPath")" > "$out"''
      ];
      passAsFile = [ "text" ];
      preferLocalBuild = true;
      allowSubstitutes = false;
    };

  unique = builtins.foldl' (
    seen: value: if builtins.elem value seen then seen else seen ++ [ value ]
  ) [ ];

  storeName = import ./store-name.nix;
  # What nodes are whose adapter knows of no containers: if they are wanted, the run says that there are none.
  onlyVirtualMachine = backend: {
    backend = if backend == "container" then "container" else "vm";
    container = null;
    container_obstacles = null;
  };
in
{
  inherit storeName;

  make =
    {
      test,
      # Where its script is written, as far as that is known.
      file ? "",
      # What machines are wanted as, if the caller says.
      backend ? null,
    }:
    let
      inherit (test) shell system;
      script = write {
        name = "test-script-${storeName test.name}";
        inherit shell system;
        text = test.testScript;
      };
      manifest = {
        inherit version;
        inherit (test) name containers;
        nodes = builtins.mapAttrs (_: node: onlyVirtualMachine backend // node) test.nodes;
        vlans = builtins.sort builtins.lessThan (
          unique (builtins.concatLists (map (node: node.vlans) (builtins.attrValues test.nodes)))
        );
        test_script = "${script}";
        test_script_source.file = file;
        global_timeout_s = test.globalTimeout;
        enable_ocr = test.enableOCR;
        skip_lint = test.skipLint;
        skip_type_check = test.skipTypeCheck;
        python_packages = test.pythonPackages;
        shell_options = test.shellOptions or "strict";
      };
    in
    {
      inherit manifest;
      script = builtins.unsafeDiscardStringContext test.testScript;
      package = write {
        name = "test-manifest-${storeName test.name}.json";
        inherit shell system;
        text = builtins.toJSON manifest;
      };
    };
}
