//! Evaluations that are remembered: each case changes one thing that a test file reads, and the answer must be the one
//! of an evaluation that remembers nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::harness::Place;

/// A test file that reads something, and a change of it.
struct Case {
    /// The text of a file of the machine, as Nix expression.
    text: &'static str,
    files: &'static [(&'static str, &'static str)],
    change: fn(&Path),
    remembered: Remembered,
}

/// Whether an evaluation may be remembered as long as nothing changes.
#[derive(PartialEq, Eq)]
enum Remembered {
    Yes,
    Never,
}
use Remembered::{Never, Yes};

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn test_file(text: &str) -> String {
    format!(
        r#"(import <nixpkgs> {{ }}).nixosTest {{
  name = "reads";
  nodes.machine = {{ lib, pkgs, ... }}: {{ environment.etc.x.text = {text}; }};
  testScript = "";
}}"#
    )
}

/// A file that most cases read.
const ID: &[(&str, &str)] = &[("id.txt", "one")];
const CHANGE_ID: fn(&Path) = |folder| write(folder, "id.txt", "two");

const CASES: &[Case] = &[
    // Files that builtins read, however they are named.
    Case {
        text: "builtins.readFile ./id.txt",
        files: ID,
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "__readFile ./id.txt",
        files: ID,
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "(builtins.getAttr \"readFile\" builtins) ./id.txt",
        files: ID,
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "builtins.${\"read\" + \"File\"} (./. + \"/id.txt\")",
        files: ID,
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "(import ./b.nix).builtins.readFile ./id.txt",
        files: &[("id.txt", "one"), ("b.nix", "builtins")],
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "(builtins.head (map builtins.readFile [ ./id.txt ]))",
        files: ID,
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "(with builtins; readFile (dirOf ./sub + \"/id.txt\"))",
        files: ID,
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "builtins.readFile (toString ./. + \"/id.txt\")",
        files: ID,
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "lib.fileContents ./id.txt",
        files: ID,
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "toString (lib.importJSON ./id.json)",
        files: &[("id.json", "1")],
        change: |f| write(f, "id.json", "2"),
        remembered: Yes,
    },
    Case {
        text: "builtins.hashFile \"sha256\" ./id.txt",
        files: ID,
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "(builtins.scopedImport { r = builtins.readFile; } ./s.nix) ./id.txt",
        files: &[("id.txt", "one"), ("s.nix", "r")],
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "(builtins.scopedImport { } ./s.nix) ./id.txt",
        files: &[("id.txt", "one"), ("s.nix", "builtins.readFile")],
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "(import (builtins.toFile \"r.nix\" \"builtins.readFile\")) ./id.txt",
        files: ID,
        change: CHANGE_ID,
        remembered: Yes,
    },
    // Files that become part of the machine.
    Case {
        text: "\"${./id.txt}\"",
        files: ID,
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "builtins.toJSON ./id.txt",
        files: ID,
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "\"${./sub}\"",
        files: &[("sub/a/id.txt", "one")],
        change: |f| write(f, "sub/a/id.txt", "two"),
        remembered: Yes,
    },
    Case {
        text: "\"${./sub}\"",
        files: &[("sub/a/id.txt", "one")],
        change: |f| write(f, "sub/b", ""),
        remembered: Yes,
    },
    Case {
        text: "\"${builtins.path { path = ./sub; name = \"x\"; }}\"",
        files: &[("sub/id.txt", "one")],
        change: |f| write(f, "sub/id.txt", "two"),
        remembered: Yes,
    },
    Case {
        text: "\"${builtins.path { path = ./sub; filter = path: type: baseNameOf path == \"id.txt\"; }}\"",
        files: &[("sub/id.txt", "one"), ("sub/no", "")],
        change: |f| write(f, "sub/id.txt", "two"),
        remembered: Yes,
    },
    Case {
        text: "\"${builtins.filterSource (path: type: type == \"regular\") ./sub}\"",
        files: &[("sub/id.txt", "one")],
        change: |f| write(f, "sub/more", ""),
        remembered: Yes,
    },
    Case {
        text: "\"${derivation { name = \"x\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; src = ./id.txt; }}\"",
        files: ID,
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "\"${./id.txt}\"",
        files: ID,
        change: |f| {
            fs::set_permissions(f.join("id.txt"), PermissionsExt::from_mode(0o755)).unwrap();
        },
        remembered: Yes,
    },
    // What is there, and what is not.
    Case {
        text: "toString (builtins.pathExists ./id.txt)",
        files: &[],
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "toString (builtins.pathExists ./id.txt)",
        files: ID,
        change: |f| fs::remove_file(f.join("id.txt")).unwrap(),
        remembered: Yes,
    },
    Case {
        text: "builtins.toJSON (builtins.readDir ./sub)",
        files: &[("sub/id.txt", "one")],
        change: |f| write(f, "sub/more", ""),
        remembered: Yes,
    },
    Case {
        text: "builtins.toJSON (builtins.readDir ./sub)",
        files: &[("sub/id.txt", "one")],
        change: |f| {
            fs::remove_file(f.join("sub/id.txt")).unwrap();
            fs::create_dir(f.join("sub/id.txt")).unwrap();
        },
        remembered: Yes,
    },
    Case {
        text: "if builtins.pathExists ./none.nix then import ./none.nix else \"none\"",
        files: &[],
        change: |f| write(f, "none.nix", "\"two\""),
        remembered: Yes,
    },
    // Links.
    Case {
        text: "builtins.readFile ./link",
        files: &[
            ("one.txt", "one"),
            ("two.txt", "two"),
            ("make-link", "one.txt"),
        ],
        change: |f| relink(f, "two.txt"),
        remembered: Yes,
    },
    Case {
        text: "builtins.readFile (./link + \"/id.txt\")",
        files: &[
            ("one/id.txt", "one"),
            ("two/id.txt", "two"),
            ("make-link", "one"),
        ],
        change: |f| relink(f, "two"),
        remembered: Yes,
    },
    Case {
        text: "import (./link + \"/a.nix\")",
        files: &[
            ("one/a.nix", "import ./b.nix"),
            ("one/b.nix", "\"one\""),
            ("two/a.nix", "import ./b.nix"),
            ("two/b.nix", "\"two\""),
            ("make-link", "one"),
        ],
        change: |f| relink(f, "two"),
        remembered: Yes,
    },
    Case {
        text: "import ./link",
        files: &[
            ("one.nix", "\"one\""),
            ("two.nix", "\"two\""),
            ("make-link", "one.nix"),
        ],
        change: |f| relink(f, "two.nix"),
        remembered: Yes,
    },
    // Other Nix files, modules among them.
    Case {
        text: "import ./sub",
        files: &[("sub/default.nix", "\"one\"")],
        change: |f| write(f, "sub/default.nix", "\"two\""),
        remembered: Yes,
    },
    Case {
        text: "\"\"; imports = [ ./module.nix ]",
        files: &[("module.nix", "{ networking.domain = \"one\"; }")],
        change: |f| write(f, "module.nix", "{ networking.domain = \"two\"; }"),
        remembered: Yes,
    },
    Case {
        text: "\"\"; imports = [ ./module.nix ]",
        files: &[
            ("id.txt", "one"),
            (
                "module.nix",
                "{ networking.domain = builtins.readFile ./id.txt; }",
            ),
        ],
        change: CHANGE_ID,
        remembered: Yes,
    },
    Case {
        text: "builtins.readFile <mine/id.txt>",
        files: &[("mine/id.txt", "one")],
        change: |f| write(f, "mine/id.txt", "two"),
        remembered: Yes,
    },
    Case {
        text: "toString (builtins.tryEval <mine/none.txt>).success",
        files: &[("mine/id.txt", "")],
        change: |f| write(f, "mine/none.txt", ""),
        remembered: Yes,
    },
    // What differs each time, or cannot be known.
    Case {
        text: "toString builtins.currentTime",
        files: &[],
        change: |_| std::thread::sleep(std::time::Duration::from_millis(1100)),
        remembered: Never,
    },
    Case {
        text: "toString (builtins.getAttr \"currentTime\" builtins)",
        files: &[],
        change: |_| std::thread::sleep(std::time::Duration::from_millis(1100)),
        remembered: Never,
    },
    Case {
        text: "toString __currentTime",
        files: &[],
        change: |_| std::thread::sleep(std::time::Duration::from_millis(1100)),
        remembered: Never,
    },
    Case {
        text: "\"\"; imports = [ ./module.nix ]",
        files: &[(
            "module.nix",
            "{ networking.domain = \"d${toString builtins.currentTime}\"; }",
        )],
        change: |_| std::thread::sleep(std::time::Duration::from_millis(1100)),
        remembered: Never,
    },
    Case {
        text: "builtins.readFile \"${builtins.fetchGit ./repository}/id.txt\"",
        files: &[("repository/id.txt", "one")],
        change: |f| write(f, "repository/id.txt", "two"),
        remembered: Never,
    },
];

