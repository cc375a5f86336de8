"""What all words are made of: errors, durations, the way to the driver, the log."""

from __future__ import annotations

import contextlib
import os as os
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, TypeAlias

import _snowglobe

# The driver of nixpkgs 20.09 runs scripts in its own namespace: some use its imports.
_MODULES_OF_2020 = (
    "argparse",
    "atexit",
    "base64",
    "io",
    "itertools",
    "logging",
    "pathlib",
    "queue",
    "re",
    "shlex",
    "shutil",
    "socket",
    "subprocess",
    "sys",
    "tempfile",
    "time",
    "unicodedata",
)

Duration: TypeAlias = "float | datetime.timedelta"


class MachineError(Exception):
    """A machine, or an operation on it, has failed."""


class MachineFailure(MachineError):
    """A machine has crashed: its console shows a kernel panic or another crash pattern."""


class RequestedAssertionFailed(AssertionError):
    """A condition that the test requires does not hold."""


class Interrupted(BaseException):
    """The run is being ended. It is not an Exception, so that no script swallows it."""


class _Cancelled(BaseException):
    """The scope with this number has ended: a deadline has passed, or a parallel function has failed."""


def _extension(word):
    """Marks a word that nixpkgs' driver does not have."""
    return word


class _Default(float):
    """A default timeout, in seconds: the timeout factor applies to it."""


def _seconds(duration):
    """A number of seconds, from one or from a datetime.timedelta."""
    if isinstance(duration, _Default):
        return float(duration) * _snowglobe.session["timeout_factor"]
    if hasattr(duration, "total_seconds"):
        return duration.total_seconds()
    return duration


# The polling conditions that are being watched, outermost first.
_watched = []


def _call(target, operation, arguments):
    """Has a machine do something, or the driver where `target` is empty."""
    if not _watched:
        return _snowglobe.call(target, operation, arguments, None, None)
    _check_watched()
    pause = min(condition._interval for condition in _watched)
    return _snowglobe.call(target, operation, arguments, max(pause, 0.1), _check_watched)


def _check_watched():
    for condition in tuple(_watched):
        condition._demand()


def _drive(operation, **arguments):
    return _snowglobe.call("", operation, arguments, None, None)


def _go_outside():
    """Says that what follows has to do with more than the machines."""
    if _snowglobe.session["remembers"]:
        _drive("go_outside")


class Log:
    """The log of the run."""

    def log(self, message: object, attributes: dict[str, str] | None = None) -> None:
        """Log a message."""
        _drive("note", machine=None, level="info", text=str(message))

    def info(self, message: object, *args: object, **kwargs: object) -> None:
        """Log a message. args fill in its % placeholders, as in the logging module."""
        _drive("note", machine=None, level="info", text=_message(message, args))

    def debug(self, message: object, *args: object, **kwargs: object) -> None:
        """Log a message, at the same level as info."""
        _drive("note", machine=None, level="info", text=_message(message, args))

    def warning(self, message: object, *args: object, **kwargs: object) -> None:
        """Log a warning."""
        _drive("note", machine=None, level="warning", text=_message(message, args))

    def error(self, message: object, *args: object, **kwargs: object) -> None:
        """Log an error. The test continues."""
        _drive("note", machine=None, level="error", text=_message(message, args))

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
        _drive("show_consoles", machine=None, shown=bool(enable))

    @_extension
    def follow(self, machine: str | Machine, enable: bool = True) -> None:
        """Show the console of one machine from now on, or hide it."""
        _drive("show_consoles", machine=getattr(machine, "name", machine), shown=bool(enable))


def _message(message, args):
    """As the standard library's loggers fill in their arguments."""
    return str(message) % args if args else str(message)


log: Log = Log()
