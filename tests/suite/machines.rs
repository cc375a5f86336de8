//! What machines do, group by group, on real guests: docs/src/compatibility.md lists the fixtures.

use crate::harness::Place;

/// Runs a fixture whose subtests say what they show.
fn holds(fixture: &str) {
    let place = Place::new();
    let ended = place.run_fixture(fixture, &[]);
    assert_eq!(
        ended.code,
        Some(0),
        "{fixture}:\n{}\n{}",
        ended.stdout,
        ended.stderr
    );
    place.assert_tidy();
}

#[test]
fn shell() {
    holds("shell.nix");
}
