#!/usr/bin/env python3
"""What a developer waits for between an edit and its answer, beside a cold run.

Usage: benches/loop.py SNOWGLOBE [ROUNDS]

Takes turns on the tutorial's two Debian machines: a cold run; in `watch`, the time
from a saved edit of the script's last line to the verdict; of a test that fails in
its last subtest, `debug` from its start to its prompt; and `run --repeat 10 --from`
of the last subtest, beside ten times the cold run. Prints medians and their ratios.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LAST_LINE = "table query returns expected content"
REPEATS = 10
SUBTEST = "query"


def main():
    snowglobe = pathlib.Path(sys.argv[1]).resolve()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    text = with_subtest((ROOT / "fixtures/postgrest.nix").read_text())
    assert LAST_LINE in text
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        environment.pop("CI", None)
        test = folder / "test.nix"
        loop = Loop(snowglobe, folder, environment)

        def note(name, seconds):
            figures.setdefault(name, []).append(seconds)

        test.write_text(text)
        # Once for what has to be built.
        loop.run("--cold")
        for number in range(rounds):
            test.write_text(text)
            note("cold", loop.run("--cold"))
            # The recording that the others start from.
            loop.run()
            note("watch, to the verdict", loop.watch(test, text, number))
            test.write_text(text)
            note(
                f"{REPEATS} from the last subtest",
                loop.run("--from", SUBTEST, "--repeat", str(REPEATS)),
            )
            test.write_text(failing(text))
            loop.run(expected=1)
            note("debug, to the prompt", loop.debug())
    cold = statistics.median(figures["cold"])
    print(f"the tutorial's test, medians of {rounds}:")
    for name, values in figures.items():
        median = statistics.median(values)
        times = REPEATS if name.startswith(str(REPEATS)) else 1
        print(f"  {name:24} {median:7.2f} s   {median / (times * cold):5.3f} of {times} cold")


def with_subtest(text):
    """The test with all after the waits in a subtest."""
    begin = text.index("    actual = json.loads(")
    end = text.index("  '';", begin)
    body = text[begin:end].rstrip().replace("\n", "\n    ")
    return f"{text[:begin]}    with subtest({SUBTEST!r}):\n    {body}\n{text[end:]}"


def failing(text):
    """The test with an assertion after its last call, which fails."""
    at = text.rindex(LAST_LINE)
    end = text.index("''", at)
    line = text.rfind("\n", 0, end)
    return f"{text[:line]}\n    assert 1 + 1 == 3\n  {text[end:]}"


class Loop:
    """The commands on a test, in a folder with its own cache."""

    def __init__(self, snowglobe, folder, environment):
        self.command = [snowglobe, "--nixpkgs", "builtin", "test.nix", "-o", "result", "--format", "json"]
        self.options = {"cwd": folder, "env": environment, "stdout": subprocess.PIPE}

    def words(self, name, *more):
        program, *rest = self.command
        return [program, name, *rest, *more]

    def run(self, *more, expected=0):
        begin = time.monotonic()
        done = subprocess.run(self.words("run", *more), check=False, **self.options)
        wall = time.monotonic() - begin
        assert done.returncode == expected, done.stdout[-2000:]
        return wall

    def watch(self, test, text, number):
        """From the saved edit to the verdict, in seconds."""
        with subprocess.Popen(self.words("watch"), stdin=subprocess.DEVNULL, **self.options) as watching:
            until(watching, "watching")
            begin = time.monotonic()
            test.write_text(text.replace(LAST_LINE, f"{LAST_LINE}, edit {number}"))
            finished = until(watching, "test_finished")
            seconds = time.monotonic() - begin
            assert finished["verdict"] == "passed", finished
            until(watching, "watching")
            watching.terminate()
        return seconds

    def debug(self):
        """From the start to the prompt, in seconds."""
        begin = time.monotonic()
        words = self.words("debug")
        with subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, **self.options) as session:
            until(session, "prompting")
            seconds = time.monotonic() - begin
            session.stdin.close()
        return seconds


def until(process, name):
    """Waits for an event of a process."""
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == name:
            return event
    raise AssertionError(f"it has ended without {name}")


main()
