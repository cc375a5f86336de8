//! Machines as containers: the same tests, beside virtual machines, and what they cannot do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use insta::assert_snapshot;
use nix::unistd::getuid;

use crate::harness::{Place, Pty, fixture_path, signal, use_shell, where_it_runs};

/// The folders of control groups that a driver has made.
fn control_groups(driver: u32) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let unified = mounts.lines().find_map(|line| {
        line.split_once(" cgroup2 ")?
            .0
            .split_once(' ')
            .map(|(_, place)| place)
    });
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap();
    let folder = Path::new(unified.expect("a unified hierarchy")).join(own);
    let names = fs::read_dir(folder).unwrap().flatten();
    let prefix = format!("snowglobe-{driver}-");
    names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(&prefix))
        .collect()
}

/// A command about the machines of a file, as containers.
fn on_containers(place: &Place, command: &str, file: &Path) -> Command {
    let mut command = place.command(&[command, "--nixpkgs", "builtin", "--backend", "container"]);
    command.arg(file);
    command
}

fn as_containers(place: &Place, fixture: &str) {
    let ended = place.run_fixture(fixture, &["--backend", "container"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(ended.stdout.contains(" (containers)\n"), "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn the_tutorial() {
    let place = Place::new();
    let arguments = ["--backend", "container", "-o", "out"];
    assert_snapshot!(place.run_fixture("postgrest.nix", &arguments).seen());
    let console = fs::read_to_string(place.path().join("out/console/server.log")).unwrap();
    assert!(console.contains("postgresql.service"), "{console}");
    place.assert_tidy();
}

#[test]
fn ping() {
    as_containers(&Place::new(), "ping.nix");
}

#[test]
fn reboot() {
    as_containers(&Place::new(), "reboot.nix");
}

#[test]
fn copies() {
    as_containers(&Place::new(), "copies.nix");
}

#[test]
fn waits() {
    as_containers(&Place::new(), "waits.nix");
}

#[test]
fn packages() {
    as_containers(&Place::new(), "packages.nix");
}

#[test]
fn a_shell_takes_what_commands_do_to_it() {
    as_containers(&Place::new(), "shell.nix");
}

/// A failure of containers that Snowglobe has chosen is confirmed by virtual machines.
#[test]
fn a_failure_of_chosen_containers_is_confirmed() {
    let place = Place::new();
    let write = |script: &str| {
        let test = |name: &str, node: &str| {
            format!(
                "{{ name = \"{name}\"; nodes.machine.virtualisation = {{ guest = \"tiny\"; {node} }}; testScript = \"{script}\"; }}"
            )
        };
        let tests = format!(
            "{{ free = {}; asked = {}; }}",
            test("free", ""),
            test("asked", "backend = ''container'';")
        );
        place.write("tests.nix", &tests)
    };
    let file = write("machine.succeed('ls -d /sys/class/virtio-ports/*')");
    let run = |options: &[&str]| {
        let path = file.to_str().unwrap();
        let arguments = [&["run", "--nixpkgs", "builtin", path], options].concat();
        let mut command = place.command(&arguments);
        place.finish(command.env("SNOWGLOBE_BACKEND", "auto").spawn().unwrap())
    };
    let again = "warning: failed as containers: running it once more as virtual machines";
    let known =
        "virtual machines, as this test has failed as containers and passed as virtual machines";
    let (free, asked) = (&["-A", "free"][..], &["-A", "asked"][..]);

    let ended = run(&[free, &["--no-confirm"]].concat());
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert!(!ended.seen().contains(again), "{}", ended.seen());
    // What a node asks for is what it gets.
    let ended = run(asked);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert!(!ended.seen().contains(again), "{}", ended.seen());

    let ended = run(free);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(ended.stdout.contains(again), "{}", ended.seen());
    assert!(
        ended
            .stdout
            .contains("passed: free, 2 attempts: 1 passed, 1 failed\n"),
        "{}",
        ended.seen()
    );
    // It does not propose what has just failed.
    let second = place.path().join("result-free/attempt-2/events.jsonl");
    let second = fs::read_to_string(second).unwrap();
    assert!(second.contains("\"accelerator\":\"TCG"), "{second}");
    assert!(!second.contains("containers instead"), "{second}");
    // The next run knows, until the script is another one.
    let ended = run(free);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(ended.stdout.contains(known), "{}", ended.seen());
    assert!(!ended.stdout.contains("(containers)"), "{}", ended.seen());
    assert!(run(free).stdout.contains(known));
    write("machine.fail('true')");
    let ended = run(free);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert!(ended.stdout.contains(again) && !ended.stdout.contains(known));
    assert!(
        ended
            .stdout
            .contains("failed: free, 2 attempts: 2 failed\n"),
        "{}",
        ended.seen()
    );
    let junit = fs::read_to_string(place.path().join("result-free/junit.xml")).unwrap();
    assert_eq!(junit.matches("<failure").count(), 1, "{junit}");
    place.assert_tidy();
}

/// By node, and as `auto` decides.
#[test]
fn beside_virtual_machines() {
    let place = Place::new();
    let ended = place.run_fixture("containers.nix", &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    // Without root it is the host's, whom the guest does not know.
    let owner = if getuid().is_root() { "0" } else { "65534" };
    let store = format!("the store is that of user {owner}\n");
    assert!(ended.stdout.contains(&store), "{}", ended.seen());
    for line in [
        "bob: a container\n",
        "disk: a virtual machine, as a container cannot do `virtualisation.emptyDiskImages`\n",
        "machine alice is a container, which has no QEMU monitor: run it as a virtual machine (`--backend vm`)\n",
    ] {
        assert!(ended.stdout.contains(line), "{line}\n{}", ended.seen());
    }
    place.assert_tidy();
}

/// In a mount namespace that hides the device, which only root may make.
#[test]
fn without_taps() {
    let place = Place::new();
    let command = |arguments: &[&str]| {
        let inside = place.command(arguments);
        let hide = "mount -t tmpfs none /dev/net && exec \"$@\"";
        let mut command = where_it_runs("unshare", &inside);
        command
            .args(["--mount", "sh", "-c", hide, "sh"])
            .arg(inside.get_program())
            .args(inside.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        place.finish(command.spawn().unwrap())
    };
    let doctor = command(&["doctor"]);
    let lines = "missing  /dev/net/tun: No such file or directory (os error 2)\n         for fast networks of containers, and VLAN tags on them: `modprobe tun`, and `chmod 666 /dev/net/tun`\n";
    assert!(doctor.stdout.ends_with(lines), "{}", doctor.seen());
    let fixture = fixture_path("containers.nix");
    let ended = command(&["run", "--nixpkgs", "builtin", fixture.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn a_run_with_containers_is_cold() {
    let place = Place::new();
    let file = fixture_path("hello.nix");
    let mut command = place.command(&["run", "--nixpkgs", "builtin", "--backend", "auto"]);
    command
        .arg(file)
        .env_remove("CI")
        .env("XDG_CACHE_HOME", place.path().join("cache"));
    let ended = place.finish(command.spawn().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let lines = "machine: a container\ncold: machine cannot be saved: containers\nrunning hello on machine (containers)\n";
    assert!(ended.stdout.starts_with(lines), "{}", ended.seen());
}

/// Where machines are emulated, a run says that it need not be so.
#[test]
fn the_first_line_says_what_could_be_a_container() {
    let place = Place::new();
    let accelerator = |fixture| {
        let ended = place.run_fixture(fixture, &["--format", "json"]);
        let started = ended
            .stdout
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .find(|event| event["event"] == "test_started");
        started.unwrap()["accelerator"].as_str().unwrap().to_owned()
    };
    let (hello, typing) = (accelerator("hello.nix"), accelerator("slow-stop.nix"));
    let hint = "; `--backend auto` runs containers instead";
    assert_eq!(hello.ends_with(hint), hello.starts_with("TCG"), "{hello}");
    assert!(!typing.contains("--backend"), "{typing}");
}

#[test]
fn the_check_knows_what_containers_lack() {
    let place = Place::new();
    assert_snapshot!(
        place
            .run_fixture("slow-stop.nix", &["--backend", "container"])
            .seen()
    );
    let ended = place.run_fixture("efi.nix", &["--backend", "container"]);
    assert_eq!((ended.code, &*ended.stdout), (Some(2), ""));
    assert_eq!(
        ended.stderr,
        "error: the machine `machine` cannot be a container: a container cannot do `boot.kernelModules`; run it as a virtual machine (`--backend vm`)\n"
    );
}

#[test]
fn a_build_without_user_ids_says_how_to_have_them() {
    let place = Place::new();
    let arguments = [
        "--as-derivation",
        "--backend",
        "container",
        "--option",
        "system-features",
        "nixos-test",
    ];
    // What the first one leaves does not stand in the way of the second.
    for _ in 0..2 {
        let ended = place.run_fixture("reboot.nix", &arguments);
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(3), ""),
            "{}",
            ended.seen()
        );
        let end = "; containers need it in a build: `snowglobe doctor` says which settings of Nix give it\n";
        assert!(
            ended.stderr.contains("uid-range") && ended.stderr.ends_with(end),
            "{}",
            ended.seen()
        );
    }
}

#[test]
fn the_doctor_says_what_the_host_has() {
    let place = Place::new();
    let ended = place.run(&["doctor"]);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    for line in [
        "ok       Nix: nix-instantiate (Nix) 2.",
        "ok       QEMU: QEMU emulator version ",
        "ok       containers: user namespaces, user IDs and control groups are there\n",
    ] {
        assert!(ended.stdout.contains(line), "{line}\n{}", ended.seen());
    }
    let mut command = place.command(&["doctor"]);
    command.env("PATH", place.path());
    let ended = place.finish(command.spawn().unwrap());
    assert_eq!(ended.code, Some(4), "{}", ended.seen());
    let lines = "missing  Nix: `nix-instantiate` is not on PATH\n         for all tests: https://nixos.org/download (on Debian: `apt install nix-bin`)\n";
    assert!(ended.stdout.starts_with(lines), "{}", ended.seen());
}

/// A user without root has a block for the administrator.
#[test]
fn the_doctor_says_what_an_administrator_gives() {
    let place = Place::new();
    let folder = std::env::temp_dir().join(format!("snowglobe-doctor-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let program = folder.join("snowglobe");
    fs::copy(env!("CARGO_BIN_EXE_snowglobe"), &program).unwrap();
    for path in [&folder, &program] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&program)
        .arg("doctor")
        .current_dir("/")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = place.finish(command.spawn().unwrap());
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let (_, block) = ended.stdout.split_once("\n\n").expect("a block at the end");
    let (title, ids) = if Path::new("/etc/NIXOS").exists() {
        (
            "in the configuration of this NixOS",
            ".autoSubUidGidRange = true;",
        )
    } else {
        ("as commands for root", "uidmap\nusermod --add-subuids ")
    };
    let title = format!("To ask an administrator for, {title}:\n\n");
    assert!(block.starts_with(&title), "{}", ended.seen());
    assert!(block.contains(ids), "{}", ended.seen());
    // For root there is nothing to ask for.
    assert!(!place.run(&["doctor"]).stdout.contains("administrator"));
}

#[test]
fn a_shell_for_people() {
    let place = Place::new();
    let file = fixture_path("hello.nix");
    use_shell(on_containers(&place, "shell", &file).arg("machine"));
    place.assert_tidy();
}

/// A script that is busy does not stand in the way.
#[test]
fn a_shell_in_a_container_of_another_run() {
    let place = Place::new();
    let test = "{ name = \"busy\"; nodes.machine.virtualisation.guest = \"tiny\"; testScript = \"machine.succeed('while ! [ -e /tmp/go ]; do sleep 0.1; done')\"; }";
    let file = place.write("busy.nix", test);
    let driver = place.start_shown(on_containers(&place, "run", &file));
    place.wait_for_text("shown", "machine: ready after ");
    let mut shell = place.command(&["shell", "--running", "machine"]);
    let mut user = Pty::spawn(&mut shell);
    user.wait_for("machine: terminal attached (Ctrl-] detaches)");
    user.type_in("hostname; echo $((40 + 2)); tty; touch /tmp/go\n");
    user.wait_for("machine\r\n42\r\n/dev/pts/");
    user.type_in("exit\n");
    assert_eq!(user.end(), Some(0));
    assert_eq!(place.finish(driver).code, Some(0));
    let mut user = Pty::spawn(&mut place.command(&["shell", "--running"]));
    user.wait_for("error: no machine of a test runs here");
    assert_eq!(user.end(), Some(2));
    place.assert_tidy();
}

#[test]
fn a_command_in_a_container_of_another_run() {
    let place = Place::new();
    let test = "{ name = \"busy\"; nodes.machine.virtualisation.guest = \"tiny\"; testScript = \"machine.succeed('while ! [ -e /tmp/go ]; do sleep 0.1; done')\"; }";
    let file = place.write("busy.nix", test);
    let driver = place.start_shown(on_containers(&place, "run", &file));
    place.wait_for_text("shown", "machine: ready after ");
    let run = |words: &[&str], input: &str| {
        let input = fs::File::open(place.write("input", input)).unwrap();
        let mut command = place.command(&["shell", "--running"]);
        let child = command.args(words).stdin(input).spawn().unwrap();
        place.finish(child)
    };
    for (words, input, expected) in [
        (&["machine", "hostname"][..], "", ("machine\n", "", 0)),
        (&["machine", "cat"], "typed", ("typed", "", 0)),
        // A single word is a line for the shell, others are as they are.
        (
            &["machine", "echo $HOME; echo e >&2; exit 7"],
            "",
            ("/root\n", "e\n", 7),
        ),
        (
            &["--", "echo", "$HOME", "a  b", "-n"],
            "",
            ("$HOME a  b -n\n", "", 0),
        ),
        (&["machine", "--", "false"], "", ("", "", 1)),
        (&["machine", "kill -9 $$"], "", ("", "", 137)),
        // What a command leaves is not waited for.
        (
            &["machine", "sleep 1000 & echo left"],
            "",
            ("left\n", "", 0),
        ),
        (
            &["nosuch", "true"],
            "",
            (
                "",
                "error: no machine `nosuch` runs, but [PID]/machine\n",
                2,
            ),
        ),
    ] {
        let ended = run(words, input);
        let stderr = ended.stderr.replace(&driver.id().to_string(), "[PID]");
        let found = (&*ended.stdout, &*stderr, ended.code.unwrap());
        assert_eq!(found, expected, "{words:?}");
    }
    // Everything arrives, and the guest gets nothing but pipes.
    let many = "line\n".repeat(200_000);
    assert_eq!(run(&["machine", "cat"], &many).stdout, many);
    let files = run(
        &[
            "machine",
            "for i in 0 1 2; do readlink /proc/$$/fd/$i; done",
        ],
        "",
    );
    let lines: Vec<&str> = files.stdout.lines().collect();
    assert!(
        lines.len() == 3 && lines.iter().all(|line| line.starts_with("pipe:")),
        "{}",
        files.seen()
    );
    assert_eq!(run(&["machine", "touch", "/tmp/go"], "").code, Some(0));
    assert_eq!(place.finish(driver).code, Some(0));
    place.assert_tidy();
}

/// Containers are started anew for each run of the test.
#[test]
fn a_watch() {
    let place = Place::new();
    let test = |script: &str| {
        format!(
            "{{ name = \"watched\"; nodes.machine.virtualisation.guest = \"tiny\"; testScript = \"{script}\"; }}"
        )
    };
    let file = place.write("watched.nix", &test("machine.succeed('false')"));
    let child = place.start_shown(on_containers(&place, "watch", &file));
    let driver = child.id();
    place.wait_for_text("shown", "failed: watched");
    place.write("watched.nix", &test("machine.succeed('true')"));
    place.wait_for_text("shown", "passed: watched");
    signal(driver, "INT");
    assert_eq!(place.finish(child).code, Some(130));
    place.assert_tidy();
}

/// At the prompt the machines are as the failure has left them.
#[test]
fn a_prompt_after_a_failure() {
    let place = Place::new();
    let mut command = on_containers(&place, "run", &fixture_path("failing.nix"));
    let mut user = Pty::spawn(command.args(["--on-failure", "repl", "-A", "command"]));
    user.wait_for(">>> ");
    user.type_in("machine.succeed('id -u')\n");
    user.wait_for("'0\\n'");
    user.wait_for(">>> ");
    user.type_in("\x04");
    assert_eq!(user.end(), Some(1));
    place.assert_tidy();
}

#[test]
fn a_prompt() {
    let place = Place::new();
    let file = fixture_path("hello.nix");
    let mut user = Pty::spawn(&mut on_containers(&place, "repl", &file));
    user.wait_for(">>> ");
    user.type_in(
        "machine.start(allow_reboot=True); machine.reboot(); machine.succeed('hostname')\n",
    );
    user.wait_for("'machine\\n'");
    user.wait_for(">>> ");
    user.type_in("\x04");
    assert_eq!(user.end(), Some(0));
    place.assert_tidy();
}

/// What a killed run has left in the output folder is no obstacle: it is its own.
#[test]
fn nothing_is_left_after_random_kills() {
    let kills = std::env::var("SNOWGLOBE_KILLS");
    let kills: u64 = kills.map_or(4, |text| text.parse().unwrap());
    assert!(kills > 0);
    let place = Place::new();
    let file = fixture_path("postgrest.nix");
    let mut drivers = Vec::new();
    for number in 0..kills {
        let child = on_containers(&place, "run", &file).spawn().unwrap();
        // At moments that are spread over evaluation, build, boot, commands and the end.
        let moment = (number * 2_654_435_761) % 1_500;
        std::thread::sleep(Duration::from_millis(moment));
        drivers.push(child.id());
        signal(child.id(), "KILL");
        place.finish(child);
        place.assert_tidy();
    }
    as_containers(&place, "hello.nix");
    for driver in drivers {
        assert_eq!(control_groups(driver), Vec::<String>::new());
    }
}

/// The kernel ends all processes of the driver; the next run removes the empty control groups.
#[test]
fn nothing_outlives_a_killed_driver() {
    let place = Place::new();
    let script = "machine.succeed('sleep 1000')";
    let test = format!(
        "{{ name = \"killed\"; nodes.machine.virtualisation.guest = \"tiny\"; testScript = \"{script}\"; }}"
    );
    let file = place.write("killed.nix", &test);
    let mut driver = place.start_shown(on_containers(&place, "run", &file));
    place.wait_for_text("shown", "machine: ready after ");
    assert_eq!(control_groups(driver.id()).len(), 1);
    signal(driver.id(), "KILL");
    driver.wait().unwrap();
    place.assert_tidy();

    as_containers(&place, "hello.nix");
    // Another test's driver may sweep as well.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(control_groups(driver.id()), Vec::<String>::new());
}
