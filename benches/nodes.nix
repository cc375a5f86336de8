# A test with some machines that are alike, for benches/suite.py.
{
  count,
}:
let
  pkgs = import <nixpkgs> { };
  names = builtins.genList (number: "node${toString number}") count;
in
pkgs.testers.runNixOSTest {
  name = "nodes";
  nodes = pkgs.lib.genAttrs names (_: {
    services.nginx.enable = true;
    services.openssh.enable = true;
  });
  testScript = "start_all()";
}
