"""The words beside machines: the run itself, its networks, waiting, subtests."""

from __future__ import annotations

import contextlib
import functools
import importlib
import pathlib
import shlex
import threading
import time
from typing import Any, Callable, ContextManager, Iterator

import _snowglobe


class VLan:
    """A virtual network of the test."""

    nr: int

    def __init__(self, nr):
        self.nr = nr

    def __repr__(self):
        return f"<VLAN {self.nr}>"


class Driver:
    """The run itself."""

    machines: list[Machine]
    machines_qemu: list[Machine]
    machines_nspawn: list[Machine]
    vlans: list[VLan]
    out_dir: pathlib.Path
    logger: Log
    # Where nixpkgs' driver keeps its SSH backdoor; there is none here.
    vhost_vsock: Any

    def __init__(self, machines, vlans):
        self.vhost_vsock = None
        self.machines = machines
        self.machines_qemu = machines
        self.machines_nspawn = []
        self.vlans = vlans
        self.out_dir = pathlib.Path(_snowglobe.session["out_dir"])
        self.logger = log

    def start_all(self) -> None:
        """Start all machines, without waiting for them."""
        start_all()

    def join_all(self) -> None:
        """Wait until all machines are off."""
        join_all()

    def test_script(self) -> None:
        """Run the test's script."""
        test_script()

    def run_tests(self) -> None:
        """Run the test's script."""
        run_tests()

    def create_machine(self, start_command: str | dict[str, Any], *, name: str | None = None, keep_machine_state: bool = False) -> Machine:
        """A further machine, as by the word of this name."""
        return create_machine(start_command, name=name, keep_machine_state=keep_machine_state)

    def subtest(self, name: str) -> ContextManager[None]:
        """Name the statements inside."""
        return subtest(name)


def start_all() -> None:
    """Start all machines, without waiting for them."""
    _drive("start_all")


def join_all() -> None:
    """Wait until all machines are off."""
    _drive("join_all")


def test_script() -> None:
    """Run the test's script, in a script of one's own."""
    _snowglobe.run_script()


def run_tests() -> None:
    """Run the test's script, in a script of one's own."""
    test_script()


def create_machine(
    start_command: str | dict[str, Any], *, name: str | None = None, keep_machine_state: bool = False, keep_vm_state: bool = False
) -> Machine:
    """A further machine, from a run script or a QEMU command line. It is off at first."""
    if isinstance(start_command, dict):
        name = start_command.get("name", name)
        start_command = _start_command(start_command)
    entry = _drive("create_machine", command=str(start_command), name=name)
    made = Machine(entry["node"], entry["name"], entry["state_dir"])
    machines.append(made)
    return made


def _start_command(options):
    """QEMU's command line, from the options that the driver of 2020 took."""
    if "startCommand" in options:
        return options["startCommand"]
    network = "-netdev user,id=net0" + _more(options, "netBackendArgs")
    card = "-device virtio-net-pci,netdev=net0" + _more(options, "netFrontendArgs")
    words = [options.get("qemuBinary", "qemu-system-x86_64"), "-m 384", network, card, "$QEMU_NET_OPTS"]
    if "hda" in options:
        interface = options.get("hdaInterface", "ide")
        disk = f"-drive file={shlex.quote(str(options['hda']))},werror=report"
        words.append(
            f"{disk},id=hda,if=none -device scsi-hd,drive=hda" if interface == "scsi" else f"{disk},if={interface}"
        )
    if "cdrom" in options:
        words.append(f"-cdrom {shlex.quote(str(options['cdrom']))}")
    if "usb" in options:
        words.append("-device usb-ehci -device usb-storage,drive=usbdisk")
        words.append(f"-drive id=usbdisk,file={shlex.quote(str(options['usb']))},if=none,readonly=on")
    if "bios" in options:
        words.append(f"-bios {shlex.quote(str(options['bios']))}")
    words.append(options.get("qemuFlags", ""))
    return " ".join(words)


def _more(options, name):
    return f",{options[name]}" if name in options else ""


@contextlib.contextmanager
def subtest(name: str) -> Iterator[None]:
    """Name the statements inside; their failure is the test's."""
    runs = _drive("subtest_started", name=str(name))
    try:
        yield runs
    except Exception as error:
        goes_on = _drive("subtest_finished", failure=_snowglobe.describe(error), final=False)
        if not goes_on:
            raise
    except BaseException as error:
        ends_well = isinstance(error, SystemExit) and not error.code
        failure = None if ends_well else _snowglobe.describe(error)
        _drive("subtest_finished", failure=failure, final=True)
        raise
    else:
        _drive("subtest_finished", failure=None, final=False)


class _RetryFailed(RequestedAssertionFailed):
    def __init__(self, limit):
        super().__init__(f"what was retried did not come true within {limit} s")
        self.limit = limit


