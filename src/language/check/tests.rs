//! Scripts, right and wrong.

use super::*;

fn context(machines: &[&str]) -> TestContext {
    TestContext {
        machines: Some(machines.iter().map(ToString::to_string).collect()),
        further_names: vec!["server_by_host_name".to_owned()],
        vlans: Some(vec![1]),
        ..TestContext::default()
    }
}

/// Findings as lines: level, code, what it is about, message, help.
fn found(source: &str) -> Vec<String> {
    found_with(source, &context(&["server", "client"]))
}

fn found_with(source: &str, context: &TestContext) -> Vec<String> {
    check(source, context, Parts::ALL)
        .into_iter()
        .map(|finding| {
            let about = finding.range.map_or("", |range| {
                &source[range.start..range.end.min(source.len())]
            });
            let level = match finding.level {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            let help = finding
                .help
                .map(|help| format!("; {help}"))
                .unwrap_or_default();
            format!(
                "{level} {} [{about}] {}{help}",
                finding.code, finding.message
            )
        })
        .collect()
}

#[test]
fn good_scripts_have_no_findings() {
    let source = r#"
import json
from datetime import timedelta

start_all()
server.wait_for_unit("x.service", timeout=timedelta(minutes=1))
for m in machines:
    m.succeed("true", "false", timeout=3, user="alice", env={"A": 1})
client.connected = False
status, out = client.execute("true")
with subtest("a"), client.nested("b"):
    t.assertEqual(json.loads(out)["a"], 1)
def check(m: Machine, **kw) -> bool:
    global seen
    seen = [x.name for x in driver.machines if (y := x.pid)]
    print(y, kw, __name__)
    return True
retry(lambda last: check(server))
class Sub(Machine):
    extra = 1
    def more(self):
        return self.extra
@polling_condition
def holds():
    server.succeed("true")
with holds:
    client.start(allow_reboot=True)
try:
    import tomllib
except ImportError as error:
    raise error
match out:
    case {"a": first, **others}:
        print(first, others)
    case [head, *tail] as whole:
        print(head, tail, whole)
vlan1.nr
parallel(lambda: server.shutdown(), client.shutdown)
with deadline(5):
    server.file("/etc/passwd").contents
log.info("a %s", 1)
server.wait_for_open_port("80")
"#;
    assert_eq!(found(source), Vec::<String>::new());
}

#[test]
fn all_syntax_errors_at_once() {
    let found = found("x = (1\ny = 2)\nif True\n    pass\n");
    assert!(found.len() > 1, "{found:?}");
    assert!(
        found.iter().all(|line| line.starts_with("error syntax")),
        "{found:?}"
    );
}

#[test]
fn what_only_the_compiler_sees() {
    assert_eq!(
        found("return 3\n"),
        ["error syntax [r] 'return' outside function"]
    );
}

#[test]
fn unknown_names() {
    assert_eq!(
        found("start_al()\nprint(sever)\nweb.succeed(\"true\")\nserver; client\n"),
        [
            "error unknown-name [start_al] the name `start_al` is not known; did you mean `start_all`?",
            "error unknown-name [sever] the name `sever` is not known; did you mean `server`?",
            "error unknown-machine [web] there is no machine `web`; the test's machines are: server, client",
        ]
    );
}

#[test]
fn names_that_are_caught_only_warn() {
    let source = "start_all()\ntry:\n    nothing\nexcept NameError:\n    pass\n";
    assert_eq!(
        found(source),
        ["warning unknown-name [nothing] the name `nothing` is not known"]
    );
}

#[test]
fn unknown_methods_on_whatever_is_a_machine() {
    let source = "server.suceed('x')\nfor m in [server, client]:\n    m.wait_for_units('x')\n\
                  def f(m: Machine):\n    m.nonsense()\nmachines[0].statr()\nx = client\nx.foo\nlog.warn('x')\nvlan1.number\n";
    assert_eq!(
        found(source),
        [
            "error unknown-attribute [suceed] a machine has no `suceed`; did you mean `succeed`?",
            "error unknown-attribute [wait_for_units] a machine has no `wait_for_units`; did you mean `wait_for_unit`?",
            "error unknown-attribute [nonsense] a machine has no `nonsense`",
            "error unknown-attribute [statr] a machine has no `statr`; did you mean `start`?",
            "error unknown-attribute [foo] a machine has no `foo`",
            "error unknown-attribute [warn] the log has no `warn`",
            "error unknown-attribute [number] a VLAN has no `number`",
        ]
    );
}

#[test]
fn arguments_that_do_not_fit() {
    let source = "server.wait_for_unit()\nserver.wait_for_unit('a', 'b', 3, 4)\nclient.succeed('a', timout=3)\n\
                  server.wait_for_open_port(80, port=81)\nserver.sleep('1')\nserver.succeed(1)\nsubtest()\nserver.wait_until_succeeds('x', timeout=None)\n";
    assert_eq!(
        found(source),
        [
            "error missing-argument [server.wait_for_unit()] `wait_for_unit` needs `unit`; it is wait_for_unit(unit, user=None, timeout=900)",
            "error surplus-argument [4] `wait_for_unit` takes no such argument; it is wait_for_unit(unit, user=None, timeout=900)",
            "error unknown-keyword [timout=3] `succeed` has no argument `timout`; did you mean `timeout`?",
            "error surplus-argument [port=81] the argument `port` is given twice",
            "error wrong-type ['1'] `duration` of `sleep` is number of seconds | None, and not str",
            "error wrong-type [1] `commands` of `succeed` is str, and not int",
            "error missing-argument [subtest()] `subtest` needs `name`; it is subtest(name, *, checkpoint=None)",
            "error wrong-type [None] `timeout` of `wait_until_succeeds` is float | datetime.timedelta, and not None",
        ]
    );
}

#[test]
fn arguments_that_cannot_be_seen_are_not_judged() {
    assert_eq!(
        found(
            "start_all()\nserver.wait_for_unit(*words)\nserver.wait_for_unit(**more)\nwords, more = [], {}\n"
        ),
        Vec::<String>::new()
    );
}

#[test]
fn what_cannot_be_meant() {
    let source = "start_all()\ndef f():\n    return 1\n    print()\n    print()\nwith subtest('a'):\n    f()\nwith subtest('a'):\n    raise Exception\n    f()\n";
    assert_eq!(
        found(source),
        [
            "warning unreachable [print()] never reached: `return` comes before",
            "warning subtest-twice ['a'] a second subtest \"a\": reports cannot tell them apart",
            "warning unreachable [f()] never reached: `raise` comes before",
        ]
    );
}

#[test]
fn nodes_that_are_never_used() {
    assert_eq!(
        found("server.start()\n"),
        ["note unused-node [] the node `client` is never used, and never starts"]
    );
}

#[test]
fn api_names_that_are_rebound_are_not_checked() {
    let source = "server.start()\nclient = create_machine('x')\nclient.frobnicate\nserver = open('x')\nserver.read()\n";
    assert_eq!(
        found(source),
        ["error unknown-attribute [frobnicate] a machine has no `frobnicate`"]
    );
}

#[test]
fn without_nodes_what_is_used_as_a_machine_is_one() {
    let unknown = TestContext::default();
    let source = "web.succeed('x')\nweb.connected = False\ndb.query('x')\nvlan7.nr\n";
    assert_eq!(
        found_with(source, &unknown),
        ["error unknown-name [db] the name `db` is not known"]
    );
}

#[test]
fn attributes_that_the_script_sets_itself() {
    let source = "start_all()\nserver.color = 1\nprint(server.color)\nif hasattr(client, 'x'):\n    client.x()\n";
    assert_eq!(found(source), Vec::<String>::new());
}

#[test]
fn what_the_driver_of_2020_had_imported() {
    let source =
        "start_all()\nserver_by_host_name.succeed('x')\ntime.sleep(1)\ndef f(re):\n    re.x\n";
    assert_eq!(
        found(source),
        [
            "warning missing-import [time] `time` is used without an import; only nixpkgs 20.09 provides it: import time"
        ]
    );
}

#[test]
fn parts_can_be_left_out() {
    let source = "nothing\nserver.nonsense\n";
    let codes = |parts| -> Vec<&str> {
        check(source, &context(&["server"]), parts)
            .iter()
            .map(|finding| finding.code)
            .collect()
    };
    assert_eq!(
        codes(Parts {
            lint: Toggle::Off,
            ..Parts::ALL
        }),
        ["unknown-attribute"]
    );
    assert_eq!(
        codes(Parts {
            types: Toggle::Off,
            ..Parts::ALL
        }),
        ["unknown-name"]
    );
}

#[test]
fn nul_bytes_and_depth_are_told() {
    assert_eq!(
        found("x = 1\0\n"),
        ["error syntax [\0] the script holds a NUL byte"]
    );
    let deep = format!("x = {}1{}\n", "(".repeat(50_000), ")".repeat(50_000));
    assert_eq!(found(&deep).len(), 1, "{:?}", found(&deep));
    let long = format!("x = {}1\n", "1 + ".repeat(100_000));
    assert_eq!(
        found(&long),
        ["error syntax [1] maximum recursion depth exceeded during compilation"]
    );
    let longer = format!("x = {}1\n", "1 + ".repeat(300_000));
    assert_eq!(
        found(&longer),
        ["error syntax [x] a statement of more than 200000 operators"]
    );
}

#[test]
fn what_python_takes_is_no_finding() {
    for source in [
        "from multiprocessing import Process\ndef f(p: Process):\n    p.join()\n",
        "class Log:\n    def add(self, x): pass\ndef g(l: Log):\n    l.add(1)\n",
        "def g[T](v: T) -> T:\n    return v\nclass C[S]:\n    def m(self, q: S) -> S: return q\n",
        "class C:\n    print(__qualname__, __module__)\n    def f(self): return __class__\n",
        "server.wait_for_unit(*['x'], timeout=3)\nserver.wait_for_open_port(**dict(port=1), timeout=4)\n",
        "def g():\n    w: NotThere = 3\n",
        "from __future__ import annotations\ndef f(x: NotThere) -> Neither: pass\n",
        "def noisy(*c, quiet=False): pass\nserver.succeed = noisy\nserver.succeed('x', quiet=True)\n",
        "todo = [server]\ntodo.append('x')\ntodo[1].upper()\n",
        "pair = [server, client]\npair[0] = 's'\npair[0].upper()\n",
        "for it in [server, client]:\n    if isinstance(it, str):\n        it.upper()\n",
        "class Web(Machine):\n    url = 'x'\ndef f(m: Machine):\n    print(m.url)\n",
        "class Mixin:\n    def extra(self): pass\nclass Both(Mixin, Machine): pass\ndef f(m: Machine):\n    m.extra()\n",
        "from math import *\nprint(sin(1))\n",
        "def helper(m, n=1):\n    m.upper()\nhelper('x')\nhelper(server)\n",
        "def helper(m):\n    m.upper()\nretry(helper)\nhelper(server)\n",
    ] {
        assert_eq!(
            found(&format!("{source}start_all()\n")),
            Vec::<String>::new(),
            "{source}"
        );
    }
}

#[test]
fn what_is_expected_to_fail_only_warns() {
    let source = "from contextlib import suppress\nstart_all()\nwith suppress(AttributeError):\n    server.nonexistent\n\
                  with t.assertRaises(TypeError):\n    server.succeed('x', foo=1)\nif False:\n    dev_only()\n";
    let found = found(source);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found.iter().all(|line| line.starts_with("warning")),
        "{found:?}"
    );
}

