"""What the test API raises."""

from __future__ import annotations

import builtins

# An argument that makes no sense is Python's own exception, also if it is found by the driver.
ValueError = builtins.ValueError


class MachineError(Exception):
    """A machine, or an operation on it, has failed."""


class MachineFailure(MachineError):
    """A machine has crashed: its console shows a kernel panic or another crash pattern."""


class RequestedAssertionFailed(AssertionError):
    """A condition that the test requires does not hold."""


class Interrupted(BaseException):
    """The run is being ended. It is not an Exception, so that no script swallows it."""


class Cancelled(BaseException):
    """The scope with this number has ended: a deadline has passed, or a parallel function has failed."""


class RetryFailed(RequestedAssertionFailed):
    def __init__(self, limit):
        super().__init__(f"what was retried did not come true within {limit} s")
        self.limit = limit


class ProcessExit(BaseException):
    """The script wanted to end Snowglobe itself."""
