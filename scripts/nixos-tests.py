#!/usr/bin/env python3
"""Runs the tests of a nixpkgs that fixtures/nixpkgs/RELEASE.toml lists, with Debian's packages, and compares.

    scripts/nixos-tests.py [--backend container] SNOWGLOBE NIXPKGS [NAME…]

Prints a line for each test. As containers, tests with what no container can do are passed over. Ends with 1 if a verdict is not the expected one. The runs' output is in
target/nixos-tests/RELEASE.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What the exit codes of `snowglobe run` mean here.
VERDICTS = {0: "passed", 1: "failed", 2: "does not evaluate", 3: "not built"}
# What messages say of a machine with an obstacle, and of a program that Debian has not.
NO_CONTAINER = re.compile("cannot be a container: |is a container, which has no")
NOT_PACKAGED = "no entry in the table of Debian's packages"


def verdict_of(program, options, name, folder):
    """Fetches what a test needs and runs it."""
    log = folder / f"{name}.log"
    test = [str(ROOT / "fixtures/nixpkgs/all-tests.nix"), "-A", name, *options]
    with open(log, "w") as file:
        for command in (
            ["guest", "fetch", "--for", *test],
            ["run", *test, "--cold", "-o", str(folder / name)],
        ):
            ended = subprocess.run(
                [program, *command], check=False, stderr=file, stdout=file
            )
            if ended.returncode:
                break
    verdict = VERDICTS.get(ended.returncode, "error")
    if verdict == "does not evaluate":
        text = log.read_text()
        if NOT_PACKAGED in text:
            return "not packaged"
        if NO_CONTAINER.search(text):
            return "no container"
    return verdict


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", default="vm")
    parser.add_argument("program")
    parser.add_argument("tree")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    program, tree, names = given.program, given.tree, given.names
    release = (pathlib.Path(tree) / ".version").read_text().strip()
    listed = ROOT / f"fixtures/nixpkgs/{release}.toml"
    if not listed.exists():
        sys.exit(
            f"nixos-tests: there is no list for release {release}: {listed} is missing"
        )
    content = tomllib.loads(listed.read_text())
    tests = [test for test in content["test"] if not names or test["name"] in names]
    if missing := set(names) - {test["name"] for test in content["test"]}:
        sys.exit(f"nixos-tests: {listed} does not list {', '.join(sorted(missing))}")
    folder = ROOT / "target/nixos-tests" / release
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-I", f"nixpkgs={tree}", "--packages", f"debian:{content['suite']}"]
    options += ["--backend", given.backend]
    differing = passed_over = 0
    for test in tests:
        begin = time.monotonic()
        verdict = verdict_of(program, options, test["name"], folder)
        seconds = time.monotonic() - begin
        is_expected = verdict in (test["expected"], "no container")
        note = "" if is_expected else f", expected {test['expected']}"
        differing += not is_expected
        passed_over += verdict == "no container"
        print(f"{test['name']}: {verdict}{note} ({seconds:.0f} s)", flush=True)
    print(
        f"{len(tests) - passed_over} tests, {differing} with another verdict than expected"
    )
    sys.exit(bool(differing))


main()
