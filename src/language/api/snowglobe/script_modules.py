"""Imports of the modules beside the test."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from typing import Any

import _snowglobe


class _Loader:
    """Runs a module whose assertions and errors are reported as those of the script."""

    def __init__(self, file):
        self._file = file

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(_snowglobe.compile_module(self._file), vars(module))  # noqa: S102 (it is the user's code)

    def get_filename(self, name):
        return self._file


class _Finder:
    """Finds what no other finder has found: the modules of Python come first."""

    def find_spec(self, name, path=None, target=None):
        found = _snowglobe.find_module(name.rpartition(".")[2], None if path is None else [str(it) for it in path])
        if found is None:
            return None
        file, folder = found["file"], found["folder"]
        loader: Any = None if file is None else _Loader(file)
        spec = ModuleSpec(name, loader, origin=file, is_package=folder is not None)
        if folder is not None:
            spec.submodule_search_locations = [folder]
        if file is not None:
            spec.has_location = True
        return spec


def prepare() -> None:
    """Lets the script import the modules of its folders."""
    sys.meta_path.append(_Finder())
