"""Unpacks the kernel in a bzImage: vmlinux.py IMAGE TARGET ZSTD, the last a program.

What it writes is an ELF file with a PVH entry point, which QEMU starts without the guest unpacking it first.
"""

import lzma
import struct
import subprocess
import sys

XZ = b"\xfd7zXZ\x00"
ZSTD = b"\x28\xb5\x2f\xfd"


def payload(image):
    """The packed kernel, as the image's header describes it: Documentation/arch/x86/boot.rst."""
    setup_sectors = image[0x1F1]
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    # The last four bytes are the size of what it unpacks to, and no part of the stream.
    return image[start : start + length - 4]


def unpack(packed, zstd):
    if packed.startswith(XZ):
        return lzma.decompress(packed)
    if packed.startswith(ZSTD):
        return subprocess.run(
            [zstd, "-dcq"], check=True, input=packed, stdout=subprocess.PIPE
        ).stdout
    sys.exit("the kernel is compressed in a way that is not known here")


def main():
    image, target, zstd = sys.argv[1:]
    with open(image, "rb") as file:
        kernel = unpack(payload(file.read()), zstd)
    with open(target, "wb") as file:
        file.write(kernel)


main()
