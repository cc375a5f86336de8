"""Captures of the packets on networks."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Self

from .calls import drive
from .durations import Duration, in_seconds
from .errors import RequestedAssertionFailed
from .faults import Match, Port

if TYPE_CHECKING:
    from .machine import Machine


def _filter(src, to, port, match):
    conditions = {} if match is None else dict(match._conditions)
    if port is not None:
        conditions["port"] = port
    return {
        "sender": None if src is None else src._node,
        "receiver": None if to is None else to._node,
        "matching": conditions,
    }


class Capture:
    """The packets on a network, from the start of a `with` block or start() until the end of the block or stop(). The
    conditions src and to are machines of this network: the one that has sent a packet, and the one that it is for and that
    no fault has kept it from. port is that of either side, and match is as for faults.
    """

    name: str
    """The name of the capture."""
    path: pathlib.Path | None
    """The file with the packets: None until the capture has ended."""

    def __init__(self, network, name):
        self._network = network
        self._number = None
        self.name = name
        self.path = None

    def __repr__(self):
        return f"<capture {self.name!r}>"

    def start(self) -> Self:
        """Begin the capture."""
        if self._number is not None:
            raise ValueError(f"the capture {self.name!r} has begun already")
        self._number = self._drive("begin", network=self._network, name=self.name)
        return self

    def stop(self) -> None:
        """End the capture, and save its packets."""
        if self._number is not None and self.path is None:
            path = self._drive("end", id=self._number)
            self.path = None if path is None else pathlib.Path(path)

    def __enter__(self) -> Self:
        """Begin the capture."""
        return self.start()

    def __exit__(self, *_) -> None:
        """End the capture, and save its packets."""
        self.stop()

    def _drive(self, operation, **arguments):
        return drive("capture", call={operation: arguments})

    def _begun(self):
        if self._number is None:
            raise ValueError(f"the capture {self.name!r} has not begun: use it in a block, or start() it")
        return self._number

    def wait_for(
        self,
        *,
        src: Machine | None = None,
        to: Machine | None = None,
        port: Port | None = None,
        match: Match | None = None,
        count: int = 1,
        timeout: Duration = 900,
    ) -> None:
        """Wait until the capture has `count` packets that meet all conditions; earlier ones of the capture count. Raises
        RequestedAssertionFailed after timeout seconds, 900 by default.
        """
        self._drive(
            "wait_for",
            id=self._begun(),
            filter=_filter(src, to, port, match),
            count=count,
            timeout=in_seconds(timeout),
        )

    def count(
        self,
        *,
        src: Machine | None = None,
        to: Machine | None = None,
        port: Port | None = None,
        match: Match | None = None,
    ) -> int:
        """Return the number of packets so far that meet all conditions."""
        return self._drive("count", id=self._begun(), filter=_filter(src, to, port, match))["count"]

    def assert_none(
        self,
        *,
        src: Machine | None = None,
        to: Machine | None = None,
        port: Port | None = None,
        match: Match | None = None,
    ) -> None:
        """Raise RequestedAssertionFailed if the capture has a packet that meets all conditions."""
        found = self._drive("count", id=self._begun(), filter=_filter(src, to, port, match))
        if found["count"]:
            packets = "".join(f"\n  {packet}" for packet in found["first"])
            raise RequestedAssertionFailed(
                f"the capture {self.name!r} has {found['count']} such packets, and should have none; the first:{packets}"
            )
