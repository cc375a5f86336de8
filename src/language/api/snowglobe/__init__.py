"""The test API: everything that a script can name, but for its machines and networks.

What is imported here is what scripts see: editors, the check and the manual read it from this file.
"""

from __future__ import annotations

import os as os
from typing import Any, Callable, ContextManager, Dict, Iterator, List, Optional, Tuple

from . import raised as _raised
from . import recording, runtime, script
from .errors import MachineError, MachineFailure, RequestedAssertionFailed, Interrupted, ProcessExit
from .durations import Duration
from .log import Log, log
from .efi import EfiVariable, EfiVars
from .machine import Machine, BaseMachine, QemuMachine, NspawnMachine
from .qemu import QmpClient, Process, Shell
from .files import File
from .background import Background
from .captures import Capture
from .faults import (
    Cable,
    Fault,
    Fraction,
    Link,
    Match,
    Port,
    Rate,
    arp,
    between,
    bridge,
    icmp,
    ip,
    isolate,
    partition,
    tcp,
    udp,
)
from .machine_faults import Clock, Disk, Memory, Processors, Size
from .checkpoints import Checkpoint
from .driver import (
    VLan,
    Driver,
    start_all,
    dump_machine_ssh,
    join_all,
    test_script,
    run_tests,
    create_machine,
    checkpoint,
    rewind,
    branch,
    save_disks,
    serial_stdout_on,
    serial_stdout_off,
    exit,
    machines,
    machines_qemu,
    machines_nspawn,
    vlans,
    driver,
)
from .chaos import Chaos, chaos, delay, kill, loss, pause
from .subtests import subtest
from .waiting import retry, PollingCondition, polling_condition, deadline
from .side_by_side import parallel
from .assertions import Assertions, t, Debug, debug

__all__ = [
    "os",
    "Any",
    "Callable",
    "ContextManager",
    "Dict",
    "Iterator",
    "List",
    "Optional",
    "Tuple",
    "MachineError",
    "MachineFailure",
    "RequestedAssertionFailed",
    "Interrupted",
    "ProcessExit",
    "Duration",
    "Log",
    "log",
    "EfiVariable",
    "EfiVars",
    "Machine",
    "BaseMachine",
    "QemuMachine",
    "NspawnMachine",
    "QmpClient",
    "Process",
    "Shell",
    "File",
    "Background",
    "Cable",
    "Capture",
    "Clock",
    "Disk",
    "Memory",
    "Processors",
    "Size",
    "Fault",
    "Fraction",
    "Link",
    "Match",
    "Port",
    "Rate",
    "arp",
    "between",
    "bridge",
    "icmp",
    "ip",
    "isolate",
    "partition",
    "tcp",
    "udp",
    "VLan",
    "Driver",
    "start_all",
    "dump_machine_ssh",
    "join_all",
    "test_script",
    "run_tests",
    "create_machine",
    "Checkpoint",
    "checkpoint",
    "rewind",
    "branch",
    "save_disks",
    "serial_stdout_on",
    "serial_stdout_off",
    "exit",
    "machines",
    "machines_qemu",
    "machines_nspawn",
    "vlans",
    "driver",
    "Chaos",
    "chaos",
    "delay",
    "kill",
    "loss",
    "pause",
    "subtest",
    "retry",
    "PollingCondition",
    "polling_condition",
    "deadline",
    "parallel",
    "Assertions",
    "t",
    "Debug",
    "debug",
]

runtime.prepare()
recording.prepare()
script.prepare()
