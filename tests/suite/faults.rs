//! Faults of networks, machines and disks, captures, seeds and chaos, with real guests.

use std::fs;
use std::process::Command;

use crate::harness::{Ended, Place};

/// Two containers and a virtual machine on one network, and one more network that only containers are on.
const NODES: &str = r#"
  a.virtualisation = { guest = "tiny"; backend = "container"; vlans = [ 1 2 ]; };
  b.virtualisation = { guest = "tiny"; backend = "container"; vlans = [ 1 2 ]; };
  v.virtualisation = { guest = "tiny"; };
"#;

/// Two containers on one network.
const PAIR: &str = r#"
  a.virtualisation = { guest = "tiny"; backend = "container"; };
  b.virtualisation = { guest = "tiny"; backend = "container"; };
"#;

/// Runs a script with these nodes and options.
fn run(place: &Place, nodes: &str, script: &str, options: &[&str]) -> Ended {
    place.write("script.py", script);
    place.write(
        "test.nix",
        &format!(
            r"
              (import <nixpkgs> {{ }}).nixosTest {{
                name = {:?};
                nodes = {{ {nodes} }};
                testScript = builtins.readFile ./script.py;
              }}
            ",
            "faults"
        ),
    );
    let arguments = [&["run", "--nixpkgs", "builtin", "test.nix"], options].concat();
    let child = place.command_again(&arguments).spawn().unwrap();
    place.finish(child)
}

fn passes(place: &Place, nodes: &str, script: &str, options: &[&str]) -> Ended {
    let ended = run(place, nodes, script, options);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    ended
}

const LINKS: &str = r#"
start_all()
for m in (a, b, v):
    m.succeed("true")

def reaches(sender, receiver, address=None):
    return sender.execute(f"ping -c 2 -i 0.1 -W 1 {address or receiver.name}")[0] == 0

def must_reach(sender, receiver):
    # A kernel that has not found a neighbour looks for it again a moment later.
    sender.wait_until_succeeds(f"ping -c 1 -W 1 {receiver.name}", timeout=60)

def round_trip_ms(sender, receiver):
    last = sender.succeed(f"ping -c 5 -i 0.1 -W 5 {receiver.name}").splitlines()[-1]
    return float(last.split("=")[1].split("/")[0])

for one, other in ((a, b), (a, v), (v, a)):
    must_reach(one, other)
    must_reach(other, one)
    with one.to(other, vlan1).fault(delay=0.1) as f:
        # The shortest of all: no other work on this host makes it shorter.
        assert 100 <= round_trip_ms(one, other), "one direction"
    assert f.delayed == f.matched >= 5, f.matched
    with between(one, other, vlan1).fault(loss=1) as f:
        assert not reaches(one, other) and not reaches(other, one)
        # IPv6 as well, whose neighbours have to be found.
        assert f.dropped == f.matched > 0
    must_reach(one, other)
    with between(one, other, vlan1).fault(loss=1, match=tcp(port=9)) as f:
        must_reach(one, other)
    assert f.matched == 0

with partition([a, b], [v]):
    must_reach(a, b)
    assert not reaches(a, v) and not reaches(v, b)
with isolate(b):
    must_reach(a, v)
    assert not reaches(a, b) and not reaches(b, v)
with bridge([a], b, [v]):
    must_reach(a, b)
    must_reach(v, b)
    assert not reaches(a, v)
with partition([a], [v], one_way=True) as f:
    # The request arrives, and its answer does not.
    assert not reaches(v, a)
assert f.dropped > 0

# Of a machine on two networks, one cable or the faults of one.
with a.cable(vlan1).unplugged():
    a.wait_until_succeeds("[ $(cat /sys/class/net/eth1/carrier) = 0 ]", timeout=10)
    assert not reaches(a, v) and reaches(a, b, "192.168.2.2")
a.wait_until_succeeds("[ $(cat /sys/class/net/eth1/carrier) = 1 ]", timeout=10)
with v.cable(vlan1).unplugged():
    v.wait_until_succeeds("[ $(cat /sys/class/net/eth1/carrier) = 0 ]", timeout=10)
v.wait_until_succeeds("[ $(cat /sys/class/net/eth1/carrier) = 1 ]", timeout=10)
must_reach(a, v)
with between(a, b, vlan1).fault(loss=1):
    assert not reaches(a, b) and reaches(a, b, "192.168.2.2")
