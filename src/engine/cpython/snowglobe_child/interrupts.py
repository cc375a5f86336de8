"""Ends what the script does: interrupts from Snowglobe, and the ends of scopes (deadlines, failed parallel functions).

The main thread is interrupted by a signal, whose handler raises the exception. Other threads look themselves.
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import threading
import time
from typing import Any, Callable, Iterator

# How often the main thread is reminded until it has taken an interrupt.
REMINDERS = 200
REMINDER_PAUSE = 0.02

# A second exception right at the start of the first one's handler would lose the handler.
GAP = 0.05

# How often other threads look while they wait.
LOOK_PAUSE = 0.05

_sleep = time.sleep
_main = _thread.get_ident()


class _OfThread(threading.local):
    def __init__(self) -> None:
        # The scopes that this thread's statements are in, outermost first.
        self.scopes: list[int] = []


class Interrupts:
    """The interrupts of one script."""

    def __init__(self) -> None:
        self._of_thread = _OfThread()
        self._turn = threading.Lock()
        self._taken = threading.Event()
        self._begun = threading.Event()
        self._pending: Callable[[], BaseException | None] | None = None
        self._is_armed = False
        self._cancelled: set[int] = set()
        self._next_scope = 0
        self._timers: dict[int, threading.Timer] = {}
        self._interrupted = 0
        signal.signal(signal.SIGUSR1, self._handle)

    def _handle(self, *_: Any) -> None:
        pending = self._pending
        if pending is None or not self._is_armed:
            return
        self._pending = None
        error = pending()
        self._taken.set()
        if error is not None:
            raise error

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        """What is inside can be interrupted."""
        before, self._is_armed = self._is_armed, True
        self._begun.set()
        try:
            yield
        finally:
            self._is_armed = before

    @contextlib.contextmanager
    def disarmed(self) -> Iterator[None]:
        """What is inside goes on: the user decides what is interrupted."""
        before, self._is_armed = self._is_armed, False
        try:
            yield
        finally:
            self._is_armed = before

    def set_begun(self) -> None:
        """Says that nothing more is to be waited for before an interrupt."""
        self._begun.set()

    def interrupt(self, reason: str) -> bool:
        """Raises Interrupted in the main thread, as soon as the script has begun; returns whether it was taken."""
        from snowglobe.errors import Interrupted

        self._begun.wait()
        self._interrupted += 1
        return self._raise_in_main(lambda: Interrupted(reason))

    def _raise_in_main(self, make: Callable[[], BaseException | None]) -> bool:
        with self._turn:
            self._taken.clear()
            self._pending = make
            for _ in range(REMINDERS):
                if not self._is_armed:
                    break
                # One that arrives just before a system call begins is lost.
                signal.pthread_kill(_main, signal.SIGUSR1)
                if self._taken.wait(REMINDER_PAUSE):
                    _sleep(GAP)
                    return True
            self._pending = None
            return self._taken.is_set()

    @staticmethod
    def is_main() -> bool:
        """Returns whether this is the thread of the script's main part."""
        return _thread.get_ident() == _main

    def look(self, interrupted: int) -> None:
        """Raises what ends the calls of this thread; `interrupted` is how often it had been when the call began."""
        from snowglobe.errors import Cancelled, Interrupted

        if self._interrupted != interrupted:
            raise Interrupted("interrupted")
        for scope in self.scopes():
            if scope in self._cancelled:
                self._leave(scope)
                raise Cancelled(str(scope))

    @property
    def interrupted(self) -> int:
        """How often the script has been interrupted."""
        return self._interrupted

    def _leave(self, scope: int) -> bool:
        """Each scope ends a thread's statements once, so that those which clean up go through."""
        scopes = self._of_thread.scopes
        if scope not in scopes:
            return False
        scopes.remove(scope)
        return True

    def begin_scope(self) -> int:
        """Returns a new scope."""
        with self._turn:
            self._next_scope += 1
            return self._next_scope

    def begin_deadline(self, seconds: float) -> int:
        """Returns a scope that ends after a time."""
        scope = self.begin_scope()
        timer = threading.Timer(max(seconds, 0), self.cancel_scope, [scope])
        timer.daemon = True
        self._timers[scope] = timer
        timer.start()
        return scope

    def cancel_scope(self, scope: int) -> None:
        """Ends what waits in a scope."""
        from snowglobe.errors import Cancelled

        self._cancelled.add(scope)
        if not self.is_main():
            self._raise_in_main(lambda: Cancelled(str(scope)) if self._leave(scope) else None)

    def end_scope(self, scope: int) -> None:
        """A scope is over; its timer is in vain."""
        timer = self._timers.pop(scope, None)
        if timer is not None:
            timer.cancel()
        self._cancelled.discard(scope)

    def scopes(self) -> list[int]:
        """Returns the scopes that this thread's statements are in."""
        return list(self._of_thread.scopes)

    def enter_scopes(self, scopes: list[int]) -> None:
        """Says which scopes the statements of this thread are in."""
        self._of_thread.scopes = list(scopes)
