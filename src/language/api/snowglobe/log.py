"""The log of the run."""

from __future__ import annotations

import contextlib
from typing import Iterator, Protocol

from .calls import drive
from .extensions import extension
from .subtests import subtest


class Named(Protocol):
    """A machine, of which the log needs no more than its name."""

    @property
    def name(self) -> str:
        """The name of the machine."""
        ...


class Log:
    """The log of the run."""

    def log(self, message: object, attributes: dict[str, str] | None = None) -> None:
        """Log a message."""
        drive("note", machine=None, level="info", text=str(message))

    def info(self, message: object, *args: object, **kwargs: object) -> None:
        """Log a message. args fill in its % placeholders, as in the logging module."""
        drive("note", machine=None, level="info", text=_message(message, args))

    def debug(self, message: object, *args: object, **kwargs: object) -> None:
        """Log a message, at the same level as info."""
        drive("note", machine=None, level="info", text=_message(message, args))

    def warning(self, message: object, *args: object, **kwargs: object) -> None:
        """Log a warning."""
        drive("note", machine=None, level="warning", text=_message(message, args))

    def error(self, message: object, *args: object, **kwargs: object) -> None:
        """Log an error. The test continues."""
        drive("note", machine=None, level="error", text=_message(message, args))

    @contextlib.contextmanager
    def nested(self, message: str, attributes: dict[str, str] | None = None) -> Iterator[None]:
        """Log a message before the statements inside."""
        self.log(message)
        yield

    @contextlib.contextmanager
    def subtest(self, name: str, attributes: dict[str, str] | None = None) -> Iterator[None]:
        """The same as the function subtest."""
        with subtest(name):
            yield

    def print_serial_logs(self, enable: bool) -> None:
        """Show the consoles of all machines from now on, or hide them."""
        drive("show_consoles", machine=None, shown=bool(enable))

    @extension
    def follow(self, machine: str | Named, enable: bool = True) -> None:
        """Show the console of one machine from now on, or hide it."""
        drive("show_consoles", machine=getattr(machine, "name", machine), shown=bool(enable))


def _message(message, args):
    """As the standard library's loggers fill in their arguments."""
    return str(message) % args if args else str(message)


log: Log = Log()
