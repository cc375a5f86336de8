"""Machines that only write down what is asked of them, for `snowglobe mock-run`."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import time

import _snowglobe
import snowglobe

from .calls import drive
from .durations import in_seconds
from .machine import Machine

# More calls than any test makes: one that waits for ever is ended here.
_MOST_CALLS = 20_000

_made = 0
_now = 0.0


class _TooManyCalls(BaseException):
    """The script does not come to an end without real answers."""


def _mock_sleep(seconds):
    """Time passes at once."""
    global _now
    _now += max(0.0, in_seconds(seconds))


def _answer(machine, method, arguments, annotation):
    """What the answers file says, or else something plausible of the right kind."""
    answers = _snowglobe.session["answers"]
    first = next(iter(arguments.values()), None)
    if isinstance(first, (list, tuple)):
        first = first[0] if first else None
    for key in (f"{machine}.{method}: {first}", f"{method}: {first}", f"{machine}.{method}", method):
        if key in answers:
            answer = answers[key]
            if isinstance(answer, dict) and list(answer) == ["in turn"]:
                turns = answer["in turn"]
                answer = turns.pop(0) if len(turns) > 1 else turns[0]
            return tuple(answer) if annotation.startswith("tuple") else answer
    kinds = {"str": "", "tuple": (0, ""), "list": [], "dict": {}, "bool": True, "int": 0}
    return kinds.get(annotation.partition("[")[0])


def _recorded(name, method):
    signature = inspect.signature(method)
    annotation = str(signature.return_annotation)

    @functools.wraps(method)
    def record(self, *args, **kwargs):
        global _made
        _made += 1
        if _made > _MOST_CALLS:
            raise _TooManyCalls(f"more than {_MOST_CALLS} calls")
        arguments = dict(signature.bind(self, *args, **kwargs).arguments)
        del arguments["self"]
        drive("called", machine=self.name, method=name, arguments=_plain(arguments))
        if annotation.startswith("Iterator"):
            return contextlib.nullcontext()
        return _answer(self.name, name, arguments, annotation)

    return record


def _plain(value):
    """A value that JSON has a word for."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    if hasattr(value, "pattern"):
        return value.pattern
    return str(value) if hasattr(value, "__fspath__") else type(value).__name__


def _mock_machines():
    # These make objects whose own calls are recorded.
    made_of_calls = {"file", "background"}
    for name, method in list(vars(Machine).items()):
        if not name.startswith("_") and inspect.isfunction(method) and name not in made_of_calls:
            setattr(Machine, name, _recorded(name, method))
    Machine._call = lambda self, operation, **_: ("/run/mock", 1) if operation == "start_background" else None
    for name in ("booted", "connected"):
        setattr(Machine, name, property(lambda self: True, lambda self, value: None))
    Machine.pid = property(lambda self: 1)
    Machine.qmp_client = property(lambda self: None)


def _nothing() -> None:
    """Nothing starts, and nothing ends."""


# The package has the driver under the name of the module.
for _module in (snowglobe, sys.modules["snowglobe.driver"]):
    _module.start_all = _module.join_all = _nothing
_mock_machines()
time.sleep = _mock_sleep
time.monotonic = lambda: _now
