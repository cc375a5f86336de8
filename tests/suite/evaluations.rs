//! How test files are evaluated: what is remembered, and by how many processes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::{Ended, Place};

/// Notes its arguments, and does as two variables say.
const NOTING: &str = r#"#!/bin/sh
echo $* >> "$CALLS"
PATH="${PATH#*:}"
case "$0" in
  *nix) exec nix "$@" ;;
esac
case "$*" in
  *"want part"*) [ -z "$KILL_PARTS" ] || kill -KILL $$ ;;
  *"want names"*)
    nix-instantiate "$@"
    code=$?
    eval "$AFTER_NAMES"
    exit $code
    ;;
esac
exec nix-instantiate "$@"
"#;

/// A place where each call of `nix-instantiate` is noted, with a cache of its own.
struct Noted {
    place: Place,
}

impl Noted {
    fn new() -> Self {
        let place = Place::new();
        fs::create_dir(place.path().join("bin")).unwrap();
        for name in ["bin/nix", "bin/nix-instantiate"] {
            let program = place.write(name, NOTING);
            fs::set_permissions(program, PermissionsExt::from_mode(0o755)).unwrap();
        }
        Self { place }
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, ("AFTER_NAMES", ""))
    }

    fn run_with(&self, arguments: &[&str], variable: (&str, &str)) -> Ended {
        let folder = self.place.path();
        let path = std::env::var("PATH").unwrap();
        let mut command = self.place.command(arguments);
        command
            .args(["--nixpkgs", "builtin"])
            .env("PATH", format!("{}:{path}", folder.join("bin").display()))
            .env("CALLS", folder.join("calls"))
            .env(variable.0, variable.1)
            .env("XDG_CACHE_HOME", self.cache());
        self.place.finish(command.spawn().unwrap())
    }

    fn cache(&self) -> PathBuf {
        self.place.path().join("cache")
    }

    /// What Nix has been asked since the last time.
    fn calls(&self) -> Vec<String> {
        let file = self.place.path().join("calls");
        let calls = fs::read_to_string(&file).unwrap_or_default();
        fs::write(&file, "").unwrap();
        calls.lines().map(str::to_owned).collect()
    }

    /// What Nix has answered of manifests.
    fn remembered(&self) -> Vec<Value> {
        let folder = fs::read_dir(self.cache().join("snowglobe/evaluations")).unwrap();
        let entries = folder.map(|entry| entry.unwrap().path());
        let entries = entries.filter(|path| path.extension().is_some_and(|it| it == "json"));
        let answers = entries.map(|path| {
            let entry: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            serde_json::from_str(entry["reply"]["answer"].as_str().unwrap()).unwrap()
        });
        answers
            .filter(|answer: &Value| answer[0]["manifest"].is_object())
            .collect()
    }
}

#[test]
fn an_evaluation_is_remembered_until_something_changes() {
    let noted = Noted::new();
    let place = &noted.place;
    let evaluate = || {
        let ended = noted.run(&["eval", "test.nix"]);
        assert_eq!(ended.code, Some(0), "{}", ended.seen());
        noted.calls().len()
    };

    place.write("motd.txt", "one");
    place.write(
        "test.nix",
        r#"(import <nixpkgs> { }).nixosTest {
          name = "remembered";
          nodes.machine.environment.etc.motd.text = builtins.readFile ./motd.txt;
          testScript = "";
        }"#,
    );
    place.settle();
    assert_eq!([evaluate(), evaluate()], [1, 0]);
    place.write("motd.txt", "two");
    place.settle();
    assert_eq!([evaluate(), evaluate()], [1, 0]);
    // Times that are set back do not hide a change.
    let motd = place.write("motd.txt", "six");
    let file = fs::File::options().write(true).open(motd).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    drop(file);
    place.settle();
    assert_eq!([evaluate(), evaluate()], [1, 0]);
    place.write("test.nix", "{ }");
    assert_eq!(noted.run(&["eval", "test.nix"]).code, Some(2));
}

/// A test whose nodes differ, and whose script names them.
fn nodes_test(third: &str) -> String {
    let nodes = r#"
        first = { nodes, ... }: { environment.etc.peer.text = nodes.second.networking.primaryIPAddress; };
        second = builtins.trace "the second node" { };
        third = THIRD;"#;
    let nodes = nodes.replace("THIRD", third);
    format!(
        r#"(import <nixpkgs> {{ }}).nixosTest {{
          name = "three";
          passthru.tags = [ "several" ];
          nodes = {{ {nodes} }};
          testScript = {{ nodes, ... }}: "print('${{nodes.second.networking.primaryIPAddress}}', '${{nodes.first.system.build.vm}}')";
        }}"#
    )
}

