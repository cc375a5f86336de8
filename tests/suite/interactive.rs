//! Interactive sessions: the prompt, and shells.

use std::process::Child;

use crate::harness::{Ended, Place, Pty, fixture_path, without_terminal};

/// The command line for a fixture with the built-in guests.
fn on_fixture<'a>(command: &'a str, file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[command, "--nixpkgs", "builtin", file], more].concat()
}

/// A session in which `text` is all that is typed; there is no terminal.
fn typed(place: &Place, text: &str) -> Ended {
    let fixture = fixture_path("hello.nix");
    let arguments = on_fixture("repl", fixture.to_str().unwrap(), &[]);
    place.run_typed(&arguments, text)
}

#[test]
fn a_session() {
    let place = Place::new();
    let ended = typed(
        &place,
        r#"x = 6 * 7
x
if x:
    print("a block")

def f():
    nothing()

f()
1 +
machine.succeed("exit 3")
machine.succed("true")
test_script()
exit()
"#,
    );
    insta::assert_snapshot!(ended.seen());
    place.assert_tidy();
}

#[test]
fn help_at_the_prompt() {
    let place = Place::new();
    let text = "help()\nhelp(machine.succeed)\nhelp('wait_for_unit')\nhelp('nothing')\nhelp(print)\nhelp(machine)\n";
    let ended = typed(&place, text);
    let whole =
        "\n  wait_for_unit(unit, user=None, timeout=900.0)\n      Wait until a unit is active\n";
    assert!(ended.stdout.contains(whole), "{}", ended.seen());
    let short = ended.stdout.split("A machine of the test.").next();
    insta::assert_snapshot!(short.unwrap());
}

#[test]
fn the_prompt_on_a_terminal() {
    let place = Place::new();
    let fixture = fixture_path("hello.nix");
    let arguments = on_fixture("repl", fixture.to_str().unwrap(), &[]);
    let mut command = place.command(&arguments);
    command.env("XDG_STATE_HOME", place.path());
    let mut user = Pty::spawn(&mut command);
    user.wait_for(">>> ");
    // Names and methods are completed.
    user.type_in("mach\t.succ\t('echo an''swer')\n");
    user.wait_for("'answer\\n'");
    user.wait_for(">>> ");
    // Ctrl-C ends the call, not the session.
    user.type_in("machine.succeed('sleep 1000')\n");
    user.wait_for("must succeed: sleep 1000");
    user.type_in("\x03");
    user.wait_for("interrupted");
    // The prompt is drawn again below this line: what is typed before that one is for the next prompt.
    user.wait_for("ended a command that no caller waits for");
    user.wait_for(">>> ");
    // A console is shown if the user asks for it.
    user.type_in("log.follow('machine')\n");
    user.wait_for(">>> ");
    user.type_in("machine.succeed('echo from-the-guest > /dev/ttyS0')\n");
    user.wait_for("machine # from-the-guest");
    user.wait_for(">>> ");
    // Also while a line is being typed, which is drawn anew.
    user.type_in("_ = machine.background('sleep 2; echo later > /dev/ttyS0')\n");
    user.wait_for(">>> ");
    user.type_in("6 * ");
    user.wait_for("machine # later");
    user.wait_for(">>> 6 * ");
    user.type_in("7\n");
    user.wait_for("42");
    user.wait_for(">>> ");
    user.type_in("machine.shell_interact()\n");
    user.wait_for("# ");
    user.type_in("echo in-$((20 + 3))\n");
    user.wait_for("in-23");
    user.type_in("\x1d");
    user.wait_for(">>> ");
    // What was typed can be had again: the first of seven.
    user.type_in("\x1b[A\x1b[A\x1b[A\x1b[A\x1b[A\x1b[A\x1b[A\n");
    user.wait_for("'answer\\n'");
    user.wait_for(">>> ");
    user.type_in("\x04");
    user.wait_for("session closed: hello");
    assert_eq!(user.end(), Some(0));
    place.assert_tidy();
}

/// A user at the terminal of a failed run.
fn after_failure(place: &Place, how: &str) -> Pty {
    let file = fixture_path("failing.nix");
    let more = ["-A", "command", "--on-failure", how];
    let arguments = on_fixture("run", file.to_str().unwrap(), &more);
    let mut user = Pty::spawn(&mut place.command(&arguments));
    user.wait_for("failed here");
    user
}

/// What was done by hand does not change the verdict.
fn fails_at_last(place: &Place, mut user: Pty) {
    user.wait_for("failed:");
    assert_eq!(user.end(), Some(1));
    place.assert_tidy();
}

