//! Debian's packages in the place of nixpkgs' own: fetching them, what a package of nixpkgs becomes, and wrong usage.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::guests::run;
use crate::harness::Place;

/// Gives the place the built-in guests of this machine, on which the fixtures run.
fn with_guests(place: &Place) {
    let home = std::env::var("HOME").unwrap();
    let data = std::env::var("XDG_DATA_HOME").unwrap_or(format!("{home}/.local/share"));
    let own = place.path().join("data/snowglobe");
    fs::create_dir_all(&own).unwrap();
    let name = "guest-index.json";
    fs::copy(format!("{data}/snowglobe/{name}"), own.join(name)).unwrap();
}

/// Builds what nix-lib makes of the arguments of a derivation of nixpkgs.
fn build(place: &Place, derivation: &str) -> String {
    let data = place.path().join("data/snowglobe");
    let expression = format!(
        "let
          read = file: builtins.fromJSON (builtins.readFile file);
          debs = import ./nix-lib/debian/debs.nix {{
            index = read {data}/debian-own.json;
            available = read {data}/debian-own-names.json;
          }};
          packages = import ./nix-lib/debian/packages.nix {{ inherit debs; tree = /nowhere; userTable = null; }};
        in packages.hook {derivation}",
        data = data.display()
    );
    let output = Command::new("nix-build")
        .args([
            "--option",
            "build-users-group",
            "",
            "--no-out-link",
            "-E",
            &expression,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_package_of_nixpkgs_is_made_of_debs() {
    let place = Place::new();
    with_guests(&place);
    let test = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/hello.nix");
    let request = [
        "guest",
        "fetch",
        "--suite",
        "own",
        "--nixpkgs",
        "builtin",
        "--for",
        test,
    ];
    let fetched = run(
        &place,
        &[&request[..], &["cowsay", "hello", "sudo"]].concat(),
    );
    assert_eq!(fetched.code, Some(0), "{}", fetched.seen());
    assert!(
        fetched
            .stderr
            .ends_with(" Debian packages for NixOS machines are in the store\n")
    );

    // What is called as in Debian needs no entry, and its sources are not looked at.
    let hello = build(
        &place,
        r#"{ pname = "hello"; version = "9"; name = "hello-9"; src = throw "a source"; outputs = [ "out" "man" ]; }"#,
    );
    assert!(hello.ends_with("-hello-9"), "{hello}");
    let said = Command::new(format!("{hello}/bin/hello")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "Hello, world!\n");

    // An entry of the table finishes the tree.
    let bash = build(&place, r#"{ pname = "bash-interactive"; version = "5"; }"#);
    assert_eq!(
        fs::read_link(format!("{bash}/bin/sh")).unwrap(),
        Path::new("bash")
    );

    // A script runs with the store's interpreter, its modules and a variable of the table.
    let cowsay = build(&place, r#"{ pname = "cowsay"; version = "3"; }"#);
    let program = format!("{cowsay}/bin/cowsay");
    let said = Command::new(program)
        .env_clear()
        .arg("moo")
        .output()
        .unwrap();
    let cow = String::from_utf8_lossy(&said.stdout);
    assert!(cow.contains("< moo >") && cow.contains("(oo)"), "{cow}");

    // No program of a store runs with another user's rights.
    let sudo = build(&place, r#"{ pname = "sudo"; version = "1"; }"#);
    let program = fs::metadata(format!("{sudo}/bin/sudo")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&program.permissions()) & 0o7000,
        0
    );
}

#[test]
fn packages_that_are_not_fetched() {
    let place = Place::new();
    let test = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/hello.nix");
    let ended = run(&place, &["run", test, "--packages", "debian"]);
    assert_eq!(ended.code, Some(4), "{}", ended.seen());
    assert_eq!(
        ended.stderr,
        "error: no Debian packages for NixOS machines are set up: run `snowglobe guest fetch --for FILE` with the options of this command\n"
    );
}

#[test]
fn what_packages_may_be() {
    let place = Place::new();
    let test = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/hello.nix");
    for wrong in ["fedora", "debian:", "debian:../x"] {
        let ended = run(&place, &["run", test, "--packages", wrong]);
        assert_eq!(ended.code, Some(2), "{wrong}: {}", ended.seen());
    }
    let ended = run(&place, &["guest", "fetch", "-A", "login"]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    assert!(ended.stderr.contains("--for <FILE>"), "{}", ended.seen());
    let ended = run(&place, &["run", test, "--packages-table", "table.nix"]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    assert_eq!(
        ended.stderr,
        "error: --packages-table is of use with `--packages debian` only\n"
    );
}

#[test]
fn what_tests_need_is_built_and_nothing_runs() {
    let place = Place::new();
    let test = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/hello.nix");
    let built = place.run(&["build", test, "--nixpkgs", "builtin", "-o", "link"]);
    assert_eq!(built.code, Some(0), "{}", built.seen());
    let link = fs::read_link(place.path().join("link")).unwrap();
    assert_eq!(built.stdout, "/nix/store/[HASH]-test-manifest-hello.json\n");
    assert!(
        link.to_str()
            .unwrap()
            .ends_with("-test-manifest-hello.json")
    );

    place.write(
        "tool.nix",
        r#"{ tool = (import <nixpkgs> { }).writeShellScriptBin "tool" "echo works"; }"#,
    );
    let tool = ["build", "tool.nix", "--nixpkgs", "builtin", "-A", "tool"];
    let built = place.run(&[&tool[..], &["--out-link", "tool"]].concat());
    assert_eq!(built.code, Some(0), "{}", built.seen());
    let program = place.path().join("tool/bin/tool");
    let said = Command::new(program).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "works\n");

    place.write(
        "broken.nix",
        r#"{ broken = (import <nixpkgs> { }).runCommand "broken" { } "exit 9"; }"#,
    );
    let ended = place.run(&[
        "build",
        "broken.nix",
        "--nixpkgs",
        "builtin",
        "-A",
        "broken",
    ]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""));
    assert!(ended.stderr.contains("-broken.drv"), "{}", ended.seen());
    let ended = place.run(&["build", "broken.nix", "--nixpkgs", "builtin"]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
}