/// What asks what machines are has a test evaluated, and nothing more.
const LIST: [&str; 4] = ["list", "three.nix", "--filter", "backend(vm)"];

#[test]
fn nodes_of_one_test_are_evaluated_by_several_processes() {
    let noted = Noted::new();
    noted
        .place
        .write("three.nix", &nodes_test("{ virtualisation.cores = 2; }"));
    noted.place.settle();
    let list = |jobs: &str| {
        let ended = noted.run(&[&LIST[..], &["--eval-jobs", jobs]].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.seen());
        assert_eq!(
            ended.stdout,
            "three: first, second, third (tags: several)\n"
        );
        assert_eq!(ended.stderr, "trace: the second node\n");
        noted.calls()
    };

    let calls = list("2");
    let [names, parts @ .., whole] = &calls[..] else {
        panic!("{calls:?}");
    };
    assert!(names.contains("--argstr want names"), "{names}");
    let mut nodes: Vec<&str> = parts
        .iter()
        .map(|call| {
            assert!(call.contains("--argstr want part"), "{call}");
            call.split("--arg nodes ").nth(1).unwrap()
        })
        .collect();
    nodes.sort_unstable();
    assert!(nodes[0].starts_with("[ \"first\" ]"), "{nodes:?}");
    assert!(
        nodes[1].starts_with("[ \"second\" \"third\" ]"),
        "{nodes:?}"
    );
    assert_eq!(nodes.len(), 2);
    assert!(whole.contains("/whole.nix"), "{whole}");
    let in_parts = noted.remembered();
    // What is remembered is the whole.
    assert_eq!(list("2"), [""; 0]);
    assert_eq!(list("1"), [""; 0]);

    fs::remove_dir_all(noted.cache().join("snowglobe/evaluations")).unwrap();
    let calls = list("1");
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls[1].contains("--argstr want manifest"), "{}", calls[1]);
    // The derivation tells that nothing is missing from what must be built.
    assert_eq!(noted.remembered(), in_parts);
    assert_eq!(in_parts.len(), 1);
    noted.place.assert_tidy();
}

#[test]
fn an_error_in_a_part_is_that_of_the_whole() {
    let noted = Noted::new();
    noted
        .place
        .write("three.nix", &nodes_test("throw \"no third node\""));
    let list = |jobs: &str| {
        let ended = noted.run(&[&LIST[..], &["--eval-jobs", jobs]].concat());
        assert_eq!((ended.code, &*ended.stdout), (Some(2), ""));
        ended.stderr
    };
    let message = "error: no third node\n";
    let traced = format!("trace: the second node\n{message}");
    // The first process that fails is the end: that of the third node does not see the second, that of the first does.
    let of_parts = list("3");
    assert!(of_parts == message || of_parts == traced, "{of_parts}");
    let has_parts = |calls: &[String]| calls.iter().any(|call| call.contains("want part"));
    let calls = noted.calls();
    assert!(has_parts(&calls), "{calls:?}");
    assert_eq!(list("1"), traced);
    noted.place.assert_tidy();
}

#[test]
fn one_process_does_what_several_cannot() {
    let noted = Noted::new();
    let file = noted.place.path().join("three.nix");
    noted.place.write("three.nix", &nodes_test("{ }"));
    noted.place.settle();
    let list = |variable: (&str, &str), nodes: &str| {
        let arguments = [&LIST[..], &["--eval-jobs", "2"]].concat();
        let ended = noted.run_with(&arguments, variable);
        assert_eq!(ended.code, Some(0), "{}", ended.seen());
        assert_eq!(ended.stdout, format!("three: {nodes} (tags: several)\n"));
        let calls = noted.calls();
        let last = calls.last().unwrap();
        assert!(last.contains("--argstr want manifest"), "{calls:?}");
        calls
    };
    // Their memory is used up.
    let calls = list(("KILL_PARTS", "yes"), "first, second, third");
    let has_parts = calls.iter().any(|call| call.contains("want part"));
    assert!(has_parts, "{calls:?}");
    fs::remove_dir_all(noted.cache().join("snowglobe/evaluations")).unwrap();
    // The file changes after the nodes were named.
    let change = format!(
        "sed -i 's/third = /fourth = {{ }}; third = /' {}",
        file.display()
    );
    list(("AFTER_NAMES", &change), "first, fourth, second, third");
    noted.place.assert_tidy();
}

