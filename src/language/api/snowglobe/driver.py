"""The test driver: machines, networks, checkpoints, the end of the script."""

from __future__ import annotations

import contextlib
import pathlib
import shlex
from collections.abc import Iterable, Iterator
from typing import Any, ContextManager, Self, SupportsIndex

import _snowglobe

from .calls import drive
from .captures import Capture
from .checkpoints import Checkpoint, rewind_to, take_checkpoint
from .errors import MachineError
from .extensions import extension
from .log import Log, log
from .machine import Machine
from .subtests import subtest


class VLan:
    """A virtual network of the test."""

    nr: int
    """The number of the network."""

    def __init__(self, nr):
        self.nr = nr

    def __repr__(self):
        return f"<VLAN {self.nr}>"

    @extension
    def capture(self, name: str) -> Capture:
        """Return a capture of the packets on the network. Its file is `captures/NAME.pcapng` in the output folder."""
        return Capture(self.nr, name)


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

    def __init__(self, machines, machines_qemu, machines_nspawn, vlans):
        self.vhost_vsock = None
        self.machines = machines
        self.machines_qemu = machines_qemu
        self.machines_nspawn = machines_nspawn
        self.vlans = vlans
        self.out_dir = pathlib.Path(_snowglobe.session["out_dir"])
        self.logger = log

    def start_all(self) -> None:
        """Start all machines, without waiting for them."""
        start_all()

    def join_all(self) -> None:
        """Wait until all machines are off."""
        join_all()

    def dump_machine_ssh(self, offset: int | None = None) -> None:
        """Print the command of SSH for each machine, as the function dump_machine_ssh."""
        dump_machine_ssh(offset)

    def test_script(self) -> None:
        """Run the test's script."""
        test_script()

    def run_tests(self) -> None:
        """Run the test's script."""
        run_tests()

    def create_machine(
        self, start_command: str | dict[str, Any], *, name: str | None = None, keep_machine_state: bool = False
    ) -> Machine:
        """Create a machine from a run script or a QEMU command line, as the function create_machine."""
        return create_machine(start_command, name=name, keep_machine_state=keep_machine_state)

    def subtest(self, name: str, *, checkpoint: Checkpoint | str | None = None) -> ContextManager[None]:
        """Group the statements inside under a name, as the function subtest."""
        return subtest(name, checkpoint=checkpoint)


def start_all() -> None:
    """Start all machines, without waiting for them."""
    drive("start_all")


def join_all() -> None:
    """Wait until all machines are off. Without a timeout: the global timeout of the test applies."""
    drive("join_all")


def dump_machine_ssh(offset: int | None = None) -> None:
    """Print the command of SSH for each machine, or why there is none. The offset is that of the first machine's number
    in nixpkgs before 26.05.
    """
    for number, machine in enumerate(machines, start=1):
        index = None if offset is None else offset + number
        try:
            print(f"{machine.name}: {machine.ssh_backdoor_command(index)}")
        except MachineError as error:
            print(error)


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
    entry = drive("create_machine", command=str(start_command), name=name)
    made = Machine(entry["node"], entry["name"], entry["state_dir"])
    machines.append(made)
    machines_qemu.append(made)
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


@extension
def checkpoint(name: str = "checkpoint", *, keep_time: bool = False) -> Checkpoint:
    """Save all machines here. A later run starts from this checkpoint if the script is the same up to here, and the
    script can rewind() to it. With keep_time, the clocks of the guests stay as they were saved.
    """
    return take_checkpoint(str(name), bool(keep_time))


@extension
def rewind(to: Checkpoint | str) -> None:
    """Make all machines what they were at a checkpoint: their memory, disks and running programs. The variables of the
    script stay as they are. Fails while another thread calls a machine.
    """
    rewind_to(to)


@extension
def save_disks() -> None:
    """Copy the disks of all virtual machines to the folder `disks` of the output folder: `snowglobe run --disks-from`
    starts other machines with them, for example those of a new release. Shut the machines down before, or what their
    guests have only in memory is lost.
    """
    drive("save_disks")


@extension
@contextlib.contextmanager
def branch(start: Checkpoint | str) -> Iterator[None]:
    """Run the statements inside on the machines as they were at a checkpoint, and rewind to it at the end. If the
    statements raise, the machines stay as they are, for the report.
    """
    rewind_to(start)
    yield
    rewind_to(start)


def serial_stdout_on() -> None:
    """Show the consoles of all machines."""
    log.print_serial_logs(True)


def serial_stdout_off() -> None:
    """Hide the consoles of all machines. They are saved in any case."""
    log.print_serial_logs(False)


def exit(code: object = None) -> None:
    """End the script. Without a code, or with 0, it has passed; otherwise it has failed."""
    raise SystemExit(code)


class _Machines(list[Machine]):
    """Machines, each once: create_machine() adds those that it makes, and scripts of nixpkgs do so, too."""

    def append(self, machine: Machine) -> None:
        if machine not in self:
            super().append(machine)

    def insert(self, index: SupportsIndex, machine: Machine) -> None:
        if machine not in self:
            super().insert(index, machine)

    def extend(self, more: Iterable[Machine]) -> None:
        for machine in more:
            self.append(machine)

    def __iadd__(self, more: Iterable[Machine]) -> Self:
        self.extend(more)
        return self


# The machines by the names that scripts have for them.
machines_by_name: dict[str, Machine] = {}
machines: list[Machine] = _Machines()
machines_qemu: list[Machine] = _Machines()
machines_nspawn: list[Machine] = _Machines()
for _entry in _snowglobe.session["machines"]:
    _machine = Machine(_entry["node"], _entry["name"], _entry["state_dir"])
    machines.append(_machine)
    (machines_nspawn if _entry["backend"] == "container" else machines_qemu).append(_machine)
    _machine._code = _entry["python_names"][0]
    machines_by_name.update({_name: _machine for _name in _entry["python_names"]})
vlans: list[VLan] = [VLan(nr) for nr in _snowglobe.session["vlans"]]
driver: Driver = Driver(machines, machines_qemu, machines_nspawn, vlans)
