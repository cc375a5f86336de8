"""Lengths of time, and default timeouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import _snowglobe

if TYPE_CHECKING:
    import datetime

Duration: TypeAlias = "float | datetime.timedelta"


class DefaultTimeout(float):
    """A default timeout, in seconds: the timeout factor applies to it."""


def in_seconds(duration):
    """A number of seconds, from one or from a datetime.timedelta."""
    if isinstance(duration, DefaultTimeout):
        return float(duration) * _snowglobe.session["timeout_factor"]
    if hasattr(duration, "total_seconds"):
        return duration.total_seconds()
    return duration


def as_timedelta(duration):
    """A datetime.timedelta, from one or from a number of seconds."""
    import datetime

    return datetime.timedelta(seconds=in_seconds(duration))


def mark_defaults(functions):
    """Marks a default timeout of a signature, so that the timeout factor applies to it."""
    for function in functions:
        code = function.__code__
        defaults = function.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        function.__defaults__ = tuple(map(_marked, names, defaults)) or None
        for name, value in (function.__kwdefaults__ or {}).items():
            function.__kwdefaults__[name] = _marked(name, value)


def _marked(name, value):
    return DefaultTimeout(value) if name == "timeout" and value is not None else value
