"""Stops at a statement of the script, if its user wants that (src/engine/stepping.rs)."""

from __future__ import annotations

import _thread
import builtins
import sys
from typing import Any, Callable

import _snowglobe

from .assertions import stop_at
from .calls import drive

# How many lines before a place, and after it, are shown.
AROUND = 6


class _Stops:
    """Where the script stops next."""

    def __init__(self, line: int, hit: int) -> None:
        self.thread = _thread.get_ident()
        self.line = line
        self.hit = hit
        self.reached = 0
        self.at_each = False
        # The line of the open prompt.
        self.open: int | None = None


_stops: _Stops


def _step(line: int) -> bool:
    """Stops before a statement, if the user wants to work there."""
    if _thread.get_ident() != _stops.thread:
        return True
    is_wanted = _stops.at_each
    if line == _stops.line:
        _stops.reached += 1
        is_wanted = is_wanted or _stops.reached == _stops.hit
        if _stops.hit == 0:
            drive("reached")
    if is_wanted and _stops.open is None:
        _stops.at_each = False
        _stops.open = line
        try:
            stop_at(sys._getframe(1), line)
        finally:
            _stops.open = None
    return True


def _leave() -> None:
    if _stops.open is None:
        raise RuntimeError("this is a function of the prompt: it does nothing in a script")
    raise SystemExit


def step() -> None:
    """Run one statement, and stop before the next one."""
    _stops.at_each = _stops.open is not None
    _leave()


def go(subtest: str) -> None:
    """Run the script to the first statement of a subtest."""
    lines = {place["name"]: place["line"] for place in _snowglobe.session["subtests"]}
    if subtest not in lines:
        raise ValueError(f"there is no subtest {subtest!r}; there are: {', '.join(lines) or 'none'}")
    _stops.line, _stops.hit, _stops.reached = lines[subtest], 1, 0
    _leave()


def where() -> None:
    """Show the statement that comes next, with the lines around it."""
    lines = _snowglobe.session["source_lines"]
    here = _stops.open or 1
    for number in range(max(here - AROUND, 1), min(here + AROUND, len(lines)) + 1):
        line = lines[number - 1]
        place = f"{line['file'] or 'script'}:{line['file_line'] or number}"
        print(f"{'>' if number == here else ' '} {place} {line['text']}")


def prompt_functions() -> dict[str, Callable[..., None]]:
    """Returns the functions that a prompt has beside the script's names, if the script stops for a user."""
    return {"step": step, "go": go, "where": where} if _snowglobe.session["stop"] else {}


def prepare() -> None:
    """Provides the function that each statement calls, if the script stops."""
    global _stops
    stop: dict[str, Any] | None = _snowglobe.session["stop"]
    if stop is not None:
        _stops = _Stops(stop["line"], stop["hit"])
        vars(builtins)["_snowglobe_step"] = _step
