//! State that outlives a release: `save_disks()`, and runs that start with these disks.

use crate::harness::{Ended, Place};

fn run(place: &Place, node: &str, script: &str, options: &[&str]) -> Ended {
    let test = format!(
        r#"(import <nixpkgs> {{ }}).nixosTest {{
          name = "data";
          nodes.{node} = {{ virtualisation.guest = "tiny"; virtualisation.emptyDiskImages = [ 16 ]; }};
          testScript = ''
{script}'';
        }}"#
    );
    place.write("test.nix", &test);
    place.run(&[&["run", "--nixpkgs", "builtin", "test.nix"], options].concat())
}

#[test]
fn a_new_release_starts_with_the_disks_of_the_old_one() {
    let place = Place::new();
    let disk = "/dev/vdb";
    let old = format!(
        "server.succeed(\"printf kept | dd of={disk} conv=fsync\")\nserver.shutdown()\nsave_disks()\n"
    );
    let ended = run(&place, "server", &old, &["-o", "old"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let read = format!("assert server.succeed(\"head -c 4 {disk}\") == \"kept\"\n");
    let new =
        format!("{read}server.succeed(\"printf new! | dd of={disk} conv=fsync\")\nsave_disks()\n");
    let ended = run(
        &place,
        "server",
        &new,
        &["-o", "new", "--disks-from", "old"],
    );
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    // The disks of the old one stay as they were, and a machine that runs is saved as well.
    let ended = run(&place, "server", &read, &["--disks-from", "old"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let ended = run(
        &place,
        "server",
        &read.replace("kept", "new!"),
        &["--disks-from", "new"],
    );
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn disks_that_do_not_fit_are_errors() {
    let place = Place::new();
    let ended = run(&place, "server", "save_disks()\n", &["-o", "old"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let error = |node: &str, from: &str| {
        let ended = run(&place, node, "pass\n", &["--disks-from", from]);
        assert_eq!(ended.code, Some(2), "{}", ended.seen());
        ended.seen()
    };
    let seen = error("client", "old");
    assert!(
        seen.contains("the test has no machine `server`; it has: client"),
        "{seen}"
    );
    let seen = error("server", "none");
    assert!(
        seen.contains(
            "the disks in none/disks cannot be used: the run has not called `save_disks()`"
        ),
        "{seen}"
    );
    let folder = place.path().join("old/disks/server");
    std::fs::write(folder.join("more.qcow2"), "no disk").unwrap();
    let seen = error("server", "old");
    assert!(seen.contains("more.qcow2 is no disk image"), "{seen}");
    // Containers have none.
    let test = r#"{ name = "data"; nodes.server = { }; testScript = "save_disks()"; }"#;
    place.write("test.nix", test);
    let arguments = [
        "run",
        "--nixpkgs",
        "builtin",
        "test.nix",
        "--backend",
        "container",
    ];
    let ended = place.run(&arguments);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert!(
        ended
            .seen()
            .contains("has no disks to save: it is a container"),
        "{}",
        ended.seen()
    );
    place.assert_tidy();
}
