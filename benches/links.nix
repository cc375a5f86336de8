# The rate of a link as iperf3 measures it, without a fault and with rates: containers on one network.
#
#     snowglobe run --nixpkgs builtin benches/links.nix
let
  pkgs = import <nixpkgs> { };
  node = {
    virtualisation = {
      guest = "debian";
      backend = "container";
    };
    environment.systemPackages = [ (pkgs.debianPackage "iperf3") ];
    networking.firewall.enable = false;
  };
in
pkgs.nixosTest {
  name = "links";
  nodes = {
    a = node;
    b = node;
  };
  testScript = ''
    import json

    def measured(seconds):
        """Returns the rate of TCP from a to b, in Mbit/s of data."""
        ended = json.loads(a.succeed(f"iperf3 -c b -t {seconds} -J"))["end"]
        return ended["sum_received"]["bits_per_second"] / 1e6

    start_all()
    b.succeed("iperf3 -s -D")
    b.wait_for_open_port(5201)
    measured(1)
    print(f"without a fault: {measured(5):.0f} Mbit/s")
    for rate, mbit in (("1mbit", 1), ("10mbit", 10), ("100mbit", 100)):
        with a.to(b).fault(rate=rate):
            found = measured(6)
        print(f"{rate}: {found:.2f} Mbit/s")
        assert 0.9 * mbit <= found <= mbit, "within 10 %; headers are part of the rate"
  '';
}
