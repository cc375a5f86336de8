//! Running again at each change.

use std::fs::File;

use crate::harness::{Place, signal};

#[test]
fn each_change_runs_the_test_again() {
    let place = Place::new();
    place.write(
        "test.nix",
        r#"
          (import <nixpkgs> { }).nixosTest {
            name = "watched";
            nodes.machine.virtualisation.guest = "tiny";
            testScript = builtins.readFile ./script.py;
          }
        "#,
    );
    place.write("script.py", "print('said first')\n");
    let mut command = place.command(&["watch", "--nixpkgs", "builtin", "test.nix"]);
    command.stdout(File::create(place.path().join("shown")).unwrap());
    command.stderr(File::create(place.path().join("errors")).unwrap());
    let child = command.spawn().unwrap();
    let pid = child.id();

    place.wait_for_text("shown", "said first");
    place.wait_for_text("shown", "watching 2 files: ");
    // A broken file is reported, and the watch continues.
    place.write("script.py", "print('said second'\n");
    place.wait_for_text("shown", "a file has changed: running again");
    place.wait_for_text("errors", "the script of watched cannot run as it is");
    place.write(
        "script.py",
        "import time\nprint('said third')\ntime.sleep(1000)\n",
    );
    place.wait_for_text("shown", "said third");
    // One that is still running is given up.
    place.write("script.py", "print('said fourth')\n");
    place.wait_for_text("shown", "said fourth");
    place.wait_for_text("shown", "interrupted: watched");

    signal(pid, "INT");
    let ended = place.finish(child);
    assert_eq!(ended.code, Some(130), "{}", ended.seen());
    place.assert_tidy();
}
