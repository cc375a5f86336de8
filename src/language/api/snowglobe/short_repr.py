"""Values as `repr` writes them, without most of the large ones: the rest of a list is never made into text."""

from __future__ import annotations

from itertools import islice
from typing import Any

# An integer with more bits is not written: that takes time.
MOST_BITS = 2048

REST = "…"


class Extent:
    """How much of a value is written: characters, parts of each collection, collections in collections."""

    def __init__(self, most: int, parts: int = 20, depth: int = 4) -> None:
        self.most = most
        self.parts = parts
        self.depth = depth


# For a file.
WHOLE = Extent(1 << 20, parts=100_000, depth=32)


def short_repr(value: Any, extent: Extent) -> str:
    """Writes a value as `repr` does, in about as many characters as its extent has. Raises what the `repr` of a class
    raises.
    """
    writer = _Writer(extent)
    writer.write(value, 0)
    text = "".join(writer.pieces)
    return text if len(text) <= extent.most else text[: extent.most] + REST


class _Writer:
    def __init__(self, extent: Extent) -> None:
        self.extent = extent
        self.pieces: list[str] = []
        self.length = 0

    def add(self, text: str) -> None:
        self.pieces.append(text)
        self.length += len(text)

    def write(self, value: Any, depth: int) -> None:
        if self.length > self.extent.most or depth == self.extent.depth:
            self.add(REST)
        elif isinstance(value, str):
            self.begin_of(str.__str__(value))
        elif isinstance(value, bytes):
            self.begin_of(bytes.__getitem__(value, slice(None)))
        elif isinstance(value, int):
            self.add("an integer of many digits" if int.bit_length(value) >= MOST_BITS else repr(value))
        elif isinstance(value, list):
            self.sequence(value, "[", "]", depth)
        elif isinstance(value, tuple):
            self.sequence(value, "(", ",)" if len(value) == 1 else ")", depth)
        elif isinstance(value, dict):
            self.dictionary(value, depth)
        elif isinstance(value, (set, frozenset)):
            begin, end = ("{", "}") if value else ("set(", ")")
            self.sequence(value, begin, end, depth)
        elif hasattr(type(value), "__dataclass_fields__") and hasattr(value, "__dict__"):
            self.dataclass(value, depth)
        else:
            self.add(repr(value))

    def begin_of(self, text: str | bytes) -> None:
        self.add(repr(text[: self.extent.most]))
        if len(text) > self.extent.most:
            self.add(REST)

    def sequence(self, value: Any, begin: str, end: str, depth: int) -> None:
        self.add(_name_of_subclass(value) + begin)
        shown = list(islice(value, self.extent.parts))
        for number, item in enumerate(shown):
            self.add(", " if number else "")
            self.write(item, depth + 1)
        self.rest_of(len(shown), len(value))
        self.add(end)

    def dictionary(self, value: Any, depth: int) -> None:
        self.add(_name_of_subclass(value) + "{")
        shown = list(islice(dict.items(value), self.extent.parts))
        for number, (key, item) in enumerate(shown):
            self.add(", " if number else "")
            self.write(key, depth + 1)
            self.add(": ")
            self.write(item, depth + 1)
        self.rest_of(len(shown), len(value))
        self.add("}")

    def dataclass(self, value: Any, depth: int) -> None:
        self.add(type(value).__name__ + "(")
        for number, (name, item) in enumerate(list(islice(vars(value).items(), self.extent.parts))):
            self.add(f"{', ' if number else ''}{name}=")
            self.write(item, depth + 1)
        self.add(")")

    def rest_of(self, shown: int, length: int) -> None:
        if length > shown:
            self.add(f", {REST} {length - shown} more")


def _name_of_subclass(value: Any) -> str:
    """The name of a class that is a kind of list, set, or dictionary; nothing for these themselves."""
    kind = type(value)
    return "" if kind in (list, tuple, dict, set) else kind.__name__
