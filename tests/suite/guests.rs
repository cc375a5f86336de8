//! Sets up the built-in guests: from which suite of Debian, and what is wrong with a request.

use std::fs;
use std::process::Command;

use crate::harness::{Ended, Place};

/// The tool with guests of its own.
fn with_own_guests(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command(arguments);
    command
        .env("XDG_DATA_HOME", place.path().join("data"))
        .env("XDG_CACHE_HOME", place.path().join("cache"));
    command
}

pub fn run(place: &Place, arguments: &[&str]) -> Ended {
    place.finish(with_own_guests(place, arguments).spawn().unwrap())
}

/// Debian 13 has all of it below /usr, compresses its modules, and has other
/// releases of everything.
#[test]
fn guests_of_another_suite() {
    let place = Place::new();
    let fetched = run(&place, &["guest", "fetch", "--suite", "trixie"]);
    assert_eq!(fetched.code, Some(0), "{}", fetched.seen());
    let index = place.path().join("data/snowglobe/guest-index.json");
    let read = || fs::read_to_string(&index).unwrap();
    let of_trixie = read();
    assert!(of_trixie.contains("\"suite\": \"trixie\""), "{of_trixie}");

    // The suite stays until another one is named.
    let again = run(&place, &["guest", "fetch", "--if-needed"]);
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""));
    let other = run(&place, &["guest", "fetch", "--suite", "no-such-suite"]);
    assert_eq!(other.code, Some(4), "{}", other.seen());
    for part in ["`apt-get update` failed", "no-such-suite Release"] {
        assert!(other.stderr.contains(part), "{}", other.seen());
    }
    assert_eq!(read(), of_trixie);

    place.write(
        "test.nix",
        r#"
          let pkgs = import <nixpkgs> { }; in
          pkgs.nixosTest {
            name = "trixie";
            nodes.tiny.virtualisation.guest = "tiny";
            nodes.debian = { };
            testScript = ''
              start_all()
              assert machines[0].succeed("uname -r").startswith("6.12.")
              debian.wait_for_unit("multi-user.target")
              t.assertIn("systemd 257", debian.succeed("systemctl --version"))
              debian.succeed("ping -c 1 tiny")
            '';
          }
        "#,
    );
    let ended = run(&place, &["run", "--nixpkgs", "builtin", "test.nix"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn a_suite_has_a_name_of_a_suite() {
    let place = Place::new();
    let ended = run(&place, &["guest", "fetch", "--suite", "../etc"]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    assert_eq!(
        ended.stderr,
        "error: --suite: \"../etc\" is no name of a suite of Debian, such as `trixie`, or `own`\n"
    );
}

#[test]
fn services_in_python_run_with_its_standard_library() {
    let place = Place::new();
    place.write(
        "test.nix",
        r#"
          let
            pkgs = import <nixpkgs> { };
          in
          pkgs.nixosTest {
            name = "python";
            nodes.server = { pkgs, ... }: {
              virtualisation.backend = "container";
              environment.etc."shop/index.html".text = "Welcome";
              environment.systemPackages = [ pkgs.python3 ];
              systemd.services.web = {
                wantedBy = [ "multi-user.target" ];
                script = "exec ${pkgs.python3}/bin/python3 -m http.server --directory /etc/shop 8080";
              };
            };
            testScript = ''
              server.wait_for_open_port(8080)
              program = "import ctypes, hashlib, json, sqlite3, ssl; from urllib.request import urlopen; "
              program += "print(json.dumps(urlopen('http://localhost:8080/').read().decode()))"
              assert server.succeed(f'python3 -c "{program}"') == '"Welcome"\n'
            '';
          }
        "#,
    );
    let ended = place.run(&["run", "--nixpkgs", "builtin", "--cold", "test.nix"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
}
