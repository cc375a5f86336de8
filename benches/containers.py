#!/usr/bin/env python3
"""Machines as containers beside virtual machines: ratios, taken in turns.

Usage: benches/containers.py SNOWGLOBE [ROUNDS]

Runs the tutorial's test (fixtures/postgrest.nix) both ways: seconds from start
to verdict, processor seconds of the host, and how much memory of it was
taken at most. Then ten containers at once, from the first one's start to the last one's
answer; and for each pair of machines the round trip of a command, a TCP stream
(iperf3) and ping. Nothing else should run.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAIRS = [("container", "container"), ("container", "vm"), ("vm", "vm")]


def available():
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("/proc/meminfo has no MemAvailable")


def processor_seconds():
    """What all processors have worked: the processes of guests are not all children of the command."""
    line = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0]
    user, nice, system, _idle, _iowait, irq, softirq = map(int, line.split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def run(snowglobe, folder, *arguments):
    """The events of a run that must pass, and its figures."""
    least = before = available()
    ended = threading.Event()

    def watch():
        nonlocal least
        while not ended.wait(0.02):
            least = min(least, available())

    watcher = threading.Thread(target=watch)
    watcher.start()
    worked = processor_seconds()
    begin = time.monotonic()
    done = subprocess.run(
        [snowglobe, "run", "--nixpkgs", "builtin", *arguments, "-o", "result", "--format", "json"],
        cwd=folder, check=True, stdout=subprocess.PIPE, env={**os.environ, "CI": "1"},
    )
    wall = time.monotonic() - begin
    processor = processor_seconds() - worked
    ended.set()
    watcher.join()
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return events, (wall, processor, before - least)


def main():
    snowglobe = pathlib.Path(sys.argv[1]).resolve()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        tutorial(snowglobe, folder, rounds)
        for guest in ("tiny", "debian"):
            ten(snowglobe, folder, guest)
        for first, second in PAIRS:
            network(snowglobe, folder, first, second)


def tutorial(snowglobe, folder, rounds):
    test = ROOT / "fixtures/postgrest.nix"
    figures = {"vm": [], "container": []}
    for kind in figures:
        # Once for what has to be built.
        run(snowglobe, folder, test, "--backend", kind)
    for _ in range(rounds):
        for kind, rows in figures.items():
            rows.append(run(snowglobe, folder, test, "--backend", kind)[1])
    medians = {kind: [statistics.median(column) for column in zip(*rows)] for kind, rows in figures.items()}
    for kind, (wall, processor, memory) in medians.items():
        print(f"tutorial as {kind}s: {wall:.1f} s, {processor:.1f} s of processor, {memory:.0f} MiB")
    ratios = [ours / theirs for ours, theirs in zip(medians["container"], medians["vm"])]
    print(f"containers to vms: wall {ratios[0]:.3f}, processor {ratios[1]:.3f}, memory {ratios[2]:.3f}")


def ten(snowglobe, folder, guest):
    arguments = [ROOT / "benches/containers.nix", "-A", guest]
    run(snowglobe, folder, *arguments)
    events, (_, _, memory) = run(snowglobe, folder, *arguments)
    started = [event["time_s"] for event in events if event["event"] == "machine_started"]
    ready = [event["time_s"] for event in events if event["event"] == "machine_ready"]
    print(f"ten containers of {guest}: all answer after {max(ready) - min(started):.2f} s, {memory:.0f} MiB")


def network(snowglobe, folder, first, second):
    arguments = [ROOT / "benches/containers.nix", "-A", "network", "--argstr", "first", first, "--argstr", "second", second]
    events, _ = run(snowglobe, folder, *arguments)
    texts = [event["text"] for event in events if event["event"] == "output"]
    rows = [text[4:].strip() for text in texts if text.startswith("row ")]
    assert rows, f"{second} to {first}: nothing was measured"
    for row in rows:
        print(f"{second} to {first}: {row}")


main()