#[test]
fn machines_are_followed() {
    for source in [
        "def helper(m):\n    m.suceed('x')\nhelper(server)\nhelper(client)\n",
        "for n, m in enumerate(machines):\n    m.suceed('x')\n",
        "for m, n in zip(machines, 'ab'):\n    m.suceed('x')\n",
        "for m in sorted(machines):\n    m.suceed('x')\n",
        "(server if client else client).suceed('x')\n",
        "(server or client).suceed('x')\n",
        "(w := server).suceed('x')\n",
    ] {
        let found = found(&format!("start_all()\n{source}"));
        assert_eq!(
            found,
            ["error unknown-attribute [suceed] a machine has no `suceed`; did you mean `succeed`?"],
            "{source}"
        );
    }
}

#[test]
fn lists_are_not_their_machines() {
    assert_eq!(
        found("start_all()\nmachines.succeed('x')\n"),
        ["error unknown-attribute [succeed] a list has no `succeed`, a machine has"]
    );
}

#[test]
fn assertions_are_told_from_slips() {
    assert_eq!(
        found("start_all()\nt.assertEquals(1, 1)\nt.assertIn(1, [1])\nt.maxDiff\n"),
        [
            "warning unknown-attribute [assertEquals] t has no `assertEquals`; did you mean `assertEqual`?"
        ]
    );
}

