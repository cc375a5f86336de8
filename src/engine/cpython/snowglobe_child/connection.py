"""Messages to Snowglobe and from it: lines of JSON, each thread on a connection of its own.

Only modules in C are used: those in Python are changed for scripts, whose recordings must not see this.
"""

from __future__ import annotations

import _socket
import codecs
import contextlib
import select
import threading
from json import JSONEncoder, loads
from typing import Any, Callable, Iterator

# Larger messages come in several pieces.
PIECE_BYTES = 1 << 16


def _replace(error: Any) -> tuple[bytes, int]:
    # The text that it stands for may not be given: this is U+FFFD.
    return (b"\xef\xbf\xbd", error.end)


codecs.register_error("snowglobe", _replace)
_encode = JSONEncoder(ensure_ascii=False, check_circular=False).encode


class SnowglobeEnded(BaseException):
    """Snowglobe is not there any more."""


class Connection:
    """A connection, for one request at a time."""

    def __init__(self, path: str) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._received = bytearray()
        self._poll = select.poll()
        try:
            self._socket.connect(path)
        except OSError as error:
            raise SnowglobeEnded from error
        self._poll.register(self._socket, select.POLLIN)

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message whole."""
        try:
            self._socket.sendall(_encode(message).encode("utf-8", "snowglobe") + b"\n")
        except OSError as error:
            raise SnowglobeEnded from error

    def is_ready(self, seconds: float | None) -> bool:
        """Returns whether there is a message, or the begin of one, within this time."""
        return bool(self._received) or bool(self._poll.poll(None if seconds is None else seconds * 1000))

    def receive(self) -> dict[str, Any]:
        """Waits for a message."""
        while (end := self._received.find(b"\n")) < 0:
            try:
                piece = self._socket.recv(PIECE_BYTES)
            except OSError as error:
                raise SnowglobeEnded from error
            if not piece:
                raise SnowglobeEnded
            self._received += piece
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return loads(line)

    def close(self) -> None:
        """Ends what Snowglobe does for this connection."""
        self._socket.close()


class Link:
    """The connections to Snowglobe: as many as there are requests at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._free: list[Connection] = []

    @contextlib.contextmanager
    def conversation(self) -> Iterator[Connection]:
        """Returns a connection that has no other use inside. It is closed if the conversation does not come to its end."""
        with self._lock:
            connection = self._free.pop() if self._free else None
        if connection is None:
            connection = Connection(self._path)
        is_over = False
        try:
            yield connection
            is_over = True
        finally:
            if is_over:
                with self._lock:
                    self._free.append(connection)
            else:
                connection.close()

    def ask(self, request: dict[str, Any], wait: Callable[[Connection], None] | None = None) -> dict[str, Any]:
        """Sends a request and returns the reply. `wait` returns when there is one, or raises what ends the request."""
        with self.conversation() as connection:
            connection.send(request)
            if wait is not None:
                wait(connection)
            return connection.receive()

    def forget(self) -> None:
        """Lets a process that the script has forked make connections of its own."""
        self._lock = threading.Lock()
        self._free = []
