//! Sets up the built-in guests: from which suite of Debian, and what is wrong with a request.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use snowglobe::nix_cli::names_beside;

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

/// Makes a data folder of the place's own, with the guests of the user but for what `guest fetch` has added by request.
fn data_without_requests(place: &Place) -> PathBuf {
    let data = place.path().join("data");
    let folder = data.join("snowglobe");
    fs::create_dir_all(&folder).unwrap();
    let users = snowglobe::guest::index_path().unwrap();
    let mut index: Value = serde_json::from_slice(&fs::read(&users).unwrap()).unwrap();
    let npm = index["npm"].as_object_mut().unwrap();
    npm.retain(|name, _| name == "postgrest");
    let requested = |name: &str| {
        let names = [
            "default-jdk-headless",
            "default-jre-headless",
            "perl",
            "php-cli",
            "python3-tornado",
            "redis-server",
            "ruby",
        ];
        names.contains(&name)
    };
    let units = index["units"].as_object_mut().unwrap();
    units.retain(|_, unit| {
        let debs = unit["debs"].as_array().unwrap();
        !debs.iter().any(|name| requested(name.as_str().unwrap()))
    });
    fs::write(folder.join("guest-index.json"), index.to_string()).unwrap();
    fs::copy(names_beside(&users), folder.join("guest-names.txt")).unwrap();
    data
}

/// Fetches packages into a data folder of the place's own.
fn fetch(place: &Place, packages: &[&str]) -> PathBuf {
    let data = data_without_requests(place);
    let mut command = place.command(&[&["guest", "fetch"], packages].concat());
    let ended = place.finish(command.env("XDG_DATA_HOME", &data).spawn().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    data
}

#[test]
fn services_in_many_languages() {
    let place = Place::new();
    let data = fetch(
        &place,
        &[
            "default-jdk-headless",
            "nodejs",
            "perl",
            "python3-requests",
            "ruby",
        ],
    );
    place.write(
        "test.nix",
        r#"
          let
            pkgs = import <nixpkgs> { };
            machine = { pkgs, ... }: {
              virtualisation.backend = "container";
              environment.systemPackages = with pkgs; [
                jdk
                perl
                ruby
                (python3.withPackages (p: [ p.requests ]))
              ];
              environment.etc = {
                "web.js".text = ''
                  const crypto = require("crypto"), http = require("http");
                  const hash = crypto.createHash("sha256").update("x").digest("hex");
                  http.createServer((_, answer) => answer.end(hash.slice(0, 8))).listen(8080);
                '';
                "Host.java".text = ''
                  public class Host {
                    public static void main(String[] arguments) throws Exception {
                      System.out.println(java.net.InetAddress.getLocalHost().getHostName());
                    }
                  }
                '';
              };
            };
          in
          pkgs.nixosTest {
            name = "languages";
            nodes.debian = { pkgs, ... }: {
              imports = [ machine ];
              networking.firewall.allowedTCPPorts = [ 8080 ];
              systemd.services.web = {
                wantedBy = [ "multi-user.target" ];
                script = "exec ${pkgs.nodejs}/bin/node /etc/web.js";
              };
            };
            nodes.tiny = { pkgs, ... }: {
              imports = [ machine ];
              virtualisation.guest = "tiny";
              environment.systemPackages = [ pkgs.nodejs ];
            };
            testScript = ''
              debian.wait_for_open_port(8080)
              python = "import requests; print(requests.get('http://debian:8080').text)"
              perl = "use Encode; use IO::Socket; use JSON::PP; use POSIX; print encode_json([ceil(0.5)])"
              ruby = 'require "json"; require "openssl"; require "socket"; require "webrick"; puts JSON.dump([2])'
              for machine in [debian, tiny]:
                  assert machine.succeed(f'python3 -c "{python}"') == "2d711642\n"
                  assert machine.succeed(f"perl -e '{perl}'") == "[1]"
                  assert machine.succeed(f"ruby -e '{ruby}'") == "[2]\n"
                  machine.succeed("cd /tmp && javac -d . /etc/Host.java")
                  assert machine.succeed("cd /tmp && java Host").strip() == machine.name
              assert tiny.succeed("node -p 6*7") == "42\n"
            '';
          }
        "#,
    );
    let mut command = place.command(&["run", "--nixpkgs", "builtin", "--cold", "test.nix"]);
    let ended = place.finish(command.env("XDG_DATA_HOME", &data).spawn().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn packages_that_are_not_fetched_name_the_way() {
    let place = Place::new();
    let data = data_without_requests(&place);
    let evaluate = |package: &str| {
        place.write(
            "test.nix",
            &format!(
                "{{ name = \"missing\"; nodes.machine = {{ pkgs, ... }}: {{ environment.systemPackages = [ pkgs.{package} ]; }}; \
                 testScript = \"\"; }}"
            ),
        );
        let mut command = place.command(&["eval", "--nixpkgs", "builtin", "test.nix"]);
        let ended = place.finish(command.env("XDG_DATA_HOME", &data).spawn().unwrap());
        assert_eq!(ended.code, Some(2), "{}", ended.seen());
        ended.stderr
    };
    for (package, hint) in [
        (
            "redis-server",
            "Debian has a package of this name: `snowglobe guest fetch redis-server` adds it as `pkgs.redis-server`.",
        ),
        (
            "python3Packages.tornado",
            "Debian has `python3-tornado`: `snowglobe guest fetch python3-tornado` adds it as `pkgs.python3Packages.tornado`.",
        ),
        (
            "nosuch",
            "If this is a package: Debian has none of the name `nosuch`. `apt-cache search` finds what Debian calls it; \
             `snowglobe guest fetch NAME` adds that to the built-in ones.",
        ),
    ] {
        let message = evaluate(package);
        assert!(message.ends_with(&format!("\n\n{hint}\n")), "{message}");
    }
    for package in ["nodejs", "jdk", "jre", "perl", "ruby", "php"] {
        let message = evaluate(package);
        let way = "is not set up here: run `snowglobe guest fetch ";
        assert!(message.contains(way), "{message}");
    }
}

/// The first table of the page "Use the built-in guests".
#[test]
fn packages_of_the_page_are_there() {
    let place = Place::new();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/guests.md");
    let page = fs::read_to_string(page).unwrap();
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| Always there"));
    let rows = rows
        .take_while(|line| line.starts_with('|'))
        .collect::<String>();
    let names: Vec<&str> = rows.split('`').skip(1).step_by(2).collect();
    assert!(names.len() > 30, "{names:?}");
    let packages = names.iter().map(|name| format!("pkgs.{name}"));
    let packages = packages.collect::<Vec<_>>().join(" ");
    place.write(
        "test.nix",
        &format!("{{ name = \"all\"; nodes.machine = {{ pkgs, ... }}: {{ environment.systemPackages = [ {packages} ]; }}; testScript = \"\"; }}"),
    );
    let ended = place.run(&["eval", "--nixpkgs", "builtin", "test.nix"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
}
