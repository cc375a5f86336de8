//! Words that a shell completes, asked for by a real bash.

use std::process::{Command, Stdio};

use crate::harness::{Ended, Place, where_it_runs};

/// Asks for the words that may follow, as bash does when Tab is pressed.
const ASK: &str = r#"
set -u
source <(snowglobe completions bash)
COMP_WORDS=(snowglobe "$@") COMP_CWORD=$# COMP_TYPE=9
_clap_complete_snowglobe snowglobe "${@: -1}" "${@: -2:1}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

const TESTS: &str = r#"
  let
    pkgs = import <nixpkgs> { };
    tiny.virtualisation.guest = "tiny";
  in
  {
    shop.visit = pkgs.nixosTest {
      name = "visit";
      nodes = { client = tiny; server = tiny; };
      testScript = ''
        with subtest("a user's first visit"):
            client.succeed("true")
        for name in ["a", "b"]:
            with subtest(f"loop {name}"):
                with subtest("inner"):
                    pass
      '';
    };
    other = pkgs.nixosTest {
      name = "other";
      nodes.machine = tiny;
      testScript = "machine.succeed('true')";
    };
  }
"#;

fn bash(place: &Place, words: &[&str]) -> Ended {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_snowglobe"));
    let folder = program.parent().unwrap().display();
    let path = std::env::var("PATH").unwrap();
    let mut command: Command = where_it_runs("bash", &place.command(&[]));
    command
        .args(["-c", ASK, "bash"])
        .args(words)
        .env("PATH", format!("{folder}:{path}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    place.finish(command.spawn().unwrap())
}

/// The words that bash offers, without options, which follow where a positional argument may.
fn offered(place: &Place, words: &[&str]) -> Vec<String> {
    let ended = bash(place, words);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{words:?}");
    let lines = ended.stdout.lines().filter(|line| !line.starts_with('-'));
    let words = lines.filter(|line| !line.is_empty());
    words.map(str::to_owned).collect()
}

#[test]
fn what_a_test_file_holds_is_offered() {
    let place = Place::new();
    place.write("shop.nix", TESTS);
    place.write("module.nix", "{ services.nginx.enable = true; }");
    place.write("broken.nix", "{ testScript = ");
    let run = ["run", "--nixpkgs", "builtin", "shop.nix"];
    let of_run = |words: &[&str]| offered(&place, &[&run, words].concat());
    assert_eq!(of_run(&["-A", ""]), ["other", "shop.visit"]);
    assert_eq!(of_run(&["-A", "sh"]), ["shop.visit"]);
    assert_eq!(
        of_run(&["-A", "shop.visit", "--only", ""]),
        ["a.user.s.first.visit", "inner"]
    );
    assert_eq!(of_run(&["--filter", "v"]), ["visit"]);
    assert_eq!(
        offered(&place, &["shell", "--nixpkgs", "builtin", "shop.nix", ""]),
        ["client", "machine", "server"]
    );
    // Where nothing evaluates, nothing is offered, and nothing is said.
    let broken = ["run", "--nixpkgs", "builtin", "broken.nix", "-A", ""];
    assert_eq!(offered(&place, &broken), [""; 0]);
    assert_eq!(offered(&place, &["run", "nosuch.nix", "-A", ""]), [""; 0]);
    place.assert_tidy();
}

#[test]
fn files_commands_and_values_are_offered() {
    let place = Place::new();
    place.write("shop.nix", TESTS);
    place.write("module.nix", "{ services.nginx.enable = true; }");
    assert_eq!(offered(&place, &["run", "./"]), ["./shop.nix", "./tmp/"]);
    assert_eq!(offered(&place, &["check", "./m"]), ["./module.nix"]);
    assert_eq!(offered(&place, &["wat"]), ["watch"]);
    for internal in ["container", "tidy", "test-process", "mock", "play"] {
        assert_eq!(offered(&place, &[internal]), [""; 0], "{internal}");
    }
    assert_eq!(
        offered(&place, &["run", "--backend", ""]),
        ["vm", "container", "auto"]
    );
    assert_eq!(offered(&place, &["run", "--jobs", ""]), ["auto"]);
    assert_eq!(offered(&place, &["run", "--nixpkgs", "b"]), ["builtin"]);
    assert_eq!(
        offered(&place, &["run", "--partition", ""]),
        ["hash:", "slice:"]
    );
}

#[test]
fn tests_of_the_history_are_offered() {
    let place = Place::new();
    place.write("test.nix", "{ name = \"known\"; nodes.machine.virtualisation = { guest = \"tiny\"; backend = \"container\"; }; testScript = \"machine.start()\"; }");
    let ended = place.run(&["run", "--nixpkgs", "builtin", "test.nix"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert_eq!(offered(&place, &["history", "kn"]), ["known"]);
}
