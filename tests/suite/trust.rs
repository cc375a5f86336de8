//! What a run promises: no guest reaches the host, nothing is lost, no verdict
//! is wrong, no other user gets in. docs/src/trust.md lists the promises.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{
    Ended, Place, Pty, fixture_path, run_beside_small_disk, signal, within_patience,
};

/// The command line of a test of hostile.nix.
fn hostile(name: &str) -> Vec<String> {
    let file = fixture_path("hostile.nix");
    let words = ["run", "--nixpkgs", "builtin", file.to_str().unwrap(), "-A"];
    words
        .iter()
        .chain([&name])
        .map(|word| (*word).to_owned())
        .collect()
}

fn command(place: &Place, words: &[String]) -> Command {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    place.command(&words)
}

fn run_hostile(place: &Place, name: &str) -> Ended {
    place.finish(command(place, &hostile(name)).spawn().unwrap())
}

/// A test of one tiny machine.
fn write_test(place: &Place, name: &str, script: &str) {
    place.write("script.py", script);
    place.write(
        "test.nix",
        &format!(
            "(import <nixpkgs> {{ }}).nixosTest {{ name = \"{name}\"; \
             nodes.machine.virtualisation.guest = \"tiny\"; testScript = builtins.readFile ./script.py; }}"
        ),
    );
}

const RUN: [&str; 4] = ["run", "--nixpkgs", "builtin", "test.nix"];

fn passed(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
}

fn holds(ended: &Ended, parts: &[&str]) {
    for part in parts {
        let seen = ended.seen();
        assert!(seen.contains(part), "{part:?} is missing:\n{seen}");
    }
}

// ── A guest must not reach the host ─────────────────────────────────────────

#[test]
fn copies_stay_in_their_folders() {
    let place = Place::new();
    let secret = place.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("data"), "secret of the host\n").unwrap();
    let mut command = command(&place, &hostile("copies"));
    passed(&place.finish(command.env("SECRET", &secret).spawn().unwrap()));
    let names: Vec<_> = fs::read_dir(&secret).unwrap().flatten().collect();
    assert_eq!(names.len(), 1, "a guest had the host write: {names:?}");
    let data = fs::read_to_string(secret.join("data")).unwrap();
    assert_eq!(data, "secret of the host\n");
    place.assert_tidy();
}

#[test]
fn saved_files_are_harmless() {
    let place = Place::new();
    let ended = run_hostile(&place, "saved");
    passed(&ended);
    holds(
        &ended,
        &[
            "machine: warning: links to absolute paths are copied as they are: tree/absolute\n",
            "machine: warning: set-uid and set-gid bits are not copied: tree/program\n",
        ],
    );
}

/// What a terminal would obey, but for line ends and tabs.
fn obeyed(text: &str) -> Option<char> {
    text.chars()
        .find(|c| c.is_control() && !matches!(c, '\n' | '\t'))
}

