//! Running again at each change.

use std::fs::File;

use crate::harness::{Place, signal};

/// Only NixOS can be switched to another system: others boot, and the script sees no old machine.
#[test]
fn a_changed_machine_of_the_built_in_guests_boots() {
    let place = Place::new();
    let with = |text: &str| {
        format!(
            r#"
              (import <nixpkgs> {{ }}).nixosTest {{
                name = "watched";
                nodes.machine = {{
                  virtualisation.guest = "tiny";
                  environment.etc.version.text = "{text}";
                }};
                testScript = ''
                  start_all()
                  machine.succeed("sleep 4")
                  print("it has", machine.succeed("cat /etc/version"))
                '';
              }}
            "#
        )
    };
    place.write("test.nix", &with("first"));
    let mut command = place.command(&["watch", "--redeploy", "--nixpkgs", "builtin", "test.nix"]);
    command.env_remove("CI");
    let child = place.start_shown(command);
    let pid = child.id();
    place.wait_for_text("shown", "it has first");
    place.wait_for_text("shown", "watching ");
    place.write("test.nix", &with("second"));
    place.wait_for_text("shown", "machine has changed since the last run");
    place.wait_for_text("shown", "it has second");
    signal(pid, "INT");
    assert_eq!(place.finish(child).code, Some(130));
    place.assert_tidy();
}

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
