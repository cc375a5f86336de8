//! Tests as derivations: flake checks, their drivers, and references to them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::harness::{Ended, Place, fixture_path, where_it_runs};

/// The fixture's flake, with what it needs beside it.
fn flake(place: &Place) -> PathBuf {
    let folder = place.path().join("flake");
    let library = fixture_path("../nix-lib");
    for (from, to) in [
        (fixture_path("flake"), &folder),
        (library, &folder.join("nix-lib")),
    ] {
        let copied = Command::new("cp")
            .arg("--recursive")
            .args([&from, to])
            .status()
            .unwrap();
        assert!(copied.success());
    }
    let file = folder.join("snowglobe-guests.json");
    let ended = place.run(&["guest", "pin", file.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    folder
}

/// Runs `nix` in the flake, without a network.
fn nix(place: &Place, arguments: &[&str]) -> Ended {
    nix_of(place, "flake", arguments)
}

fn nix_of(place: &Place, folder: &str, arguments: &[&str]) -> Ended {
    let mut command = Command::new("nix");
    command
        .args(["--extra-experimental-features", "nix-command flakes"])
        .args([
            "--option",
            "substituters",
            "",
            "--option",
            "sandbox",
            "true",
        ])
        .args(["--option", "build-users-group", ""])
        .args(arguments)
        .current_dir(place.path().join(folder))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    place.finish(command.spawn().unwrap())
}

#[test]
fn checks_run_in_the_sandbox() {
    let place = Place::new();
    let folder = flake(&place);
    let check = "path:.#checks.x86_64-linux.hello";
    let ended = nix(&place, &["build", check, "--rebuild", "--print-build-logs"]);
    // There is nothing to compare with at the first build of a derivation.
    let first = nix(&place, &["build", check, "--print-build-logs"]);
    assert_eq!(first.code, Some(0), "{}\n{}", ended.seen(), first.seen());
    let log = ended.stderr + &first.stderr;
    assert!(log.contains("hello from machine"), "{log}");
    assert!(log.contains("passed: hello ("), "{log}");
    let console = folder.join("result/console/machine.log");
    assert!(console.is_file());

    let ended = nix(&place, &["flake", "check", "path:."]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
}

#[test]
fn a_failing_check_ends_with_the_report() {
    let place = Place::new();
    flake(&place);
    let ended = nix(&place, &["build", "path:.#failing", "--print-build-logs"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    let log: Vec<&str> = ended
        .stderr
        .lines()
        .filter_map(|line| line.split_once("> "))
        .map(|(_, line)| line)
        .collect();
    let report = log.join("\n");
    for part in [
        "command `echo it was here; false` failed on machine (exit code 1)",
        "its standard output:\n  it was here",
    ] {
        assert!(report.contains(part), "{}", ended.seen());
    }
    let last = log.iter().rev().find(|line| line.starts_with("failed: "));
    assert!(last.is_some(), "{}", ended.seen());
}

#[test]
fn a_check_has_its_driver_beside_it() {
    let place = Place::new();
    let folder = flake(&place);
    let ended = nix(
        &place,
        &["build", "path:.#checks.x86_64-linux.hello.driver"],
    );
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let mut driver = Command::new(folder.join("result/bin/nixos-test-driver"));
    driver
        .current_dir(place.path())
        .env("TMPDIR", place.path().join("tmp"))
        .env_remove("XDG_RUNTIME_DIR")
        .args(["-o", "out"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = place.finish(driver.spawn().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(
        ended.stdout.contains("\npassed: hello ("),
        "{}",
        ended.seen()
    );
    assert!(place.path().join("out/console/machine.log").is_file());
    place.assert_tidy();
}

#[test]
fn a_flake_is_a_source_of_tests() {
    let place = Place::new();
    let folder = flake(&place);
    let reference = format!("path:{}", folder.display());
    let ended = place.run(&["list", &reference]);
    assert_eq!(
        ended.stdout,
        "checks.x86_64-linux.hello (hello): machine\n",
        "{}",
        ended.seen()
    );
    let ended = place.run(&["run", &format!("{reference}#failing")]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    // The script is found in the flake's own files.
    assert!(
        ended.stdout.contains("/flake/flake.nix:"),
        "{}",
        ended.seen()
    );

    let ended = place.run(&["list", &format!("{reference}#nothing")]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    assert!(
        ended.stderr.starts_with(
            "error: the flake has no check, package or output `nothing`; of checks there are: "
        ),
        "{}",
        ended.seen()
    );
    // The `#` is left out.
    let ended = place.run(&["list", "flake"]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (
            Some(2),
            "error: flake has a flake.nix, and no default.nix: `flake#` means the checks of the flake\n"
        )
    );
    let ended = place.run(&["list", "/no/such/folder#x"]);
    assert_eq!(
        ended.seen(),
        "exit code: 2\n--- stdout\n--- stderr\n\
         error: the flake /no/such/folder: No such file or directory (os error 2)\n"
    );
}

/// Runs git in the place.
pub fn git(place: &Place, arguments: &[&str]) {
    let mut command: Command = where_it_runs("git", &place.command(&[]));
    let identity = [
        "-c",
        "user.email=author@example.org",
        "-c",
        "user.name=Author",
    ];
    let status = command.args(identity).args(arguments).status().unwrap();
    assert!(status.success(), "{arguments:?}");
}

#[test]
fn a_folder_in_a_repository_is_what_git_knows_of_it() {
    let place = Place::new();
    let flake = r#"{
  outputs = { self }: {
    checks.x86_64-linux.files = {
      name = "files";
      nodes.machine.virtualisation = { guest = "tiny"; backend = "container"; };
      testScript = builtins.readFile ../script.py;
    };
  };
}
"#;
    for folder in ["repo/tests", "repo/target"] {
        fs::create_dir_all(place.path().join(folder)).unwrap();
    }
    place.write("repo/tests/flake.nix", flake);
    place.write("repo/script.py", "machine.succeed('false')\n");
    place.write("repo/.gitignore", "target\n");
    // No store path can hold it, and git does not know it.
    nix::unistd::mkfifo(
        &place.path().join("repo/target/pipe"),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .unwrap();
    git(&place, &["init", "--quiet", "repo"]);
    git(&place, &["-C", "repo", "add", "."]);
    let commit = ["-C", "repo", "commit", "--quiet", "--message", "tests"];
    git(&place, &commit);
    let list = |reference: &str| place.run(&["list", "--nixpkgs", "builtin", reference]);
    let listed = "checks.x86_64-linux.files (files): machine\n";
    // Nix takes a dirty tree. A folder below finds the flake.
    place.write("repo/script.py", "machine.fail('true')\n");
    fs::create_dir(place.path().join("repo/tests/below")).unwrap();
    let absolute = format!("{}/repo/tests#", place.path().display());
    for reference in [&absolute, "./repo/tests#", "./repo/tests/below#"] {
        let ended = list(reference);
        assert_eq!(ended.stdout, listed, "{reference}: {}", ended.seen());
    }
    // The script is above the flake, and shown in the user's own file.
    let ended = place.run(&["run", "--nixpkgs", "builtin", "./repo/tests#files"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert!(
        ended.stdout.contains("/script.py:1:1 ]"),
        "{}",
        ended.seen()
    );
    assert!(!place.path().join("repo/tests/flake.lock").exists());

    git(&place, &["-C", "repo", "add", "."]);
    git(&place, &commit);
    git(
        &place,
        &["-C", "repo", "worktree", "add", "--quiet", "../linked"],
    );
    let ended = list("./linked/tests#");
    assert_eq!(ended.stdout, listed, "{}", ended.seen());
    let address = format!("file://{}/repo", place.path().display());
    git(
        &place,
        &["clone", "--quiet", "--depth", "1", &address, "shallow"],
    );
    let ended = list("./shallow/tests#");
    assert_eq!(ended.stdout, listed, "{}", ended.seen());

    // A file that git does not know.
    place.write(
        "repo/tests/flake.nix",
        &flake.replace("../script.py", "../new.py"),
    );
    place.write("repo/new.py", "machine.start()\n");
    let ended = list("./repo/tests#");
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let hint = "The file is there, but git does not know it, and of a repository Nix reads what git knows: `git -C [DIR]/repo add new.py`.\n";
    assert!(ended.stderr.ends_with(hint), "{}", ended.seen());
    git(&place, &["-C", "repo", "add", "new.py"]);
    assert_eq!(list("./repo/tests#").stdout, listed);

    for (reference, message) in [
        (
            "./repo#",
            "there is no flake.nix, and none in a folder above in its repository",
        ),
        (
            "./repo/tests?dir=other#",
            "`dir` cannot be given, since the folder is in the repository",
        ),
    ] {
        let ended = list(reference);
        assert_eq!(ended.code, Some(2), "{}", ended.seen());
        assert!(ended.stderr.contains(message), "{}", ended.seen());
    }
}

/// A flake in a repository whose inputs are folders, and what the name of its test is made of.
struct WithInputs {
    place: Place,
}

impl WithInputs {
    fn new() -> Self {
        let place = Place::new();
        let root = place.path().display().to_string();
        for folder in ["one", "two", "plain", "flake/tests", "flake/shared"] {
            fs::create_dir_all(place.path().join(folder)).unwrap();
        }
        for word in ["one", "two"] {
            let text = format!("{{ outputs = {{ self }}: {{ text = \"{word}\"; }}; }}");
            place.write(&format!("{word}/flake.nix"), &text);
        }
        place.write("plain/text", "plain");
        let inner = format!(
            r#"{{
  inputs.word.url = "path:{root}/one";
  inputs.plain = {{ url = "path:{root}/plain"; flake = false; }};
  outputs = {{ self, word, plain }}: {{ text = "${{word.text}}-${{builtins.readFile "${{plain}}/text"}}"; }};
}}
"#
        );
        place.write("flake/shared/flake.nix", &inner);
        let made = Self { place };
        made.write("");
        git(&made.place, &["init", "--quiet", "flake"]);
        git(&made.place, &["-C", "flake", "add", "."]);
        made
    }

    /// Writes the flake, with one more line.
    fn write(&self, more: &str) {
        let root = self.place.path().display();
        let flake = format!(
            r#"{{
  inputs.shared.url = "path:{root}/flake/shared";
  inputs.word.follows = "shared/word";
  {more}
  outputs = {{ self, shared, word, ... }}: {{
    checks.x86_64-linux.test = {{
      name = "${{shared.text}}-${{word.text}}";
      nodes.machine.virtualisation.guest = "tiny";
      testScript = "";
    }};
  }};
}}
"#
        );
        self.place.write("flake/tests/flake.nix", &flake);
    }

    /// Has Nix write the lock file, which is returned.
    fn lock(&self) -> String {
        nix_of(&self.place, "flake/tests", &["flake", "lock", "."]);
        git(&self.place, &["-C", "flake", "add", "."]);
        fs::read_to_string(self.lock_file()).unwrap()
    }

    fn lock_file(&self) -> PathBuf {
        self.place.path().join("flake/tests/flake.lock")
    }

    fn list(&self, options: &[&str]) -> Ended {
        let list = ["list", "--nixpkgs", "builtin", "./flake/tests#test"];
        self.place.run(&[&list, options].concat())
    }

    /// The name of the test.
    fn named(&self, options: &[&str]) -> String {
        let ended = self.list(options);
        let text = ended.stdout.strip_prefix("checks.x86_64-linux.test (");
        let text = text.and_then(|text| text.strip_suffix("): machine\n"));
        text.unwrap_or_else(|| panic!("{}", ended.seen()))
            .to_owned()
    }

    fn refuses(&self, options: &[&str], message: &str) {
        let ended = self.list(options);
        assert_eq!(ended.code, Some(2), "{}", ended.seen());
        assert!(ended.stderr.contains(message), "{}", ended.seen());
    }
}

#[test]
fn inputs_are_those_of_the_lock_unless_the_user_wants_others() {
    let flake = WithInputs::new();
    assert_eq!(flake.named(&[]), "one-plain-one");
    // Nothing is written, with or without a wish.
    assert!(!flake.lock_file().exists());
    let locked = flake.lock();
    let two = format!("path:{}/two", flake.place.path().display());
    for (options, expected) in [
        (vec![], "one-plain-one"),
        (
            vec!["--override-input", "shared/word", &two],
            "two-plain-two",
        ),
        (
            vec!["--override-input", "word", &two, "--no-write-lock-file"],
            "one-plain-two",
        ),
        (
            vec!["--no-update-lock-file", "--no-registries"],
            "one-plain-one",
        ),
    ] {
        assert_eq!(flake.named(&options), expected, "{options:?}");
    }
    assert_eq!(fs::read_to_string(flake.lock_file()).unwrap(), locked);
}

#[test]
fn locks_that_do_not_fit_are_errors_of_the_flake() {
    let flake = WithInputs::new();
    let locked = flake.lock();
    let two = format!("path:{}/two", flake.place.path().display());
    flake.write(&format!("inputs.more.url = \"{two}\";"));
    assert_eq!(flake.named(&[]), "one-plain-one");
    flake.refuses(&["--no-update-lock-file"], "requires lock file changes");
    assert_eq!(fs::read_to_string(flake.lock_file()).unwrap(), locked);
    // An input is not what the lock says.
    flake.write("");
    let hash = locked.split("sha256-").nth(1).unwrap();
    let hash = hash.split('"').next().unwrap();
    let other = "A".repeat(hash.len() - 1) + "=";
    fs::write(flake.lock_file(), locked.replace(hash, &other)).unwrap();
    flake.refuses(&[], "is not what flake.lock says of it");
    fs::write(flake.lock_file(), "{").unwrap();
    flake.refuses(
        &[],
        "error: cannot read the flake git+file://[DIR]/flake?dir=tests: ",
    );
    fs::write(flake.lock_file(), &locked).unwrap();
    // The words of Nix are Nix's.
    let unknown = ["--override-input", "word", "no-such-scheme:x"];
    flake.refuses(&unknown, "no-such-scheme");
    let place = &flake.place;
    place.write("test.nix", "{ nodes = { }; testScript = \"\"; }");
    let ended = place.run(&["list", "test.nix", "--no-registries"]);
    let message = "error: test.nix is no flake: it has no inputs to override or to lock\n";
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(2), message));
}

/// `hello.nix`, run by Nix.
fn run_as_derivation(place: &Place, fixture: &str, arguments: &[&str]) -> Ended {
    let all = [&["--as-derivation", "--allow-emulation"], arguments].concat();
    place.run_fixture(fixture, &all)
}

#[test]
fn many_tests_are_run_by_nix_at_once() {
    let place = Place::new();
    let arguments = ["--filter", "boots | wrong | broken", "--backend", "vm"];
    let ended = run_as_derivation(&place, "suite", &arguments);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    for part in [
        "running 3 tests, at most 3 at a time\n",
        "passed: boots ([T] s)\n",
        "failed: wrong ([T] s)\n",
        "unexpectedly succeeded on machine\n",
        "3 tests in [T] s: 1 passed, 1 failed, 1 not run\n  failed: wrong\n  not run: broken\n",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.seen());
    }
    let results = place.path().join("results");
    let junit = std::fs::read_to_string(results.join("junit.xml")).unwrap();
    assert!(junit.contains("unexpectedly succeeded"), "{junit}");
    for file in ["boots/events.jsonl", "wrong/build.log", "report.html"] {
        assert!(results.join(file).is_file(), "{file}");
    }
    // What has passed is known to Nix.
    let ended = run_as_derivation(
        &place,
        "suite",
        &["--filter", "boots | files", "--backend", "vm"],
    );
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(
        ended.stdout.contains("2 tests in [T] s: 2 passed\n"),
        "{}",
        ended.seen()
    );
    let ended = run_as_derivation(&place, "suite", &["-A", "boots", "--backend", "vm"]);
    let note = "Nix has built this test before: the verdict is that of the earlier build\n";
    assert!(ended.stdout.contains(note), "{}", ended.seen());
    assert!(ended.stdout.contains("\npassed: boots ([T] s)\n"));
    place.assert_tidy();
}

#[test]
fn a_test_is_run_by_nix() {
    let place = Place::new();
    let ended = run_as_derivation(&place, "hello.nix", &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(
        ended
            .stdout
            .ends_with("\npassed: hello ([T] s)\nreport in [DIR]/result-hello/report.html\n"),
        "{}",
        ended.seen()
    );
    let output = place.path().join("result-hello");
    assert!(output.join("console/machine.log").is_file());
    let report = std::fs::read_to_string(output.join("junit.xml")).unwrap();
    assert!(report.contains("failures=\"0\""), "{report}");

    let ended = run_as_derivation(&place, "failing.nix", &["-A", "command"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    for part in [
        "its standard output:\n  it is broken\n",
        "\nfailed: command (",
    ] {
        assert!(ended.stdout.contains(part), "{}", ended.seen());
    }
    assert!(place.path().join("result-command/build.log").is_file());

    // No builder has what it asks for: it did not run.
    let arguments = ["--as-derivation", "--option", "system-features", "none"];
    let ended = place.run_fixture("reboot.nix", &arguments);
    assert_eq!(ended.code, Some(3), "{}", ended.seen());
    assert!(ended.stderr.contains("kvm"), "{}", ended.seen());
}

#[test]
fn a_test_runs_on_another_builder() {
    let place = Place::new();
    // A derivation that this machine has never built.
    let text = format!(
        r#"(import <nixpkgs> {{ }}).nixosTest {{
          name = "elsewhere";
          nodes.machine.virtualisation.guest = "tiny";
          testScript = ''print("{}")'';
        }}"#,
        place.path().display()
    );
    let file = place.write("test.nix", &text);
    let second = place.path().join("second-store");
    let builders = format!(
        "local?root={} x86_64-linux - 1 1 nixos-test",
        second.display()
    );
    let ended = place.run(&[
        "run",
        "--as-derivation",
        "--allow-emulation",
        "--nixpkgs",
        "builtin",
        file.to_str().unwrap(),
        "--verbose",
        "--option",
        "builders",
        &builders,
        "--option",
        "max-jobs",
        "0",
        "--option",
        "require-sigs",
        "false",
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(
        ended.stdout.contains("vm-test-run-elsewhere> passed: "),
        "{}",
        ended.seen()
    );
    let built = std::fs::read_dir(second.join("nix/store")).unwrap();
    assert!(
        built.flatten().any(|entry| entry
            .file_name()
            .to_string_lossy()
            .ends_with("-vm-test-run-elsewhere")),
        "the other store has the build"
    );
}