fn relink(folder: &Path, target: &str) {
    let _ = fs::remove_file(folder.join("link"));
    symlink(target, folder.join("link")).unwrap();
}

/// Evaluates the test, with this cache and a variable; returns the manifest with its store paths.
fn evaluate(place: &Place, cache: &str, variable: &str) -> String {
    let folder = place.path();
    let path = std::env::var("PATH").unwrap();
    let mut command = place.command(&[
        "eval",
        "test.nix",
        "-I",
        "mine=mine",
        "--nixpkgs",
        "builtin",
    ]);
    command
        .env("PATH", format!("{}:{path}", folder.join("bin").display()))
        .env("CALLS", folder.join("calls"))
        .env("FOO", variable)
        .env("XDG_CACHE_HOME", folder.join(cache));
    let output = command.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    String::from_utf8(output.stdout).unwrap()
}

/// A place whose evaluations are counted by a program in the place of `nix-instantiate`.
fn place() -> Place {
    let place = Place::new();
    write(place.path(), "bin/nix-instantiate", COUNTING);
    let program = place.path().join("bin/nix-instantiate");
    fs::set_permissions(program, PermissionsExt::from_mode(0o755)).unwrap();
    place
}

const COUNTING: &str =
    "#!/bin/sh\necho call >> \"$CALLS\"\nPATH=\"${PATH#*:}\"\nexec nix-instantiate \"$@\"\n";

