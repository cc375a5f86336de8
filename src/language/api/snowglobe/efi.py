"""EFI variables: the store that the firmware keeps in a file of the machine."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import struct
import uuid

from .errors import RequestedAssertionFailed

# The firmware is EDK2's. Its platform initialisation specification, volume 3,
# describes firmware volumes; MdeModulePkg/Include/Guid/VariableFormat.h the
# store within; OvmfPkg's VarStore.fdf.inc says what a fresh one of 4 MiB
# builds holds, and where.
_BLOCK = 0x1000
_FILE_SIZE = 0x84000
_STORE_SIZE = 0x40000
_LOG_OFFSET = 0x41000
_VOLUME = uuid.UUID("fff12b8d-7696-4c8b-a985-2747075b4f50")
_STORE = uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792")
_LOG = uuid.UUID("9e58292b-7c68-497d-a0ce-6500fd9f1b95")

_VOLUME_HEADER = struct.Struct("<16x16sQ4sIHHHBBIIII")
_STORE_HEADER = struct.Struct("<16sIBB6x")
# Start, state, attributes, count, time, key, lengths of name and data, vendor.
_VARIABLE_HEADER = struct.Struct("<HBxIQ16sIII16s")
_START = 0x55AA
# Bits are cleared in a state as it advances.
_BEING_DELETED = 0x01


@dataclasses.dataclass
class EfiVariable:
    """An EFI variable."""

    class Flags:
        """What a variable can be; see the UEFI specification's GetVariable()."""

        NON_VOLATILE = 0x1
        BOOTSERVICE_ACCESS = 0x2
        RUNTIME_ACCESS = 0x4
        TIME_BASED_AUTHENTICATED_WRITE_ACCESS = 0x20

    class State:
        """How far a variable is written."""

        VAR_HEADER_VALID_ONLY = 0x7F
        VAR_ADDED = 0x3F

    vendor_uuid: uuid.UUID
    """The vendor of the variable."""
    name: str
    """The name of the variable."""
    data: bytes
    """The value of the variable."""
    state: int = State.VAR_ADDED
    """The state of the variable in the file, as EDK2 defines it."""
    flags: int = Flags.NON_VOLATILE | Flags.BOOTSERVICE_ACCESS | Flags.RUNTIME_ACCESS
    """The attributes of the variable, as UEFI defines them."""
    count: int = 0
    """The monotonic count of an authenticated variable."""
    timestamp: bytes = bytes(16)
    """The time stamp of an authenticated variable, 16 bytes."""
    key: int = 0
    """The index of the public key of an authenticated variable."""

    @property
    def vendorUUID(self) -> uuid.UUID:
        """The vendor as nixpkgs' driver has it: the bytes of the first three fields are reversed."""
        return uuid.UUID(bytes=self.vendor_uuid.bytes_le)

    @property
    def volatile(self) -> bool:
        """Whether the variable is lost when the machine is switched off."""
        return not self.flags & self.Flags.NON_VOLATILE

    @property
    def boot_access(self) -> bool:
        """Whether the variable is visible before the operating system runs."""
        return bool(self.flags & self.Flags.BOOTSERVICE_ACCESS)

    @property
    def runtime_access(self) -> bool:
        """Whether the variable is visible to the operating system."""
        return bool(self.flags & self.Flags.RUNTIME_ACCESS)

    @property
    def isDeleted(self) -> bool:
        """Whether the variable is deleted."""
        return self.state | _BEING_DELETED != self.State.VAR_ADDED

    def print(self) -> None:
        """Print the variable. Long data is cut after 32 bytes."""
        rest = "…" if len(self.data) > 32 else ""
        print(
            f"{self.vendor_uuid}-{self.name}: flags {self.flags:#x}, {len(self.data)} bytes: "
            f"{self.data[:32].hex()}{rest}"
        )

    def _packed(self):
        name = self.name.encode("utf-16-le") + b"\0\0"
        header = _VARIABLE_HEADER.pack(
            _START,
            self.state,
            self.flags,
            self.count,
            self.timestamp,
            self.key,
            len(name),
            len(self.data),
            self.vendor_uuid.bytes_le,
        )
        return _aligned(header + name + bytes(self.data))


def _aligned(content):
    return content + b"\xff" * (-len(content) % 4)


