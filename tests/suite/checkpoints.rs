//! Runs that begin where an earlier one was.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use regex_lite::Regex;

use crate::harness::{Ended, Place, fixture_path, signal};

/// A place whose runs know of each other.
struct Again {
    place: Place,
}

impl Again {
    fn new() -> Self {
        Self {
            place: Place::new(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.place.command_again(arguments)
    }

    /// Runs the test with the options.
    fn run(&self, options: &[&str]) -> Ended {
        let arguments = [&["run", "--nixpkgs", "builtin", "test.nix"], options].concat();
        self.finish(&arguments)
    }

    fn finish(&self, arguments: &[&str]) -> Ended {
        let child = self.command(arguments).spawn().unwrap();
        let mut ended = self.place.finish(child);
        let age = Regex::new(r"recorded \d+ (s|min) ago").unwrap();
        ended.stdout = age.replace_all(&ended.stdout, "recorded [AGE] ago").into();
        ended
    }

    /// A test of one tiny machine with this script.
    fn write(&self, script: &str) {
        self.place.write("script.py", script);
        self.place.write(
            "test.nix",
            r#"
              (import <nixpkgs> { }).nixosTest {
                name = "again";
                nodes.machine.virtualisation.guest = "tiny";
                testScript = builtins.readFile ./script.py;
              }
            "#,
        );
    }

    /// What was saved of memories.
    fn memories(&self) -> Vec<PathBuf> {
        let below = |folder: PathBuf| {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let slots = below(self.place.path().join("cache/snowglobe/checkpoints"));
        let checkpoints = slots.into_iter().flat_map(below);
        checkpoints
            .flat_map(below)
            .map(|machine| machine.join("memory"))
            .filter(|memory| memory.is_file())
            .collect()
    }
}

fn first_line(ended: &Ended) -> &str {
    ended.stdout.lines().next().unwrap_or_default()
}

const SCRIPT: &str = r#"
import random, time

start_all()
machine.succeed("echo kept > /tmp/kept")
print("drawn", random.random(), time.time())
checkpoint("here")
print(machine.succeed("cat /tmp/kept").strip())
print("the first end")
"#;

#[test]
fn a_run_after_an_edit() {
    let again = Again::new();
    again.write(SCRIPT);
    let first = again.run(&[]);
    insta::assert_snapshot!("first_run", comparable(&first));
    again.write(&SCRIPT.replace("the first end", "another end"));
    let second = again.run(&[]);
    insta::assert_snapshot!("second_run", comparable(&second));
    // Clocks and random numbers are those that the script has seen.
    let drawn = |ended: &Ended| {
        let mut lines = ended.stdout.lines();
        lines
            .find(|line| line.starts_with("drawn"))
            .unwrap()
            .to_owned()
    };
    assert_eq!(drawn(&first), drawn(&second));
    let verified = again.run(&["--verify"]);
    assert_eq!(verified.code, Some(0), "{}", verified.seen());
    assert_eq!(
        first_line(&verified),
        "from checkpoint \"here\" (recorded [AGE] ago)"
    );
    // After it only the place of the report follows.
    let verdict = verified.stdout.lines().rev().nth(1);
    assert_eq!(verdict, Some("verified: the cold run has the same verdict"));

    assert_eq!(first_line(&again.run(&["--cold"])), "cold");
    // Where nothing of it is the same, nothing is lost by trying.
    again.write(&SCRIPT.replace("kept", "other"));
    let other = again.run(&[]);
    let differs = "cold: machine.succeed is another call than in the last run, and the first checkpoint comes later";
    assert_eq!((first_line(&other), other.code), (differs, Some(0)));
    assert_eq!(other.stderr, "");
    again.place.assert_tidy();
}

/// What was seen of a run, without what a script draws, what time it is, which
/// of two machines that are restored side by side is the first, and when they
/// are waited for: before a call, too, where a checkpoint can be afforded.
fn comparable(ended: &Ended) -> String {
    let replacements = [
        (r"(?m)^drawn .*$", "drawn [DRAWS]"),
        (
            r"(?m)^seed \d+: `--seed \d+`",
            "seed [SEED]: `--seed [SEED]`",
        ),
        (r"\b\d{10}\b", "[TIME]"),
        (
            r"(?m)^(client|server): (started|ready after .*|waiting for the guest .*)\n",
            "",
        ),
    ];
    replacements
        .iter()
        .fold(ended.seen(), |text, (pattern, replacement)| {
            let pattern = Regex::new(pattern).unwrap();
            pattern.replace_all(&text, *replacement).into_owned()
        })
}

#[test]
fn nothing_is_lost_over_a_checkpoint() {
    let again = Again::new();
    let fixture = |name| fs::read_to_string(fixture_path(name)).unwrap();
    again.place.write("test.nix", &fixture("checkpoint.nix"));
    let script = fixture("checkpoint.py");
    again.place.write("checkpoint.py", &script);
    insta::assert_snapshot!("cold_with_a_checkpoint", comparable(&again.run(&[])));
    // What follows the checkpoint has changed, and is executed on the machines.
    let edited = script.replace("echo after", "echo long after");
    again.place.write("checkpoint.py", &edited);
    insta::assert_snapshot!("from_the_checkpoint", comparable(&again.run(&[])));
    again.place.assert_tidy();
}

#[test]
fn a_result_that_differs() {
    let again = Again::new();
    again.write(
        r#"
start_all()
machine.connect()
checkpoint("here")
machine.succeed("cat /proc/sys/kernel/random/uuid")
"#,
    );
    assert_eq!(again.run(&[]).code, Some(0));
    let second = again.run(&[]);
    assert_eq!(second.code, Some(0), "{}", second.seen());
    assert_eq!(
        first_line(&second),
        "from checkpoint \"here\" (recorded [AGE] ago)"
    );
    // It also shows that no random number comes twice.
    let warning = "machine.succeed gives another result than in the run before";
    assert!(second.stdout.contains(warning), "{}", second.seen());
    let cold = "\ncold: the checkpoint cannot be used\n";
    assert!(second.stdout.contains(cold), "{}", second.seen());
    // Later runs know, and are restored before it.
    for _ in 0..2 {
        let later = again.run(&[]);
        assert_eq!(later.code, Some(0), "{}", later.seen());
        assert_eq!(first_line(&later), first_line(&second));
        assert!(!later.stdout.contains("cold"), "{}", later.seen());
    }
    again.place.assert_tidy();
}

#[test]
fn checkpoints_that_are_damaged() {
    let again = Again::new();
    again.write(SCRIPT);
    again.run(&[]);
    let memories = again.memories();
    assert!(!memories.is_empty());
    for memory in &memories {
        let length = fs::metadata(memory).unwrap().len();
        fs::write(memory, vec![7; usize::try_from(length).unwrap()]).unwrap();
    }
    let garbage = again.run(&[]);
    assert_eq!(garbage.code, Some(0), "{}", garbage.seen());
    assert!(
        garbage
            .stdout
            .contains("the checkpoint \"here\" cannot be restored"),
        "{}",
        garbage.seen()
    );
    again.run(&[]);
    // One bit of a page that QEMU would take as it is.
    let memories = again.memories();
    assert!(!memories.is_empty());
    for memory in memories {
        let mut bytes = fs::read(&memory).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(memory, bytes).unwrap();
    }
    let flipped = again.run(&[]);
    assert_eq!(flipped.code, Some(0), "{}", flipped.seen());
    assert!(
        flipped
            .stdout
            .contains("/memory is damaged: restarting without the checkpoint"),
        "{}",
        flipped.seen()
    );
    let memories = again.memories();
    assert!(!memories.is_empty());
    for memory in memories {
        File::create(memory).unwrap().set_len(100).unwrap();
    }
    let short = again.run(&[]);
    let damaged = "cold: the checkpoints of the last run are damaged";
    assert_eq!((first_line(&short), short.code), (damaged, Some(0)));
    again.place.assert_tidy();
}

#[test]
fn clocks_may_be_left_as_they_are() {
    let again = Again::new();
    let script = r#"
import time
start_all()
machine.connect()
checkpoint("here", keep_time=True)
then = int(machine.succeed("date +%s"))
late = time.time() - then
print("late" if late > 4 else "in time")
"#;
    again.write(script);
    let first = again.run(&[]);
    assert!(first.stdout.contains("\nin time\n"), "{}", first.seen());
    // How much time goes by is what the script reads.
    std::thread::sleep(std::time::Duration::from_secs(5));
    again.write(&script.replace("date +%s", "date -u +%s"));
    let second = again.run(&[]);
    assert!(second.stdout.contains("\nlate\n"), "{}", second.seen());
}

#[test]
fn what_is_outside_ends_a_record() {
    let again = Again::new();
    again.write(
        r#"
import subprocess
start_all()
machine.connect()
checkpoint("here")
subprocess.run(["touch", "was-here"])
machine.succeed("true")
"#,
    );
    again.run(&[]);
    fs::remove_file(again.place.path().join("was-here")).unwrap();
    let second = again.run(&[]);
    assert_eq!(
        first_line(&second),
        "from checkpoint \"here\" (recorded [AGE] ago)"
    );
    assert_eq!(second.code, Some(0), "{}", second.seen());
    assert!(again.place.path().join("was-here").exists());
    again.place.assert_tidy();
}

#[test]
fn a_failure_is_found_again() {
    let again = Again::new();
    again.write(
        r#"
start_all()
machine.connect()
checkpoint("here")
machine.succeed("echo no >&2; exit 3")
"#,
    );
    assert_eq!(again.run(&[]).code, Some(1));
    let second = again.run(&[]);
    insta::assert_snapshot!("failed_again", second.seen());
    // Where all calls are known, the machines are asked all the same.
    again.write(
        r#"
start_all()
machine.connect()
checkpoint("here")
assert machine.succeed("echo no") == "yes\n"
"#,
    );
    assert_eq!(again.run(&[]).code, Some(1));
    let third = again.run(&[]);
    assert_eq!(third.code, Some(1), "{}", third.seen());
    let asked = "machine: must succeed: echo no\n";
    assert!(third.stdout.contains(asked), "{}", third.seen());
    again.place.assert_tidy();
}

#[test]
fn cold_runs_say_why() {
    let again = Again::new();
    again.write("print('nothing starts')");
    assert_eq!(first_line(&again.run(&[])), "cold");
    assert_eq!(
        first_line(&again.run(&[])),
        "cold: the last run took no checkpoint (`checkpoint(NAME)` in the script takes one)"
    );
    again.write(SCRIPT);
    again.run(&[]);
    // What the machine is made of is in a file that the test imports.
    let test = fs::read_to_string(again.place.path().join("test.nix")).unwrap();
    let imports = "nodes.machine.imports = [ ./machine.nix ]; nodes.machine.virtualisation";
    let test = test.replace("nodes.machine.virtualisation", imports);
    again.place.write("test.nix", &test);
    let machine = |text: &str| format!("{{ environment.etc.version.text = {text:?}; }}");
    again.place.write("machine.nix", &machine("first"));
    again.run(&[]);
    again.place.write("machine.nix", &machine("second"));
    assert_eq!(
        first_line(&again.run(&[])),
        "cold: machine machine has changed since the last run"
    );
    let mut other = again.command(&["run", "--nixpkgs", "builtin", "test.nix"]);
    other.env("QEMU_OPTS", "-name other");
    let other = again.place.finish(other.spawn().unwrap());
    assert_eq!(
        first_line(&other),
        "cold: the last run had no options of QEMU"
    );
    again.place.assert_tidy();
}

/// Signals of systemd reach a virtual machine's waits, also after the machine was restored.
#[test]
fn units_that_fail_are_named_before_and_after_a_restore() {
    let again = Again::new();
    again.place.write(
        "test.nix",
        r#"
          (import <nixpkgs> { }).nixosTest {
            name = "again";
            nodes.server.systemd.services.late.script = "sleep 2; cat /etc/missing";
            testScript = builtins.readFile ./script.py;
          }
        "#,
    );
    let script = |timeout: u32| {
        format!(
            "server.wait_for_unit('multi-user.target')\ncheckpoint('up')\n\
             server.succeed('systemctl start --no-block late')\n\
             server.wait_for_open_port(8080, timeout={timeout})\n"
        )
    };
    for (timeout, begin) in [
        (30, "cold"),
        (31, "from checkpoint \"up\" (recorded [AGE] ago)"),
    ] {
        again.place.write("script.py", &script(timeout));
        let ended = again.run(&[]);
        let seen = ended.seen();
        assert_eq!((first_line(&ended), ended.code), (begin, Some(1)), "{seen}");
        for line in [
            "server: warning: unit late.service has failed (exit-code, exit code 1); its journal ends:\n",
            "  cat: /etc/missing: No such file or directory\n",
            "\nthe unit late.service has failed:\n",
        ] {
            assert!(seen.contains(line), "{line}\n{seen}");
        }
    }
    again.place.assert_tidy();
}

#[test]
fn the_cache_is_listed_and_cleared() {
    let again = Again::new();
    again.write(SCRIPT);
    again.run(&[]);
    let listed = again.finish(&["cache"]);
    let lines: Vec<&str> = listed.stdout.lines().collect();
    assert!(lines[0].starts_with("again: 1 checkpoint, ") && lines[0].contains("MiB, used "));
    assert!(lines[1].ends_with("of at most 10.00 GiB in [DIR]/cache/snowglobe/checkpoints"));
    let cleared = again.finish(&["cache", "clear"]);
    assert!(
        cleared.stdout.ends_with("MiB removed\n"),
        "{}",
        cleared.seen()
    );
    assert_eq!(again.memories(), Vec::<PathBuf>::new());
    assert_eq!(first_line(&again.run(&[])), "cold");
}

#[test]
fn only_machines_that_have_changed_boot() {
    let again = Again::new();
    let test = r#"
      (import <nixpkgs> { }).nixosTest {
        name = "again";
        nodes.client.virtualisation.guest = "tiny";
        nodes.server = {
          virtualisation.guest = "tiny";
          environment.etc.version.text = "VERSION";
        };
        testScript = ''
          start_all()
          client.succeed("echo kept > /tmp/kept")
          print(server.succeed("cat /etc/version").strip())
          checkpoint("both")
          print(client.succeed("cat /tmp/kept; ping -c 1 server > /dev/null").strip())
        '';
      }
    "#;
    again
        .place
        .write("test.nix", &test.replace("VERSION", "first"));
    assert_eq!(first_line(&again.run(&[])), "cold");
    again
        .place
        .write("test.nix", &test.replace("VERSION", "second"));
    insta::assert_snapshot!("one_machine_boots", comparable(&again.run(&[])));
    again.place.assert_tidy();
}

#[test]
fn watching_begins_again_from_there() {
    let again = Again::new();
    again.write(SCRIPT);
    let command = again.command(&["watch", "--nixpkgs", "builtin", "test.nix"]);
    let child = again.place.start_shown(command);
    let pid = child.id();
    again.place.wait_for_text("shown", "watching 2 files: ");
    again.write(&SCRIPT.replace("the first end", "another end"));
    again
        .place
        .wait_for_text("shown", "from checkpoint \"here\"");
    again.place.wait_for_text("shown", "another end");
    signal(pid, "INT");
    assert_eq!(again.place.finish(child).code, Some(130));
    again.place.assert_tidy();
}

/// The form of what nixpkgs' runTest gives; without a nixpkgs, of no use.
const FORM_OF_RUN_TEST: &str = r#"
  let
    make = safe: rec {
      inherit (config) nodes;
      extend = { modules }: make (modules != [ ]);
      config = {
        name = "form";
        globalTimeout = 10;
        enableOCR = false;
        skipLint = false;
        testScriptString = "";
        hostPkgs = {
          stdenv.hostPlatform.system = "x86_64-linux";
          stdenv.shell = "/bin/sh";
          python3Packages = { };
        };
        interactive = config;
        nodes.machine = {
          system.name = "machine";
          system.build.vm = derivation {
            name = "vm";
            system = "x86_64-linux";
            builder = "/bin/sh";
          };
          virtualisation = {
            vlans = [ 1 ];
            memorySize = 384;
            useNixStoreImage = safe;
            sharedDirectories = if safe then { } else { store = 1; };
          };
        };
      };
    };
  in
  make false
"#;

#[test]
fn machines_of_nixos_can_be_made_safe() {
    let again = Again::new();
    again.place.write("test.nix", FORM_OF_RUN_TEST);
    for (options, safe) in [
        (&[][..], "false"),
        (&["--snapshot-safe"][..], "true"),
        (&["--snapshot-safe=virtiofs"][..], "true"),
        (&["--snapshot-safe=image"][..], "true"),
        (&["--snapshot-safe=off"][..], "false"),
    ] {
        let ended = again.finish(&[&["eval", "test.nix", "--format", "json"], options].concat());
        let shown = format!("\"snapshot_safe\": {safe}");
        assert!(ended.stdout.contains(&shown), "{}", ended.seen());
    }
}

#[test]
fn a_configuration_makes_machines_safe() {
    let again = Again::new();
    again.place.write("test.nix", FORM_OF_RUN_TEST);
    let shown = |config: &str, options: &[&str]| {
        let text = format!("[defaults]\nsnapshot-safe = \"{config}\"\n");
        again.place.write("snowglobe.toml", &text);
        let ended = again.finish(&[&["eval", "test.nix", "--format", "json"], options].concat());
        ended.seen()
    };
    assert!(shown("auto", &[]).contains("\"snapshot_safe\": true"));
    assert!(shown("off", &[]).contains("\"snapshot_safe\": false"));
    assert!(shown("auto", &["--snapshot-safe=off"]).contains("\"snapshot_safe\": false"));
    let wrong = shown("always", &[]);
    assert!(wrong.contains("unknown variant `always`"), "{wrong}");
}

#[test]
fn nodes_that_cannot_be_saved_are_named() {
    let again = Again::new();
    let legacy = fixture_path("legacy.nix");
    let arguments = ["run", "--nixpkgs", "builtin", legacy.to_str().unwrap()];
    let ended = again.finish(&arguments);
    assert!(first_line(&ended).starts_with("cold: "), "{}", ended.seen());
    assert!(
        first_line(&ended).ends_with(
            "cannot be saved: folders of the host are mounted over 9p; `--snapshot-safe`, or `snapshot-safe = \"auto\"` in snowglobe.toml, builds machines without (nixpkgs 23.05 or newer)"
        ),
        "{}",
        ended.seen()
    );
}
