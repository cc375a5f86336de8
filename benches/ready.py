#!/usr/bin/env python3
"""How soon a wait ends after the thing has happened, beside asking each second.

Usage: benches/ready.py SNOWGLOBE

Runs benches/ready.nix, in which waits of Snowglobe and loops that ask once a
second, as today's driver does, take turns on idle guests. Times are from the
thing itself, by the guest's clock, to the script's next statement, by the
host's. Prints the distributions.
"""

import collections
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def main():
    snowglobe = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [snowglobe, "run", "--nixpkgs", "builtin", HERE / "ready.nix", "-o", f"{folder}/out"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    rows = collections.defaultdict(list)
    for line in run.stdout.splitlines():
        if line.startswith("row "):
            _, machine, kind, wait, polling = line.split()
            rows[f"{machine}, {kind}"].append((float(wait), float(polling)))
    assert rows, "nothing was measured"
    print("seconds after the thing happened:   least  median    most | each second: least  median    most")
    for name, pairs in rows.items():
        columns = [
            f"{min(column):7.3f} {statistics.median(column):7.3f} {max(column):7.3f}" for column in zip(*pairs)
        ]
        print(f"{name:32} {columns[0]} |       {columns[1]}")


main()
