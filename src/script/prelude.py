"""The words of the test language, over the native calls of `_snowglobe`.

Signatures and defaults are those of the driver that existing tests were
written for. Durations are seconds.
"""

import contextlib
import os
import pathlib
import re
import sys
import time

import _snowglobe


class MachineError(Exception):
    """A machine, or what the test asked of it, is in trouble."""


class RequestedAssertionFailed(AssertionError):
    """What the test wanted of a machine is not so."""


class Interrupted(BaseException):
    """The run is being ended. Not an Exception, so that no script swallows it."""


def _drive(operation, **arguments):
    return _snowglobe.call("", operation, arguments)


def _seconds(duration):
    """A number of seconds, from one or from a datetime.timedelta."""
    if hasattr(duration, "total_seconds"):
        return duration.total_seconds()
    return duration


class Log:
    """Says things to whoever watches the run."""

    def log(self, message, attributes=None):
        _drive("note", machine=None, level="info", text=str(message))

    def info(self, message):
        _drive("note", machine=None, level="info", text=str(message))

    def warning(self, message):
        _drive("note", machine=None, level="warning", text=str(message))

    def error(self, message):
        _drive("note", machine=None, level="error", text=str(message))

    @contextlib.contextmanager
    def nested(self, message, attributes=None):
        self.info(message)
        yield


