"""Faults that are drawn again and again while a script goes on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import _snowglobe

from . import driver
from .calls import drive
from .durations import Duration, in_seconds
from .errors import MachineError, RequestedAssertionFailed
from .extensions import extension
from .faults import DrawnFault, Fault, Fraction, between
from .machine import Machine


def _two(random, among):
    return random.sample(among, 2)


@extension
def loss(fraction: Fraction) -> Fault:
    """Return a fault for chaos(): the link between two machines loses this part of its packets."""
    return DrawnFault(
        f"loss({fraction!r})", lambda random, among: between(*_two(random, among)).fault(loss=fraction)
    )


@extension
def delay(seconds: Duration, jitter: Duration = 0) -> Fault:
    """Return a fault for chaos(): packets between two machines wait for `seconds`, give or take `jitter`."""
    return DrawnFault(
        f"delay({seconds!r})",
        lambda random, among: between(*_two(random, among)).fault(delay=seconds, jitter=jitter),
    )


@extension
def pause() -> Fault:
    """Return a fault for chaos(): a machine stands still. Calls to it wait until the fault ends."""
    return DrawnFault("pause()", lambda random, among: random.choice(among).paused())


@extension
def kill(pattern: str, signal: str = "KILL") -> Fault:
    """Return a fault for chaos(): the processes of a machine whose command lines match an extended regular expression get a
    signal, if there are any. What starts them again is the test's own.
    """
    return DrawnFault(f"kill({pattern!r})", lambda random, among: _Kill(random.choice(among), pattern, signal))


class _Kill(Fault):
    def __init__(self, machine, pattern, signal):
        super().__init__({"kind": "kill"}, f"{machine._code}.kill_process({pattern!r}, {signal!r})")
        self._kill = lambda: machine.kill_process(pattern, signal)

    def set(self):
        # A machine without such a process is as good as one whose process was killed.
        with contextlib.suppress(RequestedAssertionFailed):
            self._kill()
        return self


class Chaos:
    """Faults that are drawn while the statements of a block run."""

    seed: int
    """The seed of the random choices."""
    steps: list[str]
    """The faults so far, as a script writes them."""

    def __init__(self, seed, faults, every, rest, machines):
        self.seed = seed
        self.steps = []
        self._faults = faults
        self._every = every
        self._rest = rest
        self._machines = machines
        self._ended = threading.Event()
        self._errors = []
        self._thread = threading.Thread(target=self._run, name="chaos", daemon=True)

    def __repr__(self):
        return f"<chaos with the seed {self.seed}>"

    def _start(self):
        self._thread.start()

    def _end(self):
        self._ended.set()
        self._thread.join()

    def _run(self):
        import random

        # One of its own, so that the script's does not change it.
        numbers = random.Random(self.seed)
        try:
            while not self._ended.is_set():
                self._step(numbers)
                self._ended.wait(self._rest)
        except (MachineError, ValueError) as error:
            self._errors.append(error)

    def _step(self, numbers):
        fault = numbers.choice(self._faults)._pick(numbers, self._machines)
        fault.set()
        begin = time.monotonic()
        try:
            self._ended.wait(self._every)
        finally:
            fault.clear()
            seconds = round(time.monotonic() - begin, 1)
            if isinstance(fault, _Kill):
                self.steps += [fault._code, f"time.sleep({seconds})"]
            else:
                self.steps += [f"with {fault._code}:", f"    time.sleep({seconds})"]
            if self._rest and not self._ended.is_set():
                self.steps.append(f"time.sleep({self._rest})")


@extension
@contextlib.contextmanager
def chaos(
    *,
    faults: list[Fault],
    seed: int | None = None,
    every: Duration = 5,
    rest: Duration = 0,
    machines: list[Machine] | None = None,
) -> Iterator[Chaos]:
    """Run the statements inside while faults come and go: one of `faults` is drawn every `every` seconds, 5 by default, and
    has ended before the next one, with `rest` seconds between two. loss(), delay(), pause(), kill() and partition() draw
    their machines, from all of the test or from `machines`; other faults are as they are. The seed is that of the run by
    default. At the end of the block no fault is left, and the steps are printed as a script that can be pasted.
    """
    among = list(driver.machines if machines is None else machines)
    if not faults:
        raise ValueError("chaos() needs faults: for example faults=[loss(0.3), pause()]")
    if len(among) < 2:
        raise ValueError("chaos() needs two machines or more")
    length = in_seconds(every)
    if not length > 0:
        raise ValueError("every must be more than 0 seconds")
    number = _snowglobe.session["seed"] if seed is None else int(seed)
    run = Chaos(number, list(faults), length, in_seconds(rest), among)
    run._start()
    try:
        yield run
    finally:
        run._end()
        steps = "".join(f"\n  {step}" for step in run.steps)
        drive("note", machine=None, level="info", text=f"the steps of chaos with the seed {number}:{steps}")
    if run._errors:
        raise run._errors[0]