#[test]
fn a_prompt_where_a_test_has_failed() {
    let place = Place::new();
    let mut user = after_failure(&place, "repl");
    user.wait_for(">>> ");
    user.type_in("machine.succeed('echo still-$((20 + 3))')\n");
    user.wait_for("'still-23\\n'");
    user.wait_for(">>> ");
    user.type_in("\x04");
    fails_at_last(&place, user);
}

#[test]
fn a_shell_where_a_test_has_failed() {
    let place = Place::new();
    let mut user = after_failure(&place, "shell");
    user.wait_for("# ");
    user.type_in("echo still-$((20 + 3))\n");
    user.wait_for("still-23");
    user.type_in("\x1d");
    fails_at_last(&place, user);
}

#[test]
fn a_shell_on_a_node() {
    let place = Place::new();
    let file = fixture_path("ping.nix");
    let file = file.to_str().unwrap();
    let mut user = Pty::spawn(&mut place.command(&on_fixture("shell", file, &["alice", "--all"])));
    user.wait_for("# ");
    user.type_in("until ping -c 1 bob; do sleep 1; done\n");
    user.wait_for(" packets received");
    user.type_in("exit\n");
    user.wait_for("session closed: ping");
    assert_eq!(user.end(), Some(0));

    let printer = on_fixture("shell", file, &["printer"]);
    let mut user = Pty::spawn(&mut place.command(&printer));
    user.wait_for("there is no node printer: the test ping has alice, bob, carol");
    assert_eq!(user.end(), Some(2));
    let ended = place.finish(without_terminal(&mut place.command(&printer)));
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    assert!(
        ended.stderr.contains("a shell needs a terminal"),
        "{}",
        ended.seen()
    );
    place.assert_tidy();
}

#[test]
fn a_session_that_is_told_to_end() {
    let place = Place::new();
    let fixture = fixture_path("hello.nix");
    let arguments = on_fixture("repl", fixture.to_str().unwrap(), &[]);
    let mut user = Pty::spawn(&mut place.command(&arguments));
    user.wait_for(">>> ");
    user.type_in("machine.connect()\n");
    user.wait_for("ready after");
    user.wait_for(">>> ");
    user.type_in("import os; os.kill(os.getpid(), 15)\n");
    user.wait_for("interrupted: hello");
    assert_eq!(user.end(), Some(130));
    place.assert_tidy();
}

/// A test with a breakpoint in a function and one in a module.
fn with_breakpoints(place: &Place) -> std::process::Command {
    place.write(
        "test.nix",
        r#"
          (import <nixpkgs> { }).nixosTest {
            name = "stops";
            nodes.machine.virtualisation = { guest = "tiny"; backend = "container"; };
            testScript = ''
              import helpers

              def inner(number):
                  double = number * 2
                  breakpoint()
                  return double

              value = inner(21)
              debug.breakpoint()
              helpers.stop(value)
              print("went on with", value)
            '';
          }
        "#,
    );
    place.write("helpers.py", "def stop(value):\n    breakpoint()\n");
    place.command(&[
        "run",
        "--cold",
        "--nixpkgs",
        "builtin",
        "test.nix",
        "-o",
        "out",
    ])
}

#[test]
fn breakpoints_open_a_prompt_at_their_line() {
    let place = Place::new();
    let mut user = Pty::spawn(&mut with_breakpoints(&place));
    user.wait_for("test.nix:10\r\n");
    user.wait_for(">   10 ");
    user.wait_for(">>> ");
    user.type_in("number + double\n");
    user.wait_for("\r\n63\r\n");
    user.wait_for(">>> ");
    user.type_in("machine.succeed('echo an' 'swer')\n");
    user.wait_for("'answer\\n'");
    user.wait_for(">>> ");
    // Ctrl-C ends what was typed, not the test.
    user.type_in("machine.succeed('sleep 1000')\n");
    user.wait_for("must succeed: sleep 1000");
    user.type_in("\x03");
    user.wait_for("ended a command that no caller waits for");
    user.wait_for(">>> ");
    user.type_in("\x04");
    // What is set at the level of the script stays.
    user.wait_for("test.nix:14\r\n");
    user.wait_for(">>> ");
    user.type_in("value = 'another'; print('it', 'is')\n");
    user.wait_for("it is\r\n");
    user.wait_for(">>> ");
    user.type_in("\x04");
    user.wait_for("helpers.py:2\r\n");
    user.wait_for(">>> ");
    user.type_in("exit()\n");
    user.wait_for("went on with another");
    user.wait_for(" stops (");
    assert_eq!(user.end(), Some(0));
    place.assert_tidy();
}