def _fresh_store():
    """What a firmware finds that has never run."""
    header_size = _VOLUME_HEADER.size
    header = bytearray(
        _VOLUME_HEADER.pack(
            _VOLUME.bytes_le, _FILE_SIZE, b"_FVH", 0x4FEFF, header_size, 0, 0, 0, 2, _FILE_SIZE // _BLOCK, _BLOCK, 0, 0
        )
    )
    numbers = struct.unpack(f"<{header_size // 2}H", header)
    struct.pack_into("<H", header, 50, -sum(numbers) & 0xFFFF)
    store = _STORE_HEADER.pack(_STORE.bytes_le, _STORE_SIZE - header_size, 0x5A, 0xFE)
    log = _LOG.bytes_le + struct.pack("<IIQ", 0x642CAF2C, 0xFFFFFFFE, _BLOCK - 0x20)
    whole = bytearray(b"\xff" * _FILE_SIZE)
    whole[: header_size + len(store)] = header + store
    whole[_LOG_OFFSET : _LOG_OFFSET + len(log)] = log
    return whole


class EfiVars:
    """The file of a machine's EFI variables."""

    state_path: pathlib.Path
    """The path of the file on the host."""

    def __init__(self, state_path, machine):
        self.state_path = pathlib.Path(state_path)
        self.machine = machine

    def _check_stopped(self):
        if self.machine.booted:
            raise RequestedAssertionFailed(
                f"the EFI variables of {self.machine.name} are its firmware's while it runs: stop it first"
            )

    def _whole(self):
        self._check_stopped()
        try:
            return bytearray(self.state_path.read_bytes())
        except FileNotFoundError:
            raise RequestedAssertionFailed(
                f"{self.machine.name} has no EFI variables ({self.state_path} is missing): create_efi_vars() makes an "
                "empty store, and a machine with EFI firmware its own when it starts"
            ) from None

    def _place(self, whole):
        """Where the variables begin and where they must end."""
        try:
            volume = _VOLUME_HEADER.unpack_from(whole)
            begin = volume[4]
            store, size, *_ = _STORE_HEADER.unpack_from(whole, begin)
        except struct.error:
            volume, store = (b"", 0, b""), b""
        if volume[2] != b"_FVH" or store != _STORE.bytes_le or begin + size > len(whole):
            raise RequestedAssertionFailed(f"{self.state_path} is no store of EFI variables")
        return begin + _STORE_HEADER.size, begin + size

    def _listed(self, whole):
        position, end = self._place(whole)
        variables = []
        while position + _VARIABLE_HEADER.size <= end:
            start, state, flags, count, timestamp, key, name_size, data_size, vendor = _VARIABLE_HEADER.unpack_from(
                whole, position
            )
            if start != _START:
                break
            name = position + _VARIABLE_HEADER.size
            data = name + name_size
            position = data + data_size + (-(name_size + data_size) % 4)
            if position > end:
                break
            text = bytes(whole[name : data - 2]).decode("utf-16-le", errors="replace")
            content = bytes(whole[data : data + data_size])
            variables.append(
                EfiVariable(uuid.UUID(bytes_le=vendor), text, content, state, flags, count, timestamp, key)
            )
        return [variable for variable in variables if not variable.isDeleted]

    def create_empty(self):
        """Create an empty file. Raises if it exists."""
        self._check_stopped()
        if self.state_path.exists():
            raise RequestedAssertionFailed(f"{self.machine.name} has EFI variables: {self.state_path}")
        self._save(_fresh_store())

    def read(self):
        """Return all variables."""
        return self._listed(self._whole())

    def write(self, add):
        """Set these variables. The others do not change."""
        whole = self._whole()
        variables = {(one.vendor_uuid, one.name): one for one in [*self._listed(whole), *add]}
        begin, end = self._place(whole)
        content = b"".join(variable._packed() for variable in variables.values())
        if begin + len(content) > end:
            raise RequestedAssertionFailed(
                f"the EFI variables of {self.machine.name} would take {len(content)} bytes, and there is room for "
                f"{end - begin}"
            )
        whole[begin:end] = content.ljust(end - begin, b"\xff")
        self._save(whole)

    def _save(self, whole):
        # A firmware never finds half of it.
        half = self.state_path.with_name(f"{self.state_path.name}.new")
        half.write_bytes(whole)
        os.replace(half, self.state_path)