#[test]
fn warnings_of_the_nix_code_are_repeated() {
    let noted = Noted::new();
    let traced = "builtins.trace \"the first line\\nthe second\"";
    let seen_with = |rest: &str| {
        noted.place.write("test.nix", &format!("{traced} ({rest})"));
        noted.place.settle();
        let first = noted.run(&["list", "test.nix"]).seen();
        assert!(!noted.calls().is_empty());
        let again = noted.run(&["list", "test.nix"]).seen();
        assert_eq!(first, again);
        (first, noted.calls())
    };
    let (seen, calls) =
        seen_with("{ name = \"warnings\"; nodes.machine = { }; testScript = \"\"; }");
    assert_eq!(
        seen,
        "exit code: 0\n--- stdout\nwarnings: machine\n--- stderr\ntrace: the first line\nthe second\n"
    );
    assert!(calls.is_empty(), "{calls:?}");
    let (failed, _) = seen_with("throw \"no such thing\"");
    assert!(
        failed.starts_with(
            "exit code: 2\n--- stdout\n--- stderr\ntrace: the first line\nthe second\n\
             error: no such thing\n"
        ),
        "{failed}"
    );
}

#[test]
fn a_flake_is_resolved_once_and_remembered() {
    let noted = Noted::new();
    let place = &noted.place;
    for folder in ["words", "flake"] {
        fs::create_dir(place.path().join(folder)).unwrap();
    }
    place.write("words/flake.nix", "{ outputs = _: { text = \"one\"; }; }");
    let flake = |more: &str| {
        let text = format!(
            r#"{{
  inputs.words.url = "path:{}/words";
  outputs = {{ self, words }}: {{
    checks.x86_64-linux.test = {{
      name = words.text {more};
      nodes.left.virtualisation.guest = "tiny";
      nodes.right.virtualisation.guest = "tiny";
      testScript = "";
    }};
  }};
}}
"#,
            place.path().display()
        );
        place.write("flake/flake.nix", &text);
    };
    flake("");
    let list = || noted.run(&["list", "path:./flake#test"]);
    let is_nix = |call: &&String| call.contains("flake metadata");
    let count = || {
        let calls = noted.calls();
        let resolved = calls.iter().filter(is_nix).count();
        (resolved, calls.len() - resolved)
    };
    let ended = list();
    assert_eq!(
        ended.stdout,
        "checks.x86_64-linux.test (one): left, right\n",
        "{}",
        ended.seen()
    );
    assert_eq!(count(), (1, 1));
    assert_eq!(list().stdout, ended.stdout);
    assert_eq!(count(), (1, 0), "the answer is remembered");
    // Several processes take what one has resolved.
    let ended = noted.run(&["build", "--backend", "container", "path:./flake#test"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    assert_eq!(count().0, 1);
    // The flake changes, and an input.
    flake("+ \"-two\"");
    assert!(list().stdout.contains("(one-two)"));
    assert_eq!(count(), (1, 1));
    place.write("words/flake.nix", "{ outputs = _: { text = \"three\"; }; }");
    assert!(list().stdout.contains("(three-two)"));
    assert_eq!(count(), (1, 1));
    // What the environment says is no secret of the flake.
    flake("+ builtins.getEnv \"AFTER_NAMES\"");
    let list_with = |word| noted.run_with(&["list", "path:./flake#test"], ("AFTER_NAMES", word));
    assert!(list_with("").stdout.contains("(three)"));
    assert!(list_with("true").stdout.contains("(threetrue)"));
}

/// A test of two nodes, each in a file of its own, whose script prints.
fn scripted(script: &str) -> String {
    format!(
        r#"{{
  name = "scripted";
  nodes.first = ./first.nix;
  nodes.second = ./second.nix;
  testScript = {{ nodes, ... }}: ''
    {script}
    print("${{nodes.first.networking.primaryIPAddress}}")
  '';
}}
"#
    )
}