def retry(fn: Callable[[bool], Any], timeout: Duration = 900, timeout_seconds: Duration | None = None) -> None:
    """Call fn(last_try) every second until it returns something true."""
    limit = _seconds(timeout if timeout_seconds is None else timeout_seconds)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if fn(False):
            return
        _check_watched()
        time.sleep(min(1, max(0, end - time.monotonic())))
    if not fn(True):
        raise _RetryFailed(limit)


class PollingCondition:
    """A condition that is looked at again and again while the script waits for other things."""

    def __init__(self, condition, interval, description):
        self._condition = condition
        self._interval = _seconds(interval)
        self._description = description or (condition.__doc__ or "").strip() or condition.__name__
        self._checked = None
        self._inside = False
        self._error = None

    def __call__(self) -> Any:
        """Evaluate it once."""
        return self._condition()

    def __enter__(self) -> PollingCondition:
        _watched.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _watched.remove(self)

    def check(self, force: bool = False) -> bool:
        """Whether it holds; the last answer counts for as long as the interval."""
        recent = self._checked is not None and time.monotonic() - self._checked < self._interval
        # What the condition itself waits for must not wait for the condition.
        if self._inside or (recent and not force):
            return True
        self._inside = True
        try:
            result = self._condition()
            self._error = None
            return result is None or bool(result)
        except Exception as error:
            self._error = error
            return False
        finally:
            self._inside = False
            self._checked = time.monotonic()

    def wait(self, timeout: Duration = 900) -> None:
        """Wait until it holds."""
        with _retrying(f"the condition {self._description!r}", lambda: self._error or "nothing"):
            retry(lambda last_try: self.check(force=True), timeout)

    def _demand(self):
        if not self.check():
            because = f": {self._error or type(self._error).__name__}" if self._error is not None else ""
            raise RequestedAssertionFailed(f"the condition {self._description!r} no longer holds{because}") from self._error


def polling_condition(
    fun_: Callable[[], Any] | None = None, *, seconds_interval: Duration = 2.0, description: str | None = None
) -> Any:
    """Make a function a condition: `with it:` has it checked while other waits run, `it.wait()` waits for it."""
    if fun_ is None:
        return lambda fun: PollingCondition(fun, seconds_interval, description)
    return PollingCondition(fun_, seconds_interval, description)


@_own
@contextlib.contextmanager
def deadline(seconds: Duration) -> Iterator[None]:
    """Fail unless the statements inside are done in this time."""
    limit = _seconds(seconds)
    # Its time would go on while machines are restored.
    _go_outside()
    before = _snowglobe.scopes()
    scope = _snowglobe.begin_deadline(float(limit))
    _snowglobe.enter_scopes([*before, scope])
    try:
        yield
    except _Cancelled as cancelled:
        if str(cancelled) != str(scope):
            raise
        raise RequestedAssertionFailed(f"this took longer than {limit} s") from cancelled
    finally:
        _snowglobe.end_scope(scope)
        _snowglobe.enter_scopes(before)


