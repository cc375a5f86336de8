# What benches/ready.py runs: how long after a thing has happened a wait for it
# ends, beside asking once a second.
let
  pkgs = import <nixpkgs> { };
in
pkgs.nixosTest {
  name = "ready";
  nodes.tiny.virtualisation.guest = "tiny";
  nodes.debian.systemd.services.late = {
    script = "sleep $(cat /tmp/delay)";
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
    };
  };
  testScript = ''
    import random
    import re
    import time

    start_all()
    for machine in machines:
        machine.connect()
    debian.wait_for_unit("multi-user.target")
    debian.sleep(10)


    def offset(machine):
        "The host's clock less the guest's: the kernel stamps what it prints, and a line is here in milliseconds."
        least = None
        for number in range(8):
            marker = f"sync-{number}-{random.random()}"
            machine.background(f"sleep 0.5; echo '<1>{marker}' > /dev/kmsg")
            machine.wait_for_console_text(marker)
            now = time.time()
            stamp = float(re.search(r"\[ *([0-9.]+)\] " + marker, machine.get_console_log()).group(1))
            least = now - stamp if least is None else min(least, now - stamp)
        return least


    def start_of_server(machine):
        "What passes from the reading of the clock until the server listens."
        begin, end = machine.succeed(
            "read -r a _ < /proc/uptime; nc -z 127.0.0.1 1 || read -r b _ < /proc/uptime; echo $a $b"
        ).split()
        return float(end) - float(begin)


    def port(machine, wait):
        "Something listens on a port."
        delay = random.uniform(1, 3)
        machine.succeed("rm -f /tmp/when")
        server = machine.background(f"sleep {delay}; read -r t _ < /proc/uptime; echo $t > /tmp/when; exec nc -l -p 4000")
        wait(machine)
        end = time.time()
        server.kill()
        return end - float(machine.succeed("cat /tmp/when")) - start_of_server(machine)


    def unit(machine, wait):
        "A unit becomes active."
        machine.succeed(f"systemctl stop late; echo {random.uniform(1, 3)} > /tmp/delay; systemctl start --no-block late")
        wait(machine)
        end = time.time()
        return end - int(machine.get_unit_property("late", "ActiveEnterTimestampMonotonic")) / 1e6


    def each_second(command):
        return lambda machine: retry(lambda last: machine.execute(command)[0] == 0)


    open_port = "bash -c 'exec 3<>/dev/tcp/localhost/4000'"
    kinds = [
        ("tiny", "port", port, lambda m: m.wait_for_open_port(4000), each_second(open_port)),
        ("debian", "port", port, lambda m: m.wait_for_open_port(4000), each_second(open_port)),
        ("debian", "unit", unit, lambda m: m.wait_for_unit("late"), each_second("systemctl is-active late")),
    ]
    offsets = {machine.name: offset(machine) for machine in machines}
    for _ in range(10):
        for name, kind, measure, wait, polling in kinds:
            machine = {"tiny": tiny, "debian": debian}[name]
            own, polled = (measure(machine, how) - offsets[name] for how in [wait, polling])
            print(f"row {name} {kind} {own:.3f} {polled:.3f}")
  '';
}
