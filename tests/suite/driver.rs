//! `snowglobe driver`: the command lines and environments of nixpkgs' drivers.

use std::path::{Path, PathBuf};

use crate::harness::{Ended, Place, fixture_path};

/// Builds the machine of a test; returns its start script.
fn start_script(place: &Place, file: &Path) -> PathBuf {
    let file = file.to_str().unwrap();
    let ended = place.run(&["run", "--nixpkgs", "builtin", file, "-o", "built"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let text = std::fs::read_to_string(place.path().join("built/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    PathBuf::from(
        manifest["nodes"]["machine"]["start_script"]
            .as_str()
            .unwrap(),
    )
}

fn passed(ended: &Ended, name: &str) {
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(
        ended.stdout.contains(&format!("\npassed: {name} (")),
        "{}",
        ended.seen()
    );
    assert!(
        ended.stdout.contains("\nthe script ran\n"),
        "{}",
        ended.seen()
    );
}

/// A configuration of two machines with one start script.
fn two_machines(start: &str, script: &Path) -> serde_json::Value {
    serde_json::json!({
        "vms": {
            "machine": { "name": "machine", "start_script": start },
            "twin": { "name": "twin", "start_script": start },
        },
        "containers": {},
        "vlans": [1],
        "global_timeout": 600,
        "enable_ssh_backdoor": false,
        "test_script": script,
    })
}

#[test]
fn three_generations_of_command_lines() {
    let place = Place::new();
    let start = start_script(&place, &fixture_path("hello.nix"));
    let start = start.to_str().unwrap();
    let text = "machine.succeed('true')\nprint('the script ran')\n";
    let script = place.write("greeting.py", text);
    let script = script.to_str().unwrap();

    // 2021 to 2025: options.
    let ended = place.run(&[
        "driver",
        "--start-scripts",
        start,
        "--vlans",
        "1",
        "--global-timeout",
        "600",
        script,
        "-o",
        "out",
        "--junit-xml",
        "report.xml",
    ]);
    passed(&ended, "greeting");
    assert!(place.path().join("out/report.xml").is_file());
    assert!(place.path().join("out/console/machine.log").is_file());

    // The same, by variables, as nixpkgs' wrapper sets them; in a folder with other files.
    let mut command = place.command(&["driver", "--dump-vsocks", "1"]);
    command
        .env("startScripts", start)
        .env("vlans", "1 2")
        .env("globalTimeout", "600")
        .env("testScript", script)
        .env("LOGFILE", "/dev/null");
    let ended = place.finish(command.spawn().unwrap());
    passed(&ended, "greeting");
    assert!(
        ended
            .stdout
            .contains("warning: --dump-vsocks has no effect"),
        "{}",
        ended.seen()
    );
    assert!(place.path().join("greeting.py").is_file());

    // 2020: start scripts as arguments, and the script's text; output goes to $out.
    for tests in ["exec(os.environ[\"testScript\"])", "test_script()"] {
        let mut command = place.command(&["driver", start]);
        command
            .env("VLANS", "1 1")
            .env("tests", tests)
            .env("testScript", text)
            .env("out", "out-2020");
        passed(&place.finish(command.spawn().unwrap()), "test");
    }
    assert!(place.path().join("out-2020/console/machine.log").is_file());
    // Without `tests`, the script does not run.
    let mut command = place.command(&["driver", start]);
    command.env("testScript", text);
    let ended = place.finish(command.spawn().unwrap());
    assert!(
        ended.stdout.contains("session closed: "),
        "{}",
        ended.seen()
    );

    // Early in 2026: names beside the start scripts.
    let script = place.write("named.py", "box.succeed('true')\nprint('the script ran')\n");
    let mut command = place.command(&["driver", "--vm-names", "box", "--vm-start-scripts", start]);
    command.env("testScript", script);
    passed(&place.finish(command.spawn().unwrap()), "named");

    // 2026: a configuration file, whose names are the script's.
    let text = "machine.succeed('true')\ntwin.succeed('true')\nprint('the script ran')\n";
    let script = place.write("greeting.py", text);
    let configuration = two_machines(start, &script);
    let file = place.write("driver.json", &configuration.to_string());
    let ended = place.run(&[
        "driver",
        "--config",
        file.to_str().unwrap(),
        "--log-level",
        "info",
    ]);
    passed(&ended, "greeting");
    // Interactively, the script does not run.
    let file = file.to_str().unwrap();
    let ended = place.run(&["driver", "--config", file, "--interactive"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(
        ended.stdout.contains("session closed: "),
        "{}",
        ended.seen()
    );
    assert!(!ended.stdout.contains("started"), "{}", ended.seen());
    place.assert_tidy();
}

/// Late in 2026: a duration, keys that are new, and a script of its own.
#[test]
fn a_configuration_may_be_newer() {
    let place = Place::new();
    let start = start_script(&place, &fixture_path("hello.nix"));
    let script = place.write(
        "other.py",
        "twin.succeed('true')\nprint('the script ran')\n",
    );
    let mut newer = two_machines(start.to_str().unwrap(), Path::new("/no/such/script"));
    newer["global_timeout"] = "PT10M".into();
    newer["display_viewers"] = serde_json::json!({ "vnc": { "kind": "vnc", "executable": "/x" } });
    newer["vms"]["machine"]["display_targets"] = serde_json::json!([]);
    let file = place.write("newer.json", &newer.to_string());
    let (file, script) = (file.to_str().unwrap(), script.to_str().unwrap());
    let arguments = ["driver", "--config", file, "--test-script", script];
    let ended = place.run(&[&arguments[..], &["-o", "newer"]].concat());
    passed(&ended, "other");
    assert!(!ended.stdout.contains("warning"), "{}", ended.seen());
    newer["enable_ssh_backdoor"] = true.into();
    place.write("newer.json", &newer.to_string());
    place.write("other.py", "dump_machine_ssh()\n");
    // As on a host without `vhost-device-vsock`.
    let mut command = place.command(&arguments);
    command.env("PATH", place.path_without("vhost-device-vsock"));
    let ended = place.finish(command.spawn().unwrap());
    let missing = "has no SSH backdoor, as `vhost-device-vsock` is not on PATH: `snowglobe shell --running NODE` opens a shell while a test runs, without SSH\n";
    for subject in [
        "warning: machine machine",
        "\nmachine machine",
        "\nmachine twin",
    ] {
        let line = format!("{subject} {missing}");
        assert!(ended.stdout.contains(&line), "{line}{}", ended.seen());
    }
    place.assert_tidy();
}

#[test]
fn disks_are_kept_for_the_next_run() {
    let place = Place::new();
    let file = place.write(
        "disk.nix",
        r#"(import <nixpkgs> { }).nixosTest {
            name = "disk";
            nodes.machine.virtualisation = { guest = "tiny"; emptyDiskImages = [ 16 ]; };
            testScript = "pass";
        }"#,
    );
    let start = start_script(&place, &file);
    let text = r#"seen = machine.succeed("head -c 5 /dev/vdb | tr -d '\\0'")
print(f'the disk holds {seen!r}')
machine.succeed('printf first > /dev/vdb; sync')
"#;
    let script = place.write("disk.py", text);
    let run = |option: &[&str]| {
        let arguments = ["driver", "--start-scripts", start.to_str().unwrap()];
        let script = ["--", script.to_str().unwrap()];
        let ended = place.run(&[&arguments, option, &script].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.seen());
        ended.stdout
    };
    assert!(run(&["-K"]).contains("the disk holds ''"));
    assert!(run(&["-K"]).contains("the disk holds 'first'"));
    assert!(run(&[]).contains("the disk holds ''"));
    let state = place.path().join("tmp/vm-state-machine");
    assert!(state.is_dir());
    std::fs::remove_dir_all(state).unwrap();
    place.assert_tidy();
}

#[test]
fn what_a_driver_cannot_do() {
    let place = Place::new();
    let seen = |arguments: &[&str]| place.run(&[&["driver"], arguments].concat()).seen();
    let message = |text: &str| format!("exit code: 2\n--- stdout\n--- stderr\nerror: {text}\n");
    assert_eq!(
        seen(&[]),
        message("there is no script: give one, or set testScript or --config")
    );
    assert_eq!(
        seen(&["a.py", "b.py"]),
        message("there can be one script only: a.py, b.py were given")
    );
    let manifest = place.write("old.json", r#"{"version": 1}"#);
    assert_eq!(
        seen(&["--manifest", manifest.to_str().unwrap()]),
        message(
            "the manifest [DIR]/old.json is of version 1, and this program reads version 9: evaluate the test anew"
        )
    );
    let script = place.write("s.py", "");
    let mut command = place.command(&["driver"]);
    command.env("testScript", "none.py");
    assert_eq!(
        place.finish(command.spawn().unwrap()).seen(),
        message("the script none.py cannot be read: No such file or directory (os error 2)")
    );
    assert_eq!(
        seen(&["s.py", "--vm-names", "a", "b"]),
        message("there are 2 names of machines for 0 start scripts")
    );
    // The report is already at that place.
    let ended = place.run(&["driver", "s.py", "--junit-xml", "junit.xml"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let report = std::fs::read_to_string(place.path().join("junit.xml")).unwrap();
    assert!(report.contains("<testsuite"), "{report}");
    let start = place.write(
        "run-box-nspawn",
        "#!/bin/sh\nexec run-nspawn --ephemeral --init /init\n",
    );
    let configuration = serde_json::json!({
        "vms": {}, "containers": { "box": { "start_script": start } }, "vlans": [], "global_timeout": 1,
        "test_script": script,
    });
    let file = place.write("driver.json", &configuration.to_string());
    let container = message(
        "the container's start script [DIR]/run-box-nspawn cannot be run: Snowglobe's containers have no option `--ephemeral`",
    );
    assert_eq!(seen(&["--config", file.to_str().unwrap()]), container);
    let endless = place.write(
        "endless.json",
        r#"{ "vms": {}, "vlans": [], "global_timeout": "soon", "test_script": "s.py" }"#,
    );
    assert_eq!(
        seen(&["--config", endless.to_str().unwrap()]),
        message(
            "[DIR]/endless.json: global_timeout is no time limit: a number of seconds, or a duration such as \"PT1H\" at line 1 column 50"
        )
    );
    let start = start.to_str().unwrap();
    assert_eq!(
        seen(&[
            "s.py",
            "--container-names",
            "box",
            "--container-start-scripts",
            start
        ]),
        container
    );
}
