"""The script's side of a prompt: Snowglobe reads what is typed, and has it run here."""

from __future__ import annotations

import ast
import builtins
import codeop
from typing import Any

from .connection import Connection
from .interrupts import Interrupts

# Statements without a block.
SIMPLE = (ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Import, ast.ImportFrom, ast.Assert, ast.Raise, ast.Delete)


def serve(connection: Connection, interrupts: Interrupts, names: dict[str, Any], global_names: dict[str, Any]) -> None:
    """Does what is asked of these names, until the prompt is left."""
    while True:
        asked = connection.receive()
        wanted = asked["prompt"]
        if wanted == "leave":
            return
        if wanted == "is_whole":
            connection.send({"value": _is_whole(asked["text"])})
        elif wanted == "names_after":
            connection.send({"value": _names_after(asked["path"], names, global_names)})
        else:
            _run(connection, interrupts, asked, names, global_names)


def _run(
    connection: Connection,
    interrupts: Interrupts,
    asked: dict[str, Any],
    names: dict[str, Any],
    global_names: dict[str, Any],
) -> None:
    from . import native

    try:
        code = compile(asked["text"], asked["name"], "single", dont_inherit=True)
        with interrupts.armed():
            exec(code, global_names, names)
    except SystemExit:
        connection.send({"typed": "leave"})
    except BaseException as error:
        connection.send({"typed": "raised", "raised": native.describe_exception(error)})
        native.explain(connection, error)
    else:
        connection.send({"typed": "done"})


def _is_whole(text: str) -> bool:
    ended = text.endswith("\n") or not text.strip()
    try:
        is_complete = codeop.compile_command(text, "<prompt>", "single") is not None
    except (SyntaxError, ValueError, OverflowError):
        # It is run, and says what is wrong.
        return True
    if not is_complete:
        # A block that an empty line ends; `compile_command` wants one more.
        return ended and _compiles(text)
    return ended or "\n" not in text or not _ends_in_block(text)


def _compiles(text: str) -> bool:
    try:
        compile(text, "<prompt>", "single", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


def _ends_in_block(text: str) -> bool:
    body = ast.parse(text).body
    return bool(body) and not isinstance(body[-1], SIMPLE)


def _names_after(path: list[str], names: dict[str, Any], global_names: dict[str, Any]) -> list[str]:
    if not path:
        return [*map(str, names), *map(str, global_names), *dir(builtins)]
    try:
        found = names[path[0]] if path[0] in names else global_names[path[0]]
        for name in path[1:]:
            found = getattr(found, name)
        return [str(name) for name in dir(found)]
    except Exception:
        return []
