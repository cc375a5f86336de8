"""Describes exceptions for the report of a failure (src/engine/failure.rs), under any interpreter."""

from __future__ import annotations

from itertools import islice
from typing import Any

from . import errors
from .assertion_values import explain
from .short_repr import Extent, short_repr

# How many exceptions back the causes of one are looked for.
DEEPEST = 8

# How much of the value that an exception has in the place of a text is shown.
LONGEST_ARGUMENT = 4000


def raised(exception: BaseException) -> dict[str, Any]:
    """Describes an exception and those that it came from: their classes, texts and calls."""
    described = _described(exception)
    current = exception
    described["causes"] = []
    while (cause := _cause(current)) is not None and len(described["causes"]) < DEEPEST:
        described["causes"].append(_described(cause))
        current = cause
    return described


def explain_call(exception: BaseException, call: int, *place: Any) -> dict[str, Any]:
    """Describes the assertion that has failed in one of the calls that led to an exception."""
    entry = next(islice(_entries(exception), call, None))
    return explain(entry.tb_frame, *place)


def _described(exception: BaseException) -> dict[str, Any]:
    # A script may have classes of these names, too.
    classes = [kind.__name__ for kind in type(exception).__mro__ if getattr(errors, kind.__name__, None) is kind]
    return {
        "name": type(exception).__name__,
        "api_classes": classes,
        "is_plain_assertion": type(exception) is AssertionError,
        "is_exit": isinstance(exception, SystemExit),
        "text": _text(exception),
        "syntax_error": _syntax_error(exception),
        "details": getattr(exception, "_details", None) if classes else None,
        "calls": [_call(entry) for entry in _entries(exception)],
    }


def _entries(exception: BaseException) -> Any:
    entry = exception.__traceback__
    while entry is not None:
        yield entry
        entry = entry.tb_next


def _call(entry: Any) -> dict[str, Any]:
    code = entry.tb_frame.f_code
    # The instruction's number is in bytes, and each has two.
    span = next(islice(code.co_positions(), entry.tb_lasti // 2, None), None)
    return {
        "file": code.co_filename,
        "function": code.co_qualname,
        "line": entry.tb_lineno,
        "span": None if span is None or None in span else span,
    }


def _text(exception: BaseException) -> str:
    """The exception as `str` gives it; a value in the place of its text is written shortly."""
    try:
        if len(exception.args) == 1 and isinstance(exception.args[0], (list, dict, tuple, set, bytes)):
            return short_repr(exception.args[0], Extent(LONGEST_ARGUMENT))
        return str(exception)
    except Exception:
        return ""


def _cause(exception: BaseException) -> BaseException | None:
    if exception.__cause__ is not None or exception.__suppress_context__:
        return exception.__cause__
    return exception.__context__


def _syntax_error(exception: BaseException) -> dict[str, Any] | None:
    """Where a compiler's complaint is."""
    if not isinstance(exception, SyntaxError):
        return None
    file, line, text = exception.filename, exception.lineno, exception.text
    # At the end of a line, some versions know no column.
    column = exception.offset or len((text or "").rstrip("\n")) + 1
    return {"file": file, "line": line, "column": column} if file and line else None
