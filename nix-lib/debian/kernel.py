"""Finishes the tree of the kernel: `bzImage` is the program that Debian's vmlinuz unpacks, so that no guest
has to: QEMU boots it as it is (PVH).

Runs in tree.py.
"""

import glob
import lzma
import os
import struct
import subprocess

import tree

OUT = tree.MAIN
# How the payload begins, and what unpacks it.
PACKERS = {
    b"\xfd7zXZ\x00": ["xz", "-dc", "--single-stream"],
    b"\x28\xb5\x2f\xfd": ["zstd", "-dc"],
}


def payload(image):
    """The packed program in a bzImage: see Documentation/arch/x86/boot.rst, payload_offset."""
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack("<II", image[0x248:0x250])
    start = (sectors + 1) * 512 + offset
    return image[start : start + length]


def unpack(packed):
    command = next(
        command for magic, command in PACKERS.items() if packed.startswith(magic)
    )
    folders = [f"{unit}/bin" for unit in os.environ["compressors"].split()]
    program = next(
        path
        for folder in folders
        for path in [f"{folder}/{command[0]}"]
        if os.path.exists(path)
    )
    # The size that follows the payload is no part of it, and unpackers complain.
    result = subprocess.run(
        [program, *command[1:]],
        check=False,
        input=packed,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert result.stdout.startswith(b"\x7fELF"), "the kernel's payload is no program"
    return result.stdout


def first(*patterns):
    return next(
        path for pattern in patterns for path in sorted(glob.glob(f"{OUT}/{pattern}"))
    )


# Drivers of hardware that QEMU does not have.
UNUSED = (
    "drivers/gpu/drm/amd",
    "drivers/gpu/drm/i915",
    "drivers/gpu/drm/nouveau",
    "drivers/gpu/drm/radeon",
    "drivers/gpu/drm/xe",
    "drivers/iio",
    "drivers/infiniband",
    "drivers/media",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "drivers/staging",
    "sound",
)


def unpack_modules():
    """A guest that emulates its processor takes seconds to unpack the modules of its devices."""
    for folder, _, names in os.walk(f"{OUT}/lib/modules"):
        inside = folder.partition("/kernel/")[2]
        for name in names:
            path = f"{folder}/{name}"
            if name.endswith(".ko.xz") and not inside.startswith(UNUSED):
                with (
                    open(path.removesuffix(".xz"), "wb") as file,
                    lzma.open(path) as packed,
                ):
                    file.write(packed.read())
                os.unlink(path)


unpack_modules()
with open(first("lib/modules/*/vmlinuz", "boot/vmlinuz-*"), "rb") as file:
    program = unpack(payload(file.read()))
with open(f"{OUT}/bzImage", "wb") as file:
    file.write(program)
os.symlink(
    os.path.realpath(first("lib/modules/*/System.map", "boot/System.map-*")),
    f"{OUT}/System.map",
)
