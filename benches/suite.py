#!/usr/bin/env python3
"""What running and evaluating tests side by side is worth.

Usage: benches/suite.py SNOWGLOBE [NIXPKGS [SUITE]]

Runs eight tests one at a time and as many at a time as this machine allows, as virtual machines and as containers, and
prints the ratios of the wall times. With a nixpkgs of 26.11, also evaluates its tests that fixtures/nixpkgs lists, with
the packages of a Debian SUITE: one after another, all in one process, and by several processes; and one test with five
machines, by one process and by several. Prints the wall times and the peaks of memory.
"""

import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROUNDS = 3


def main():
    snowglobe = pathlib.Path(sys.argv[1]).resolve()
    for backend in ["vm", "container"]:
        run_side_by_side(snowglobe, backend)
    for guest, backend in [("tiny", "vm"), ("debian", "vm"), ("tiny", "container"), ("debian", "container")]:
        measure_memory(snowglobe, guest, backend)
    if len(sys.argv) > 2:
        suite = sys.argv[3] if len(sys.argv) > 3 else "forky"
        evaluate_side_by_side(snowglobe, sys.argv[2], suite)
        evaluate_nodes(snowglobe, sys.argv[2], suite)


def run_side_by_side(snowglobe, backend):
    """Eight tests with one machine each."""
    times = {"1": [], "auto": []}
    with tempfile.TemporaryDirectory() as folder:
        command = [snowglobe, "run", "--cold", "--nixpkgs", "builtin", HERE / "suite.nix", "--backend", backend]
        # Builds come first.
        measure([*command, "-o", f"{folder}/first"], os.environ)
        for _ in range(ROUNDS):
            for jobs, values in times.items():
                values.append(measure([*command, "--jobs", jobs, "-o", f"{folder}/out"], os.environ)[0])
    one, auto = (statistics.median(values) for values in times.values())
    print(f"8 tests of one {backend}: --jobs 1 {one:.2f} s, --jobs auto {auto:.2f} s, {one / auto:.2f} times as fast")


# As src/runner/schedule.rs counts it, in MiB: a test, its QEMU or container, and what the guests have by default.
TEST, QEMU, CONTAINER = 80, 120, 64
GUESTS = {"tiny": 192, "debian": 1024}


def measure_memory(snowglobe, guest, backend):
    """What a test with one machine takes, and what the scheduler counts for it."""
    node = f'nodes.m.virtualisation = {{ guest = "{guest}"; memorySize = {GUESTS[guest]}; }}'
    script = "m.succeed('sleep 1; find / -xdev -type f -exec cat {} + > /dev/null 2>&1 || true')"
    test = f'(import <nixpkgs> {{ }}).nixosTest {{ name = "{{}}"; {node}; testScript = "{script}"; }}'
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "two.nix")
        # Several tests have a process each, as here.
        tests = [test.replace('"{}"', f'"{name}"') for name in "ab"]
        file.write_text(f"{{ a = {tests[0]}; b = {tests[1]}; }}")
        command = [snowglobe, "run", "--cold", "--nixpkgs", "builtin", file, "--backend", backend, "-o", f"{folder}/out"]
        command += ["--jobs", "1"]
        measure(command, os.environ)
        peak = measure(command, os.environ)[1] / 2**20
    counted = TEST + (CONTAINER if backend == "container" else GUESTS[guest] + QEMU)
    print(f"a test of one {guest} {backend}: {peak:.0f} MiB with the runner, {counted} MiB are counted")


# What asks what machines are evaluates them.
EVERYTHING = ["--filter", "backend(vm) | backend(container)"]


def evaluate_side_by_side(snowglobe, nixpkgs, suite):
    """The tests that are listed for the release."""
    listed = tomllib.loads((HERE.parent / "fixtures/nixpkgs/26.11.toml").read_text())["test"]
    names = [test["name"] for test in listed][:40]
    file = HERE.parent / "fixtures/nixpkgs/all-tests.nix"
    source = [file, "-I", f"nixpkgs={nixpkgs}", "--packages", f"debian:{suite}"]
    attributes = [part for name in names for part in ["-A", name]]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        runs = {
            "one by one": [[snowglobe, "eval", *source, "-A", name] for name in names],
            "as one set": [[snowglobe, "eval", *source, *attributes]],
            "by several processes": [[snowglobe, "list", *source, *attributes, *EVERYTHING]],
        }
        results = {}
        for name, commands in runs.items():
            shutil.rmtree(pathlib.Path(cache, "snowglobe/evaluations"), ignore_errors=True)
            measured = [measure(command, environment) for command in commands]
            results[name] = sum(seconds for seconds, _ in measured), max(peak for _, peak in measured)
    first = results["one by one"][0]
    print(f"evaluation of {len(names)} tests of nixpkgs 26.11:")
    for name, (seconds, peak) in results.items():
        print(f"  {name:22} {seconds:6.1f} s   {seconds / first:4.2f} x   {peak / 2**30:4.1f} GiB")


def evaluate_nodes(snowglobe, nixpkgs, suite):
    """One test with five machines, and with one, which no number of processes makes quicker."""
    source = [HERE / "nodes.nix", "-I", f"nixpkgs={nixpkgs}", "--packages", f"debian:{suite}"]
    runs = {
        "five machines, one process": ("5", "1"),
        "five machines, several processes": ("5", "auto"),
        "one machine": ("1", "1"),
    }
    results = {name: [] for name in runs}
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache}
        for _ in range(ROUNDS):
            for name, (count, jobs) in runs.items():
                shutil.rmtree(pathlib.Path(cache, "snowglobe/evaluations"), ignore_errors=True)
                command = [snowglobe, "list", *source, "--arg", "count", count, *EVERYTHING, "--eval-jobs", jobs]
                results[name].append(measure(command, environment))
    first = statistics.median(seconds for seconds, _ in next(iter(results.values())))
    print("evaluation of one test of nixpkgs 26.11:")
    for name, measured in results.items():
        seconds = statistics.median(seconds for seconds, _ in measured)
        peak = max(peak for _, peak in measured) / 2**30
        print(f"  {name:32} {seconds:5.1f} s   {seconds / first:4.2f} x   {peak:4.1f} GiB")


def measure(command, environment):
    """Runs a command; returns its seconds, and the most memory that it and its children had together."""
    begin = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        peak = [0]
        watcher = threading.Thread(target=watch, args=(process, peak))
        watcher.start()
        message = process.stderr.read()
        code = process.wait()
    watcher.join()
    if code != 0:
        sys.exit(f"{command} has ended with {code}: {message.decode()[-2000:]}")
    return time.monotonic() - begin, peak[0]


def watch(process, peak):
    """Notes the most memory that a process and those below it have."""
    while process.poll() is None:
        peak[0] = max(peak[0], memory_below(process.pid))
        time.sleep(0.1)


def memory_below(root):
    """Resident bytes of a process and those below it."""
    parents, sizes = {}, {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        sizes[int(entry.name)] = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")

    def is_below(pid):
        while pid in parents:
            if pid == root:
                return True
            pid = parents[pid]
        return False

    return sum(size for pid, size in sizes.items() if is_below(pid))


if __name__ == "__main__":
    main()
