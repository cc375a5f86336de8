#!/usr/bin/env python3
"""Tests of nixpkgs under Snowglobe and under nixpkgs' own driver: verdicts and ratios, taken in turns.

Usage: benches/nixos.py SNOWGLOBE NIXPKGS SUITE TEST…

Each TEST is run with Debian's packages of SUITE (see docs/src/nixos.md). Its machines are built before, and
both drivers start the same ones, cold. nixpkgs' driver is the one of that nixpkgs (`TEST.driver`).

Prints for each test both verdicts, seconds from start to verdict, processor seconds of everything that was
started, the largest memory of the driving process, and the ratios. Ends with 1 if verdicts differ.
"""

import pathlib
import subprocess
import sys
import tempfile

from driver import ROOT, measure_any

TESTS = ROOT / "fixtures/nixpkgs/all-tests.nix"
# How the derivation of a test calls the driver of 20.09. Later ones take no notice.
ENVIRONMENT = {"LOGFILE": "/dev/null", "tests": 'exec(os.environ["testScript"])'}


# nixpkgs' driver starts and ends machines by /bin/sh, which is a bash where Nix builds: dash would stay between
# them, be ended in the place of QEMU, and leave the driver waiting for the latter.
WITH_BASH = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
WITH_BASH += ['mount --bind "$(command -v bash)" /bin/sh && exec "$@"', "sh"]


def verdict(code):
    return "passed" if code == 0 else "failed"


def build_driver(snowglobe, name, options, folder):
    """nixpkgs' driver for a test, and with it the test's machines."""
    test = [TESTS, "-A", f"{name}.driver", *options]
    for command in (["guest", "fetch", "--for", *test], ["build", *test, "-o", folder / "driver"]):
        log = folder / f"{command[0]}.log"
        with open(log, "w") as file:
            ended = subprocess.run([snowglobe, *command], check=False, stdout=file, stderr=file)
        if ended.returncode:
            sys.exit(f"{name}: the driver cannot be built:\n{log.read_text()[-3000:]}")
    return folder / "driver/bin/nixos-test-driver"


def compare(snowglobe, name, options):
    """Runs a test under both; returns whether the verdicts are the same."""
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        driver = build_driver(snowglobe, name, options, folder)
        run = [snowglobe, "run", TESTS, "-A", name, *options, "--cold", "-o", "result"]
        # Builds what only a run needs: the manifest.
        subprocess.run([snowglobe, "build", TESTS, "-A", name, *options], check=True, capture_output=True)
        their_code, theirs = measure_any([*WITH_BASH, driver], folder, {**ENVIRONMENT, "out": str(folder / "out")})
        our_code, ours = measure_any(run, folder)
        if verdict(our_code) != verdict(their_code):
            print((folder / "log").read_text()[-3000:])
    for who, code, figures in (("driver", their_code, theirs), ("snowglobe", our_code, ours)):
        wall, processor, memory = figures
        print(f"{name}: {who}: {verdict(code)}, {wall:.0f} s, {processor:.0f} s of processor, {memory:.0f} MiB")
    ratios = [our / their for our, their in zip(ours, theirs)]
    print(
        f"{name}: snowglobe to driver: wall {ratios[0]:.2f}, processor {ratios[1]:.2f}, memory {ratios[2]:.2f}",
        flush=True,
    )
    return verdict(our_code) == verdict(their_code)


def main():
    snowglobe, nixpkgs, suite, *tests = sys.argv[1:]
    snowglobe = pathlib.Path(snowglobe).resolve()
    options = ["-I", f"nixpkgs={nixpkgs}", "--packages", f"debian:{suite}"]
    differing = [name for name in tests if not compare(snowglobe, name, options)]
    if differing:
        sys.exit(f"other verdicts than nixpkgs' driver: {', '.join(differing)}")


if __name__ == "__main__":
    main()