/// Starts a test whose machine is busy until it has `/tmp/go`, and waits until it has booted.
fn start_busy(place: &Place) -> Child {
    let script = "machine.succeed('while ! [ -e /tmp/go ]; do sleep 0.1; done')\nmachine.crash()";
    let test = format!(
        "{{ name = \"busy\"; nodes.machine.virtualisation.guest = \"tiny\"; testScript = ''{script}''; }}"
    );
    let file = place.write("busy.nix", &test);
    let arguments = on_fixture("run", file.to_str().unwrap(), &[]);
    let driver = place.start_shown(place.command(&arguments));
    place.wait_for_text("shown", "machine: ready after ");
    driver
}

#[test]
fn a_command_in_a_virtual_machine_of_another_run() {
    let place = Place::new();
    let driver = start_busy(&place);
    let run = |words: &[&str]| {
        let mut command = place.command(&["shell", "--running", "machine"]);
        place.finish(command.args(words).spawn().unwrap())
    };
    let long = "x".repeat(65_000);
    let too_long = "x".repeat(65 << 10);
    for (words, expected) in [
        (&["hostname"][..], ("machine\n", "", 0)),
        // A single word is a line for the shell, others are as they are.
        (
            &["printf 'a\\0\\r\\n'; echo e >&2; cat; exit 7"],
            ("a\0\r\ne\n", "", 7),
        ),
        (
            &["echo", "$HOME", "a  b", "it's", "-n"],
            ("$HOME a  b it's -n\n", "", 0),
        ),
        (&["--", "false"], ("", "", 1)),
        (&["kill -9 $$"], ("", "", 137)),
        // It says what it likes.
        (
            &["echo '[terminal 1 ends 0]'; tty; exit 3"],
            ("[terminal 1 ends 0]\nnot a tty\n", "", 3),
        ),
        (&["echo", &*long], (&*format!("{long}\n"), "", 0)),
        (
            &[&*too_long],
            (
                "",
                "error: cannot run a command in a virtual machine: the command for a terminal is longer than 64 KiB: have it in a file\n",
                4,
            ),
        ),
    ] {
        let ended = run(words);
        let found = (&*ended.stdout, &*ended.stderr, ended.code.unwrap());
        assert_eq!(found, expected, "{words:?}");
    }
    // Everything arrives.
    let ended = run(&["seq 100000"]);
    assert_eq!(ended.stdout.lines().count(), 100_000);
    assert!(ended.stdout.ends_with("\n100000\n"));
    // One whose user was killed is ended in the guest.
    let mut command = place.command(&["shell", "--running", "machine", "echo begun; sleep 4321"]);
    let begun = std::fs::File::create(place.path().join("begun")).unwrap();
    let mut killed = command.stdout(begun).spawn().unwrap();
    place.wait_for_text("begun", "begun");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let ended = run(&[
        "while cat /proc/[0-9]*/cmdline 2> /dev/null | tr '\\0' ' ' | grep -q 'sleep 432[1]'; do sleep 0.1; done; echo none",
    ]);
    assert_eq!(ended.stdout, "none\n", "{}", ended.seen());
    // A machine that ends takes its terminal with it.
    let ended = run(&["touch /tmp/go; sleep 1000"]);
    assert_eq!(ended.code, Some(137), "{}", ended.seen());
    assert_eq!(place.finish(driver).code, Some(0));
    place.assert_tidy();
}

#[test]
fn a_shell_in_a_virtual_machine_of_another_run() {
    let place = Place::new();
    let driver = start_busy(&place);
    let mut user = Pty::spawn(&mut place.command(&["shell", "--running"]));
    user.wait_for("machine: terminal attached (Ctrl-] detaches)");
    user.type_in("hostname; echo $((40 + 2)); tty\n");
    user.wait_for("machine\r\n42\r\n/dev/hvc1");
    // There is one terminal.
    let mut other = place.command(&["shell", "--running", "machine", "true"]);
    let other = place.finish(other.spawn().unwrap());
    assert_eq!(
        (other.stderr.as_str(), other.code),
        (
            "error: cannot run a command in a virtual machine: machine machine has a terminal that is attached already\n",
            Some(4)
        )
    );
    user.type_in("\x1d");
    assert_eq!(user.end(), Some(0));
    let mut user = Pty::spawn(&mut place.command(&["shell", "--running", "machine"]));
    user.wait_for("# ");
    user.type_in("touch /tmp/go; exit 9\n");
    assert_eq!(user.end(), Some(0));
    assert_eq!(place.finish(driver).code, Some(0));
    place.assert_tidy();
}
