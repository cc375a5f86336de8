"""Waiting for conditions, and deadlines."""

from __future__ import annotations

import contextlib
import time
from typing import Any, Callable, Iterator

import _snowglobe

from .calls import check_watched, go_outside, watched
from .durations import Duration, in_seconds
from .errors import Cancelled, RequestedAssertionFailed, RetryFailed
from .extensions import extension


def retry(fn: Callable[[bool], Any], timeout: Duration = 900, timeout_seconds: Duration | None = None) -> None:
    """Call fn(last_try) every second until it returns a true value. Raises RequestedAssertionFailed after
    timeout seconds, 900 by default. timeout_seconds is another name for timeout.
    """
    limit = in_seconds(timeout if timeout_seconds is None else timeout_seconds)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if fn(False):
            return
        check_watched()
        time.sleep(min(1, max(0, end - time.monotonic())))
    if not fn(True):
        raise RetryFailed(limit)


class PollingCondition:
    """A condition that is checked again and again while the script waits for something else."""

    def __init__(self, condition, interval, description):
        self._condition = condition
        self._interval = in_seconds(interval)
        self._description = description or (condition.__doc__ or "").strip() or condition.__name__
        self._checked = None
        self._inside = False
        self._error = None

    def __call__(self) -> Any:
        """Evaluate the condition once."""
        return self._condition()

    def __enter__(self) -> PollingCondition:
        """Check the condition during all waits inside the block. A wait raises RequestedAssertionFailed once it
        no longer holds.
        """
        watched.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop checking the condition."""
        watched.remove(self)

    def check(self, force: bool = False) -> bool:
        """Return whether the condition holds. A result is reused for the interval of the condition, unless force
        is set.
        """
        recent = self._checked is not None and time.monotonic() - self._checked < self._interval
        # What the condition itself waits for must not wait for the condition.
        if self._inside or (recent and not force):
            return True
        self._inside = True
        try:
            result = self._condition()
            self._error = None
            return result is None or bool(result)
        except Exception as error:
            self._error = error
            return False
        finally:
            self._inside = False
            self._checked = time.monotonic()

    def wait(self, timeout: Duration = 900) -> None:
        """Wait until the condition holds. Raises RequestedAssertionFailed after timeout seconds, 900 by default."""
        with retrying(f"the condition {self._description!r}", lambda: self._error or "nothing"):
            retry(lambda last_try: self.check(force=True), timeout)

    def _demand(self):
        if not self.check():
            because = f": {self._error or type(self._error).__name__}" if self._error is not None else ""
            raise RequestedAssertionFailed(f"the condition {self._description!r} no longer holds{because}") from self._error


def polling_condition(
    fun_: Callable[[], Any] | None = None,
    *,
    interval: Duration = 2.0,
    description: str | None = None,
    seconds_interval: Duration | None = None,
) -> Any:
    """Turn a function into a polling condition: `with it:` checks it during other waits, `it.wait()` waits for
    it. The function holds if it returns None or a true value. interval is the time between two checks,
    2 seconds by default; seconds_interval is another name for it.
    """
    time_between = interval if seconds_interval is None else seconds_interval
    if fun_ is None:
        return lambda fun: PollingCondition(fun, time_between, description)
    return PollingCondition(fun_, time_between, description)


@extension
@contextlib.contextmanager
def deadline(seconds: Duration) -> Iterator[None]:
    """Require the statements inside to end within this time. Raises RequestedAssertionFailed otherwise."""
    limit = in_seconds(seconds)
    # Its time would go on while machines are restored.
    go_outside()
    before = _snowglobe.scopes()
    scope = _snowglobe.begin_deadline(float(limit))
    _snowglobe.enter_scopes([*before, scope])
    try:
        yield
    except Cancelled as cancelled:
        if str(cancelled) != str(scope):
            raise
        raise RequestedAssertionFailed(f"this took longer than {limit} s") from cancelled
    finally:
        _snowglobe.end_scope(scope)
        _snowglobe.enter_scopes(before)


@contextlib.contextmanager
def retrying(what, shown):
    """Says what was waited for in vain, and what was there instead."""
    try:
        yield
    except RetryFailed as error:
        raise RequestedAssertionFailed(f"waiting for {what} took longer than {error.limit} s; there was:\n{shown()}") from None
