#!/usr/bin/env python3
"""What a second run costs that begins at a checkpoint, beside a cold one.

Usage: benches/again.py SNOWGLOBE [ROUNDS]

Takes turns on the tutorial's two Debian machines: a cold run that keeps
nothing, one that is recorded and saved, and one after an edit of the script's
last line. It also prints what saving and restoring alone take, as whole runs
differ more from each other than by that: restoring from the first QEMU's start
to the last machine's answer. Where SNOWGLOBE_TEST_DRIVER names
the command of nixpkgs' driver (see driver.py), it runs the same machines cold.
Prints medians and their ratios to the cold run.
"""

import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

from driver import configuration

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAST_LINE = "table query returns expected content"


def main():
    snowglobe = pathlib.Path(sys.argv[1]).resolve()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    driver = os.environ.get("SNOWGLOBE_TEST_DRIVER")
    text = (ROOT / "fixtures/postgrest.nix").read_text()
    assert LAST_LINE in text
    figures = {name: [] for name in ("cold", "cold, saving", "saving alone", "again", "restoring alone", "nixpkgs' driver")}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        environment.pop("CI", None)
        test = folder / "test.nix"
        command = [snowglobe, "run", "--nixpkgs", "builtin", test, "-o", "result", "--format", "json"]

        def run(expected, *more):
            begin = time.monotonic()
            done = subprocess.run(
                [*command, *more], cwd=folder, env=environment, check=True, stdout=subprocess.PIPE
            )
            wall = time.monotonic() - begin
            events = [json.loads(line) for line in done.stdout.splitlines()]
            begun = next(event for event in events if event["event"] == "begun")
            assert (begun["checkpoint"] is not None) == (expected == "warm"), begun
            return wall, events

        test.write_text(text)
        # Once for what has to be built.
        run("cold", "--cold")
        manifest = json.loads((folder / "result/manifest.json").read_text())
        (folder / "driver.json").write_text(json.dumps(configuration(manifest)))
        for number in range(rounds):
            def cold():
                test.write_text(text)
                figures["cold"].append(run("cold", "--cold")[0])

            def saved(number=number):
                test.write_text(text)
                subprocess.run([snowglobe, "cache", "clear"], env=environment, check=True, stdout=subprocess.DEVNULL)
                wall, events = run("cold")
                figures["cold, saving"].append(wall)
                figures["saving alone"].append(
                    sum(event["duration_s"] for event in events if event["event"] == "checkpoint_taken")
                )
                test.write_text(text.replace(LAST_LINE, f"{LAST_LINE}, edit {number}"))
                wall, events = run("warm")
                figures["again"].append(wall)
                figures["restoring alone"].append(restoring(events))

            # In both orders, as a machine that others share gets slower and faster.
            for work in (cold, saved) if number % 2 else (saved, cold):
                work()
            if driver:
                out = folder / f"out{number}"
                out.mkdir()
                begin = time.monotonic()
                subprocess.run(
                    [*shlex.split(driver), "--config", folder / "driver.json", "-o", out],
                    cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )
                figures["nixpkgs' driver"].append(time.monotonic() - begin)
    if not driver:
        print("skipped nixpkgs' driver: SNOWGLOBE_TEST_DRIVER is not set")
    cold = statistics.median(figures["cold"])
    print(f"the tutorial's test, medians of {rounds}:")
    for name, values in figures.items():
        if values:
            median = statistics.median(values)
            print(f"  {name:16} {median:7.2f} s   {median / cold:5.3f} x")


def restoring(events):
    started = [event["time_s"] for event in events if event["event"] == "machine_started"]
    ready = [event["time_s"] for event in events if event["event"] == "machine_ready"]
    return max(ready) - min(started)


main()
