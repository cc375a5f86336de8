"""QEMU behind a machine: its protocol, its process, its shell."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

from .durations import Duration, in_seconds
from .waiting import deadline


class QmpClient:
    """A client for QEMU's machine protocol (QMP)."""

    def __init__(self, machine):
        self._machine = machine

    def send(self, cmd: str, args: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a QMP command and return the whole reply, with the result under "return"."""
        return self._machine._call("qmp_send", command=cmd, arguments=args or {})

    def wait_for_event(self, timeout: Duration = 10) -> dict[str, Any]:
        """Wait for the next event that was not returned yet, and return it. Raises RequestedAssertionFailed
        after timeout seconds.
        """
        machine = self._machine
        event = machine._call("qmp_event", number=machine._next_event, timeout=in_seconds(timeout))
        machine._next_event += 1
        return event

    def events(self, timeout: Duration = 10) -> Iterator[dict[str, Any]]:
        """Return the events that have happened and were not returned yet."""
        while self._machine._next_event < self._machine._call("qmp_event_count"):
            yield self.wait_for_event(timeout)


class Process:
    """The process that runs a machine: QEMU, or that of a container."""

    pid: int
    """The process ID on the host."""

    def __init__(self, machine):
        self._machine = machine
        self.pid = machine.pid

    def poll(self) -> int | None:
        """Return None while the process runs, and 0 afterwards."""
        return None if self._machine.booted else 0

    def kill(self) -> None:
        """End the process at once."""
        self._machine.crash()

    terminate = kill

    def wait(self, timeout: Duration | None = None) -> int:
        """Wait until the process has ended."""
        with contextlib.nullcontext() if timeout is None else deadline(timeout):
            self._machine.wait_for_shutdown()
        return 0


class Shell:
    """The guest's root shell as a stream of bytes."""

    def __init__(self, machine):
        self._machine = machine

    def send(self, data: bytes) -> int:
        """Write bytes to the shell, without waiting for a reply."""
        self._machine._call("send_shell", data=data.decode("latin-1"))
        return len(data)

    sendall = send

    def recv(self, bufsize: int) -> bytes:
        """Wait for a line of the shell, and return it with its end, or the first bufsize bytes of it. The rest is
        returned by the next calls.
        """
        held = vars(self._machine)
        data = held.pop("_shell_rest", b"") or self._machine._call("receive_shell").encode("latin-1")
        held["_shell_rest"] = data[bufsize:]
        return data[:bufsize]
