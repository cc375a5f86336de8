"""The function help() at a prompt, which Python's own interpreter has from a module that is not loaded here."""

from __future__ import annotations

import builtins
from typing import Any

OVERVIEW = """\
help(machine)           what a machine can do
help(machine.succeed)   one function, with its arguments
help("succeed")         the same, by name
dir()                   all names
Ctrl-D leaves the prompt. The manual's page on the test API is script.md."""


def _help(thing: Any = None) -> None:
    """Show what an object can do, or the arguments of a function."""
    import inspect

    from . import Machine

    if thing is None:
        print(OVERVIEW)
        return
    if isinstance(thing, str):
        named = getattr(Machine, thing, None)
        if named is None:
            print(f"there is no help on {thing!r}: help() says what there is")
            return
        thing = named
    if inspect.isroutine(thing):
        print(f"{thing.__name__}{_signature(inspect, thing)}")
        print(_indented(inspect.getdoc(thing)))
        return
    kind = thing if inspect.isclass(thing) else type(thing)
    print(_indented(inspect.getdoc(kind), ""))
    for name, member in inspect.getmembers(kind):
        if name.startswith("_") or not getattr(member, "__doc__", None):
            continue
        signature = _signature(inspect, member) if inspect.isroutine(member) else ""
        first = " ".join((inspect.getdoc(member) or "").split()).split(". ")[0].rstrip(".")
        print(f"  {name}{signature}\n      {first}")


def _signature(inspect: Any, function: Any) -> str:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return "(…)"
    parameters = [it for it in signature.parameters.values() if it.name != "self"]
    shown = [it.replace(annotation=inspect.Parameter.empty) for it in parameters]
    return str(signature.replace(parameters=shown, return_annotation=inspect.Signature.empty))


def _indented(text: str | None, indent: str = "    ") -> str:
    return "\n".join(f"{indent}{line}".rstrip() for line in (text or "there is no description").split("\n"))


def prepare() -> None:
    """Gives prompts the function."""
    vars(builtins)["help"] = _help