#[test]
fn methods_that_are_not_called() {
    assert_eq!(
        found("start_all()\nserver.shutdown\n"),
        [
            "warning not-called [server.shutdown] `shutdown` is named, and not called; call it: shutdown(…)"
        ]
    );
}

#[test]
fn modules_that_are_nowhere_are_found() {
    let source = "import helper, json, os.path, xml.etree.ElementTree\nfrom requests import get\nfrom snowglobe import Machine\n\
                  import test_driver.errors, own.part\nprint(helper, json, os, xml, get, Machine, test_driver, own)\nserver.start()\nclient.start()\n";
    let beside = ["helpers", "own"].map(ToOwned::to_owned).into();
    let known = TestContext {
        beside: Some(beside),
        ..context(&["server", "client"])
    };
    assert_eq!(
        found_with(source, &known),
        [
            "error missing-module [helper] there is no module `helper`: it is not Python's own, not beside the test, and the \
             test has no `extraPythonPackages`; did you mean `helpers`?",
            "error missing-module [requests] there is no module `requests`: it is not Python's own, not beside the test, and \
             the test has no `extraPythonPackages`",
        ]
    );
    // Others may be there, or are looked for by the script itself.
    assert_eq!(found(source), [""; 0]);
    for before in [
        "import sys\nsys.path.append('/x')\n",
        "import importlib\nimportlib\n",
    ] {
        assert_eq!(found_with(&format!("{before}{source}"), &known), [""; 0]);
    }
    let guarded = "try:\n    import helper\nexcept ImportError:\n    helper = None\nprint(helper)\nserver.start()\nclient.start()\n";
    assert_eq!(found_with(guarded, &known), [""; 0]);
}