#[test]
fn no_escape_sequence_reaches_plain_output() {
    let place = Place::new();
    let words = [hostile("escapes"), vec!["--verbose".to_owned()]].concat();
    let ended = place.finish(command(&place, &words).spawn().unwrap());
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert_eq!(obeyed(&ended.seen()), None, "{:?}", ended.seen());
    holds(
        &ended,
        &[
            "machine # console \u{fffd}H␍passed: forged",
            "stdout \u{fffd}H␍passed: forged",
        ],
    );
    let output = place.path().join("result-escapes");
    let junit = fs::read_to_string(output.join("junit.xml")).unwrap();
    assert_eq!(obeyed(&junit), None, "{junit:?}");
    let console = fs::read(output.join("console/machine.log")).unwrap();
    let raw = b"\x1b]52;c;ZXZpbA==\x07";
    assert!(console.windows(raw.len()).any(|part| part == raw));
    for format in ["json", "human"] {
        let words = [
            hostile("escapes"),
            vec!["--format".to_owned(), format.to_owned()],
        ]
        .concat();
        // Byte by byte: what is no text, or looks like a line of the kernel, too.
        let output = command(&place, &words).output().unwrap();
        for stream in [output.stdout, output.stderr] {
            let text = String::from_utf8(stream).unwrap();
            assert_eq!(obeyed(&text), None, "{text:?}");
            assert_eq!(text.is_empty(), !text.contains("forged"), "{text}");
        }
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn only_colours_reach_a_terminal() {
    let place = Place::new();
    let words = [hostile("escapes"), vec!["--verbose".to_owned()]].concat();
    let mut user = Pty::spawn(&mut command(&place, &words));
    user.wait_for("console \u{fffd}H␍passed: forged");
    user.wait_for("failed: escapes");
    let seen = user.seen();
    for sequence in ["\x1b]", "\x1bP", "\x1b[2J", "\u{9b}", "\x08", "\x07"] {
        assert!(!seen.contains(sequence), "{sequence:?} in {seen:?}");
    }
    assert_eq!(user.end(), Some(1));
}

#[test]
fn lines_and_commands_of_every_size() {
    let place = Place::new();
    let ended = run_hostile(&place, "lines");
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    holds(
        &ended,
        &[
            "machine: warning: a line on hvc0 was longer than 1 MiB and is cut\n",
            "x… (2000009 bytes)` failed on machine (exit code 1)",
        ],
    );
    assert!(ended.stdout.len() < 40_000, "{}", ended.stdout.len());
    place.assert_tidy();
}

#[test]
fn the_shell_of_nixos_before_20_09_is_found() {
    passed(&run_hostile(&Place::new(), "greeting"));
}

// ── Nothing lost, no wrong verdict ──────────────────────────────────────────

#[test]
fn files_of_others_are_never_removed() {
    let place = Place::new();
    fs::create_dir(place.path().join("thesis")).unwrap();
    place.write("thesis/events.jsonl", "not of a run");
    place.write("thesis/chapter.txt", "precious");
    let fixture = fixture_path("hello.nix");
    let words = ["run", "--nixpkgs", "builtin", fixture.to_str().unwrap()];
    let run = |folder: &str| place.run(&[&words[..], &["-o", folder]].concat());
    let refused = |folder: &str, name: &str| {
        assert_eq!(
            run(folder).seen(),
            format!(
                "exit code: 2\n--- stdout\n--- stderr\nerror: the output folder [DIR]/{folder} holds {name}, \
                 which Snowglobe has not listed as its own (a killed run does not list files that its script wrote itself): \
                 choose another folder with -o, or move the file away\n"
            )
        );
    };
    refused("thesis", "chapter.txt");
    assert!(place.path().join("thesis/chapter.txt").exists());
    // In a folder of a run, too.
    passed(&run("out"));
    place.write("out/notes.txt", "precious");
    refused("out", "notes.txt");
    assert!(place.path().join("out/console/machine.log").exists());
    fs::remove_file(place.path().join("out/notes.txt")).unwrap();
    passed(&run("out"));
}

#[test]
fn a_slow_reader_loses_nothing() {
    let place = Place::new();
    write_test(
        &place,
        "talkative",
        "for number in range(20000):\n    print(f'line {number} {\"x\" * 40}')\n",
    );
    let mut child = place.command(&RUN).spawn().unwrap();
    // No one reads: the pipe is full, and the files are written all the same.
    place.wait_for_text("result-talkative/junit.xml", "failures=\"0\" errors=\"0\"");
    let events = fs::read_to_string(place.path().join("result-talkative/events.jsonl")).unwrap();
    assert!(events.lines().last().unwrap().contains("test_finished"));
    assert_eq!(child.try_wait().unwrap(), None, "it waits for its reader");
    let ended = place.finish(child);
    passed(&ended);
    assert_eq!(ended.stdout.matches("\nline ").count(), 20000);
    let end = "passed: talkative ([T] s)\nreport in [DIR]/result-talkative/report.html\n";
    assert!(ended.stdout.ends_with(end));

    // A reader that leaves is none to wait for.
    let mut child = place.command(&RUN).spawn().unwrap();
    let mut some = [0; 100];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut some).unwrap();
    drop(stdout);
    passed(&place.finish(child));

    // Neither is one that is stopped, if the user does not want to wait.
    fs::remove_dir_all(place.path().join("result-talkative")).unwrap();
    let child = place.command(&RUN).spawn().unwrap();
    place.wait_for_text("result-talkative/junit.xml", "failures=\"0\" errors=\"0\"");
    signal(child.id(), "INT");
    // Its standard output stays open, and is not read.
    let code = within_patience(child, |mut child| Ok(child.wait()?.code()));
    assert_eq!(code, Some(0));
    place.assert_tidy();
}

/// The command line of the test, with more arguments.
fn in_small(arguments: &str) -> String {
    format!("{} {arguments}", RUN.join(" "))
}

/// What is said where the host has no room.
fn assert_no_room(ended: &Ended, what: &[&str]) {
    let begin = "HostDiskFull: the host has no room for what machine machine writes: ";
    let end = "; free some, or choose other places: -o for the output folder, XDG_RUNTIME_DIR or TMPDIR \
               for disks and copies under way\n";
    holds(ended, &[begin, end]);
    holds(ended, what);
    assert_eq!(ended.code, Some(4), "{}", ended.seen());
}

#[test]
fn a_disk_that_is_full_for_a_machine_is_no_failed_test() {
    let fill = "machine.succeed('dd if=/dev/urandom of=/tmp/large bs=1M count=20')\n";
    // The output folder is full, and the script takes it for a failed test.
    let place = Place::new();
    let copy = "try:\n    machine.copy_from_machine('/tmp/large')\nexcept Exception:\n    raise ValueError\n";
    write_test(&place, "copy", &format!("{fill}{copy}"));
    let ended = run_beside_small_disk(&place, "8M", &[], &in_small("-o small/out"));
    let what = "[DIR]/small/out/large: large: No space left on device (os error 28)";
    assert_no_room(&ended, &[what]);

    // The folder of copies under way is full, which the guest sees first.
    let place = Place::new();
    write_test(
        &place,
        "stage",
        &format!("{fill}machine.copy_from_machine('/tmp/large')\n"),
    );
    let small = place.path().join("small");
    let ended = run_beside_small_disk(&place, "8M", &[("TMPDIR", &small)], &in_small(""));
    assert_no_room(
        &ended,
        &["/vm-state-machine/xchg/copy-1: No space left on device (os error 28)"],
    );

    // The file of a disk cannot grow: QEMU stops the guest.
    let place = Place::new();
    write_test(
        &place,
        "disk",
        "machine.succeed('dd if=/dev/urandom of=/dev/vdb bs=1M count=20; sync')\n",
    );
    place.write(
        "test.nix",
        "(import <nixpkgs> { }).nixosTest { name = \"disk\"; testScript = builtins.readFile ./script.py; \
         nodes.machine.virtualisation = { guest = \"tiny\"; emptyDiskImages = [ 32 ]; }; }",
    );
    let small = place.path().join("small");
    let ended = run_beside_small_disk(&place, "8M", &[("TMPDIR", &small)], &in_small(""));
    assert_no_room(&ended, &["writes: its disk ", "/vm-state-machine; free"]);
}

#[test]
fn a_full_disk_is_no_passed_test() {
    let place = Place::new();
    write_test(
        &place,
        "full",
        "machine.connect()\nfor number in range(3000):\n    print('x' * 200)\n",
    );
    let ended = run_beside_small_disk(&place, "200k", &[], &in_small("-o small/out"));
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stdout.ends_with("passed: full ([T] s)\n"));
    assert_eq!(
        ended.stderr,
        "error: the output is incomplete: [DIR]/small/out/events.jsonl cannot be written: \
         No space left on device (os error 28); the test itself: passed\n"
    );
    // Standard output is an output, too.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let child = place.command(&RUN).stdout(full).spawn().unwrap();
    let ended = place.finish(child);
    assert_eq!(
        ended.seen(),
        "exit code: 4\n--- stdout\n--- stderr\nerror: cannot write to standard output: \
         No space left on device (os error 28)\n"
    );
}