class Machine:
    """A virtual machine of the test."""

    def __init__(self, node, name, state_dir):
        self._node = node
        self._console_position = 0
        self.name = name
        self.state_dir = pathlib.Path(state_dir)
        self.shared_dir = pathlib.Path(_snowglobe.session["shared_dir"])
        self.out_dir = pathlib.Path(_snowglobe.session["out_dir"])
        self.logger = log

    def __repr__(self):
        return f"<Machine '{self.name}'>"

    def _call(self, operation, **arguments):
        return _snowglobe.call(self._node, operation, arguments)

    # ── life ────────────────────────────────────────────────────────────────
    @property
    def booted(self):
        """Whether the machine runs."""
        return self._call("is_up")

    @property
    def pid(self):
        """The number of QEMU's process, or None."""
        return self._call("pid")

    @property
    def connected(self):
        """Whether the guest's shell has answered."""
        return self._call("is_connected")

    @connected.setter
    def connected(self, value):
        if not value:
            self._call("disconnect")

    def is_up(self):
        """Whether the machine runs and its shell has answered."""
        return self.booted and self.connected

    def start(self, allow_reboot=False):
        """Start the machine, without waiting for it."""
        self._call("start", allow_reboot=allow_reboot)

    def connect(self):
        """Wait until the guest's shell answers; start the machine if it is off."""
        self._call("connect")

    def shutdown(self):
        """Power the guest off and wait until it is."""
        self._call("shutdown")

    def crash(self):
        """End the machine as if the power had failed."""
        self._call("crash")

    def reboot(self):
        """Press Ctrl-Alt-Delete; the machine must have been started with allow_reboot."""
        self._call("reboot")

    def wait_for_shutdown(self):
        """Wait until the machine is off."""
        self._call("wait_for_shutdown")

    def release(self):
        """End the machine, as at the end of a run."""
        self._call("crash")

    # ── commands ────────────────────────────────────────────────────────────
    def execute(self, command, check_return=True, check_output=True, timeout=900):
        """Run a command; give its exit status and output."""
        status, output = self._call(
            "execute",
            command=command,
            check_return=check_return,
            check_output=check_output,
            timeout=_seconds(timeout),
        )
        return (status, output)

    def succeed(self, *commands, timeout=None):
        """Run commands that must succeed; give their output."""
        return self._call("succeed", commands=commands, timeout=_seconds(timeout))

    def fail(self, *commands, timeout=None):
        """Run commands that must fail; give their output."""
        return self._call("fail", commands=commands, timeout=_seconds(timeout))

    def wait_until_succeeds(self, command, timeout=900):
        """Wait until a command succeeds; give its output."""
        return self._call("wait_until_succeeds", command=command, timeout=_seconds(timeout))

    def wait_until_fails(self, command, timeout=900):
        """Wait until a command fails; give its output."""
        return self._call("wait_until_fails", command=command, timeout=_seconds(timeout))

    def sleep(self, secs):
        """Let the guest sleep: its seconds, not the host's."""
        self._call("sleep", seconds=_seconds(secs))

    # ── units ───────────────────────────────────────────────────────────────
    def systemctl(self, q, user=None):
        """Run systemctl; give its exit status and output."""
        status, output = self._call("systemctl", query=q, user=user)
        return (status, output)

    def wait_for_unit(self, unit, user=None, timeout=900):
        """Wait until a unit is active; fail at once where it never will be."""
        self._call("wait_for_unit", unit=unit, user=user, timeout=_seconds(timeout))

    def get_unit_info(self, unit, user=None):
        """All properties of a unit."""
        return self._call("unit_info", unit=unit, user=user)

    def get_unit_property(self, unit, property, user=None):
        """One property of a unit."""
        return self._call("unit_property", unit=unit, property=property, user=user)

    def require_unit_state(self, unit, require_state="active"):
        """Fail unless a unit is in this state."""
        state = self.get_unit_property(unit, "ActiveState")
        if state != require_state:
            raise RequestedAssertionFailed(
                f"unit {unit} on {self.name} is {state}, and should be {require_state}"
            )

    def start_job(self, jobname, user=None):
        """Start a unit."""
        return self.systemctl(f"start {jobname}", user)

    def stop_job(self, jobname, user=None):
        """Stop a unit."""
        return self.systemctl(f"stop {jobname}", user)

    def wait_for_job(self, jobname):
        """Wait until a unit is active."""
        self.wait_for_unit(jobname)

    # ── files and ports ─────────────────────────────────────────────────────
    def wait_for_file(self, filename, timeout=900):
        """Wait until a file is there."""
        self._call("wait_for_file", filename=filename, timeout=_seconds(timeout))

    def wait_for_open_port(self, port, addr="localhost", timeout=900):
        """Wait until something listens on a TCP port."""
        self._call("wait_for_open_port", port=port, address=addr, timeout=_seconds(timeout))

    def wait_for_closed_port(self, port, addr="localhost", timeout=900):
        """Wait until nothing listens on a TCP port."""
        self._call("wait_for_closed_port", port=port, address=addr, timeout=_seconds(timeout))

    def copy_from_host(self, source, target):
        """Copy a file or folder of the host into the guest."""
        self._call("copy_from_host", source=str(source), target=str(target))

    def copy_from_vm(self, source, target_dir=""):
        """Copy a file or folder of the guest into the output folder."""
        self._call("copy_from_machine", source=str(source), target=str(target_dir))

    copy_from_machine = copy_from_vm

    # ── console, display, monitor, network ──────────────────────────────────
    def get_console_log(self):
        """Everything the console has shown."""
        return self._call("console_text", position=0)

    def wait_for_console_text(self, regex, timeout=None):
        """Wait until the console shows what matches, after what was waited for before."""
        limit = None if timeout is None else time.monotonic() + _seconds(timeout)
        pattern = re.compile(regex)
        text = self._call("console_text", position=self._console_position)
        while True:
            # A console ends its lines with both characters.
            found = pattern.search(text.replace("\r\n", "\n"))
            if found:
                # What comes after the line is for the next wait.
                lines = found.string.count("\n", 0, found.end()) + 1
                read = "".join(re.split("(?<=\n)", text)[:lines])
                self._console_position += len(read.encode())
                return
            left = None if limit is None else limit - time.monotonic()
            if left is not None and left <= 0:
                raise RequestedAssertionFailed(
                    f"the console of {self.name} did not show {regex!r} within {_seconds(timeout)} s"
                )
            position = self._console_position + len(text.encode())
            text += self._call("wait_for_console", position=position, timeout=left)

    def send_console(self, chars):
        """Type on the serial console."""
        self._call("send_console", text=chars)

    def screenshot(self, filename):
        """Save what the display shows."""
        self._call("screenshot", name=str(filename))

    def send_monitor_command(self, command):
        """Run a command of QEMU's monitor; give what it prints."""
        return self._call("monitor_command", command=command)

    def block(self):
        """Unplug the machine's virtual networks."""
        self._call("set_networks", up=False)

    def unblock(self):
        """Plug them in again."""
        self._call("set_networks", up=True)

    # ── log ─────────────────────────────────────────────────────────────────
    def log(self, msg):
        """Say something about this machine."""
        _drive("note", machine=self.name, level="info", text=str(msg))

    @contextlib.contextmanager
    def nested(self, msg, attrs=None):
        """Say what the statements inside do."""
        self.log(msg)
        yield


