"""Files of a guest."""

from __future__ import annotations

import shlex


class File:
    """A file or folder of the guest."""

    path: str
    """The absolute path in the guest."""

    def __init__(self, machine, path):
        self._machine = machine
        self.path = str(path)

    def __repr__(self):
        return f"<File '{self.path}' of {self._machine.name}>"

    def _ask(self, command):
        return self._machine.succeed(f"{command} -- {shlex.quote(self.path)}")

    @property
    def exists(self) -> bool:
        """Whether it exists."""
        status, _ = self._machine.execute(f"test -e {shlex.quote(self.path)}")
        return status == 0

    @property
    def contents(self) -> str:
        """Its content as text."""
        return self._ask("cat")

    @property
    def mode(self) -> int:
        """Its permissions, to be compared with a number such as 0o644."""
        return int(self._ask("stat -c %a"), 8)

    @property
    def owner(self) -> str:
        """The name of its owner."""
        return self._ask("stat -c %U").strip()