#[test]
fn an_output_folder_is_one_runs_at_a_time() {
    let place = Place::new();
    write_test(
        &place,
        "long",
        "machine.connect()\nmachine.succeed('sleep 600')\n",
    );
    let first = place.command(&RUN).spawn().unwrap();
    place.wait_for_text("result-long/events.jsonl", "machine_ready");
    assert_eq!(
        place.run(&RUN).seen(),
        format!(
            "exit code: 2\n--- stdout\n--- stderr\nerror: the output folder [DIR]/result-long is in use by \
             process {} (test long): wait for its end, or choose another with -o\n",
            first.id()
        )
    );
    signal(first.id(), "INT");
    let ended = place.finish(first);
    assert_eq!(ended.code, Some(130), "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn a_script_cannot_end_the_program() {
    for call in [
        "os._exit(0)",
        "os.abort()",
        "os.execv('/bin/true', ['true'])",
        "os.execlp('true', 'true')",
        "__import__('posix')._exit(0)",
    ] {
        let place = Place::new();
        let script = format!("import os\ntry:\n    {call}\nexcept Exception:\n    pass\n");
        place.write("script.py", &script);
        let ended = place.run(&["mock-run", "--script", "script.py"]);
        assert_eq!(ended.code, Some(1), "{call}: {}", ended.seen());
        assert!(
            ended.stderr.starts_with("ProcessExit: os.") && ended.stderr.contains("use exit()"),
            "{call}: {}",
            ended.seen()
        );
    }
    // Nor can one of its threads.
    let place = Place::new();
    place.write(
        "script.py",
        "import os, threading\nthread = threading.Thread(target=lambda: os._exit(0))\nthread.start()\nthread.join()\n",
    );
    let ended = place.run(&["mock-run", "--script", "script.py"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    holds(
        &ended,
        &["ProcessExit: os._exit() would end Snowglobe itself"],
    );
    // A process that the script has forked is its own.
    let place = Place::new();
    place.write(
        "script.py",
        "import os\nif os.fork() == 0:\n    os._exit(7)\nprint(os.waitstatus_to_exitcode(os.wait()[1]))\n",
    );
    let ended = place.run(&["mock-run", "--script", "script.py"]);
    passed(&ended);
    assert!(ended.stderr.ends_with("\n7\n"), "{}", ended.seen());
}

#[test]
fn the_event_stream_is_nothing_else() {
    let place = Place::new();
    write_test(
        &place,
        "stream",
        // Processes of the script write to standard error.
        "start_all()\nmachine.connect()\ncheckpoint('here')\nmachine.succeed('true')\n\
         os.system('echo from a process')\nos.write(1, b'written\\n')\n",
    );
    let cache = place.path().join("cache");
    let run = |more: &[&str]| {
        let words = [&RUN[..], &["--format", "json"], more].concat();
        let mut command = place.command(&words);
        command.env_remove("CI").env("XDG_CACHE_HOME", &cache);
        let ended = place.finish(command.spawn().unwrap());
        passed(&ended);
        names(&ended.stdout)
    };
    run(&[]);
    let verified = run(&["--verify"]);
    assert_eq!(
        verified[verified.len() - 2..],
        ["verified", "report_written"]
    );
    let built = run(&["--as-derivation", "--allow-emulation"]);
    assert_eq!(
        built[built.len() - 2..],
        ["test_finished", "report_written"]
    );

    let words = [
        "watch",
        "--nixpkgs",
        "builtin",
        "test.nix",
        "--format",
        "json",
    ];
    let child = place.start_shown(place.command(&words));
    let pid = child.id();
    place.wait_for_text("shown", "\"event\":\"watching\"");
    signal(pid, "INT");
    let ended = place.finish(child);
    assert_eq!(ended.code, Some(130), "{}", ended.seen());
    let shown = fs::read_to_string(place.path().join("shown")).unwrap();
    assert_eq!(names(&shown).last().map(String::as_str), Some("watching"));
}

/// The names of the events in a stream in which each line is one.
fn names(stream: &str) -> Vec<String> {
    stream
        .lines()
        .map(|line| {
            let event: serde_json::Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            event["event"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn a_network_that_is_not_whole_fails_the_run() {
    let place = Place::new();
    let ended = run_hostile(&place, "fault");
    assert_eq!(ended.code, Some(4), "{}", ended.seen());
    holds(
        &ended,
        &[
            "machine machine cannot be attached to virtual network 1: it does not speak the protocol of VDE switches\n",
        ],
    );
    place.assert_tidy();
}

/// `eval` of a test, with a cache of its own.
fn evaluate(place: &Place, cache: &Path) -> Command {
    write_test(place, "cached", "");
    let mut command = place.command(&["eval", "--nixpkgs", "builtin", "test.nix"]);
    command.env("XDG_CACHE_HOME", cache);
    command
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn a_damaged_library_heals_itself() {
    let place = Place::new();
    let cache = place.path().join("cache");
    let run = || place.finish(evaluate(&place, &cache).spawn().unwrap());
    passed(&run());
    let library = files(&cache);
    let entry = library.iter().find(|path| path.ends_with("entry.nix"));
    fs::write(entry.unwrap(), "{ }: throw \"damaged\"").unwrap();
    let ended = run();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn without_a_cache_runs_are_cold() {
    let place = Place::new();
    let in_the_way = place.write("in the way", "a file");
    let data = format!("{}/.local/share", std::env::var("HOME").unwrap());
    let mut no_home = evaluate(&place, &in_the_way);
    no_home
        .env_remove("XDG_CACHE_HOME")
        .env_remove("HOME")
        .env("XDG_DATA_HOME", data);
    for (mut command, reason) in [
        (
            evaluate(&place, &in_the_way),
            "[DIR]/in the way/snowglobe: Not a directory (os error 20)",
        ),
        (
            evaluate(&place, Path::new("/proc/none")),
            "/proc/none/snowglobe: No such file or directory (os error 2)",
        ),
        (no_home, "neither XDG_CACHE_HOME nor HOME is set"),
    ] {
        let ended = place.finish(command.spawn().unwrap());
        passed(&ended);
        assert_eq!(
            ended.stderr,
            format!(
                "warning: the cache cannot be used ({reason}): nothing is remembered for the next run\n"
            )
        );
    }
    // A run as a whole.
    let mut command = place.command(&RUN);
    command.env_remove("CI").env("XDG_CACHE_HOME", &in_the_way);
    let ended = place.finish(command.spawn().unwrap());
    passed(&ended);
    assert!(
        ended
            .stdout
            .starts_with("cold: its checkpoints cannot be kept in "),
        "{}",
        ended.seen()
    );
}

#[test]
fn folders_with_a_comma_are_no_options_of_qemu() {
    let place = Place::new();
    let odd = place.path().join("tmp/a,b");
    fs::create_dir(&odd).unwrap();
    let fixture = fixture_path("ping.nix");
    let words = ["run", "--nixpkgs", "builtin", fixture.to_str().unwrap()];
    let mut command = place.command(&words);
    passed(&place.finish(command.env("TMPDIR", &odd).spawn().unwrap()));
    // A run script takes it by itself, when people start a machine by hand.
    let manifest = fs::read_to_string(place.path().join("result-ping/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let script = manifest["nodes"]["alice"]["start_script"].as_str().unwrap();
    let ended = place.finish(
        Command::new(script)
            .env("TMPDIR", &odd)
            .env("USE_TMPDIR", "1")
            .env("QEMU_OPTS", "-version")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    passed(&ended);
    fs::remove_dir_all(&odd).unwrap();
    place.assert_tidy();
}

// ── Let no one in ───────────────────────────────────────────────────────────

#[test]
fn run_folders_are_private_and_qemu_knows_no_secret() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_snowglobe");
    let line = shlex::try_join(hostile("environment").iter().map(String::as_str)).unwrap();
    let mut command = place.command(&[]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("umask 000; exec {program} {line}")])
        .current_dir(place.path())
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("SECRET_TOKEN", "x")
        .env("NIX_CONFIG", "access-tokens = example.com=secret")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.env_clear();
    passed(&place.finish(shell.spawn().unwrap()));
    let mode = |name: &str| {
        let path = place.path().join("result-environment").join(name);
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("events.jsonl"), mode("junit.xml")), (0o666, 0o666));
    place.assert_tidy();
}

#[test]
fn no_token_is_in_the_cache() {
    let place = Place::new();
    let cache = place.path().join("cache");
    let token = "secret-token-5309";
    let mut command = evaluate(&place, &cache);
    command.env("NIX_CONFIG", format!("access-tokens = example.com={token}"));
    place.settle();
    passed(&place.finish(command.spawn().unwrap()));
    let evaluations = files(&cache.join("snowglobe/evaluations"));
    assert_eq!(
        evaluations.len(),
        2,
        "an evaluation and a key: {evaluations:?}"
    );
    for file in files(&cache) {
        let bytes = fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(token), "{}", file.display());
    }
    let key = fs::metadata(cache.join("snowglobe/evaluations/key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
}

// ── Kills ───────────────────────────────────────────────────────────────────

/// How many runs are killed, unless `SNOWGLOBE_KILLS` says.
const KILLS: u64 = 4;

#[test]
fn nothing_is_left_after_random_kills() {
    let kills = std::env::var("SNOWGLOBE_KILLS");
    let kills = kills.map_or(KILLS, |text| text.parse().unwrap());
    assert!(kills > 0);
    let place = Place::new();
    write_test(
        &place,
        "killed",
        "start_all()\nmachine.connect()\nmachine.succeed('sleep 600')\n",
    );
    for number in 0..kills {
        let child = place.command(&RUN).spawn().unwrap();
        // At moments that are spread over evaluation, build, boot and command.
        let moment = (number * 2_654_435_761) % 8_000;
        std::thread::sleep(Duration::from_millis(moment));
        signal(child.id(), "KILL");
        place.finish(child);
        place.assert_tidy();
    }
    // All of these may have come before the boot: one more with a machine that runs.
    fs::remove_dir_all(place.path().join("result-killed")).unwrap();
    let child = place.command(&RUN).spawn().unwrap();
    place.wait_for_text("result-killed/events.jsonl", "machine_ready");
    signal(child.id(), "KILL");
    place.finish(child);
    place.assert_tidy();
    // The output folder is as good as before.
    write_test(&place, "killed", "machine.succeed('true')\n");
    passed(&place.run(&RUN));
    place.assert_tidy();
}

// ── A run always ends, with the right verdict ───────────────────────────────

/// Runs a test of one container with this script.
fn run_script(place: &Place, script: &str, arguments: &[&str]) -> Ended {
    write_test(place, "ends", script);
    place.run(&[&RUN[..], &["--backend", "container"], arguments].concat())
}

/// All reports of the run are there, and say how it ended.
fn assert_reported(place: &Place, outcome: &str) {
    for name in ["junit.xml", "report.html", "run.json", "events.jsonl"] {
        let file = place.path().join("result-ends").join(name);
        assert!(file.exists(), "{name}");
    }
    let results = fs::read_to_string(place.path().join("result-ends/run.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    assert_eq!(results["tests"][0]["outcome"], outcome, "{results}");
    place.assert_tidy();
}

#[test]
fn a_script_that_ends_its_process_is_an_error_with_its_signal() {
    for (signal, call) in [
        ("SIGALRM", "signal.alarm(1)"),
        ("SIGALRM", "signal.setitimer(signal.ITIMER_REAL, 0.2)"),
        ("SIGKILL", "os.kill(os.getpid(), signal.SIGKILL)"),
        ("SIGUSR2", "signal.raise_signal(signal.SIGUSR2)"),
    ] {
        let place = Place::new();
        let script = format!("import os, signal, time\n{call}\ntime.sleep(5)\nwhile True: pass\n");
        let ended = run_script(&place, &script, &[]);
        assert_eq!(ended.code, Some(4), "{call}: {}", ended.seen());
        let message =
            format!("ProcessEnded: the process that ran the script has ended by {signal}\n");
        holds(&ended, &[&message, "error: ends ("]);
        assert_reported(&place, "error");
    }
}

#[test]
fn a_script_that_ends_its_process_does_not_end_a_run_on_a_terminal() {
    let place = Place::new();
    let script = "import signal, time\nsignal.alarm(1)\ntime.sleep(5)\n";
    write_test(&place, "ends", script);
    let mut command = place.command(&[&RUN[..], &["--backend", "container"]].concat());
    let mut user = Pty::spawn(&mut command);
    user.wait_for("the process that ran the script has ended by SIGALRM");
    assert_eq!(user.end(), Some(4));
    assert_reported(&place, "error");
}

#[test]
fn a_stopped_script_is_ended_at_its_limit() {
    let place = Place::new();
    let script = "import os, signal\nmachine.connect()\nos.kill(os.getpid(), signal.SIGSTOP)\n";
    let ended = run_script(&place, script, &["--global-timeout", "3"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    holds(
        &ended,
        &[
            "GlobalTimeout: the test took longer than 3 s, and the process that runs the script is stopped",
        ],
    );
    assert_reported(&place, "failed");
}

#[test]
fn a_script_that_closes_all_files_is_ended() {
    let place = Place::new();
    let script = "import os\nmachine.connect()\nos.closerange(0, 1000)\nmachine.succeed('true')\n";
    let ended = run_script(&place, script, &[]);
    assert_eq!(ended.code, Some(4), "{}", ended.seen());
    holds(
        &ended,
        &["ProcessEnded: the process that ran the script has"],
    );
    assert_reported(&place, "error");
}

#[test]
fn a_second_interrupt_ends_whatever_the_script_does() {
    let place = Place::new();
    // It stops when its last event has arrived.
    let script = "import os, signal, time\nmachine.connect()\nfor number in (signal.SIGINT, signal.SIGTERM):\n    signal.signal(number, signal.SIG_IGN)\nprint('here')\ntime.sleep(2)\nwhile True:\n    os.kill(os.getpid(), signal.SIGSTOP)\n";
    write_test(&place, "ends", script);
    let mut command = place.command(&[&RUN[..], &["--backend", "container"]].concat());
    let child = command.spawn().unwrap();
    place.wait_for_text("result-ends/events.jsonl", "\"here\"");
    signal(child.id(), "INT");
    std::thread::sleep(Duration::from_millis(300));
    signal(child.id(), "INT");
    let ended = place.finish(child);
    assert_eq!(ended.code, Some(130), "{}", ended.seen());
    assert_reported(&place, "interrupted");
}

#[test]
fn a_process_of_ours_that_the_host_ends_is_no_failed_test() {
    let place = Place::new();
    let script = "\
import os, pathlib, signal, time
machine.connect()
for entry in pathlib.Path('/proc').iterdir():
    try:
        words = (entry / 'cmdline').read_bytes().split(b'\\0')
    except OSError:
        continue
    if words[1:2] == [b'container-keeper'] and str(machine.state_dir.parent).encode() in words[2]:
        os.kill(int(entry.name), signal.SIGKILL)
time.sleep(1)
machine.crash()
machine.start()
";
    let ended = run_script(&place, script, &[]);
    assert_eq!(ended.code, Some(4), "{}", ended.seen());
    holds(
        &ended,
        &[
            "HostFailure: the host cannot run machine machine: the process that holds the containers' namespace has ended by SIGKILL",
        ],
    );
    assert_reported(&place, "error");
}

#[test]
fn a_message_of_any_size_is_in_one_file() {
    let place = Place::new();
    let script = "out = 'x' * 60_000_000\nwith subtest('large'):\n    assert out == 'ok', out\n";
    let ended = run_script(&place, script, &[]);
    assert_eq!(
        ended.code,
        Some(1),
        "{}",
        &ended.stderr[..ended.stderr.len().min(2000)]
    );
    assert!(ended.stdout.len() < 20_000, "{}", ended.stdout.len());
    holds(&ended, &["[DIR]/result-ends/failure-message.txt"]);
    let output = place.path().join("result-ends");
    let size = |name: &str| fs::metadata(output.join(name)).unwrap().len();
    assert_eq!(size("failure-message.txt"), 60_000_000);
    for name in ["events.jsonl", "junit.xml", "report.html", "run.json"] {
        assert!(size(name) < 200_000, "{name}: {}", size(name));
    }
}

#[test]
fn variables_are_written_without_most_of_them() {
    let place = Place::new();
    let script = "many = list(range(3_000_000))\ndeep = {'a': [many]}\nassert many == deep\n";
    let ended = run_script(&place, script, &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    holds(
        &ended,
        &[
            "  many = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, … 2999980 more]",
        ],
    );
}

#[test]
fn full_outputs_leave_the_reports_whole() {
    let place = Place::new();
    write_test(
        &place,
        "ends",
        "machine.connect()\nraise ValueError('no')\n",
    );
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let words = [&RUN[..], &["--backend", "container"]].concat();
    let child = place
        .command(&words)
        .stdout(full())
        .stderr(full())
        .spawn()
        .unwrap();
    assert_eq!(place.finish(child).code, Some(4));
    assert_reported(&place, "failed");
    for words in [
        &["run", "missing.nix"][..],
        &["list"],
        &["report"],
        &["doctor"],
        &["guest"],
    ] {
        let child = place
            .command(words)
            .stdout(full())
            .stderr(full())
            .spawn()
            .unwrap();
        let code = place.finish(child).code;
        assert!(matches!(code, Some(2 | 4)), "{words:?}: {code:?}");
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_of_the_host() {
    let place = Place::new();
    let script = "import time\nprint('here')\ntime.sleep(2)\nfor number in range(20000):\n    print('x' * 200)\n";
    write_test(&place, "ends", script);
    let words = [&RUN[..], &["--backend", "container"]].concat();
    let child = place.command(&words).spawn().unwrap();
    place.wait_for_text("result-ends/events.jsonl", "\"here\"");
    // Nix' own files are larger.
    let limited = Command::new("prlimit")
        .args(["--fsize=300000", "--pid"])
        .arg(child.id().to_string())
        .status();
    assert!(limited.unwrap().success());
    let ended = place.finish(child);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    holds(
        &ended,
        &["events.jsonl cannot be written: File too large (os error 27)"],
    );
}

#[test]
fn times_are_those_of_the_script_whoever_reads() {
    let place = Place::new();
    let script = "import time\nmachine.connect()\nprint('first')\ntime.sleep(1)\nprint('second')\ntime.sleep(3)\nprint('third')\n";
    write_test(&place, "ends", script);
    let words = [&RUN[..], &["--backend", "container"]].concat();
    let child = place.command(&words).spawn().unwrap();
    let events = "result-ends/events.jsonl";
    place.wait_for_text(events, "\"first\"");
    // The reader of the script's process sees the second one late.
    signal(child.id(), "STOP");
    std::thread::sleep(Duration::from_millis(2500));
    signal(child.id(), "CONT");
    passed(&place.finish(child));
    let events = fs::read_to_string(place.path().join(events)).unwrap();
    let time = |text: &str| {
        let lines = events
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let found = lines.into_iter().find(|event| event["text"] == text);
        found.unwrap()["time_s"].as_f64().unwrap()
    };
    let between = time("second") - time("first");
    assert!((0.9..2.0).contains(&between), "{between}");
}

// ── Files and options from outside ──────────────────────────────────────────

#[test]
fn an_output_folder_that_is_moved_changes_no_file_elsewhere() {
    let place = Place::new();
    fs::create_dir(place.path().join("victim")).unwrap();
    let script = "import os\nmachine.connect()\nos.rename(driver.out_dir, '../moved')\nos.symlink('victim', driver.out_dir)\nmachine.succeed('echo x > /tmp/x')\nmachine.copy_from_machine('/tmp/x')\n";
    let script = script
        .replace("driver.out_dir", "machine.out_dir")
        .replace("'../moved'", "str(machine.out_dir) + '-moved'");
    let ended = run_script(&place, &script, &[]);
    let left: Vec<_> = fs::read_dir(place.path().join("victim")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}\n{}", ended.seen());
    assert_eq!(ended.code, Some(4), "{}", ended.seen());
    holds(&ended, &["the output folder was moved while the test ran"]);
    let moved = place.path().join("result-ends-moved");
    for name in ["x", "junit.xml", "console/machine.log"] {
        assert!(moved.join(name).exists(), "{name}");
    }
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let place = Place::new();
    passed(&run_script(&place, "pass\n", &[]));
    let output = place.path().join("result-ends");
    for (replaced, command) in [
        ("result-ends/run.json", vec!["report", "result-ends"]),
        (
            "result-ends/events.jsonl",
            vec!["play", "result-ends/events.jsonl"],
        ),
        ("state/snowglobe/runs.jsonl", vec!["history"]),
        (
            "snowglobe.toml",
            vec!["list", "--nixpkgs", "builtin", "test.nix"],
        ),
        ("test.nix", vec!["list", "--nixpkgs", "builtin", "test.nix"]),
    ] {
        let file = place.path().join(replaced);
        let kept = fs::read(&file).ok();
        let _ = fs::remove_file(&file);
        mknodat(CWD, &file, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let ended = place.run(&command);
        assert!(
            matches!(ended.code, Some(2 | 4)),
            "{replaced}: {}",
            ended.seen()
        );
        holds(&ended, &["it is a named pipe, and not a file"]);
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
        let ended = place.run(&command);
        assert!(
            matches!(ended.code, Some(2 | 4)),
            "{replaced}: {}",
            ended.seen()
        );
        holds(&ended, &["it is a device, and not a file"]);
        fs::remove_file(&file).unwrap();
        if let Some(kept) = kept {
            fs::write(&file, kept).unwrap();
        }
    }
    assert!(output.join("run.json").exists());
}

#[test]
fn paths_that_are_no_text_are_named() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    write_test(&place, "ends", "machine.succeed('true')\n");
    let odd = OsStr::from_bytes(b"odd\xff");
    let folder = place.path().join(odd);
    fs::create_dir(&folder).unwrap();
    // Another place is taken for what is temporary.
    let mut command = place.command(&[&RUN[..], &["--backend", "container"]].concat());
    command
        .env("TMPDIR", &folder)
        .env("XDG_CACHE_HOME", &folder);
    passed(&place.finish(command.spawn().unwrap()));
    let mut command = place.command(&RUN);
    command.arg("-o").arg(&folder);
    let ended = place.finish(command.spawn().unwrap());
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    holds(&ended, &["odd\u{fffd} is not UTF-8: rename what it names"]);
    let mut command = place.command(&["run", "--nixpkgs", "builtin", "../test.nix", "-o", "out"]);
    let ended = place.finish(command.current_dir(&folder).spawn().unwrap());
    assert!(matches!(ended.code, Some(2 | 4)), "{}", ended.seen());
    holds(&ended, &["its path is not UTF-8"]);
}

#[test]
fn filters_and_numbers_of_any_size() {
    let place = Place::new();
    write_test(&place, "ends", "pass\n");
    let list = |arguments: &[&str]| {
        place.run(&[&["list", "--nixpkgs", "builtin", "test.nix"], arguments].concat())
    };
    let ended = list(&["--filter", &"(".repeat(50_000)]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    holds(
        &ended,
        &["more parentheses are open than a filter may have", "^"],
    );
    assert_eq!(
        list(&["--filter", &("!".repeat(50_000) + "all()")]).code,
        Some(0)
    );
    assert_eq!(
        list(&["--partition", "slice:1/18446744073709551615"]).code,
        Some(0)
    );
    let line = r#"{"time_s":1.0,"event":"call_failed","failure":{"statement":{"file":null,"start":{"line":4294967295,"column":1},"end":{"line":4294967295,"column":4294967295},"first_line":18446744073709551615,"lines":["x"]}}}"#;
    place.write("recording", &format!("{line}\n"));
    let ended = place.run(&["play", "recording"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
}
