"""The values of the expressions of assertions, for the report of one that fails.

The engine rewrites assertions so that they call these functions (src/engine/assertions.rs).
"""

from __future__ import annotations

import builtins
import sys
import threading
from typing import Any, Callable

import _snowglobe

# Assertions in each other, and those that have failed and not been reported.
MOST_ASSERTIONS = 64

# Values of these types change; a longer one is not copied.
CHANGING = (list, dict, set, bytearray)
LONGEST_COPY = 10_000

# How many elements of a difference are named.
MOST_ELEMENTS = 8
LONGEST_ELEMENT = 200


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


def values_of(frame: Any) -> list[tuple[int, int, int, Any]]:
    """Returns the values of the assertion of a frame that has failed last: where, the part in a comparison, the value."""
    # A failure is described more than once: for its subtest, and at the end.
    for assertion in reversed(_failed):
        if assertion.frame is frame:
            return assertion.seen
    return []


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
    return _snowglobe.short_repr(value, LONGEST_ELEMENT)


def prepare() -> None:
    """Gives all modules the functions that rewritten assertions call."""
    vars(builtins).update(
        _snowglobe_assert=begin_assertion,
        _snowglobe_seen=seen,
        _snowglobe_checking=checking,
    )
