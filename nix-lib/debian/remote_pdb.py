"""Stands in for the package remote-pdb, which Debian lacks: a debugger that waits for a connection."""

import pdb  # noqa: T100
import socket


class RemotePdb(pdb.Pdb):
    def __init__(self, host: str, port: int):
        with socket.create_server((host, port)) as server:
            connection, _ = server.accept()
        stream = connection.makefile("rw")
        super().__init__(stdin=stream, stdout=stream)
