# Eight tests with one machine each, for benches/suite.py.
let
  pkgs = import <nixpkgs> { };
  make =
    number:
    pkgs.nixosTest {
      name = "test-${toString number}";
      nodes.machine.virtualisation.guest = "tiny";
      testScript = "machine.succeed('i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done')";
    };
in
builtins.listToAttrs (
  builtins.genList (number: {
    name = "test-${toString number}";
    value = make number;
  }) 8
)
