use super::*;
use crate::language::check::Parts;

/// A script of a test with two machines; `|` is the position.
fn with<T>(marked: &str, work: impl FnOnce(WrittenScript<'_>, usize) -> T) -> T {
    let offset = marked.find('|').unwrap();
    let text = marked.replacen('|', "", 1);
    let context = TestContext {
        machines: Some(vec!["client".to_owned(), "server".to_owned()]),
        vlans: Some(vec![1]),
        ..TestContext::default()
    };
    let units = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let units = BTreeMap::from([
        ("client".to_owned(), units(&["sshd.service"])),
        (
            "server".to_owned(),
            units(&["nginx.service", "sshd.service"]),
        ),
    ]);
    let script = WrittenScript {
        text: &text,
        context: &context,
        units: &units,
    };
    work(script, offset)
}

fn labels(marked: &str, kind: CompletionKind) -> Vec<String> {
    let found = with(marked, completions);
    let found = found.into_iter().filter(|one| one.kind == kind);
    found.map(|one| one.label).collect()
}

/// The units that the test's machines define.
fn own_units(marked: &str) -> Vec<String> {
    let mut units = labels(marked, CompletionKind::Unit);
    units.retain(|unit| unit.ends_with(".service"));
    units
}

fn has(marked: &str, kind: CompletionKind, label: &str) -> bool {
    labels(marked, kind).iter().any(|one| one == label)
}

#[test]
fn members_follow_a_dot() {
    for script in [
        "server.|",
        "server.wait|",
        "server.|\nclient.succeed(\"x\")\n",
        "with subtest(\"a\"):\n    server.|\n\nclient.start()\n",
        "for m in machines:\n    m.|",
        "x = server\nx.|",
        "client.succeed(server.|",
        "if server.|",
        "def f(m: Machine):\n    m.|\n",
    ] {
        assert!(
            has(script, CompletionKind::Method, "wait_for_unit"),
            "{script}"
        );
    }
    assert!(has("server.|", CompletionKind::Property, "connected"));
    assert!(!has("vlan1.|", CompletionKind::Method, "wait_for_unit"));
    assert_eq!(with("unknown.|", completions), []);
    assert!(
        !labels("server.|", CompletionKind::Method)
            .iter()
            .any(|name| name.starts_with('_'))
    );
}

#[test]
fn the_word_at_the_position_is_replaced() {
    let found = with("server.wait_for|_unit(\"x\")", completions);
    assert!(!found.is_empty());
    assert!(found.iter().all(|one| one.range == (7..15)));
}

#[test]
fn names_are_those_of_the_test_and_the_script() {
    for script in [
        "|",
        "ser|",
        "client.start()\nser|\n",
        "x = |\n",
        "print(|",
        "def f():\n    |\n",
    ] {
        assert_eq!(
            labels(script, CompletionKind::Machine),
            ["client", "server"],
            "{script}"
        );
    }
    assert!(has("|", CompletionKind::Function, "start_all"));
    assert!(has("|", CompletionKind::Variable, "vlan1"));
    assert!(has("mine = 1\nm|", CompletionKind::Variable, "mine"));
    for script in ["# ser|", "\"ser|\"", "server.succeed(\"ser|\")", "x = 1 |"] {
        assert_eq!(with(script, completions), [], "{script}");
    }
}

#[test]
fn arguments_are_those_that_the_call_lacks() {
    let all = labels("server.wait_for_unit(|", CompletionKind::Argument);
    assert_eq!(all, ["unit=", "user=", "timeout="]);
    let rest = labels("server.wait_for_unit(\"x\", |)", CompletionKind::Argument);
    assert_eq!(rest, ["user=", "timeout="]);
    let rest = labels(
        "server.wait_for_unit(\"x\", user=\"a\", t|)\nclient.start()",
        CompletionKind::Argument,
    );
    assert_eq!(rest, ["timeout="]);
    assert!(has(
        "server.succeed(\"x\", |",
        CompletionKind::Argument,
        "timeout="
    ));
    assert_eq!(labels("print(|", CompletionKind::Argument), [""; 0]);
}

#[test]
fn units_are_those_of_the_machine() {
    for script in [
        "server.wait_for_unit(\"|\")",
        "server.wait_for_unit(\"ng|\")",
        "server.wait_for_unit(\"ng|\nclient.start()\n",
        "server.wait_for_unit('|",
        "server.wait_for_unit(unit=\"|\")",
        "server.start_job(\"|\")",
    ] {
        let units = own_units(script);
        assert_eq!(units, ["nginx.service", "sshd.service"], "{script}");
    }
    assert_eq!(own_units("client.wait_for_unit(\"|\")"), ["sshd.service"]);
    assert_eq!(
        labels("client.wait_for_unit(\"a\", \"|\")", CompletionKind::Unit),
        [""; 0]
    );
    assert_eq!(
        labels("client.succeed(\"|\")", CompletionKind::Unit),
        [""; 0]
    );
    let found = with("server.wait_for_unit(\"multi-us|er\")", completions);
    assert!(found.iter().all(|one| one.range == (22..30)));
    assert!(has(
        "client.wait_for_unit(\"|\")",
        CompletionKind::Unit,
        "multi-user.target"
    ));
}

#[test]
fn names_are_described() {
    let code = |marked: &str| with(marked, hover).map(|found| found.code);
    let unit = code("server.wait_for_u|nit(\"x\")").unwrap();
    assert!(
        unit.starts_with("def wait_for_unit(unit: str, user: str | None = None"),
        "{unit}"
    );
    assert_eq!(code("ser|ver.start()").as_deref(), Some("server: Machine"));
    assert_eq!(code("x = server\nx|").as_deref(), Some("x: Machine"));
    assert_eq!(code("vla|n1").as_deref(), Some("vlan1: VLan"));
    assert_eq!(
        code("mach|ines").as_deref(),
        Some("machines: list[Machine]")
    );
    assert!(code("start_a|ll()").unwrap().starts_with("def start_all("));
    assert_eq!(code("x = 1\nx|"), None);
    assert_eq!(code("\"ser|ver\""), None);
    assert_eq!(code("|"), None);
    let found = with("server.wait_for_u|nit(\"x\")", hover).unwrap();
    assert_eq!(found.range, 7..20);
    assert!(!found.doc.is_empty());
}

#[test]
fn signatures_say_which_parameter_is_next() {
    let active = |marked: &str| {
        let found = with(marked, signature_at)?;
        Some(found.text[found.parameters[found.active?].clone()].to_owned())
    };
    assert_eq!(
        active("server.wait_for_unit(|").as_deref(),
        Some("unit: str")
    );
    assert_eq!(
        active("server.wait_for_unit(\"x\", |)").as_deref(),
        Some("user: str | None = None")
    );
    assert_eq!(
        active("server.wait_for_unit(timeout=|)").as_deref(),
        Some("timeout: Duration = 900")
    );
    assert_eq!(
        active("server.succeed(\"a\", |)").as_deref(),
        Some("commands: str")
    );
    assert_eq!(
        active("print(server.fail(|").as_deref(),
        Some("commands: str")
    );
    assert_eq!(active("server.start()|"), None);
    assert_eq!(active("print(|)"), None);
}

#[test]
fn machines_are_names_of_the_test() {
    let machine = |marked: &str| with(marked, machine_at);
    assert_eq!(machine("ser|ver.start()").as_deref(), Some("server"));
    assert_eq!(machine("server = 1\nser|ver"), None);
    assert_eq!(machine("other|.start()"), None);
    assert_eq!(machine("server.sta|rt()"), None);
}

#[test]
fn any_text_at_any_position_is_read() {
    for text in [
        "",
        "\0",
        "(((((",
        "\"\"\"",
        "f\"{server.",
        "é.ü(\"ß",
        "server.\r\nserver.",
        "\\",
        "lambda:",
        "with",
        "x = [server.for y in",
        "async def f(:\n\tserver.",
        "match server.:\n  case",
        "🙂server.🙂",
        "server.succeed(\"a\"\"|\", '''",
        "@server.\n",
        "\u{feff}server.",
    ] {
        for offset in 0..=text.len() + 2 {
            let context = TestContext::default();
            let units = BTreeMap::new();
            let script = WrittenScript {
                text,
                context: &context,
                units: &units,
            };
            for one in completions(script, offset) {
                assert!(text.get(one.range).is_some());
            }
            if let Some(found) = hover(script, offset) {
                assert!(text.get(found.range).is_some());
            }
            let _ = (signature_at(script, offset), machine_at(script, offset));
        }
    }
}

#[test]
fn unknown_text_is_no_mistake() {
    let codes = |marked: &str| {
        let text = marked.replace('|', "__name__");
        let gaps = text
            .match_indices("__name__")
            .map(|(at, word)| at..at + word.len());
        let gaps: Vec<_> = gaps.collect();
        let context = TestContext {
            machines: Some(vec!["server".to_owned()]),
            ..TestContext::default()
        };
        let found = check_around(&text, &gaps, &context, Parts::ALL);
        found
            .into_iter()
            .map(|finding| finding.code)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        codes("server.succeed(\"|/bin/x\")\nunknown()\n"),
        ["unknown-name"]
    );
    assert_eq!(codes("|\nserver.start()\nmaybe_defined_above()\n"), [""; 0]);
    assert_eq!(
        codes("server.sleep(|)\nserver.no_such_method()\n"),
        ["unknown-attribute"]
    );
    assert_eq!(codes("if |:\n  server.start()\n"), [""; 0]);
    assert_eq!(codes("f\"{|}\"\nserver.start()\n"), [""; 0]);
    assert_eq!(codes("server.start(\n"), ["syntax"]);
}
