//! Mistakes of newcomers, and the reports on them.

use std::fs;

use insta::assert_snapshot;
use regex_lite::Regex;

use crate::harness::{Place, signal};

/// The report of a test of `mistakes.nix` without what differs from run to run.
fn report(attribute: &str, arguments: &[&str]) -> String {
    let place = Place::new();
    let ended = place.run_fixture(
        "mistakes.nix",
        &[&["-A", attribute, "--cold"], arguments].concat(),
    );
    still(&ended.seen())
}

fn still(seen: &str) -> String {
    let patterns = [
        // Consoles: other tests are about them.
        (
            r"(?m)^the console of (\S+) ends:\n(?:  .*\n)*",
            "the console of $1 ends: […]\n",
        ),
        (
            r"[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d (\S+) (\S+)\[\d+\]:",
            "[TIME] $1 $2:",
        ),
        (r"since .* ago", "since [TIME]"),
        (r"(Main PID|Process): \d+", "$1: [PID]"),
        (r"(?m)^ +(CPU|Duration|Mem peak|IO): .*\n", ""),
        (r"\(for [\d.]+ s\)", "(for [T] s)"),
        (r"/nix/store/[a-z0-9]{32}-", "/nix/store/[HASH]-"),
    ];
    let mut seen = seen.to_owned();
    for (pattern, still) in patterns {
        let pattern = Regex::new(pattern).unwrap();
        seen = pattern.replace_all(&seen, still).into_owned();
    }
    seen
}

/// From its error to the end.
fn error(attribute: &str, arguments: &[&str]) -> String {
    let report = report(attribute, arguments);
    let place = report.find("\nerror: ");
    report[place.unwrap_or_else(|| panic!("there is no error:\n{report}"))..].to_owned()
}

/// Everything that is seen of a file that does not evaluate.
fn of_file(text: &str) -> String {
    let place = Place::new();
    place.write("test.nix", text);
    let ended = place.run(&["run", "--nixpkgs", "builtin", "test.nix"]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    still(&ended.seen())
}

/// The reader should know the line where Nix gave up, which is below the missing semicolon.
#[test]
fn a_mistake_in_the_syntax_of_nix_has_its_line() {
    let test = r#"(import <nixpkgs> { }).nixosTest {
  name = "syntax";
  nodes.server = {
    systemd.services.web.script = "sleep 1000"
    networking.firewall.enable = false;
  };
  testScript = "server.wait_for_unit('web')";
}
"#;
    assert_snapshot!(of_file(test));
}

/// The reader should know which definition is wrong, in which node, and what the option may be called.
#[test]
fn an_unknown_option_has_its_place_and_a_suggestion() {
    let test = r#"(import <nixpkgs> { }).nixosTest {
  name = "option";
  nodes.server = {
    networking.firewal.enable = false;
  };
  testScript = "server.wait_for_unit('web')";
}
"#;
    assert_snapshot!(of_file(test));
}

/// The reader should know where the typo is, and the name that was meant; nothing has booted.
#[test]
fn a_typo_is_found_before_anything_boots() {
    assert_snapshot!(report("typo", &[]));
}

/// The reader should know that no such unit is there, and what units are called so nearly.
#[test]
fn a_unit_that_does_not_exist_has_a_suggestion() {
    assert_snapshot!(error("wrong-unit", &[]));
}

/// The reader should know which unit has failed, why, and what it said, while the script still waits.
#[test]
fn a_service_that_crashes_is_named_while_the_script_waits() {
    let report = report("crash-at-start", &[]);
    let warnings: Vec<&str> = report
        .lines()
        .skip_while(|line| !line.contains("warning"))
        .take_while(|line| line.contains("warning") || line.starts_with("  "))
        .collect();
    let warnings = warnings.join("\n");
    assert!(
        warnings
            .starts_with("server: warning: unit broken.service has failed (exit-code, exit code 1"),
        "{report}"
    );
    // Lines of systemd and of the service come to the journal in either order.
    let journal = warnings.split("; its journal ends:\n").nth(1).unwrap();
    let cause = "  cat: /etc/broken.conf: No such file or directory\n";
    assert!(journal.contains(cause), "{report}");
    assert!(journal.contains("  Started broken.service.\n"), "{report}");
    assert!(
        warnings.contains("server: warning: unit broken.service has failed again (exit-code, exit code 1, restarted "),
        "{report}"
    );
    let message = "took longer than 8 s; nothing listens on port 8080; open: 8081, by socat of web.service; unit broken.service has failed\n";
    assert!(report.contains(message), "{report}");
    // Before all that the machine says.
    let place = |text: &str| {
        report
            .find(text)
            .unwrap_or_else(|| panic!("{text}:\n{report}"))
    };
    let unit =
        place("────╯\nthe unit broken.service has failed:\nsystemctl status broken.service:\n");
    assert!(unit < place("the console of server ends"), "{report}");
}

#[test]
fn a_failure_that_is_expected_is_no_reason() {
    let report = report("expected-crash", &[]);
    assert!(!report.contains("broken"), "{report}");
    assert_eq!(report.lines().next(), Some("exit code: 1"), "{report}");
}

