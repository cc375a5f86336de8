//! Displays show recorded runs: each event stream of `fixtures/events` on each display.

use insta::assert_snapshot;

use crate::harness::{Place, fixture_path};

fn play(name: &str, options: &[&str]) -> String {
    let file = fixture_path(&format!("events/{name}.jsonl"));
    let arguments = ["play", "--speed", "0", file.to_str().unwrap()];
    Place::new().run(&[&arguments, options].concat()).seen()
}

#[test]
fn a_test_that_passes() {
    assert_snapshot!(play("passed", &["--format", "plain"]));
}

#[test]
fn a_test_that_passes_with_everything() {
    assert_snapshot!(play("passed", &["--format", "plain", "--verbose"]));
}

#[test]
fn a_test_that_fails() {
    assert_snapshot!(play("failed", &["--format", "plain"]));
}

#[test]
fn subtests_that_fail_and_go_on() {
    assert_snapshot!(play("subtests", &["--format", "plain"]));
}

#[test]
fn a_build_log_has_the_verdict() {
    assert_snapshot!(play("failed", &["--format", "build-log"]));
}

#[test]
fn the_event_stream_is_played_as_it_was() {
    for name in ["passed", "failed", "subtests"] {
        let file = fixture_path(&format!("events/{name}.jsonl"));
        let recorded = std::fs::read_to_string(&file).unwrap();
        let arguments = ["play", "--speed", "0", "--format", "json"];
        let place = Place::new();
        let output = place.command(&arguments).arg(&file).output().unwrap();
        assert!(output.status.success() && output.stdout == recorded.as_bytes());
    }
}

#[test]
fn what_is_no_event_is_named() {
    let place = Place::new();
    place.write(
        "events.jsonl",
        "{\"time_s\":0.0,\"event\":\"changed\"}\n{}\n",
    );
    assert_snapshot!(place.run(&["play", "events.jsonl"]).seen());
}
