"""What a script sees."""

from __future__ import annotations

import importlib
import sys
from types import FunctionType, ModuleType
from typing import Any

import _snowglobe

from . import assertion_values, assertions, help, script_modules, stepping
from .background import Background
from .driver import Driver, VLan, machines_by_name, vlans
from .durations import Duration, as_timedelta, in_seconds, mark_defaults
from .efi import EfiVariable, EfiVars
from .errors import MachineError, RequestedAssertionFailed
from .machine import Machine
from .qemu import Process
from .waiting import PollingCondition, retry

# The driver of nixpkgs 20.09 runs scripts in its own namespace: some use its imports.
MODULES_OF_NIXPKGS_20_09 = (
    "argparse",
    "atexit",
    "base64",
    "io",
    "itertools",
    "logging",
    "pathlib",
    "queue",
    "re",
    "shlex",
    "shutil",
    "socket",
    "subprocess",
    "sys",
    "tempfile",
    "time",
    "unicodedata",
)


def script_names(package: Any) -> dict[str, Any]:
    """Returns the names of a script: the public ones of the package, and the test's own."""
    names = {name: getattr(package, name) for name in package.__all__}
    names.update({name: importlib.import_module(name) for name in _snowglobe.session["modules"]})
    names.update({f"vlan{vlan.nr}": vlan for vlan in vlans})
    names.update(stepping.prompt_functions())
    names.update(machines_by_name)
    return names


def _provide_nixpkgs_modules() -> None:
    """Modules of nixpkgs' driver, for scripts that import from it."""
    modules: dict[str, dict[str, Any]] = {
        "test_driver": {},
        "test_driver.driver": {"Driver": Driver},
        "test_driver.duration": {"Duration": Duration, "as_seconds": in_seconds, "as_timedelta": as_timedelta},
        "test_driver.efi": {"EfiVariable": EfiVariable, "EfiVars": EfiVars},
        "test_driver.errors": {"MachineError": MachineError, "RequestedAssertionFailed": RequestedAssertionFailed},
        "test_driver.machine": {
            "BaseMachine": Machine,
            "Machine": Machine,
            "NspawnMachine": Machine,
            "QemuMachine": Machine,
            "retry": retry,
        },
        "test_driver.polling_condition": {
            "PollingCondition": PollingCondition,
            "PollingConditionError": RequestedAssertionFailed,
        },
        "test_driver.vlan": {"VLan": VLan},
    }
    for name, members in modules.items():
        module = ModuleType(name)
        module.__path__ = []
        vars(module).update(members)
        sys.modules[name] = module
        package, _, last = name.rpartition(".")
        if package:
            setattr(sys.modules[package], last, module)


def prepare() -> None:
    """Marks the default timeouts of signatures, and provides the modules of nixpkgs' driver."""
    for kind in (Machine, Process, Background, PollingCondition):
        mark_defaults(member for member in vars(kind).values() if isinstance(member, FunctionType))
    mark_defaults([retry])
    script_modules.prepare()
    assertion_values.prepare()
    assertions.prepare()
    stepping.prepare()
    help.prepare()
    _provide_nixpkgs_modules()
