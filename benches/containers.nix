# Machines for benches/containers.py: ten at once, and two that measure their network.
{
  # What the two machines are.
  first ? "container",
  second ? "container",
}:
let
  pkgs = import <nixpkgs> { };
  numbers = builtins.genList (number: toString (number + 1)) 10;
  open = backend: {
    networking.firewall.enable = false;
    virtualisation = { inherit backend; };
  };
  ten =
    guest:
    pkgs.nixosTest {
      name = "ten-${guest}";
      nodes = builtins.listToAttrs (
        map (number: {
          name = "m${number}";
          value.virtualisation = {
            inherit guest;
            backend = "container";
            memorySize = 256;
          };
        }) numbers
      );
      testScript = ''
        start_all()
        for machine in machines:
            machine.connect()
      '';
    };
in
{
  tiny = ten "tiny";
  debian = ten "debian";

  network = pkgs.nixosTest {
    name = "network";
    nodes = {
      one = open first;
      two = open second;
    };
    testScript = ''
      import json
      import time

      iperf3 = "${pkgs.debianPackage "iperf3"}/bin/iperf3"
      start_all()
      for machine in machines:
          machine.connect()
      if "${first}" == "${second}":
          begin = time.monotonic()
          for _ in range(200):
              one.succeed("true")
          print(f"row round trip of a command: {(time.monotonic() - begin) * 5:.2f} ms")
      one.succeed(f"{iperf3} -s -D")
      one.wait_for_open_port(5201)
      result = json.loads(two.succeed(f"{iperf3} -c one -t 5 -J"))["end"]
      rate = result["sum_received"]["bits_per_second"] / 1e6
      again = result["sum_sent"]["retransmits"]
      print(f"row TCP: {rate:.0f} Mbit/s, {again} segments sent again")
      ping = two.succeed("ping -c 20 -i 0.2 -q one | tail -n 1").strip()
      print(f"row ping: {ping}")
    '';
  };
}
