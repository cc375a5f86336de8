"""What all words are made of: errors, durations, the way to the driver, the log."""

from __future__ import annotations

import contextlib
import os as os
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, TypeAlias

import _snowglobe

# The driver of 2020 ran scripts in its own namespace: some use its imports.
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
    """A machine, or what the test asked of it, is in trouble."""


class MachineSick(MachineError):
    """A machine's console tells of a kernel panic or another sickness."""


class RequestedAssertionFailed(AssertionError):
    """What the test wanted of a machine is not so."""


class Interrupted(BaseException):
    """The run is being ended. Not an Exception, so that no script swallows it."""


class _Cancelled(BaseException):
    """The scope whose number this holds has been ended: a deadline, or a failed neighbour."""


def _own(word):
    """Marks a word that nixpkgs' driver does not have."""
    return word


class _Default(float):
    """A deadline that the script did not give: it grows where machines are slow."""


def _seconds(duration):
    """A number of seconds, from one or from a datetime.timedelta."""
    if isinstance(duration, _Default):
        return float(duration) * _snowglobe.session["timeout_scale"]
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
    """Says things to whoever watches the run."""

    def log(self, message: object, attributes: dict[str, str] | None = None) -> None:
        """Say something."""
        _drive("note", machine=None, level="info", text=str(message))

    def info(self, message: object, *args: object, **kwargs: object) -> None:
        """Say something."""
        _drive("note", machine=None, level="info", text=_message(message, args))

    def debug(self, message: object, *args: object, **kwargs: object) -> None:
        """Say something."""
        _drive("note", machine=None, level="info", text=_message(message, args))

    def warning(self, message: object, *args: object, **kwargs: object) -> None:
        """Say something that should be looked at."""
        _drive("note", machine=None, level="warning", text=_message(message, args))

    def error(self, message: object, *args: object, **kwargs: object) -> None:
        """Say what is wrong; the test goes on."""
        _drive("note", machine=None, level="error", text=_message(message, args))

    @contextlib.contextmanager
    def nested(self, message: str, attributes: dict[str, str] | None = None) -> Iterator[None]:
        """Say what the statements inside do."""
        self.log(message)
        yield

    @contextlib.contextmanager
    def subtest(self, name: str, attributes: dict[str, str] | None = None) -> Iterator[None]:
        """The same as the word `subtest`."""
        with subtest(name):
            yield

    def print_serial_logs(self, enable: bool) -> None:
        """Show the consoles of the machines, or not."""
        _drive("show_consoles", machine=None, shown=bool(enable))

    @_own
    def follow(self, machine: str | Machine, enable: bool = True) -> None:
        """Show the console of a machine from now on, or no longer."""
        _drive("show_consoles", machine=getattr(machine, "name", machine), shown=bool(enable))


def _message(message, args):
    """As the standard library's loggers fill in their arguments."""
    return str(message) % args if args else str(message)


log: Log = Log()