#[test]
fn what_only_nixpkgs_driver_has_is_named_with_what_to_use() {
    let source = "server.monitor.send(b'x')\nclient.ssh_backdoor_command(1)\nclient.vsock_host\ndriver.dump_machine_ssh(0)\n";
    assert_eq!(
        found(source),
        [
            "error unknown-attribute [monitor] a machine has no `monitor`; nixpkgs' driver has it; use \
             `send_monitor_command()`, or `qmp_client`",
            "error unknown-attribute [vsock_host] a machine has no `vsock_host`; nixpkgs' driver has it; \
             without SSH, `snowglobe shell --running NODE` opens a shell while a test runs",
        ]
    );
}

#[test]
fn faults_that_cannot_be_are_found() {
    let mut context = context(&["server", "client", "lonely"]);
    context.vlans = Some(vec![1, 2]);
    let networks = [
        ("server", vec![1, 2]),
        ("client", vec![1]),
        ("lonely", vec![]),
    ];
    context.networks = networks
        .map(|(name, networks)| (name.to_owned(), networks))
        .into();
    let found = |source: &str| found_with(source, &context);
    let good = "start_all()\nwith server.to(client).fault(loss=1, rate=\"1mbit\", match=tcp(port=80)) as f:\n    \
                print(f.dropped)\nf = between(server, client, vlan1).fault(delay=0.3)\nf.set()\nf.clear()\n";
    assert_eq!(found(good), [""; 0]);
    for (call, expected) in [
        (
            "server.to(client).fault(loss=10).set()",
            "error wrong-value [10] `loss` of `fault`: 10 is no fraction from 0 to 1: for 10 % write 0.1",
        ),
        (
            "server.to(client).fault(rate=\"1mbps\").set()",
            "error wrong-value [\"1mbps\"] `rate` of `fault`: \"1mbps\" is no rate: `bps` may mean bits or bytes; \
             write \"1mbit\" for a million bits per second",
        ),
        (
            "server.to(client).fault(loss=\"10%\").set()",
            "error wrong-type [\"10%\"] `loss` of `fault` is number from 0 to 1 | None, and not str",
        ),
        (
            "server.to(client).fault(delay=-1).set()",
            "error wrong-value [-1] `delay` of `fault`: -1 is no length of time",
        ),
        (
            "tcp(port=70000)",
            "error wrong-value [70000] `port` of `tcp`: 70000 is no port: ports are numbers from 0 to 65535",
        ),
        (
            "between(server, lonely)",
            "error no-link [between(server, lonely)] `server` and `lonely` share no virtual network; `server` is on \
             vlan1, vlan2, `lonely` on none: name the router between them",
        ),
        (
            "server.to(client, vlan2)",
            "error no-link [server.to(client, vlan2)] `server` and `client` are not both on vlan2; they share vlan1",
        ),
        (
            "client.cable(vlan2).unplugged().set()",
            "error no-link [client.cable(vlan2)] `client` is not on vlan2; it is on vlan1",
        ),
        (
            "isolate(server)",
            "error not-begun [isolate(server)] the fault that `isolate` returns never begins; begin it with a block \
             (`with …:`), or with `.set()`",
        ),
        ("server.to(clint)", "error unknown-name [clint]"),
    ] {
        let lines = found(&format!("start_all()\n{call}\n"));
        assert!(
            lines.iter().any(|line| line.starts_with(expected)),
            "{call}: {lines:#?}"
        );
    }
}
