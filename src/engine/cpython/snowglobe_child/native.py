"""The module `_snowglobe`, which the test API is built on (src/language/api/_snowglobe.pyi), over connections."""

from __future__ import annotations

import sys
from typing import Any, Callable

from . import instrument, prompt
from .connection import Connection, Link
from .interrupts import LOOK_PAUSE, Interrupts

# The name of the script in tracebacks, and the start of those of the test API.
SCRIPT_NAME = "testScript"
API_PATH = "snowglobe/"


class Native:
    """What the module has: the methods of an object that knows the way to Snowglobe."""

    def __init__(self, link: Link, interrupts: Interrupts, session: dict[str, Any]) -> None:
        self.session = session
        self._link = link
        self._interrupts = interrupts
        self._code: Any = None
        self._names: dict[str, Any] = {}
        for name in ("begin_scope", "begin_deadline", "cancel_scope", "end_scope", "scopes", "enter_scopes"):
            setattr(self, name, getattr(interrupts, name))

    def keep_script(self, code: Any, names: dict[str, Any]) -> None:
        """Keeps the script for prompts that run it."""
        self._code, self._names = code, names

    def run_script(self) -> None:
        """Runs the script."""
        if self._code is None:
            raise RuntimeError("there is no script yet")
        exec(self._code, self._names)

    def call(
        self,
        target: str,
        operation: str,
        arguments: dict[str, Any],
        pause: float | None,
        on_pause: Callable[[], None] | None,
    ) -> Any:
        """Makes a call of a machine, or of the driver."""
        is_main = self._interrupts.is_main()
        request = {
            "request": "call",
            "target": target,
            "operation": operation,
            "arguments": _plain(arguments),
            "is_beside": pause is not None or not is_main,
            "place": _place(),
        }
        interrupted = self._interrupts.interrupted

        def wait(connection: Connection) -> None:
            slices = pause if is_main else min(pause or LOOK_PAUSE, LOOK_PAUSE)
            left = pause
            while not connection.is_ready(slices):
                if not is_main:
                    self._interrupts.look(interrupted)
                if on_pause is not None and left is not None and slices is not None:
                    left -= slices
                    if left <= 0:
                        on_pause()
                        left = pause

        return _value(self._link.ask(request, wait))

    def write(self, text: str) -> int:
        """Prints a text into the events of the run."""
        self._link.ask({"request": "write", "text": text})
        return len(text)

    def describe(self, exception: BaseException) -> dict[str, Any]:
        """Describes an exception for a report."""
        return self._report(exception, "describe")

    def fail(self, exception: BaseException) -> None:
        """Fails the script, although it goes on."""
        self._report(exception, "fail")

    def _report(self, exception: BaseException, purpose: str) -> dict[str, Any]:
        with self._link.conversation() as connection:
            connection.send({"request": purpose, "raised": describe_exception(exception)})
            return explain(connection, exception)

    def text_difference(self, left: str, right: str) -> str:
        """Describes how two texts differ, by lines."""
        return _value(self._link.ask({"request": "text_difference", "left": left, "right": right}))

    def find_module(self, name: str, folders: list[str] | None) -> dict[str, Any] | None:
        """Finds a module beside the test."""
        return _value(self._link.ask({"request": "find_module", "name": name, "folders": folders}))

    def compile_module(self, file: str) -> Any:
        """Compiles a module beside the test."""
        found = _value(self._link.ask({"request": "read_module", "file": file}))
        return instrument.compile_text(found["text"], file, found["marks"])

    def stop_at(self, names: dict[str, Any], global_names: dict[str, Any], file: str, line: int) -> None:
        """Opens a prompt among these names, if the user has a terminal."""
        with self._link.conversation() as connection, self._interrupts.disarmed():
            connection.send({"request": "stop_at", "file": file, "line": line})
            prompt.serve(connection, self._interrupts, names, global_names)

    def after_fork(self) -> None:
        """Makes connections of its own for a process that the script has forked, which ends with this one."""
        self._link.forget()
        try:
            import ctypes

            pr_set_pdeathsig, sigkill = 1, 9
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, sigkill)
        except (ImportError, OSError, AttributeError):
            # Without it, the process ends when it is done.
            return


def describe_exception(exception: BaseException) -> dict[str, Any]:
    """Describes an exception, with the places of assertions as Snowglobe counts them."""
    from snowglobe.raised import raised

    described = raised(exception)
    for one in (described, *described["causes"]):
        one["details"] = _plain_or_none(one["details"])
        for call in one["calls"]:
            call["span"] = instrument.span_of(call["file"], call["span"])
    return described


def explain(connection: Connection, exception: BaseException) -> dict[str, Any]:
    """Answers what Snowglobe asks of an exception; returns the failure that it makes of it."""
    from snowglobe.raised import explain_call

    reply = connection.receive()
    if "explain" in reply:
        place = reply["explain"]
        names = ("begin", "end", "names", "scoped_names")
        connection.send({"explanation": explain_call(exception, place["call"], *(place[name] for name in names))})
        reply = connection.receive()
    return reply["failure"]


def _value(reply: dict[str, Any]) -> Any:
    if "error" in reply:
        raise _exception(reply["error"])
    return reply["value"]


def _exception(error: dict[str, Any]) -> BaseException:
    from snowglobe import errors

    exception = getattr(errors, error["class"], None)
    if exception is None:
        return OSError(error["message"])
    exception = exception(error["message"])
    if error["details"] is not None:
        exception._details = error["details"]
    return exception


def _place() -> dict[str, Any]:
    """The line of the script that makes a call, and the function of the test API that it calls."""
    function = None
    frame: Any = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file == SCRIPT_NAME:
            return {"function": function, "line": frame.f_lineno}
        if file.startswith(API_PATH):
            function = frame.f_code.co_name
        frame = frame.f_back
    return {"function": function, "line": None}


def _plain(value: Any) -> Any:
    """The value as JSON knows it. Raises TypeError for what it has no word for."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise OverflowError("Python int too large to convert to Rust i64")
        return value
    if isinstance(value, float):
        if value - value != 0:
            raise ValueError("a number that is not finite")
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    raise TypeError(f"a value of type '{type(value).__name__}' means nothing to a machine")


def _plain_or_none(value: Any) -> Any:
    try:
        return _plain(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
