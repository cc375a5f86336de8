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
    """The number of the network."""

    def __init__(self, nr):
        self.nr = nr

    def __repr__(self):
        return f"<VLAN {self.nr}>"


class Driver:
    """The test driver. Its methods are also functions of the script."""

    machines: list[Machine]
    """All machines of the test."""
    machines_qemu: list[Machine]
    """The machines that QEMU runs."""
    machines_nspawn: list[Machine]
    """The machines that are containers."""
    vlans: list[VLan]
    """All virtual networks of the test."""
    out_dir: pathlib.Path
    """The output folder of the run."""
    logger: Log
    """The log of the run."""
    # Where nixpkgs' driver keeps its SSH backdoor; there is none here.
    vhost_vsock: Any
    """The SSH backdoor of nixpkgs' driver, which does not exist here: None."""

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
        """Create a machine from a run script or a QEMU command line, as the function create_machine."""
        return create_machine(start_command, name=name, keep_machine_state=keep_machine_state)

    def subtest(self, name: str) -> ContextManager[None]:
        """Group the statements inside under a name, as the function subtest."""
        return subtest(name)


def start_all() -> None:
    """Start all machines, without waiting for them."""
    _drive("start_all")


def join_all() -> None:
    """Wait until all machines are off. Without a timeout: the global timeout of the test applies."""
    _drive("join_all")


def test_script() -> None:
    """Run the test's script from another script, for instance at a prompt."""
    _snowglobe.run_script()


def run_tests() -> None:
    """Run the test's script, as test_script does."""
    test_script()


def create_machine(
    start_command: str | dict[str, Any], *, name: str | None = None, keep_machine_state: bool = False, keep_vm_state: bool = False
) -> Machine:
    """Create a machine from a run script or a QEMU command line. The machine is not started. The name defaults
    to that of the run script. keep_machine_state and keep_vm_state have no effect.
    """
    if isinstance(start_command, dict):
        name = start_command.get("name", name)
        start_command = _start_command(start_command)
    entry = _drive("create_machine", command=str(start_command), name=name)
    made = Machine(entry["node"], entry["name"], entry["state_dir"])
    machines.append(made)
    return made


