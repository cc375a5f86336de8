#!/usr/bin/env python3
"""What an evaluation costs, beside nix-instantiate on the same machines.

Usage: benches/eval.py SNOWGLOBE [FILE [NIXPKGS]]

Takes turns: `nix-instantiate` of every machine's VM, `snowglobe eval` that has
nothing to remember, and `snowglobe eval` again. Prints medians and their
ratios to the first. Without a file, the tutorial's test with the built-in
guests is taken.
"""

import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROUNDS = 7
# Short evaluations are taken until this time is over: one differs from the next by more than is measured.
SECONDS = 15


def main():
    snowglobe = pathlib.Path(sys.argv[1]).resolve()
    file = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else HERE.parent / "fixtures/postgrest.nix").resolve()
    nixpkgs = sys.argv[3] if len(sys.argv) > 3 else "builtin"
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        evaluate = [snowglobe, "eval", "--nixpkgs", nixpkgs, file]
        run(evaluate, environment)
        library = next(pathlib.Path(cache, "snowglobe").glob("nix-lib-*"))
        plain = instantiate(file, nixpkgs, library)
        times = {"nix-instantiate": [], "cold": [], "warm": []}
        end = time.monotonic() + SECONDS
        while len(times["warm"]) < ROUNDS or time.monotonic() < end:
            times["nix-instantiate"].append(run(plain, environment))
            shutil.rmtree(pathlib.Path(cache, "snowglobe/evaluations"), ignore_errors=True)
            times["cold"].append(run(evaluate, environment))
            times["warm"].append(run(evaluate, environment))
    base = statistics.median(times["nix-instantiate"])
    print(f"evaluation of {file.name}, medians of {len(times['warm'])}:")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"  {name:16} {median:7.3f} s   {median / base:5.2f} x")


def instantiate(file, nixpkgs, library):
    """nix-instantiate of all machines of the test, as without Snowglobe.

    What the file fetches is what is given as nixpkgs: nothing can be fetched here.
    """
    tree = library / "builtin" if nixpkgs == "builtin" else nixpkgs
    index = pathlib.Path.home() / ".local/share/snowglobe/guest-index.json"
    expression = f"""
      let test = builtins.scopedImport {{ fetchTarball = _: <nixpkgs>; }} {file}; in
      map (node: (node.config or node).system.build.vm) (builtins.attrValues test.nodes)
    """
    return [
        *["nix-instantiate", "--option", "build-users-group", "", "-E", expression],
        *["-I", f"nixpkgs={tree}", "-I", f"snowglobe-guest-index={index}"],
    ]


def run(command, environment):
    begin = time.monotonic()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - begin


main()
