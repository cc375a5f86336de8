//! Machines of another architecture than the host's, emulated: arm64 beside `x86_64`.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Ended, Place, fixture_path};

const FIXTURE: &str = "arm64.nix";

fn passed(ended: &Ended, parts: &[&str]) {
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    for part in parts {
        assert!(ended.stdout.contains(part), "{part}\n{}", ended.seen());
    }
}

#[test]
fn two_architectures_in_one_network() {
    let place = Place::new();
    let ended = place.run_fixture(FIXTURE, &["-A", "both"]);
    passed(&ended, &["arm: TCG emulation: aarch64 on x86_64"]);
    place.assert_tidy();
}

/// Also that what an edited script does to a restored machine is the same.
#[test]
fn scripts_do_what_they_do_on_others() {
    let place = Place::new();
    let file = place.path().join("test.nix");
    let text = fs::read_to_string(fixture_path(FIXTURE)).unwrap();
    fs::write(&file, &text).unwrap();
    let arguments = ["run", "--nixpkgs", "builtin", "test.nix", "-A", "all-calls"];
    let run = || place.finish(place.command_again(&arguments).spawn().unwrap());
    passed(&run(), &["cold\n", "\nkept: kept\n"]);
    fs::write(&file, text.replace("\"kept:\"", "\"still:\"")).unwrap();
    passed(&run(), &["from checkpoint \"here\"", "\nstill: kept\n"]);
    place.assert_tidy();
}

/// The message of a test that is wrong, and how the run ended.
fn error(place: &Place, name: &str, options: &[&str]) -> (Option<i32>, String) {
    let ended = place.run_fixture(FIXTURE, &[&["-A", name], options].concat());
    (ended.code, ended.stderr.trim_end().to_owned())
}

#[test]
fn machines_that_cannot_be() {
    let place = Place::new();
    for (name, message) in [
        (
            "unknown",
            "error: node `machine` is of riscv64-linux, and the built-in guests are of aarch64-linux or x86_64-linux",
        ),
        (
            "systemd",
            "error: the guest `debian` is of the machine's own system alone, and a node is of aarch64-linux: use the guest `tiny`",
        ),
        (
            "efi",
            "error: node `machine`: `virtualisation.useEFIBoot` is for machines of x86_64-linux alone",
        ),
        (
            "no-package",
            "error: the package `curl` is not set up here for aarch64-linux: if it is one of Debian, run `snowglobe guest fetch --system aarch64-linux curl`",
        ),
    ] {
        assert_eq!(error(&place, name, &[]), (Some(2), message.to_owned()));
    }
    let (code, message) = error(&place, "no-system", &[]);
    assert_eq!(code, Some(2), "{message}");
    assert!(
        message.starts_with("error: the option `nixpkgs.hostPlatform` is a string, but "),
        "{message}"
    );
    assert_eq!(
        error(&place, "plain", &["--backend", "container"]),
        (
            Some(2),
            "error: the machine `machine` cannot be a container: a container cannot do `nixpkgs.hostPlatform`; run it as a virtual machine (`--backend vm`)".to_owned()
        )
    );
}

/// The user's guests, without those of other systems.
fn own_guests(place: &Place) -> PathBuf {
    let data = place.path().join("data");
    fs::create_dir_all(data.join("snowglobe")).unwrap();
    let users = snowglobe::guest::index_path().unwrap();
    let mut index: Value = serde_json::from_slice(&fs::read(&users).unwrap()).unwrap();
    index.as_object_mut().unwrap().remove("foreign").unwrap();
    fs::write(data.join("snowglobe/guest-index.json"), index.to_string()).unwrap();
    data
}

#[test]
fn guests_that_are_not_fetched() {
    let place = Place::new();
    let data = own_guests(&place);
    let run = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        let ended = place.finish(command.env("XDG_DATA_HOME", &data).spawn().unwrap());
        (ended.code, ended.stderr.trim_end().to_owned())
    };
    let fixture = fixture_path(FIXTURE);
    let fixture = fixture.to_str().unwrap();
    assert_eq!(
        run(&["run", "--nixpkgs", "builtin", fixture, "-A", "plain"]),
        (
            Some(2),
            "error: node `machine` is of aarch64-linux, whose guests are not set up here: run `snowglobe guest fetch --system aarch64-linux` once".to_owned()
        )
    );
    let (code, message) = run(&["guest", "fetch", "--if-needed", "--system", "pdp11-linux"]);
    assert_eq!(code, Some(2), "{message}");
    assert_eq!(
        message,
        "error: --system: there are no built-in guests of \"pdp11-linux\" beside the machine's own; there are those of aarch64-linux"
    );
}

/// The emulator alone is missing on PATH.
#[test]
fn an_architecture_without_its_emulator() {
    let place = Place::new();
    let fixture = fixture_path(FIXTURE);
    let arguments = [
        "run",
        "--nixpkgs",
        "builtin",
        fixture.to_str().unwrap(),
        "-A",
        "both",
    ];
    let programs = place.path_without("qemu-system-aarch64");
    let mut command = place.command(&arguments);
    let ended = place.finish(command.env("PATH", programs).spawn().unwrap());
    assert_eq!(ended.code, Some(4), "{}", ended.seen());
    insta::assert_snapshot!(ended.stderr);
}