@_own
def parallel(*functions: Callable[[], Any]) -> list[Any]:
    """Call functions side by side; give their results in order. The first failure cancels what the others wait for, and is raised."""
    scope = _snowglobe.begin_scope()
    inside = [*_snowglobe.scopes(), scope]
    results = [None] * len(functions)
    failures = []

    def work(position, function):
        _snowglobe.enter_scopes(inside)
        try:
            results[position] = function()
        except BaseException as error:
            failures.append(error)
            _snowglobe.cancel_scope(scope)

    threads = [
        threading.Thread(target=work, args=item, name=f"parallel {item[0]}", daemon=True)
        for item in enumerate(functions)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        _snowglobe.cancel_scope(scope)
        raise
    finally:
        _snowglobe.end_scope(scope)
    if failures:
        raise failures[0]
    return results


@_own
def checkpoint(name: str = "checkpoint", *, keep_time: bool = False) -> None:
    """Have a later run begin here, where the script is the same until then. keep_time leaves the guests' clocks as they are."""
    _drive("checkpoint", name=str(name), keep_time=bool(keep_time))


def serial_stdout_on() -> None:
    """Show the consoles of the machines."""
    log.print_serial_logs(True)


def serial_stdout_off() -> None:
    """Do not show the consoles of the machines; they are saved all the same."""
    log.print_serial_logs(False)


class Assertions:
    """The assertions of unittest.TestCase, such as assertEqual and assertIn."""

    assertAlmostEqual: Callable[..., Any]
    assertCountEqual: Callable[..., Any]
    assertDictEqual: Callable[..., Any]
    assertEndsWith: Callable[..., Any]
    assertEqual: Callable[..., Any]
    assertFalse: Callable[..., Any]
    assertGreater: Callable[..., Any]
    assertGreaterEqual: Callable[..., Any]
    assertHasAttr: Callable[..., Any]
    assertIn: Callable[..., Any]
    assertIs: Callable[..., Any]
    assertIsInstance: Callable[..., Any]
    assertIsNone: Callable[..., Any]
    assertIsNot: Callable[..., Any]
    assertIsNotNone: Callable[..., Any]
    assertIsSubclass: Callable[..., Any]
    assertLess: Callable[..., Any]
    assertLessEqual: Callable[..., Any]
    assertListEqual: Callable[..., Any]
    assertLogs: Callable[..., Any]
    assertMultiLineEqual: Callable[..., Any]
    assertNoLogs: Callable[..., Any]
    assertNotAlmostEqual: Callable[..., Any]
    assertNotEndsWith: Callable[..., Any]
    assertNotEqual: Callable[..., Any]
    assertNotHasAttr: Callable[..., Any]
    assertNotIn: Callable[..., Any]
    assertNotIsInstance: Callable[..., Any]
    assertNotIsSubclass: Callable[..., Any]
    assertNotRegex: Callable[..., Any]
    assertNotStartsWith: Callable[..., Any]
    assertRaises: Callable[..., Any]
    assertRaisesRegex: Callable[..., Any]
    assertRegex: Callable[..., Any]
    assertSequenceEqual: Callable[..., Any]
    assertSetEqual: Callable[..., Any]
    assertStartsWith: Callable[..., Any]
    assertTrue: Callable[..., Any]
    assertTupleEqual: Callable[..., Any]
    assertWarns: Callable[..., Any]
    assertWarnsRegex: Callable[..., Any]
    fail: Callable[..., Any]

    def __getattr__(self, name: str) -> Any:
        """Whatever unittest.TestCase has by this name."""
        return getattr(_test_case(), name)


@functools.cache
def _test_case():
    # Costs more than all the words together, and few scripts need it.
    import unittest

    case = unittest.TestCase()
    case.maxDiff = None
    case.failureException = RequestedAssertionFailed
    return case


class Debug:
    """Where nixpkgs' driver stops for a look; a run here goes on."""

    def breakpoint(self, *args: object, **kwargs: object) -> None:
        """Say that the script came by."""
        log.info("debug.breakpoint(): there is nobody to look")


t: Assertions = Assertions()
debug: Debug = Debug()

BaseMachine = Machine
QemuMachine = Machine
NspawnMachine = Machine

_by_python_name = {}
machines: list[Machine] = []
for _entry in _snowglobe.session["machines"]:
    _machine = Machine(_entry["node"], _entry["name"], _entry["state_dir"])
    machines.append(_machine)
    _by_python_name.update({_name: _machine for _name in _entry["python_names"]})
machines_qemu: list[Machine] = machines
machines_nspawn: list[Machine] = []
vlans: list[VLan] = [VLan(nr) for nr in _snowglobe.session["vlans"]]
driver: Driver = Driver(machines, vlans)


def exit(code: object = None) -> None:
    """End the script: well without a code or with 0, else as a failure."""
    raise SystemExit(code)


def _mark_defaults(functions):
    """Tells the deadlines that signatures give from those of a script."""
    for function in functions:
        code = function.__code__
        defaults = function.__defaults__ or ()
        names = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
        function.__defaults__ = tuple(map(_marked, names, defaults)) or None
        for name, value in (function.__kwdefaults__ or {}).items():
            function.__kwdefaults__[name] = _marked(name, value)


def _marked(name, value):
    return _Default(value) if name == "timeout" and value is not None else value


for _class in (Machine, Process, Background, PollingCondition):
    _mark_defaults(member for member in vars(_class).values() if isinstance(member, type(_marked)))
_mark_defaults([retry])


def _provide_nixpkgs_modules():
    """Modules of nixpkgs' driver, for scripts that import from it."""
    modules = {
        "test_driver": [],
        "test_driver.errors": [MachineError, RequestedAssertionFailed],
        "test_driver.efi": [EfiVariable, EfiVars],
        "test_driver.machine": [Machine],
    }
    for name, words in modules.items():
        module = type(contextlib)(name)
        module.__path__ = []
        vars(module).update({word.__name__: word for word in words})
        sys.modules[name] = module


_provide_nixpkgs_modules()


def _vocabulary():
    """What a script sees: the public names of this module, and the test's own."""
    modules = type(contextlib)
    words = {
        name: value
        for name, value in globals().items()
        if not name.startswith("_") and name not in ("annotations", "TypeAlias")
        and (not isinstance(value, modules) or name == "os")
    }
    words.update({name: importlib.import_module(name) for name in _snowglobe.session["modules"]})
    words.update({f"vlan{vlan.nr}": vlan for vlan in vlans})
    words.update(_by_python_name)
    if len(machines) == 1:
        words["machine"] = machines[0]
    return words
