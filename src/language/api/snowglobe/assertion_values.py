"""The values of the expressions of assertions, for the report of one that fails.

The engine rewrites assertions so that they call these functions (src/engine/assertions.rs).
"""

from __future__ import annotations

import builtins
import sys
import threading
from typing import Any, Callable

import _snowglobe

from .short_repr import REST, WHOLE, Extent, short_repr

# Assertions in each other, and those that have failed and not been reported.
MOST_ASSERTIONS = 64

# Values of these types change; a longer one is not copied.
CHANGING = (list, dict, set, bytearray)
LONGEST_COPY = 10_000

# How many elements of a difference are named.
MOST_ELEMENTS = 8

# How much of a value or an element a report shows, in characters.
LONGEST_VALUE = 200

# The left and the right side of `==`, as rewritten assertions number them; and those that are written there.
LEFT = (1, 3)
RIGHT = (2, 4)
CONSTANTS = (3, 4)


class _Assertion:
    """An assertion at work: the frame that it is in, and the values so far."""

    def __init__(self, frame: Any) -> None:
        self.frame = frame
        self.seen: list[tuple[int, int, int, Any]] = []


class _OfThread(threading.local):
    """The assertions of a thread, each in a function that the one before it calls."""

    def __init__(self) -> None:
        self.running: list[_Assertion] = []


_of_thread = _OfThread()
_failed: list[_Assertion] = []


def _begin(frame: Any) -> _Assertion:
    running = _of_thread.running
    for index, assertion in enumerate(running):
        # One of the same frame, and those that it led to, have ended by an exception.
        if assertion.frame is frame:
            del running[index:]
            break
    assertion = _Assertion(frame)
    running.append(assertion)
    del running[:-MOST_ASSERTIONS]
    return assertion


def _end(assertion: _Assertion, has_failed: bool) -> None:
    running = _of_thread.running
    if assertion in running:
        del running[running.index(assertion) :]
    if has_failed:
        _failed.append(assertion)
        del _failed[:-MOST_ASSERTIONS]


def begin_assertion() -> Callable[[Any], bool]:
    """Begins an assertion; returns the function that takes its value."""
    assertion = _begin(sys._getframe(1))

    def end(value: Any) -> bool:
        # Once: the truth of an object may be a call.
        truth = bool(value)
        _end(assertion, not truth)
        return truth

    return end


def checking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function of unittest that remembers the values of its arguments if it fails."""
    assertion = _begin(sys._getframe(1))

    def check(*args: Any, **kwargs: Any) -> Any:
        has_failed = True
        try:
            result = function(*args, **kwargs)
            has_failed = False
            return result
        finally:
            _end(assertion, has_failed)

    return check


def seen(begin: int, end: int, part: int, value: Any) -> Any:
    """Remembers the value of an expression, which is at these bytes of the script; returns it."""
    running = _of_thread.running
    if running:
        if type(value) in CHANGING and len(value) <= LONGEST_COPY:
            running[-1].seen.append((begin, end, part, type(value)(value)))
        else:
            running[-1].seen.append((begin, end, part, value))
    return value


def explain(frame: Any, begin: int, end: int, names: list[str], scoped: list[str]) -> dict[str, Any]:
    """Describes the assertion of a frame that has failed, at these bytes of the script: the values of its expressions,
    how both sides of its `==` differ, and the values of names: `names`, or `scoped` where values were remembered.
    """
    # An earlier assertion of the frame may have failed, and the script gone on.
    values = [it for it in _values_of(frame) if begin <= it[0] and it[1] <= end]
    # What is typed at a prompt remembers no values.
    variables = scoped if values else names
    return {
        "expressions": [
            {"begin": begin, "end": end, "value": _written(value)}
            for begin, end, part, value in values
            if part not in CONSTANTS
        ],
        "variables": [
            {"name": name, "value": _written(space[name])}
            for name in variables
            for space in (frame.f_locals, frame.f_globals)
            if name in space
        ],
        "difference": _difference_of(values),
    }


def _values_of(frame: Any) -> list[tuple[int, int, int, Any]]:
    """Returns the values of the assertion of a frame that has failed last: where, the part in a comparison, the value."""
    # A failure is described more than once: for its subtest, and at the end.
    for assertion in reversed(_failed):
        if assertion.frame is frame:
            return assertion.seen
    return []


def _written(value: Any) -> dict[str, Any] | None:
    """The value in a line, and whole if that is more; None if it has none to show, as functions and machines."""
    try:
        short = short_repr(value, Extent(LONGEST_VALUE))
        if short.startswith("<"):
            return None
        whole = short_repr(value, WHOLE) if REST in short else short
    except Exception:
        return None
    return {"short": short, "whole": None if whole == short else whole}


def _difference_of(values: list[tuple[int, int, int, Any]]) -> str:
    """Describes the difference of both sides of the `==` that was compared last."""
    right: list[Any] = []
    for *_, part, value in reversed(values):
        if part in RIGHT and not right:
            right = [value]
        elif part in LEFT and right:
            try:
                return difference(value, *right)
            except Exception:
                return ""
    return ""


def difference(left: Any, right: Any) -> str:
    """Describes how two values differ, where their reprs do not show it."""
    if type(left) is not type(right):
        return ""
    if type(left) is str:
        return _snowglobe.text_difference(left, right)
    if type(left) in (list, tuple):
        return "\n".join(_of_sequences(left, right))
    if type(left) in (set, frozenset):
        return "\n".join(_only("left", left - right) + _only("right", right - left))
    if type(left) is dict:
        return "\n".join(_of_dictionaries(left, right))
    return ""


def _of_sequences(left: Any, right: Any) -> list[str]:
    pairs = ((index, *pair) for index, pair in enumerate(zip(left, right, strict=False)))
    different = [_pair(index, *pair) for index, *pair in pairs if pair[0] != pair[1]]
    lines = _first(different)
    common = min(len(left), len(right))
    for side, value in (("left", left), ("right", right)):
        if len(value) > common:
            lines += _only(side, value[common:])
    return lines


def _of_dictionaries(left: Any, right: Any) -> list[str]:
    common = [key for key in left if key in right]
    different = [_pair(key, left[key], right[key]) for key in common if left[key] != right[key]]
    return (
        _first(different)
        + _only("left", {key: left[key] for key in left if key not in right})
        + _only("right", {key: right[key] for key in right if key not in left})
    )


def _pair(key: Any, left: Any, right: Any) -> str:
    return f"at {_short(key)}: {_short(left)} is not {_short(right)}"


def _only(side: str, values: Any) -> list[str]:
    return [f"only {side}: {_short(values)}"] if values else []


def _first(lines: list[str]) -> list[str]:
    rest = len(lines) - MOST_ELEMENTS
    return lines[:MOST_ELEMENTS] + ([f"and {rest} more"] if rest > 0 else [])


def _short(value: Any) -> str:
    return short_repr(value, Extent(LONGEST_VALUE))


def prepare() -> None:
    """Gives all modules the functions that rewritten assertions call."""
    vars(builtins).update(
        _snowglobe_assert=begin_assertion,
        _snowglobe_seen=seen,
        _snowglobe_checking=checking,
    )
