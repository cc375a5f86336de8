"""Finishes the tree of the kernel: the modules of QEMU's devices are not packed, and its map of symbols is
where nixpkgs has it.

Runs in tree.py.
"""

import glob
import lzma
import os

import tree

OUT = tree.MAIN
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


def link_symbols():
    """Newer suites have the map beside the modules."""
    [place] = glob.glob(f"{OUT}/lib/modules/*/System.map") or glob.glob(
        f"{OUT}/boot/System.map-*"
    )
    os.symlink(os.path.realpath(place), f"{OUT}/System.map")


unpack_modules()
link_symbols()
