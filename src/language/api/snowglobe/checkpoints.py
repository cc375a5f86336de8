"""Checkpoints that a script can rewind its machines to."""

from __future__ import annotations

from .calls import drive

# How often each name was used: a loop may take several checkpoints of one name.
_counts: dict[str, int] = {}


class Checkpoint:
    """All machines of a test, as they were at one moment."""

    name: str
    """The name of the checkpoint. Further ones of the same name have a number behind it."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"<checkpoint {self.name!r}>"


def take_checkpoint(name: str, keep_time: bool) -> Checkpoint:
    """Saves all machines under a name of their own."""
    count = _counts[name] = _counts.get(name, 0) + 1
    own_name = name if count == 1 else f"{name}-{count}"
    drive("checkpoint", name=own_name, keep_time=keep_time)
    return Checkpoint(own_name)


def rewind_to(to: Checkpoint | str) -> None:
    """Makes all machines what they were at a checkpoint."""
    drive("rewind", name=to.name if isinstance(to, Checkpoint) else str(to))
