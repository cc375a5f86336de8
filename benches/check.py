#!/usr/bin/env python3
"""What the check of a script costs beyond evaluating its test.

Usage: benches/check.py SNOWGLOBE [ROUNDS]

Takes `snowglobe check` and `snowglobe eval` on the tutorial in turns, and
prints the medians and their difference.
"""

import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def seconds(snowglobe, command):
    begin = time.monotonic()
    subprocess.run(
        [snowglobe, command, "--nixpkgs", "builtin", ROOT / "fixtures/postgrest.nix"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - begin


def main():
    snowglobe = pathlib.Path(sys.argv[1]).resolve()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    rows = [(seconds(snowglobe, "check"), seconds(snowglobe, "eval")) for _ in range(rounds)]
    check, evaluation = (statistics.median(column) for column in zip(*rows))
    print(f"check {check:.3f} s, evaluation {evaluation:.3f} s: {check - evaluation:+.3f} s, {check / evaluation:.2f}")


main()