with between(a, b).fault(loss=1):
    assert not reaches(a, b, "192.168.2.2")

# Without a block; two at a time.
must_reach(a, b)
slow = a.to(b, vlan1).fault(delay=0.05).set()
slower = a.to(b, vlan1).fault(delay=0.05).set()
assert round_trip_ms(a, b) >= 100
slow.clear()
slower.clear()
slow.clear()
with slow:
    assert round_trip_ms(a, b) >= 50

# Frames that wait are delivered at the end.
with a.to(b, vlan1).fault(delay=60, match=icmp(source="192.168.1.1")) as f:
    waiting = a.background("ping -c 1 -W 50 b")
    while not f.delayed:
        a.sleep(0.1)
assert waiting.wait() == 0
print("END")
"#;

#[test]
fn links_lose_delay_and_divide() {
    let place = Place::new();
    let ended = passes(&place, NODES, LINKS, &["--cold"]);
    assert!(ended.stdout.contains("\nEND\n"), "{}", ended.seen());
    place.assert_tidy();
}

#[test]
fn faults_end_with_their_block_and_with_the_test() {
    let place = Place::new();
    let script = r#"
start_all()
a.succeed("true")
try:
    with a.to(b).fault(loss=1) as f:
        raise KeyError("inside")
except KeyError:
    print("dropped", f.dropped)
for wrong in (
    lambda: a.to(machines[0]),
    lambda: a.to(b).fault(loss=float("10")).set(),
    lambda: a.to(b).fault(jitter=0.1).set(),
    lambda: a.to(b).fault().set(),
    lambda: a.to(b).fault(rate=str("fast")).set(),
    lambda: between(a, b).fault(loss=1, match=tcp(source=str("b"))).set(),
    lambda: partition([a]),
    lambda: partition().set(),
    lambda: getattr(machines[0], "di" + "sk")().fail(read=True).set(),
    lambda: vlan1.capture("../outside").start(),
    lambda: (f.set(), f.set()),
):
    try:
        wrong()
        print("no error")
    except Exception as error:
        print(type(error).__name__, error)
f.clear()
a.wait_until_succeeds("ping -c 1 -W 1 b", timeout=60)
with subtest("fails in a fault"):
    a.to(b).fault(delay=0.1).set()
    a.succeed("ping -c 1 b", "false")
"#;
    let ended = run(&place, PAIR, script, &["--seed", "7"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    let begins = [
        "fault ",
        "seed ",
        "dropped ",
        "ValueError ",
        "MachineError ",
        "no error",
    ];
    let lines = ended
        .stdout
        .lines()
        .filter(|line| begins.iter().any(|it| line.starts_with(it)));
    let lines: Vec<&str> = lines.collect();
    let healed = lines
        .iter()
        .rposition(|line| line.starts_with("fault 6 healed"));
    assert!(healed.is_some(), "{}", ended.seen());
    let stable: Vec<&str> = lines
        .into_iter()
        .filter(|line| !line.contains(" healed"))
        .collect();
    insta::assert_snapshot!("faults_that_are_none", stable.join("\n"));
    // All displays and reports have them.
    let output = place.path().join("result-faults");
    let read = |name: &str| fs::read_to_string(output.join(name)).unwrap();
    let page = read("report.html");
    for name in [
        "fault 6: a → b: delay 0.1 s",
        "Conversations on the networks",
    ] {
        assert!(page.contains(name), "{name}");
    }
    assert!(read("junit.xml").contains("fault 6: a → b: delay 0.1 s"));
    let events = read("events.jsonl");
    for name in ["fault_started", "fault_finished", "capture_saved", "seeded"] {
        assert!(events.contains(&format!("\"event\":\"{name}\"")), "{name}");
    }
}

#[test]
fn a_seed_repeats_what_is_random() {
    let place = Place::new();
    let script = r#"
import random, os
start_all()
b.succeed("true")
# The echo requests alone: how many others there are is not certain.
with a.to(b).fault(loss=0.4, match=icmp(source="192.168.1.1")) as f:
    a.execute("ping -c 40 -i 0.01 -W 1 192.168.1.2")
assert f.matched == 40
print("drawn:", f.dropped, random.random(), os.urandom(20).hex())
"#;
    let drawn = |options: &[&str]| {
        let ended = passes(&place, PAIR, script, options);
        let line = ended
            .stdout
            .lines()
            .find(|line| line.starts_with("drawn: "));
        (line.unwrap().to_owned(), ended.stdout)
    };
    let (first, shown) = drawn(&["--seed", "7"]);
    assert!(shown.contains("\nseed 7: `--seed 7` repeats what is random\n"));
    let dropped: u32 = first.split(' ').nth(1).unwrap().parse().unwrap();
    // Four standard deviations of 40 · 0.4.
    assert!((4..=28).contains(&dropped), "{first}");
    assert_eq!(drawn(&["--seed", "7"]).0, first);
    assert_ne!(drawn(&["--seed", "8"]).0, first);
    // Without one, each run has its own, which it prints.
    let (other, shown) = drawn(&[]);
    let seed = shown
        .lines()
        .find_map(|line| line.strip_prefix("seed "))
        .unwrap();
    let seed = seed.split(':').next().unwrap();
    assert_eq!(drawn(&["--seed", seed]).0, other);
}

#[test]
fn a_seed_that_the_recording_does_not_have_is_not_answered_from_it() {
    let place = Place::new();
    let nodes = r#"one.virtualisation.guest = "tiny";"#;
    let script = "import random\none.succeed('true')\nnumber = random.random()\n\
                  checkpoint('x')\none.succeed('true')\nprint('drawn:', number)\n";
    let drawn = |options: &[&str]| {
        let ended = passes(&place, nodes, script, options);
        let line = ended
            .stdout
            .lines()
            .find(|line| line.starts_with("drawn: "));
        let is_restored = ended.stdout.contains("from the checkpoint");
        (line.unwrap().to_owned(), is_restored)
    };
    let (first, _) = drawn(&["--seed", "1"]);
    assert_eq!(drawn(&["--seed", "1"]).0, first);
    assert_ne!(drawn(&["--seed", "2"]).0, first);
}

#[test]
fn captures_open_in_tshark() {
    let place = Place::new();
    let script = r#"
start_all()
b.succeed("busybox nc -ll -p 4000 -e echo served > /dev/null 2>&1 &")
b.wait_for_open_port(4000)
with vlan1.capture("served") as cap:
    with subtest("is served"):
        assert a.succeed("busybox nc b 4000 < /dev/null") == "served\n"
    cap.wait_for(src=a, to=b, port=4000, match=tcp(syn=True))
    cap.wait_for(src=b, to=a, match=tcp(source_port=4000), count=2, timeout=60)
    cap.assert_none(port=4001)
    try:
        cap.wait_for(port=4001, timeout=0.2)
    except RequestedAssertionFailed as error:
        print(error)
with between(a, b).fault(loss=1, match=tcp(syn=True)) as f, vlan1.capture("served") as lost:
    a.execute("timeout 2 busybox nc b 4000 < /dev/null")
    # Sent, and kept from its receiver.
    assert lost.count(src=a, port=4000) == f.dropped > 0
    lost.assert_none(to=b, port=4000)
# What has ended can still be asked.
assert cap.count(port=4000) > 5 and str(cap.path).endswith("/captures/served.pcapng")
assert str(lost.path).endswith("/captures/served-2.pcapng")
cap.assert_none(to=b, port=4000)
"#;
    let ended = run(&place, PAIR, script, &[]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    for said in [
        "waiting for packets in the capture \"served\" took longer than [T] s: 0 of 1 came\n",
        "such packets, and should have none; the first:\n",
        "\nsaved [DIR]/result-faults/network.pcapng\n",
    ] {
        let seen = ended.seen();
        assert!(seen.contains(said), "{said}: {seen}");
    }
    let output = place.path().join("result-faults");
    let fields = |file: &str| {
        let arguments = [
            "-T",
            "fields",
            "-e",
            "frame.interface_name",
            "-e",
            "tcp.dstport",
            "-e",
            "frame.comment",
        ];
        let shown = Command::new("tshark")
            .arg("-r")
            .arg(output.join(file))
            .args(arguments)
            .output();
        let shown = shown.unwrap();
        assert!(
            shown.status.success(),
            "{}",
            String::from_utf8_lossy(&shown.stderr)
        );
        String::from_utf8(shown.stdout).unwrap()
    };
    let served = fields("captures/served.pcapng");
    for part in [
        "a vlan1\t4000\t",
        "b vlan1\t",
        "subtest begins: is served",
        "subtest passes: is served",
    ] {
        assert!(served.contains(part), "{part}: {served}");
    }
    let all = fields("network.pcapng");
    for part in [
        "fault 1 begins: a ↔ b (TCP SYN): loss 100 %",
        "lost by a fault: not for b",
        "a vlan1\t4000\t",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    // A run that passes saves nothing by default.
    let passing = "start_all()\na.succeed('ping -c 1 b')\n";
    let capture = output.join("network.pcapng");
    passes(&place, PAIR, passing, &[]);
    assert!(!capture.exists());
    passes(&place, PAIR, passing, &["--capture", "always"]);
    assert!(capture.exists());
    let failing = format!("{passing}assert False\n");
    let ended = run(&place, PAIR, &failing, &["--capture", "never"]);
    assert!(
        ended.code == Some(1) && !capture.exists(),
        "{}",
        ended.seen()
    );
}

const MACHINES: &str = r#"
import time
start_all()
a.succeed("true")
v.succeed("true")

def loop_s(m):
    begin = time.monotonic()
    m.succeed("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
    return time.monotonic() - begin

def available_kib(m):
    lines = m.succeed("cat /proc/meminfo").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))

# A machine that hangs does not answer; the kernel of a container is the host's.
with v.paused():
    assert a.execute("ping -c 2 -i 0.1 -W 1 v")[0] != 0
assert a.execute("ping -c 2 -i 0.1 -W 1 v")[0] == 0
a.succeed("while sleep 0.05; do echo x >> /tmp/ticks; done > /dev/null 2>&1 &")
a.wait_for_file("/tmp/ticks")
with a.paused():
    time.sleep(1.5)
# A loop that is not stopped has 30 turns in that time.
seen = int(a.succeed("wc -l < /tmp/ticks"))
assert seen < 25, seen

for m in (a, v):
    m.succeed("sleep 3000 > /dev/null 2>&1 &", "sleep 3001 > /dev/null 2>&1 &")
    assert m.kill_process("^sleep 300[01]$") == 2
    try:
        m.kill_process("^sleep 300[01]$", signal="TERM")
        print("no error")
    except RequestedAssertionFailed as error:
        print(error)
    fast = min(loop_s(m) for _ in range(3))
    with m.processors.throttle(0.05):
        slow = loop_s(m)
    # A twentieth of the speed; other work on this host makes both slower.
    assert slow > 2 * min(fast, loop_s(m)), (slow, fast)

def in_pause(work):
    with v.paused():
        work()

before = available_kib(v)
with v.memory.press("64M"):
    assert available_kib(v) < before - 48 * 1024
assert available_kib(v) > before - 16 * 1024
with a.memory.press("8M"):
    a.succeed("grep -q snowglobe-memory /proc/mounts")
a.fail("grep -q snowglobe-memory /proc/mounts")

begin = int(v.succeed("date +%s"))
v.clock.jump(days=8)
after = int(v.succeed("date +%s"))
assert 8 * 86400 <= after - begin < 8 * 86400 + 600, after - begin
v.clock.jump(days=-8)
up = lambda: float(v.succeed("cat /proc/uptime").split()[0])
start, start_up = int(v.succeed("date +%s")), up()
with v.clock.drift(100):
    v.sleep(2)
gained, passed = int(v.succeed("date +%s")) - start, up() - start_up
assert gained > 20 * passed, (gained, passed)
for wrong in (
    lambda: machines[0].clock.jump(days=1),
    lambda: v.clock.jump(),
    lambda: v.clock.drift(float("0")).set(),
    lambda: v.memory.press(str("900G")).set(),
    lambda: v.disk("vdz").fail(read=True).set(),
    lambda: v.disk("vdb").fail().set(),
    lambda: v.disk("vdb").throttle().set(),
    lambda: getattr(machines[0], "di" + "sk")().throttle(iops=1).set(),
    lambda: v.disk("vdb; touch /tmp/x").full().set(),
    lambda: in_pause(lambda: checkpoint("paused")),
    lambda: in_pause(save_disks),
):
    try:
        wrong()
        print("no error")
    except Exception as error:
        print(type(error).__name__, str(error).splitlines()[0].split(": only")[0])
v.fail("test -e /tmp/x")

disk = v.disk("vdb")
write = "dd if=/dev/zero of=/dev/vdb bs=1M count=4 conv=fsync 2>&1"
read = "echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/vdb of=/dev/null bs=1M count=4 2>&1"
v.succeed(write)
with disk.throttle(bps="1M"):
    begin = time.monotonic()
    # One request after another: the first one is free, however large.
    v.succeed("dd if=/dev/zero of=/dev/vdb bs=64k count=48 oflag=direct 2>&1")
    assert time.monotonic() - begin > 1.5
with disk.fail(write=True):
    v.fail(write)
    v.succeed(read)
with disk.fail(read=True):
    v.fail(read)
    v.succeed(write)
v.succeed(write, read)
print("END")
"#;

#[test]
fn machines_and_disks_fail() {
    let place = Place::new();
    let nodes = r#"
      a.virtualisation = { guest = "tiny"; backend = "container"; };
      v.virtualisation = { guest = "tiny"; emptyDiskImages = [ 16 ]; };
    "#;
    let ended = passes(&place, nodes, MACHINES, &["--cold"]);
    let begins = [
        "no ",
        "ValueError ",
        "MachineError ",
        "RequestedAssertionFailed ",
    ];
    let lines = ended
        .stdout
        .lines()
        .filter(|line| begins.iter().any(|it| line.starts_with(it)));
    insta::assert_snapshot!(
        "machine_faults_that_are_none",
        lines.collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn a_power_failure_leaves_what_was_flushed() {
    let place = Place::new();
    let nodes = r#"
      v.virtualisation = { guest = "tiny"; emptyDiskImages = [ 16 ]; };
      a.virtualisation = { guest = "tiny"; backend = "container"; };
    "#;
    let script = r#"
def written(number):
    """Whether the block of this number holds its letter."""
    return v.succeed(f"dd if=/dev/vdb bs=4096 skip={number} count=1 2>/dev/null | tr -dc x | wc -c").strip() == "4096"

def write(number, options):
    # Direct writes reach the disk at once, and stay in its cache until a flush.
    v.succeed(f"head -c 4096 /dev/zero | tr '\\0' x | dd of=/dev/vdb bs=4096 seek={number} {options} 2>&1")

for crash in range(2):
    write(10 * crash, "conv=notrunc,fsync")
    write(10 * crash + 1, "conv=notrunc oflag=direct")
    assert written(10 * crash) and written(10 * crash + 1)
    v.crash(lose_unflushed=True)
    v.start()
    assert written(10 * crash) and not written(10 * crash + 1), crash
assert written(0)
for wrong in (lambda: v.crash(lose_unflushed=True), lambda: a.crash(lose_unflushed=True)):
    try:
        v.shutdown()
        wrong()
        print("no error")
    except MachineError as error:
        print(error)
"#;
    let ended = passes(&place, nodes, script, &[]);
    for said in [
        "\ncold: its disks lose unflushed writes, which no checkpoint saves\n",
        "\nmachine v is not running: start it first\n",
        "\nmachine a is a container, which has no QEMU monitor: run it as a virtual machine (`--backend vm`)\n",
    ] {
        let seen = format!("\n{}", ended.stdout);
        assert!(seen.contains(said), "{said}: {}", ended.seen());
    }
    place.assert_tidy();
}

#[test]
fn chaos_ends_and_prints_its_steps() {
    let place = Place::new();
    let script = r#"
start_all()
for m in machines:
    m.succeed("true")
drawn = []
for attempt in range(2):
    with chaos(seed=3, faults=[loss(0.3), delay(0.05), pause(), partition(), isolate(a), kill("^nothing$")], every=0.1) as run:
        while len(run.steps) < 12:
            a.execute("ping -c 1 -W 1 b")
    compile("\n".join(run.steps), "steps", "exec")
    drawn.append([step for step in run.steps if "sleep" not in step][:5])
assert drawn[0] == drawn[1], drawn
a.wait_until_succeeds("ping -c 1 -W 1 b", timeout=30)
try:
    with chaos(faults=[partition()], every=0.1):
        a.sleep(0.5)
        raise KeyError("inside")
except KeyError:
    a.wait_until_succeeds("ping -c 1 -W 1 b", timeout=30)
for wrong in (dict(faults=[]), dict(faults=[pause()], machines=[a]), dict(faults=[pause()], every=0)):
    try:
        with chaos(**wrong):
            print("no error")
    except ValueError as error:
        print(error)
"#;
    let nodes =
        format!("{PAIR} c.virtualisation = {{ guest = \"tiny\"; backend = \"container\"; }};");
    let ended = passes(&place, &nodes, script, &["--seed", "1"]);
    let begun = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with("fault ") && line.contains(": "));
    let healed = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with("fault ") && line.contains(" healed"));
    assert_eq!(begun.count(), healed.count(), "{}", ended.seen());
    for said in [
        "\nthe steps of chaos with the seed 3:\n  ",
        "\n      time.sleep(",
        "\nthe steps of chaos with the seed 1:\n  ",
        "\nchaos() needs faults: for example faults=[loss(0.3), pause()]\n",
        "\nchaos() needs two machines or more\n",
        "\nevery must be more than 0 seconds\n",
    ] {
        assert!(ended.stdout.contains(said), "{said}: {}", ended.seen());
    }
}

#[test]
fn failing_seeds_are_named() {
    let place = Place::new();
    let script = "import random\nassert random.Random(random.random()).random() < 2\n\
                  assert random.randint(1, 3) > 1\n";
    let nodes = r#"a.virtualisation = { guest = "tiny"; backend = "container"; };"#;
    let ended = run(&place, nodes, script, &["--seeds", "1..9"]);
    assert_eq!(ended.code, Some(1), "{}", ended.seen());
    let line = ended
        .stdout
        .lines()
        .find(|line| line.starts_with("failed: faults, 9 attempts: "));
    let line = line.unwrap_or_else(|| panic!("{}", ended.seen()));
    let (_, seeds) = line.split_once("; failed with --seed ").unwrap();
    let failed: Vec<u64> = seeds
        .split(", ")
        .map(|seed| seed.parse().unwrap())
        .collect();
    assert!(!failed.is_empty() && failed.len() < 9, "{line}");
    for seed in 1..=9 {
        let option = seed.to_string();
        let ended = run(&place, nodes, script, &["--seed", &option]);
        let code = i32::from(failed.contains(&seed));
        assert_eq!(ended.code, Some(code), "{seed}: {}", ended.seen());
    }
    for wrong in ["", "1", "5..1", "1..x", "-1..2", "0..99999999999"] {
        let ended = run(&place, nodes, script, &["--seeds", wrong]);
        assert_eq!(ended.code, Some(2), "{wrong}: {}", ended.seen());
    }
}

#[test]
fn wrong_faults_are_found_before_anything_boots() {
    let place = Place::new();
    place.write(
        "test.nix",
        r#"
          (import <nixpkgs> { }).nixosTest {
            name = "wrong";
            nodes.a.virtualisation = { guest = "tiny"; vlans = [ 1 ]; };
            nodes.b.virtualisation = { guest = "tiny"; vlans = [ 2 ]; };
            nodes.c.virtualisation = { guest = "tiny"; backend = "container"; };
            testScript = ''
              start_all()
              with a.to(c).fault(loss=10, rate="1mbps"):
                  pass
              between(a, b).fault(delay=0.1).set()
              a.to(c).fault(loss=1)
              c.disk().full().set()
              c.clock.jump(days=1)
              with d.paused():
                  pass
            '';
          }
        "#,
    );
    let ended = place.run(&["check", "--nixpkgs", "builtin", "test.nix"]);
    assert_eq!(ended.code, Some(2));
    insta::assert_snapshot!("wrong_faults", ended.seen());
}

#[test]
fn a_cluster_elects_another_leader_and_loses_no_write() {
    let place = Place::new();
    let ended = place.run_fixture("etcd.nix", &["--seed", "7"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let said = " writes were acknowledged\n";
    assert!(ended.stdout.contains(said), "{}", ended.seen());
}

#[test]
fn a_standby_takes_over_and_loses_no_write() {
    let place = Place::new();
    let ended = place.run_fixture("replication.nix", &["--seed", "7"]);
    assert_eq!(ended.code, Some(0), "{}", ended.seen());
    let said = " acknowledged writes are on the new primary\n";
    assert!(ended.stdout.contains(said), "{}", ended.seen());
}
