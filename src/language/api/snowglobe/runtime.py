"""Makes the interpreter fit for tests: output, waits that can be ended, imports, the end of the process."""

from __future__ import annotations

import os
import sys
import threading
import time

import _snowglobe

from .calls import drive
from .errors import ProcessExit


class _Stream:
    """A text stream that leads into the events of the run."""

    encoding = "utf-8"
    errors = "replace"
    closed = False

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        return _snowglobe.write(text)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        pass

    def isatty(self):
        return False

    def writable(self):
        return True

    def readable(self):
        return False


def _interruptible_waits():
    """RustPython's locks and joins never look up: wait in slices."""
    import _thread

    slice_seconds = 0.05
    raw_lock = _thread.allocate_lock
    raw_join = threading.Thread.join
    # What scripts read may come from a record.
    monotonic = time.monotonic

    class Lock:
        def __init__(self):
            self._lock = raw_lock()

        def acquire(self, blocking=True, timeout=-1):
            if not blocking or self._lock.acquire(False):
                # The raw lock checks the arguments.
                return self._lock.acquire(False, timeout) if not blocking else True
            if timeout == -1:
                while not self._lock.acquire(True, slice_seconds):
                    pass
                return True
            if timeout < 0:
                raise ValueError("timeout value must be a non-negative number")
            end = monotonic() + timeout
            while (left := end - monotonic()) > 0:
                if self._lock.acquire(True, min(slice_seconds, left)):
                    return True
            return False

        def release(self):
            self._lock.release()

        def locked(self):
            return self._lock.locked()

        def _at_fork_reinit(self):
            self._lock = raw_lock()

        def __enter__(self):
            return self.acquire()

        def __exit__(self, *_):
            self._lock.release()

    def join(self, timeout=None):
        end = None if timeout is None else monotonic() + max(timeout, 0)
        while True:
            left = slice_seconds if end is None else min(slice_seconds, max(end - monotonic(), 0))
            raw_join(self, left)
            if not self.is_alive() or (end is not None and monotonic() >= end):
                return

    threading.Lock = threading._allocate_lock = Lock
    # RLock() then is made of the lock above.
    threading._CRLock = None
    threading.RLock = threading._PyRLock
    threading.Thread.join = join


class _CompiledModules:
    """Says of modules in machine code why they cannot be imported; asked after all other finders."""

    def __init__(self, packages):
        # From a folder on sys.path to the name of the package that brought it.
        self._packages = packages

    def find_spec(self, name, path=None, target=None):
        import glob
        import os

        last = name.rpartition(".")[2]
        for folder in list(path or self._packages):
            found = glob.glob(os.path.join(glob.escape(str(folder)), glob.escape(last) + ".*so"))
            if found:
                owner = next(
                    (package for begin, package in self._packages.items() if str(folder).startswith(begin)),
                    folder,
                )
                raise ImportError(
                    f"the package {owner} brings {name} as machine code for another Python than this one "
                    f"({found[0]}): `--python PATH` names the Python that runs the script",
                    name=name,
                )
        return


def _keep_process():
    """Makes what ends or replaces the process an exception, but in a process that the script has forked."""
    import posix

    driver = os.getpid()

    def guarded(name, raw):
        def call(*arguments):
            if os.getpid() != driver:
                return raw(*arguments)
            raise ProcessExit(
                f"os.{name}() would end Snowglobe itself, and the test without a verdict: use exit() to end the "
                "script, or subprocess to run a program"
            )

        return call

    for name in ("_exit", "abort", "execv", "execve"):
        if hasattr(os, name):
            call = guarded(name, getattr(os, name))
            setattr(os, name, call)
            setattr(posix, name, call)


def _tell_of_thread(arguments):
    """Log an uncaught exception, which ends a thread and not the script. A ProcessExit also fails the script."""
    if arguments.exc_type is SystemExit:
        return
    if arguments.exc_type is ProcessExit:
        _snowglobe.fail(arguments.exc_value)
    failure = _snowglobe.describe(arguments.exc_value)
    places = [
        f"\n  {frame['file'] or 'the script'}:{frame['file_line'] or frame['line']}: {frame['source']}"
        for frame in failure["traceback"]
    ]
    text = f"thread {arguments.thread.name!r} ended by {failure['kind']}: {failure['message']}{''.join(places)}"
    drive("note", machine=None, level="error", text=text)


def prepare() -> None:
    """Changes the interpreter; before anything of a script runs."""
    threading.excepthook = _tell_of_thread
    _keep_process()
    # A process that the script forks must not outlive it.
    os.register_at_fork(after_in_child=_snowglobe.after_fork)
    # The original streams come back when the interpreter ends, with what exit
    # handlers still print.
    sys.stdout = sys.__stdout__ = sys.stderr = sys.__stderr__ = _Stream()
    packages = _snowglobe.session["python_packages"]
    if sys.implementation.name == "rustpython":
        _interruptible_waits()
    if packages:
        sys.path.extend(packages)
        sys.meta_path.append(_CompiledModules(packages))