fn calls(place: &Place) -> usize {
    let file = place.path().join("calls");
    let count = fs::read_to_string(&file)
        .unwrap_or_default()
        .lines()
        .count();
    fs::write(&file, "").unwrap();
    count
}

fn check(case: &Case) {
    let place = place();
    let folder = place.path();
    for (name, text) in case.files {
        write(folder, name, text);
    }
    if let Ok(target) = fs::read_to_string(folder.join("make-link")) {
        relink(folder, &target);
    }
    if folder.join("repository").exists() {
        let git = |arguments: &[&str]| {
            let mut command = std::process::Command::new("git");
            command
                .arg("-C")
                .arg(folder.join("repository"))
                .args(arguments);
            assert!(command.output().unwrap().status.success());
        };
        git(&["init"]);
        git(&["add", "."]);
    }
    write(folder, "test.nix", &test_file(case.text));
    place.settle();
    let passed = |cache: &str| evaluate(&place, cache, "");
    let first = passed("cache");
    calls(&place);
    if case.remembered == Yes {
        assert_eq!(passed("cache"), first);
        assert_eq!(calls(&place), 0, "{} is not remembered", case.text);
    }
    (case.change)(folder);
    let second = passed("cache");
    assert_ne!(
        second, first,
        "{} is remembered with the old value",
        case.text
    );
    if case.remembered == Yes {
        assert_eq!(second, passed("other-cache"), "{}", case.text);
    }
}

#[test]
fn nothing_that_changes_is_remembered() {
    for case in CASES {
        check(case);
    }
}

#[test]
fn variables_of_the_environment_are_compared() {
    for text in [
        "builtins.getEnv \"FOO\"",
        "(builtins.getAttr \"getEnv\" builtins) \"FOO\"",
        "__getEnv (\"FO\" + \"O\")",
        "builtins.concatStringsSep \"\" (map builtins.getEnv [ \"FOO\" ])",
    ] {
        let place = place();
        place.write("test.nix", &test_file(text));
        place.settle();
        let evaluate = |value: &str| evaluate(&place, "cache", value);
        let (one, two) = (evaluate("one"), evaluate("two"));
        assert_ne!(one, two, "{text}");
        assert_eq!(evaluate("one"), one);
        calls(&place);
        assert_eq!(evaluate("one"), one);
        assert_eq!(calls(&place), 0, "{text} is not remembered");
    }
}

#[test]
fn a_report_of_the_users_own_is_no_harm() {
    let place = place();
    place.write("id.txt", "one");
    let text = r#"builtins.trace "snowglobe-read: nonsense" (builtins.trace "x\ntrace: snowglobe-read: [\"file\",\"/none\"]" (builtins.readFile ./id.txt))"#;
    place.write("test.nix", &test_file(text));
    place.settle();
    let first = evaluate(&place, "cache", "");
    place.write("id.txt", "two");
    assert_ne!(evaluate(&place, "cache", ""), first);
}
