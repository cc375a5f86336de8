//! Flakes as frameworks lay them out. The frameworks are stand-ins of a few lines: none of them is here, and what matters is
//! where checks come from, and what stands beside them.

use std::fs;

use crate::flakes::git;
use crate::harness::Place;

/// A test on one container of guest `tiny`.
const TEST: &str = r#"{
  name = "NAME";
  nodes.machine.virtualisation = { guest = "tiny"; backend = "container"; };
  testScript = "machine.succeed('true')";
}"#;

fn test(name: &str) -> String {
    TEST.replace("NAME", name)
}

/// Makes a repository of files.
fn repository(place: &Place, name: &str, files: &[(&str, &str)]) {
    for (file, text) in files {
        let file = format!("{name}/{file}");
        fs::create_dir_all(place.path().join(&file).parent().unwrap()).unwrap();
        place.write(&file, text);
    }
    git(place, &["init", "--quiet", name]);
    git(place, &["-C", name, "add", "."]);
}

/// Lists the tests of a flake, and runs one of them.
fn assert_found(place: &Place, flake: &str, listed: &str, one: &str) {
    let ended = place.run(&["list", "--nixpkgs", "builtin", &format!("./{flake}#")]);
    assert_eq!(ended.stdout, listed, "{}", ended.seen());
    let ended = place.run(&["run", "--nixpkgs", "builtin", &format!("./{flake}#{one}")]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    place.assert_tidy();
}

/// As of flake-parts: outputs are what a library makes of modules, for each system, from `self`.
#[test]
fn checks_of_modules() {
    let place = Place::new();
    let library = r#"{
  outputs = { self }: {
    lib.mkFlake = { inputs }: module: let
      config = module { inherit inputs; inherit (inputs) self; };
      each = name: builtins.listToAttrs (map (system: {
        name = system;
        value = (config.perSystem { inherit system; self' = { checks = inputs.self.checks.${system}; }; }).${name} or { };
      }) config.systems);
    in { checks = each "checks"; packages = each "packages"; } // config.flake or { };
  };
}"#;
    repository(&place, "parts", &[("flake.nix", library)]);
    let flake = format!(
        r#"{{
  inputs.parts.url = "git+file://{root}/parts";
  outputs = inputs: inputs.parts.lib.mkFlake {{ inherit inputs; }} (import ./module.nix);
}}"#,
        root = place.path().display()
    );
    let module = format!(
        r#"{{ self, ... }}: {{
  systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" ];
  perSystem = {{ system, self', ... }}: {{
    checks.one = {};
    checks.two = self'.checks.one // {{ name = "two"; }};
    packages.default = throw "nothing for ${{system}}";
  }};
  flake.nixosModules.default = throw "not asked for";
}}"#,
        test("one")
    );
    let files = [("flake.nix", &*flake), ("module.nix", &module)];
    repository(&place, "flake", &files);
    let listed = "checks.x86_64-linux.one (one): machine\nchecks.x86_64-linux.two (two): machine\n";
    assert_found(&place, "flake", listed, "two");
}

/// As of devenv: shells beside the checks that only evaluate impurely.
#[test]
fn checks_beside_impure_shells() {
    let place = Place::new();
    let flake = format!(
        r#"{{
  outputs = {{ self }}: {{
    devShells.x86_64-linux.default =
      let root = builtins.getEnv "PWD"; in
      if root == "" then throw "devenv was not able to determine the current directory" else root;
    checks.x86_64-linux = {{ shell = {}; }};
  }};
}}"#,
        test("shell")
    );
    repository(&place, "flake", &[("flake.nix", &flake)]);
    let listed = "checks.x86_64-linux.shell (shell): machine\n";
    assert_found(&place, "flake", listed, "shell");
}

/// As of snowfall: a folder for each check, found by its name.
#[test]
fn checks_of_folders() {
    let place = Place::new();
    let flake = r#"{
  outputs = inputs: let
    system = "x86_64-linux";
    names = builtins.attrNames (builtins.readDir ./checks);
  in {
    checks.${system} = builtins.listToAttrs (map (name: {
      inherit name;
      value = import (./checks + "/${name}") { inherit inputs system; };
    }) names);
  };
}"#;
    let check = |name: &str| format!("{{ inputs, system, ... }}: {}", test(name));
    let files = [
        ("flake.nix", flake),
        ("checks/web/default.nix", &*check("web")),
        ("checks/mail/default.nix", &check("mail")),
    ];
    repository(&place, "flake", &files);
    // Git does not know it, and so no flake does.
    fs::create_dir_all(place.path().join("flake/checks/new")).unwrap();
    place.write("flake/checks/new/default.nix", &check("new"));
    let listed =
        "checks.x86_64-linux.mail (mail): machine\nchecks.x86_64-linux.web (web): machine\n";
    assert_found(&place, "flake", listed, "web");
}

/// A path that leads out of a flake is an error that says what the flake has.
#[test]
fn a_flake_that_names_a_parent() {
    let place = Place::new();
    fs::create_dir_all(place.path().join("above/tests")).unwrap();
    place.write("above/script.py", "machine.succeed('true')");
    let flake = format!(
        "{{ outputs = {{ self }}: {{ checks.x86_64-linux.t = {} // {{ testScript = builtins.readFile ../script.py; }}; }}; }}",
        test("t")
    );
    place.write("above/tests/flake.nix", &flake);
    let run = || place.run(&["run", "--nixpkgs", "builtin", "./above/tests#t"]);
    let ended = run();
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let hint = "\n\nA relative path leads out of the flake, to /nix/store/script.py: it is in no git repository, and so its folder is all that it has: `git init` in a folder above, and `git add` there, give it more.\n";
    assert!(ended.stderr.ends_with(hint), "{}", ended.seen());
    // What the hint says helps.
    git(&place, &["init", "--quiet", "above"]);
    git(&place, &["-C", "above", "add", "."]);
    let ended = run();
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    place.write("above/tests/flake.nix", &flake.replace("../", "../../"));
    let ended = run();
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let hint = "leads out of the flake, to /nix/store/script.py: the flake has the files of its repository, [DIR]/above.\n";
    assert!(ended.stderr.ends_with(hint), "{}", ended.seen());
}
