"""Reads of a 64-bit ELF file what a dynamic loader looks at: see elf(5)."""

import struct

EXECUTABLE = 2
NONE, LOAD, DYNAMIC, INTERPRETER = 0, 1, 2, 3
NEEDED, STRING_TABLE, RPATH, RUNPATH = 1, 5, 15, 29


class Elf:
    """A program or library. `kind` is e_type; `is_dynamic` whether a loader is needed."""

    def __init__(self, data):
        self._data = data
        self.kind = struct.unpack_from("<H", data, 16)[0]
        offset = struct.unpack_from("<Q", data, 32)[0]
        size, count = struct.unpack_from("<HH", data, 54)
        self._headers = [offset + n * size for n in range(count)]
        self._segments = [
            struct.unpack_from("<IIQQQQQQ", data, header) for header in self._headers
        ]
        kinds = [segment[0] for segment in self._segments]
        self.has_interpreter = INTERPRETER in kinds
        self.is_dynamic = DYNAMIC in kinds
        self.needed, self.search = [], []
        if self.is_dynamic:
            self._read_dynamic()

    def _file_offset(self, address):
        for kind, _, offset, start, _, size, _, _ in self._segments:
            if kind == LOAD and start <= address < start + size:
                return offset + address - start
        raise ValueError("an address outside of the file")

    def _read_dynamic(self):
        offset, size = next((s[2], s[5]) for s in self._segments if s[0] == DYNAMIC)
        entries = [
            struct.unpack_from("<qQ", self._data, offset + n)
            for n in range(0, size - 15, 16)
        ]
        tables = [value for tag, value in entries if tag == STRING_TABLE]
        if not tables:
            return
        table = self._file_offset(tables[0])

        def text(value):
            return self._data[
                table + value : self._data.index(b"\0", table + value)
            ].decode()

        self.needed = [text(value) for tag, value in entries if tag == NEEDED]
        self.search = [text(value) for tag, value in entries if tag in (RPATH, RUNPATH)]

    def without_interpreter(self):
        """The file's content, with no loader named in it."""
        data = bytearray(self._data)
        for header, segment in zip(self._headers, self._segments):
            if segment[0] == INTERPRETER:
                struct.pack_into("<I", data, header, NONE)
        return bytes(data)


def read(path):
    """The file as an ELF file of 64 bits; None if it is none, or a damaged one."""
    with open(path, "rb") as file:
        if file.read(5) != b"\x7fELF\x02":
            return None
        file.seek(0)
        try:
            return Elf(file.read())
        except (struct.error, ValueError):
            return None