#[test]
fn a_unit_that_fails_may_end_waits() {
    let place = Place::new();
    place.write("snowglobe.toml", "[defaults]\nfailed-units = \"fail\"\n");
    let ended = place.run_fixture("mistakes.nix", &["-A", "crash-at-start", "--cold"]);
    let message = "unit broken.service on server has failed (exit-code, exit code 1";
    let allowed = ") while the script waited (`machine.expect_failed` allows it)\n";
    let seen = ended.seen();
    assert!(seen.contains(message) && seen.contains(allowed), "{seen}");
    assert!(!seen.contains("warning:"), "{seen}");
    place.write("snowglobe.toml", "[defaults]\nfailed-units = \"ignore\"\n");
    let ended = place.run_fixture("mistakes.nix", &["-A", "crash-at-start", "--cold"]);
    let seen = ended.seen();
    assert!(
        !seen.contains("warning:") && !seen.contains("has failed"),
        "{seen}"
    );
    place.write("snowglobe.toml", "[defaults]\nfailed-units = \"panic\"\n");
    let ended = place.run_fixture("mistakes.nix", &["-A", "typo"]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let kinds = "expected one of `warn`, `fail`, `ignore`";
    assert!(ended.stderr.contains(kinds), "{}", ended.seen());
}

/// The reader should know which port the service listens on instead.
#[test]
fn a_port_that_is_closed_says_what_is_open() {
    assert_snapshot!(error("wrong-port", &[]));
}

#[test]
fn a_port_of_another_machine_says_what_is_open_there() {
    assert_snapshot!(error("other-machine", &[]));
}

/// The reader should know whether the server listens, and what does instead.
#[test]
fn a_page_of_another_machine_says_what_is_open_there() {
    let report = error("web-page", &[]);
    let line = "\nerror: RequestedAssertionFailed: waiting for http://server:8080/ on client took longer than 4 s; \
                nothing listens on port 8080 of server; open: 8081, by socat of web.service; http://server:8080/ gives no status below 400\n";
    assert!(report.contains(line), "{report}");
}

/// The reader should know that the service listens, and that a firewall is in the way.
#[test]
fn a_firewall_that_drops_is_named() {
    assert_snapshot!(error("firewall", &[]));
}

#[test]
fn a_command_about_a_unit_shows_the_unit() {
    assert_snapshot!(error("job", &[]));
}

/// The reader should know both sides, and where they differ.
#[test]
fn wrong_output_is_shown() {
    assert_snapshot!(error("wrong-output", &[]));
}

/// The reader should know which command was running, on which machine, and for how long.
#[test]
fn a_command_that_hangs_is_named_with_its_time() {
    assert_snapshot!(error("hang", &["--global-timeout", "15"]));
}

/// The reader should know that a service has failed, although the wait itself had time left.
#[test]
fn the_global_timeout_names_failed_units() {
    let report = error("crash-and-wait", &["--global-timeout", "20"]);
    for part in [
        "\nerror: GlobalTimeout: the test took longer than 20 s; it was at: server: waiting for TCP port 8080 of localhost to open",
        "; unit broken.service has failed\n",
        "\nthe unit broken.service has failed:\n",
        "cat: /etc/broken.conf: No such file or directory\n",
    ] {
        assert!(report.contains(part), "{part}\n{report}");
    }
}

#[test]
fn ctrl_c_says_where_the_script_was() {
    let place = Place::new();
    let mut command = place.command(&["run", "--nixpkgs", "builtin"]);
    command.arg(crate::harness::fixture_path("mistakes.nix"));
    command.args(["-A", "hang", "--cold", "-o", "out"]);
    let child = command.spawn().unwrap();
    place.wait_for_text("out/events.jsonl", "must succeed: sleep infinity");
    signal(child.id(), "INT");
    let ended = place.finish(child);
    assert_eq!(ended.code, Some(130), "{}", ended.seen());
    let seen = still(&ended.seen());
    let place_of_error = seen.find("\nerror: ").unwrap_or_else(|| panic!("{seen}"));
    assert_snapshot!(seen[place_of_error..].to_owned());
    let text = |name: &str| fs::read_to_string(place.path().join("out").join(name)).unwrap();
    for name in ["junit.xml", "report.html"] {
        let message = "the run was interrupted; it was at: client: must succeed: sleep infinity";
        assert!(text(name).contains(message), "{name}");
    }
    place.assert_tidy();
}

/// A guest that makes up failed units without end gets no longer wait, and no endless report.
#[test]
fn units_that_a_guest_makes_up_are_bounded() {
    let place = Place::new();
    place.write(
        "test.nix",
        r#"
          (import <nixpkgs> { }).nixosTest {
            name = "liar";
            nodes.machine.virtualisation.backend = "container";
            testScript = builtins.readFile ./script.py;
          }
        "#,
    );
    place.write(
        "script.py",
        r#"fake = r'''#!/bin/bash
case "$*" in
  *list-units*) for number in {1..500}; do echo "unit$RANDOM-$number.service x"; done ;;
  *show*)
    echo "Id=\$(reboot)$RANDOM.service"
    echo "Result=$(head -c 100000 /dev/zero | tr '\0' x)"
    echo "InvocationID='; exit 0 #"
    echo NRestarts=99999999999999999999
    ;;
  *) head -c 300000 /dev/urandom ;;
esac
'''
machine.succeed(f"cat > /run/fake << 'END'\n{fake}\nEND")
machine.succeed("chmod +x /run/fake && mount --bind /run/fake $(readlink -f $(command -v systemctl))")
machine.wait_for_file("/never", timeout=10)
"#,
    );
    let ended = place.run(&["run", "--nixpkgs", "builtin", "--cold", "test.nix"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    let message = "waiting for file /never on machine took longer than 10 s";
    assert!(ended.stdout.contains(message), "{}", ended.seen());
    assert!(
        ended.stdout.contains("warning: unit $(reboot)"),
        "{}",
        ended.seen()
    );
    assert!(ended.stdout.len() < 5 << 20, "{} bytes", ended.stdout.len());
    place.assert_tidy();
}
