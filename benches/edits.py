#!/usr/bin/env python3
"""What an edit costs before the script can start, beside nix-instantiate on the same machines.

Usage: benches/edits.py SNOWGLOBE [NIXPKGS [-I PATH...]]

Takes turns, for a test of two nodes on the built-in guests, the same test in a
flake, and with NIXPKGS two NixOS machines: `nix-instantiate` of the machines,
then `snowglobe check` that has nothing to remember, after an edit of nothing,
of the script's text, and of one node. Prints medians and their ratios to
nix-instantiate. The paths are for both.
"""

import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 5

TEST = """{
  name = "edits";
  nodes.server = ./server.nix;
  nodes.client = { };
  testScript = ''
    start_all()
    server.succeed("true SCRIPT")
    client.succeed("true")
  '';
}
"""
NODE = '{{ environment.etc.edit.text = "{}"; }}\n'


def main():
    snowglobe = pathlib.Path(sys.argv[1]).resolve()
    nixpkgs = sys.argv[2] if len(sys.argv) > 2 else None
    options = sys.argv[3:]
    measure("a file with the built-in guests", snowglobe, "builtin", "test.nix", [])
    measure("a flake with the built-in guests", snowglobe, "builtin", "path:.#edits", [])
    if nixpkgs:
        measure("a file with NixOS", snowglobe, nixpkgs, "test.nix", options)


def measure(title, snowglobe, nixpkgs, subject, options):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        cache = folder.parent / f"{folder.name}-cache"
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        check = [snowglobe, "check", "--nixpkgs", nixpkgs, subject, *options]
        times = {"nix-instantiate": [], "first": [], "nothing": [], "script": [], "node": []}

        def run(what, command):
            # What has just changed is not remembered.
            time.sleep(0.1)
            begin = time.monotonic()
            subprocess.run(
                command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            times[what].append(time.monotonic() - begin)

        write(folder, "0", "0")
        run("first", check)
        times["first"].clear()
        library = next((cache / "snowglobe").glob("nix-lib-*"))
        node = "0"
        for number in range(ROUNDS):
            run("nix-instantiate", [*instantiate(nixpkgs, library), *options])
            shutil.rmtree(cache / "snowglobe/evaluations", ignore_errors=True)
            run("first", check)
            run("nothing", check)
            write(folder, f"script {number}", node)
            run("script", check)
            node = f"node {number}"
            write(folder, f"script {number}", node)
            run("node", check)
        shutil.rmtree(cache)
    base = statistics.median(times["nix-instantiate"])
    print(f"{title}, medians of {ROUNDS}:")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"  {name:16} {median:7.3f} s   {median / base:5.2f} x")


def write(folder, script, node):
    test = TEST.replace("SCRIPT", script)
    (folder / "test.nix").write_text(test)
    (folder / "flake.nix").write_text(
        f"{{ outputs = {{ self }}: {{ checks.x86_64-linux.edits = {test}; }}; }}\n"
    )
    (folder / "server.nix").write_text(NODE.format(node))


def instantiate(nixpkgs, library):
    """nix-instantiate of all machines of the test, as without Snowglobe."""
    tree = library / "builtin" if nixpkgs == "builtin" else nixpkgs
    index = pathlib.Path.home() / ".local/share/snowglobe/guest-index.json"
    expression = """
      let
        pkgs = import <nixpkgs> { };
        test = import ./test.nix;
        made = if pkgs ? testers then pkgs.testers.runNixOSTest test else pkgs.nixosTest test;
      in
      map (node: (node.config or node).system.build.vm) (builtins.attrValues made.nodes)
    """
    return [
        *["nix-instantiate", "--option", "build-users-group", "", "-E", expression],
        *["-I", f"nixpkgs={tree}", "-I", f"snowglobe-guest-index={index}"],
    ]


main()
