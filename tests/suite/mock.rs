//! Scripts without machines: what they ask for, and how they end.

use insta::assert_snapshot;

use crate::harness::{Ended, Place, signal};

fn mock_run(script: &str, arguments: &[&str]) -> Ended {
    let place = Place::new();
    place.write("script.py", script);
    let ended = place.run(&[&["mock-run", "--script", "script.py"], arguments].concat());
    place.assert_tidy();
    ended
}

#[test]
fn calls_are_printed_and_answered() {
    let script = r#"
start_all()
server.wait_for_unit("x.service", timeout=5)
with subtest("one"), server.nested("inside"):
    status, output = server.execute("uname")
    print(status, repr(output), repr(server.succeed("a", "b")))
for name in "ab":
    client.copy_from_host("/etc/passwd", f"/tmp/{name}")
server.log("said")
retry(lambda last: server.succeed("again") == "yes", timeout=10)
import datetime
client.sleep(datetime.timedelta(minutes=1))
print(create_machine("/nix/store/x/bin/run-further-vm").succeed("hello"))
"#;
    let place = Place::new();
    place.write("script.py", script);
    place.write(
        "answers.json",
        r#"{"succeed: again": {"in turn": ["no", "yes"]}, "further.succeed": "hello!", "execute": [3, "Linux"]}"#,
    );
    let ended = place.run(&[
        "mock-run",
        "--script",
        "script.py",
        "--answers",
        "answers.json",
    ]);
    assert_snapshot!(ended.seen());
}

#[test]
fn scripts_may_end_themselves() {
    assert_eq!(
        mock_run("exit()\n", &[]).seen(),
        "exit code: 0\n--- stdout\n--- stderr\n"
    );
    assert_eq!(
        mock_run("import sys\nsys.exit(3)\n", &[]).seen(),
        "exit code: 1\n--- stdout\n--- stderr\nSystemExit: the script ended itself with the exit code 3\n"
    );
}

#[test]
fn the_script_can_be_run_again() {
    let script = "import builtins\nbuiltins.runs = getattr(builtins, 'runs', 0) + 1\n\
                  if runs == 1:\n    test_script()\n    run_tests()\n    driver.run_tests()\nmachine.succeed(f'run {runs}')\n";
    let ended = mock_run(script, &[]);
    assert_eq!(ended.stdout.matches("run 4").count(), 2, "{}", ended.seen());
    assert_eq!(ended.stdout.lines().count(), 4, "{}", ended.seen());
}

#[test]
fn the_table_knows_the_assertions() {
    let script = "import unittest\nfor name in dir(unittest.TestCase):\n    if name.startswith('assert'):\n        print(f'    {name}: Callable[..., Any]\\n    \"\"\"As unittest.TestCase.{name}.\"\"\"')\n";
    let ended = mock_run(script, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(ended.stderr.lines().count() > 30, "{}", ended.seen());
    assert!(
        include_str!("../../src/language/api/snowglobe/assertions.py").contains(&ended.stderr),
        "{}",
        ended.seen()
    );
}

#[test]
fn a_call_that_does_not_fit_raises() {
    let ended = mock_run("machine.succeed('x', nonsense=1)\n", &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert!(ended.stderr.starts_with("TypeError: "), "{}", ended.seen());
}

#[test]
fn deep_recursion_is_an_error_of_the_script() {
    let ended = mock_run("def f(n):\n    return f(n + 1)\nf(0)\n", &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert!(
        ended
            .stderr
            .contains("RecursionError: maximum recursion depth exceeded"),
        "{}",
        ended.seen()
    );
}

#[test]
fn an_assertion_without_words_is_shown() {
    let ended = mock_run("x = 1\nassert x == 2\n", &[]);
    assert_eq!(
        ended.stderr,
        "AssertionError: this is not true: x == 2\n",
        "{}",
        ended.seen()
    );
}

/// Nothing that a script does keeps its deadline from ending it.
fn ends_at_its_deadline(script: &str) {
    let ended = mock_run(script, &["--timeout", "2"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    assert!(
        ended
            .stderr
            .contains("GlobalTimeout: the test took longer than 2 s"),
        "{}",
        ended.seen()
    );
}

#[test]
fn endless_loops_end() {
    ends_at_its_deadline("while True:\n    pass\n");
}

#[test]
fn catching_every_exception_is_no_escape() {
    ends_at_its_deadline(
        "while True:\n    try:\n        while True:\n            machine.succeed\n    except Exception:\n        print('caught')\n",
    );
}

#[test]
fn catching_even_base_exceptions_is_no_escape() {
    ends_at_its_deadline(
        "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass\n",
    );
}

#[test]
fn threads_that_are_left_are_not_waited_for() {
    let ended = mock_run(
        "import threading\nthreading.Thread(target=threading.Event().wait).start()\nprint('over')\n",
        &[],
    );
    assert_eq!(ended.seen(), "exit code: 0\n--- stdout\n--- stderr\nover\n");
}

#[test]
fn processes_that_are_forked_end_with_the_script() {
    let script = "import os, time\nopen('tmp/place', 'w').close()\nos.chdir('tmp')\nif os.fork() == 0:\n    time.sleep(600)\nelse:\n    os.remove('place')\n    print('parent')\n";
    let ended = mock_run(script, &[]);
    assert!(ended.stderr.ends_with("\nparent\n"), "{}", ended.seen());
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let script =
        "import os\nif os.fork() == 0:\n    print('child')\nelse:\n    print(os.wait()[1])\n";
    let ended = mock_run(script, &[]);
    assert!(ended.stderr.ends_with("\n9\n"), "{}", ended.seen());
}

#[test]
fn ctrl_c_ends_a_loop() {
    let place = Place::new();
    place.write(
        "script.py",
        "open('begun', 'w').write('yes')\nwhile True:\n    pass\n",
    );
    let child = place
        .command(&["mock-run", "--script", "script.py"])
        .spawn()
        .unwrap();
    place.wait_for_text("begun", "yes");
    signal(child.id(), "INT");
    assert_eq!(place.finish(child).code, Some(130));
}

#[test]
fn classes_of_the_script_are_its_own() {
    for (script, printed) in [
        (
            "class Cancelled(Exception): pass\nraise Cancelled('mine')\n",
            "Cancelled: mine\n",
        ),
        (
            "class RetryFailed(Exception): pass\nraise RetryFailed('mine')\n",
            "RetryFailed: mine\n",
        ),
        (
            "try:\n    os._exit(3)\nexcept ProcessExit:\n    print('it goes on')\n",
            "it goes on\n",
        ),
        (
            "driver.start_all()\ndriver.join_all()\nprint(driver.machines)\n",
            "[]\n",
        ),
    ] {
        let place = Place::new();
        place.write("script.py", script);
        let ended = place.run(&["mock-run", "--script", "script.py"]);
        assert_eq!(ended.stderr, printed, "{script}");
    }
}