def _start_command(options):
    """QEMU's command line, from the options of nixpkgs 20.09."""
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
    """Group the statements inside under a name. If they raise, the subtest and the test fail. With --only, a
    subtest that is not selected is skipped.
    """
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
    """Call fn(last_try) every second until it returns a true value. Raises RequestedAssertionFailed after
    timeout seconds, 900 by default. timeout_seconds is another name for timeout.
    """
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
    """A condition that is checked again and again while the script waits for something else."""

    def __init__(self, condition, interval, description):
        self._condition = condition
        self._interval = _seconds(interval)
        self._description = description or (condition.__doc__ or "").strip() or condition.__name__
        self._checked = None
        self._inside = False
        self._error = None

    def __call__(self) -> Any:
        """Evaluate the condition once."""
        return self._condition()

    def __enter__(self) -> PollingCondition:
        """Check the condition during all waits inside the block. A wait raises RequestedAssertionFailed once it
        no longer holds.
        """
        _watched.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop checking the condition."""
        _watched.remove(self)

    def check(self, force: bool = False) -> bool:
        """Return whether the condition holds. A result is reused for the interval of the condition, unless force
        is set.
        """
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
        """Wait until the condition holds. Raises RequestedAssertionFailed after timeout seconds, 900 by default."""
        with _retrying(f"the condition {self._description!r}", lambda: self._error or "nothing"):
            retry(lambda last_try: self.check(force=True), timeout)

    def _demand(self):
        if not self.check():
            because = f": {self._error or type(self._error).__name__}" if self._error is not None else ""
            raise RequestedAssertionFailed(f"the condition {self._description!r} no longer holds{because}") from self._error


def polling_condition(
    fun_: Callable[[], Any] | None = None, *, seconds_interval: Duration = 2.0, description: str | None = None
) -> Any:
    """Turn a function into a polling condition: `with it:` checks it during other waits, `it.wait()` waits for
    it. The function holds if it returns None or a true value. seconds_interval is the time between two
    checks, 2 seconds by default.
    """
    if fun_ is None:
        return lambda fun: PollingCondition(fun, seconds_interval, description)
    return PollingCondition(fun_, seconds_interval, description)


@_extension
@contextlib.contextmanager
def deadline(seconds: Duration) -> Iterator[None]:
    """Require the statements inside to end within this time. Raises RequestedAssertionFailed otherwise."""
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


@_extension
def parallel(*functions: Callable[[], Any]) -> list[Any]:
    """Call functions side by side and return their results in order. The first exception cancels what the other
    functions wait for, and is raised.
    """
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


@_extension
def checkpoint(name: str = "checkpoint", *, keep_time: bool = False) -> None:
    """Save all machines here. A later run starts from this checkpoint if the script is the same up to here. With
    keep_time, the clocks of the guests stay as they were saved.
    """
    _drive("checkpoint", name=str(name), keep_time=bool(keep_time))


def serial_stdout_on() -> None:
    """Show the consoles of all machines."""
    log.print_serial_logs(True)


def serial_stdout_off() -> None:
    """Hide the consoles of all machines. They are saved in any case."""
    log.print_serial_logs(False)


class Assertions:
    """The assertions of unittest.TestCase, such as assertEqual and assertIn."""

    assertAlmostEqual: Callable[..., Any]
    """As unittest.TestCase.assertAlmostEqual."""
    assertCountEqual: Callable[..., Any]
    """As unittest.TestCase.assertCountEqual."""
    assertDictEqual: Callable[..., Any]
    """As unittest.TestCase.assertDictEqual."""
    assertEndsWith: Callable[..., Any]
    """As unittest.TestCase.assertEndsWith."""
    assertEqual: Callable[..., Any]
    """As unittest.TestCase.assertEqual."""
    assertFalse: Callable[..., Any]
    """As unittest.TestCase.assertFalse."""
    assertGreater: Callable[..., Any]
    """As unittest.TestCase.assertGreater."""
    assertGreaterEqual: Callable[..., Any]
    """As unittest.TestCase.assertGreaterEqual."""
    assertHasAttr: Callable[..., Any]
    """As unittest.TestCase.assertHasAttr."""
    assertIn: Callable[..., Any]
    """As unittest.TestCase.assertIn."""
    assertIs: Callable[..., Any]
    """As unittest.TestCase.assertIs."""
    assertIsInstance: Callable[..., Any]
    """As unittest.TestCase.assertIsInstance."""
    assertIsNone: Callable[..., Any]
    """As unittest.TestCase.assertIsNone."""
    assertIsNot: Callable[..., Any]
    """As unittest.TestCase.assertIsNot."""
    assertIsNotNone: Callable[..., Any]
    """As unittest.TestCase.assertIsNotNone."""
    assertIsSubclass: Callable[..., Any]
    """As unittest.TestCase.assertIsSubclass."""
    assertLess: Callable[..., Any]
    """As unittest.TestCase.assertLess."""
    assertLessEqual: Callable[..., Any]
    """As unittest.TestCase.assertLessEqual."""
    assertListEqual: Callable[..., Any]
    """As unittest.TestCase.assertListEqual."""
    assertLogs: Callable[..., Any]
    """As unittest.TestCase.assertLogs."""
    assertMultiLineEqual: Callable[..., Any]
    """As unittest.TestCase.assertMultiLineEqual."""
    assertNoLogs: Callable[..., Any]
    """As unittest.TestCase.assertNoLogs."""
    assertNotAlmostEqual: Callable[..., Any]
    """As unittest.TestCase.assertNotAlmostEqual."""
    assertNotEndsWith: Callable[..., Any]
    """As unittest.TestCase.assertNotEndsWith."""
    assertNotEqual: Callable[..., Any]
    """As unittest.TestCase.assertNotEqual."""
    assertNotHasAttr: Callable[..., Any]
    """As unittest.TestCase.assertNotHasAttr."""
    assertNotIn: Callable[..., Any]
    """As unittest.TestCase.assertNotIn."""
    assertNotIsInstance: Callable[..., Any]
    """As unittest.TestCase.assertNotIsInstance."""
    assertNotIsSubclass: Callable[..., Any]
    """As unittest.TestCase.assertNotIsSubclass."""
    assertNotRegex: Callable[..., Any]
    """As unittest.TestCase.assertNotRegex."""
    assertNotStartsWith: Callable[..., Any]
    """As unittest.TestCase.assertNotStartsWith."""
    assertRaises: Callable[..., Any]
    """As unittest.TestCase.assertRaises."""
    assertRaisesRegex: Callable[..., Any]
    """As unittest.TestCase.assertRaisesRegex."""
    assertRegex: Callable[..., Any]
    """As unittest.TestCase.assertRegex."""
    assertSequenceEqual: Callable[..., Any]
    """As unittest.TestCase.assertSequenceEqual."""
    assertSetEqual: Callable[..., Any]
    """As unittest.TestCase.assertSetEqual."""
    assertStartsWith: Callable[..., Any]
    """As unittest.TestCase.assertStartsWith."""
    assertTrue: Callable[..., Any]
    """As unittest.TestCase.assertTrue."""
    assertTupleEqual: Callable[..., Any]
    """As unittest.TestCase.assertTupleEqual."""
    assertWarns: Callable[..., Any]
    """As unittest.TestCase.assertWarns."""
    assertWarnsRegex: Callable[..., Any]
    """As unittest.TestCase.assertWarnsRegex."""
    fail: Callable[..., Any]
    """As unittest.TestCase.fail."""

    def __getattr__(self, name: str) -> Any:
        """Return the attribute of this name of unittest.TestCase."""
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
    """The breakpoints of nixpkgs' driver. They have no effect here."""

    def breakpoint(self, *args: object, **kwargs: object) -> None:
        """Log that the script has reached a breakpoint. The test continues."""
        log.info("debug.breakpoint(): not supported, the test continues")


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
    """End the script. Without a code, or with 0, it has passed; otherwise it has failed."""
    raise SystemExit(code)


def _mark_defaults(functions):
    """Marks a default timeout of a signature, so that the timeout factor applies to it."""
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
