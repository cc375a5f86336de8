"""Commands in the background, and the setting of commands."""

from __future__ import annotations

import re
import shlex

from .durations import Duration, in_seconds


class Background:
    """A command that runs in the background."""

    command: str
    """The command."""

    def __init__(self, machine, command, setting):
        self.command = command
        self._machine = machine
        self._folder, self._pid = machine._call("start_background", command=command, setting=setting)

    def __repr__(self):
        return f"<Background '{self.command}' on {self._machine.name}>"

    def wait(self, timeout: Duration = 900) -> int:
        """Wait until the command has ended, and return its exit status. Raises RequestedAssertionFailed after
        timeout seconds, 900 by default.
        """
        status = self._machine._call(
            "wait_for_background", folder=self._folder, command=self.command, timeout=in_seconds(timeout)
        )
        return int(status)

    def kill(self, signal: str = "KILL") -> None:
        """Send a signal to the command and to what it has started."""
        self._machine.execute(f"kill -s {shlex.quote(signal)} -- -{self._pid}")

    @property
    def output(self) -> str:
        """What the command has printed so far, errors included."""
        return self._machine.succeed(f"cat {self._folder}/output")


def command_setting(user, env, cwd):
    """The user, environment and working directory of a command."""
    env = env or {}
    for name, value in env.items():
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", str(name)):
            raise ValueError(f"env: {str(name)!r} is not a variable's name")
        if value is None:
            raise ValueError(f"env: the value of {name} is None; use '' for an empty value")
    env = {str(name): str(value) for name, value in env.items()}
    return {"user": user, "env": env, "cwd": None if cwd is None else str(cwd)}
