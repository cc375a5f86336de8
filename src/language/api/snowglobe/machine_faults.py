"""Faults of machines: clocks, memory, processors, disks."""

from __future__ import annotations

from typing import TypeAlias

from .durations import Duration, in_seconds
from .faults import Fault, Fraction, arguments_code

Size: TypeAlias = "str"


class Clock:
    """The system clock of a virtual machine: the one with the date. Its hardware clock (RTC) and its monotonic
    clock stay as they are. A container has the clock of the host: run such a machine with `--backend vm`.
    """

    def __init__(self, machine):
        self._machine = machine

    def __repr__(self):
        return f"<clock of {self._machine.name}>"

    def jump(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: Duration = 0
    ) -> None:
        """Move the clock by a length of time, backwards if it is negative, in whole seconds. A service of the guest that
        sets the clock by the network may move it back.
        """
        total = round(days * 86400 + hours * 3600 + minutes * 60 + in_seconds(seconds))
        if total == 0:
            raise ValueError("jump() needs a length of time of a second or more")
        self._machine._call("jump_clock", seconds=total)

    def drift(self, factor: float) -> Fault:
        """Return a fault in which the clock runs faster or slower than real time: 1.01 gains 36 seconds in an hour. At the
        end the clock keeps its time, and runs at its own rate.
        """
        return _fault(self._machine, "clock_drift", f"clock.drift({factor!r})", factor=float(factor))


class Memory:
    """The memory of a machine."""

    def __init__(self, machine):
        self._machine = machine

    def __repr__(self):
        return f"<memory of {self._machine.name}>"

    def press(self, size: Size) -> Fault:
        """Return a fault in which the guest has less memory: `size` of it, such as "512M", is taken."""
        return _fault(self._machine, "memory_pressure", f"memory.press({size!r})", size=size)


class Processors:
    """The processors of a machine."""

    def __init__(self, machine):
        self._machine = machine

    def __repr__(self):
        return f"<processors of {self._machine.name}>"

    def throttle(self, speed: Fraction) -> Fault:
        """Return a fault in which the processors run for a part of the time only: 0.1 is a tenth of their speed."""
        return _fault(self._machine, "slow_processor", f"processors.throttle({speed!r})", speed=speed)


class Disk:
    """A disk of a virtual machine. A container has none."""

    name: str
    """The name of the disk in the guest, such as "vda"."""

    def __init__(self, machine, name):
        self._machine = machine
        self.name = name

    def __repr__(self):
        return f"<disk {self.name} of {self._machine.name}>"

    def throttle(self, *, iops: int = 0, bps: Size | None = None) -> Fault:
        """Return a fault in which the disk serves `iops` requests per second at most, or `bps` bytes per second, such as
        "1M", or both.
        """
        return self._fault("disk_throttle", "throttle", {"iops": iops or None, "bps": bps}, iops=iops, bps=bps)

    def fail(self, *, read: bool = False, write: bool = False) -> Fault:
        """Return a fault in which reads of the disk fail with an input/output error, or writes and flushes, or all."""
        given = {"read": bool(read), "write": bool(write)}
        return self._fault("disk_failure", "fail", given, **given)

    def full(self) -> Fault:
        """Return a fault in which the file system of the disk has no room: a file fills it until the fault ends."""
        return self._fault("disk_full", "full", {})

    def _fault(self, kind, method, given, **settings):
        arguments = arguments_code({name: value for name, value in given.items() if value})
        code = f"disk({self.name!r}).{method}({arguments})"
        return _fault(self._machine, kind, code, disk=self.name, **settings)


def pause_fault(machine):
    """Returns the fault of a machine that stands still."""
    return _fault(machine, "paused", "paused()")


def _fault(machine, kind, code, **settings):
    return Fault({"kind": kind, "machine": machine._node, **settings}, f"{machine._code}.{code}")
