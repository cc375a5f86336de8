"""Runs a script: with the test API over connections, to its end and to that of prompts after it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import ModuleType
from typing import Any

from . import instrument, prompt
from .connection import Connection, Link, SnowglobeEnded
from .interrupts import Interrupts
from .native import SCRIPT_NAME, Native, describe_exception, explain


def run(path: str, beginning: dict[str, Any]) -> None:
    """Runs the script that Snowglobe has sent; this process then ends as any of Python does."""
    link, interrupts = Link(path), Interrupts()
    control = Connection(path)
    control.send({"request": "control"})
    threading.Thread(target=_obey, args=(control, interrupts), name="snowglobe", daemon=True).start()
    native = Native(link, interrupts, beginning["session"])
    modules: dict[str, Any] = sys.modules
    modules["_snowglobe"] = native
    # Threads that the script left are not waited for.
    vars(threading)["_shutdown"] = lambda: None
    try:
        _run_script(link, interrupts, native, beginning)
    except SnowglobeEnded:
        return


def _obey(control: Connection, interrupts: Interrupts) -> None:
    """Does what Snowglobe demands while the script runs."""
    try:
        while True:
            reason = control.receive()["interrupt"]
            control.send({"taken": interrupts.interrupt(reason)})
    except SnowglobeEnded:
        return


def _run_script(link: Link, interrupts: Interrupts, native: Native, beginning: dict[str, Any]) -> None:
    main = ModuleType("__main__")
    sys.modules["__main__"] = main
    names = vars(main)
    begun_as = os.getpid()
    exception: BaseException | None = None
    try:
        import snowglobe

        names.update(snowglobe.script.script_names(snowglobe))
        code = instrument.compile_text(beginning["text"], SCRIPT_NAME, beginning["marks"])
        native.keep_script(code, names)
        if beginning["runs"]:
            with interrupts.armed():
                exec(code, names)
    except SnowglobeEnded:
        raise
    except BaseException as error:
        exception = error
    if os.getpid() != begun_as:
        # A process that the script forked: the end is not its to make.
        os.kill(os.getpid(), signal.SIGKILL)
    interrupts.set_begun()
    with link.conversation() as connection:
        if exception is None or _exits_well(exception):
            connection.send({"request": "passed"})
        else:
            connection.send({"request": "raised", "raised": describe_exception(exception)})
            explain(connection, exception)
        # Until Snowglobe has no more use for the names.
        prompt.serve(connection, interrupts, names, names)


def _exits_well(exception: BaseException) -> bool:
    """As Python takes it: no code, and the code 0, mean success."""
    return isinstance(exception, SystemExit) and exception.code in (None, 0, False)