class VLan:
    """A virtual network of the test."""

    def __init__(self, nr):
        self.nr = nr

    def __repr__(self):
        return f"<VLAN {self.nr}>"


class Driver:
    """The run itself."""

    def __init__(self, machines, vlans):
        self.machines = machines
        self.vlans = vlans
        self.logger = log

    def start_all(self):
        start_all()

    def join_all(self):
        join_all()


def start_all():
    """Start all machines, without waiting for them."""
    _drive("start_all")


def join_all():
    """Wait until all machines are off."""
    _drive("join_all")


@contextlib.contextmanager
def subtest(name):
    """Name the statements inside; their failure is the test's."""
    _drive("subtest_started", name=str(name))
    try:
        yield
    except BaseException as error:
        _drive("subtest_finished", error=str(error) or type(error).__name__)
        raise
    _drive("subtest_finished", error=None)


def retry(fn, timeout=900, timeout_seconds=None):
    """Call fn(last_try) every second until it returns something true."""
    limit = _seconds(timeout if timeout_seconds is None else timeout_seconds)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if fn(False):
            return
        time.sleep(min(1, max(0, end - time.monotonic())))
    if not fn(True):
        raise RequestedAssertionFailed(f"what was retried did not come true within {limit} s")


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
    import threading

    slice_seconds = 0.05
    raw_lock = _thread.allocate_lock
    raw_join = threading.Thread.join

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
            end = time.monotonic() + timeout
            while (left := end - time.monotonic()) > 0:
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
        end = None if timeout is None else time.monotonic() + max(timeout, 0)
        while True:
            left = slice_seconds if end is None else min(slice_seconds, max(end - time.monotonic(), 0))
            raw_join(self, left)
            if not self.is_alive() or (end is not None and time.monotonic() >= end):
                return

    threading.Lock = threading._allocate_lock = Lock
    # RLock() then is made of the lock above.
    threading._CRLock = None
    threading.RLock = threading._PyRLock
    threading.Thread.join = join


# The original streams come back when the interpreter ends, with what exit
# handlers still print.
sys.stdout = sys.__stdout__ = sys.stderr = sys.__stderr__ = _Stream()
_interruptible_waits()

log = Log()
_by_python_name = {
    entry["python_name"]: Machine(entry["node"], entry["name"], entry["state_dir"])
    for entry in _snowglobe.session["machines"]
}
machines = list(_by_python_name.values())
vlans = [VLan(nr) for nr in _snowglobe.session["vlans"]]
driver = Driver(machines, vlans)

# What a script sees.
vocabulary = {
    "Machine": Machine,
    "MachineError": MachineError,
    "RequestedAssertionFailed": RequestedAssertionFailed,
    "driver": driver,
    "join_all": join_all,
    "log": log,
    "machines": machines,
    "os": os,
    "retry": retry,
    "start_all": start_all,
    "subtest": subtest,
    "vlans": vlans,
    **{f"vlan{vlan.nr}": vlan for vlan in vlans},
    **_by_python_name,
}
if len(machines) == 1:
    vocabulary["machine"] = machines[0]
