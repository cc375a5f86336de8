//! Many tests: choosing some, and what becomes of the others if one cannot be run.

use insta::assert_snapshot;

use crate::harness::{Place, fixture_path};

fn list(place: &Place, arguments: &[&str]) -> String {
    let file = fixture_path("many.nix");
    let file = file.to_str().unwrap();
    let ended = place.run(&[&["list", "--nixpkgs", "builtin", file], arguments].concat());
    if ended.code == Some(0) {
        ended.stdout
    } else {
        ended.seen()
    }
}

#[test]
fn a_list_shows_what_is_chosen() {
    let place = Place::new();
    assert_snapshot!(list(&place, &[]));
    assert_snapshot!(list(
        &place,
        &["--filter", "tag(database) & !machines(> 1)"]
    ));
    assert_snapshot!(list(
        &place,
        &["--filter", "database.*", "--exclude", "*-large"]
    ));
    assert_snapshot!(list(&place, &["--filter", "web", "--format", "json"]));
    let parts = [1, 2].map(|part| list(&place, &["--partition", &format!("hash:{part}/2")]));
    let mut lines: Vec<&str> = parts.iter().flat_map(|part| part.lines()).collect();
    lines.sort_unstable();
    assert_eq!(lines, list(&place, &[]).lines().collect::<Vec<_>>());
    assert!(parts.iter().all(|part| !part.is_empty()));
}

#[test]
fn wrong_filters_are_said() {
    let place = Place::new();
    assert_snapshot!(list(&place, &["--filter", "tag(slow) & taag(x)"]));
    assert_snapshot!(list(&place, &["--partition", "hash:3/2"]));
    assert_snapshot!(list(&place, &["--filter", "mail & web"]));
}

#[test]
fn a_run_takes_those_that_are_chosen() {
    let place = Place::new();
    let arguments = ["--filter", "tag(slow)", "--exclude", "mail"];
    let ended = place.run_fixture("many.nix", &arguments);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let verdicts = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with("passed: "));
    assert_eq!(verdicts.count(), 1, "{}", ended.seen());
    assert!(
        ended.stdout.contains("passed: database-large ("),
        "{}",
        ended.seen()
    );
    // Nix builds no more than these, too.
    let ended = place.run_fixture(
        "many.nix",
        &["--filter", "none()", "--as-derivation", "--allow-emulation"],
    );
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    assert_eq!(
        ended.stderr,
        "error: none of the 4 tests fits: `snowglobe list` shows them\n"
    );
}

#[test]
fn the_others_run_if_one_cannot() {
    let place = Place::new();
    let ended = place.run_fixture("mixed.nix", &[]);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let summary = "5 tests in [T] s: 2 passed, 1 failed, 2 not run\n  failed: wrong\n  not run: broken\n  not run: misspelt\nreport in [DIR]/results/report.html\n";
    assert!(ended.stdout.ends_with(summary), "{}", ended.seen());
    for part in [
        "this test has no script",
        "error: the script of misspelt cannot run as it is: 1 error\n",
    ] {
        assert!(ended.stderr.contains(part), "{part}\n{}", ended.seen());
    }
    // One that is found first has the others left out.
    let arguments = [
        "--filter",
        "misspelt | wrong",
        "--fail-fast",
        "--eval-jobs",
        "1",
    ];
    let ended = place.run_fixture("mixed.nix", &arguments);
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    assert_eq!(
        ended.stdout,
        "running 2 tests, at most 2 at a time\n2 tests in [T] s: 1 not run, 1 left out\n  not run: misspelt\nreport in [DIR]/results/report.html\n"
    );
    // So it is for a list of what has to be evaluated.
    let mixed = fixture_path("mixed.nix");
    let list = ["list", "--nixpkgs", "builtin", mixed.to_str().unwrap()];
    let ended = place.run(&[&list[..], &["--filter", "backend(container)"]].concat());
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let names = ["good", "later", "misspelt", "wrong"];
    let lines = names.map(|name| format!("{name} ({name}): machine\n"));
    assert_eq!(ended.stdout, lines.concat(), "{}", ended.seen());
    assert!(
        ended.stderr.contains("this test has no script"),
        "{}",
        ended.seen()
    );
    // Of one test alone the error is that of the command.
    let ended = place.run_fixture("mixed.nix", &["--filter", "broken"]);
    assert_eq!(
        (ended.code, &*ended.stdout),
        (Some(2), ""),
        "{}",
        ended.seen()
    );
    // The stream of events has nothing else.
    let ended = place.run_fixture(
        "mixed.nix",
        &["--filter", "good | wrong", "--format", "json"],
    );
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    for line in ended.stdout.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    place.assert_tidy();
}

#[test]
fn several_files_are_one_run() {
    let place = Place::new();
    let test = |name: &str, script: &str| {
        format!(
            "{{ name = \"{name}\"; nodes.m.virtualisation = {{ guest = \"tiny\"; backend = \"container\"; }}; testScript = \"{script}\"; }}"
        )
    };
    place.write("a.nix", &test("same", "m.succeed('true')"));
    place.write("b.nix", &test("same", "m.fail('true')"));
    place.write("c.nix", &test("other", "m.succeed('true')"));
    let files = ["a.nix", "b.nix", "c.nix", "none.nix"];
    let ended = place.run(&[&["run", "--nixpkgs", "builtin"], &files[..]].concat());
    assert_eq!(ended.code, Some(2), "{}", ended.seen());
    let summary = "4 tests in [T] s: 2 passed, 1 failed, 1 not run\n  failed: b.nix:same\n  not run: none.nix\nreport in [DIR]/results/report.html\n";
    assert!(ended.stdout.ends_with(summary), "{}", ended.seen());
    assert!(
        ended.stderr.ends_with("error: there is no file none.nix\n"),
        "{}",
        ended.seen()
    );
    for folder in ["results/other", "results/b.nix-same"] {
        assert!(place.path().join(folder).join("junit.xml").is_file());
    }
    let listed = place.run(&[
        "list",
        "--nixpkgs",
        "builtin",
        "a.nix",
        "c.nix",
        "--filter",
        "o*",
    ]);
    assert_eq!(
        (listed.code, &*listed.stdout),
        (Some(0), "c.nix: other: m\n"),
        "{}",
        listed.seen()
    );
    // As the run calls it.
    let both = ["list", "--nixpkgs", "builtin", "a.nix", "b.nix"];
    let listed = place.run(&[&both[..], &["--filter", "b.nix:same"]].concat());
    assert_eq!(listed.stdout, "b.nix: same: m\n", "{}", listed.seen());
    let chosen = [
        &["run", "--nixpkgs", "builtin", "--filter", "oth*"],
        &files[..3],
    ]
    .concat();
    let ended = place.run(&chosen);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert!(
        ended.stdout.contains("\npassed: other ("),
        "{}",
        ended.seen()
    );
    place.assert_tidy();
}