#[test]
fn an_edit_of_a_script_is_not_evaluated() {
    let noted = Noted::new();
    let place = &noted.place;
    place.write("first.nix", "{ virtualisation.guest = \"tiny\"; }");
    place.write("second.nix", "{ virtualisation.guest = \"tiny\"; }");
    let run = |expected: &[&str]| {
        let ended = noted.run(&[
            "run",
            "--backend",
            "container",
            "--format",
            "json",
            "test.nix",
        ]);
        assert_eq!(ended.code, Some(0), "{}", ended.seen());
        let events = ended
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let printed = events.filter(|event: &Value| event["event"] == "output");
        let printed: Vec<String> = printed
            .map(|it| it["text"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(printed, expected, "{}", ended.seen());
        let calls = noted.calls();
        calls
            .iter()
            .filter(|call| call.contains("--argstr want"))
            .count()
    };
    place.write("test.nix", &scripted("print('one')"));
    place.settle();
    assert!(run(&["one", "192.168.1.1"]) > 0);
    for word in ["two", "three"] {
        place.write("test.nix", &scripted(&format!("print('{word}')")));
        assert_eq!(run(&[word, "192.168.1.1"]), 0);
    }
    // Whatever else changes is evaluated.
    place.write("test.nix", &scripted("print('${toString 4}')"));
    assert!(run(&["4", "192.168.1.1"]) > 0);
    place.settle();
    place.write("test.nix", &scripted("print('five')"));
    place.write(
        "second.nix",
        "{ virtualisation.guest = \"tiny\"; virtualisation.memorySize = 300; }",
    );
    assert!(run(&["five", "192.168.1.1"]) > 0);
    // The lines of the file are a part of the machine.
    for place_of in [
        "toString (builtins.unsafeGetAttrPos \"b\" { b = 1; }).line",
        "toString __curPos.line",
    ] {
        let positioned = |script: &str| {
            format!(
                "{{\n name = \"placed\";\n testScript = ''\n  {script}\n '';\n nodes.machine = {{ virtualisation.guest = \"tiny\"; environment.etc.p.text = {place_of}; }};\n}}"
            )
        };
        place.write("test.nix", &positioned("print('one')"));
        place.settle();
        assert!(run(&["one"]) > 0);
        place.write("test.nix", &positioned("print('two')\n  print('three')"));
        assert!(run(&["two", "three"]) > 0, "{place_of}");
    }
    // A script that is read from a file.
    place.write(
        "test.nix",
        "{ name = \"read\"; nodes.machine = ./first.nix; testScript = builtins.readFile ./script.py; }",
    );
    place.write("script.py", "print('one')\n");
    place.settle();
    assert!(run(&["one"]) > 0);
    place.write("script.py", "print('two')\nprint('three')\n");
    assert_eq!(run(&["two", "three"]), 0);
}

#[test]
fn a_flake_is_evaluated_when_something_that_it_reads_changes() {
    let noted = Noted::new();
    let place = &noted.place;
    fs::create_dir(place.path().join("flake")).unwrap();
    let flake = |machine: &str, script: &str| {
        let text = format!(
            r#"{{
  outputs = {{ self }}: {{
    checks.x86_64-linux.test = {{
      name = "scripted";
      nodes.machine = {{ {machine} }};
      testScript = ''
        {script}
      '';
    }};
  }};
}}
"#
        );
        place.write("flake/flake.nix", &text);
    };
    let git = |arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        command
            .arg("-C")
            .arg(place.path().join("flake"))
            .args(["-c", "user.name=x", "-c", "user.email=x@localhost"])
            .args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let count = |script: &str| {
        let ended = noted.run(&["check", "./flake#test"]);
        assert_eq!(ended.code, Some(2), "{}", ended.seen());
        assert!(ended.seen().contains(script), "{}", ended.seen());
        noted.calls().len()
    };
    flake("environment.etc.id.source = ./id.txt;", "one()");
    place.write("flake/id.txt", "one");
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    place.settle();
    assert!(count("one()") > 0);
    assert_eq!(count("one()"), 0);
    // A file that nothing reads, and the script's text.
    place.write("flake/README.md", "");
    flake("environment.etc.id.source = ./id.txt;", "two()");
    assert_eq!(count("two()"), 0);
    // A file that is read, another machine, and a commit that the flake asks for.
    place.write("flake/id.txt", "two");
    place.settle();
    assert!(count("two()") > 0);
    flake("environment.etc.id.text = self.rev or \"dirty\";", "two()");
    place.settle();
    assert!(count("two()") > 0);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "all"]);
    assert!(count("two()") > 0);
    // A flake that is a part of its machines.
    flake("environment.etc.id.source = \"${self}/id.txt\";", "two()");
    place.settle();
    assert!(count("two()") > 0);
    place.write("flake/README.md", "more");
    assert!(count("two()") > 0);
    flake("environment.etc.id.text = toString ./.;", "two()");
    place.settle();
    assert!(count("two()") > 0);
    flake("environment.etc.id.text = toString ./.;", "three()");
    assert!(count("three()") > 0);
}
