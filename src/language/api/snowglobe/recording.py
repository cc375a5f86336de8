"""Sends what differs each time a script reads it through the recording of the run."""

from __future__ import annotations

import _thread
import itertools
import os
import sys
import time

import _snowglobe

from .calls import drive, go_outside


def _record_clocks():
    """Only the script's own thread: others have no order."""
    script = _thread.get_ident()

    def recorded(what, raw, unit):
        def read():
            if _thread.get_ident() != script:
                return raw()
            return unit(drive("read", what=what))

        return read

    def seconds(nanoseconds):
        return nanoseconds / 1e9

    raw_sleep = time.sleep

    def sleep(duration):
        if _thread.get_ident() != script or not duration >= 0:
            # It says what is wrong with the duration.
            raw_sleep(duration)
            return
        drive("sleep", seconds=float(duration))

    for name, what in (("time", "time_ns"), ("monotonic", "monotonic_ns"), ("perf_counter", "monotonic_ns")):
        setattr(time, name, recorded(what, getattr(time, name), seconds))
        setattr(time, f"{name}_ns", recorded(what, getattr(time, f"{name}_ns"), int))
    time.sleep = sleep


def _seed_randomness():
    """Draws random bytes from the seed of the run. Only the script's own thread: others have no order."""
    script = _thread.get_ident()
    raw = os.urandom
    seed = _snowglobe.session["given_seed"]
    numbers = itertools.count()

    def urandom(count):
        if _thread.get_ident() != script or count < 0:
            return raw(count)
        chunks = [bytes.fromhex(drive("random", number=next(numbers), seed=seed)) for _ in range(-(-count // 16))]
        return b"".join(chunks)[:count]

    os.urandom = urandom


class _AfterImport:
    """A finder that has something done with modules when they have been loaded."""

    def __init__(self, work):
        self._work = work

    def find_spec(self, name, path=None, target=None):
        work = self._work.pop(name, None)
        if work is None:
            return None
        import importlib.util

        spec = importlib.util.find_spec(name)
        spec.loader = _Loader(spec.loader, work)
        return spec


class _Loader:
    def __init__(self, loader, work):
        self._loader = loader
        self._work = work

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        self._work(module)


def _seed(random):
    random.seed(int.from_bytes(os.urandom(16), "big"))


def _record_dates(datetime):
    """Gives a module `datetime` in machine code classes whose clock is that of `time`."""

    def with_clock(kind, members):
        class OfKind(type):
            def __instancecheck__(cls, instance):
                return isinstance(instance, kind)

            def __subclasscheck__(cls, subclass):
                return issubclass(subclass, kind)

        return OfKind(kind.__name__, (kind,), {"__module__": "datetime", "__slots__": (), **members})

    date, moment = datetime.date, datetime.datetime
    datetime.date = with_clock(date, {"today": classmethod(lambda cls: cls.fromtimestamp(time.time()))})
    datetime.datetime = with_clock(
        moment,
        {
            "now": classmethod(lambda cls, tz=None: cls.fromtimestamp(time.time(), tz)),
            "today": classmethod(lambda cls: cls.fromtimestamp(time.time())),
            "utcnow": classmethod(lambda cls: cls.fromtimestamp(time.time(), datetime.timezone.utc).replace(tzinfo=None)),
        },
    )


def _tell_of_outside(module, name):
    """What leaves this process cannot be answered from a record."""
    raw = getattr(module, name, None)
    if raw is None:
        return

    def announced(*arguments, **keywords):
        go_outside()
        return raw(*arguments, **keywords)

    setattr(module, name, announced)


def _watch_outside():
    import _posixsubprocess

    _tell_of_outside(_posixsubprocess, "fork_exec")
    for name in ("system", "fork", "forkpty", "posix_spawn", "posix_spawnp"):
        _tell_of_outside(os, name)


def _watch_sockets(socket):
    for method in ("connect", "connect_ex", "bind", "sendto"):
        _tell_of_outside(socket.socket, method)


def prepare() -> None:
    """Changes sources of randomness, and clocks if the run is recorded or answered."""
    _seed_randomness()
    work = {"random": _seed}
    if not _snowglobe.session["remembers"]:
        sys.meta_path.insert(0, _AfterImport(work))
        return
    _record_clocks()
    _watch_outside()
    work["socket"] = _watch_sockets
    if sys.implementation.name == "rustpython":
        # The one in machine code reads the clock by itself; there is one in Python.
        sys.modules["_datetime"] = None
    else:
        # Packages in machine code need the one in machine code.
        work["datetime"] = _record_dates
    sys.meta_path.insert(0, _AfterImport(work))
