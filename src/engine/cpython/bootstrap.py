"""Connects to Snowglobe, which sends the rest: the modules of the test API and of this child process.

It runs before the version of Python is known, so that it takes any of them.
"""

import _socket
import json
import sys
from importlib.machinery import ModuleSpec
from typing import Any


class _Loader:
    """Modules from their texts."""

    def __init__(self, modules):
        self._modules = modules

    def find_spec(self, name, path=None, target=None):
        module = self._modules.get(name)
        if module is None:
            return None
        loader: Any = self
        return ModuleSpec(name, loader, origin=module["file"], is_package=module["is_package"])

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        text = self._modules[module.__name__]
        exec(compile(text["text"], text["file"], "exec", dont_inherit=True), vars(module))


def _receive(path):
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.connect(path)
    connection.sendall(b'{"request": "begin"}\n')
    received = b""
    while not received.endswith(b"\n"):
        piece = connection.recv(1 << 20)
        if not piece:
            sys.exit("Snowglobe has ended")
        received += piece
    connection.close()
    return json.loads(received.decode())


def _main():
    path = sys.argv[1]
    sys.argv = ["testScript"]
    beginning = _receive(path)
    sys.meta_path.insert(0, _Loader(beginning["modules"]))
    from snowglobe_child import run

    run.run(path, beginning)


_main()
