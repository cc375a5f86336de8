#!/usr/bin/env python3
"""Speed of a whole run, beside today's driver: ratios, taken in turns.

Usage: benches/driver.py SNOWGLOBE [ROUNDS]

Runs fixtures/hello.nix and fixtures/postgrest.nix on the built-in guests
under Snowglobe and, where SNOWGLOBE_TEST_DRIVER names its command (for
instance `python3 -m test_driver`, with nixpkgs' package on PYTHONPATH), the
same machines and the same script under the driver of nixpkgs. Both are given
what is built already; Snowglobe's time includes its evaluation of the file.

Prints, for each: seconds from start to verdict, processor seconds of
everything it started, and the largest memory of the driving process itself.
"""

import ctypes
import json
import os
import pathlib
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def measure(command, folder, environment=None):
    """Wall and processor seconds and peak MiB of a command that must succeed."""
    code, figures = measure_any(command, folder, environment)
    if code != 0:
        sys.exit(f"{shlex.join(map(str, command))} failed:\n{(folder / 'log').read_text()[-3000:]}")
    return figures


def adopt_orphans():
    """Has what a driver leaves behind become a child of this process: its processor time counts, too."""
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans():
    """Ends what a driver has left, as Nix' sandbox does; returns the processor seconds."""
    seconds = 0.0
    children = pathlib.Path(f"/proc/self/task/{os.getpid()}/children")
    while orphans := children.read_text().split():
        os.kill(int(orphans[0]), signal.SIGKILL)
        _, _, usage = os.wait4(int(orphans[0]), 0)
        seconds += usage.ru_utime + usage.ru_stime
    return seconds


def measure_any(command, folder, environment=None):
    """The exit code of a command, and its figures."""
    adopt_orphans()
    begin = time.monotonic()
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
    peak = 0

    def watch():
        nonlocal peak
        while process.returncode is None:
            try:
                status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            for line in status.splitlines():
                if line.startswith("VmHWM:"):
                    peak = max(peak, int(line.split()[1]) / 1024)
            time.sleep(0.05)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - begin
    processor = usage.ru_utime + usage.ru_stime + end_orphans()
    return process.returncode, (wall, processor, peak)


def configuration(manifest):
    """The `--config` file of nixpkgs' driver of 26.05, made from our manifest."""
    return {
        "vms": {
            name: {"name": name, "start_script": node["start_script"]}
            for name, node in manifest["nodes"].items()
        },
        "containers": {},
        "vlans": manifest["vlans"],
        "global_timeout": manifest["global_timeout_s"],
        "enable_ssh_backdoor": False,
        "test_script": manifest["test_script"],
    }


def main():
    snowglobe = pathlib.Path(sys.argv[1]).resolve()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    driver = os.environ.get("SNOWGLOBE_TEST_DRIVER")
    if not driver:
        print("skipped today's driver: SNOWGLOBE_TEST_DRIVER is not set")
    for fixture in ("hello", "postgrest"):
        figures = {"snowglobe": [], "driver": []}
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            run = [snowglobe, "run", "--nixpkgs", "builtin", ROOT / "fixtures" / f"{fixture}.nix", "-o", "result", "--cold"]
            # Once for what has to be built.
            measure(run, folder)
            manifest = json.loads((folder / "result/manifest.json").read_text())
            (folder / "driver.json").write_text(json.dumps(configuration(manifest)))
            out = folder / "out"
            out.mkdir()
            for _ in range(rounds):
                figures["snowglobe"].append(measure(run, folder))
                if driver:
                    command = shlex.split(driver) + ["--config", folder / "driver.json", "-o", out]
                    figures["driver"].append(measure(command, folder))
        report(fixture, figures)


def report(fixture, figures):
    medians = {
        name: [statistics.median(column) for column in zip(*rows)]
        for name, rows in figures.items()
        if rows
    }
    for name, (wall, processor, memory) in medians.items():
        print(f"{fixture}: {name}: {wall:.1f} s, {processor:.1f} s of processor, {memory:.0f} MiB")
    if "driver" in medians:
        ratios = [ours / theirs for ours, theirs in zip(medians["snowglobe"], medians["driver"])]
        print(
            f"{fixture}: snowglobe to driver: wall {ratios[0]:.2f}, processor {ratios[1]:.2f}, memory {ratios[2]:.2f}"
        )


if __name__ == "__main__":
    main()
