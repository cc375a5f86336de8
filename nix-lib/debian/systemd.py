"""Finishes the tree of systemd: units and settings in example/, stand-ins for units that Debian leaves out,
and the links that PID 1 makes, as a C header for places.c.

Runs in tree.py.
"""

import os
import re
import shutil
import subprocess
import xml.etree.ElementTree

import tree

OUT = tree.MAIN
# NixOS has settings of its own, and these would come before them.
DEBIANS_SETTINGS = (
    "lib/systemd/journald.conf.d",
    "lib/systemd/system.conf.d",
    "lib/systemd/user.conf.d",
)
# What has to be in a unit of each kind.
CONTENT = {
    "service": "[Service]\nType=oneshot\nExecStart=" + tree.OTHERS[1] + "/bin/true\n",
    "socket": "[Socket]\nListenStream=/run/stand-in/%n\n",
    "mount": "[Mount]\nWhat=tmpfs\nWhere=/nonexistent\n",
    "automount": "[Automount]\nWhere=/nonexistent\n",
    "timer": "[Timer]\nOnActiveSec=1y\n",
    "path": "[Path]\nPathExists=/nonexistent\n",
}


def with_store_paths(text):
    text = re.sub(
        r"(?<![A-Za-z0-9_.}-])/(?:usr/)?lib/systemd/(?!system/|user/)",
        f"{OUT}/lib/systemd/",
        text,
    )
    text = re.sub(
        r"(?m)^(Exec[A-Za-z]+=[-!+@:|]*)([a-z][a-z0-9-]*)(?=\s|$)",
        lambda match: (
            f"{match[1]}{OUT}/bin/{match[2]}"
            if os.path.exists(f"{OUT}/bin/{match[2]}")
            else match[0]
        ),
        text,
    )
    return tree.with_own_paths(text)


def copy_texts(source, target):
    """A folder with its texts changed; relative links stay links."""
    for parent, directories, names in os.walk(source):
        here = os.path.join(target, os.path.relpath(parent, source))
        os.makedirs(here, exist_ok=True)
        links = [name for name in directories if os.path.islink(f"{parent}/{name}")]
        for name in names + links:
            path = f"{parent}/{name}"
            if os.path.islink(path) and not os.readlink(path).startswith("/nix/"):
                os.symlink(os.readlink(path), f"{here}/{name}")
            elif os.path.isfile(path):
                with open(
                    f"{here}/{name}", "w", encoding="utf-8", errors="surrogateescape"
                ) as file:
                    file.write(with_store_paths(tree.read(path)))


def stand_in(path, name):
    kind = name.rsplit(".", 1)[1]
    with open(path, "w") as file:
        file.write(
            f"[Unit]\nDescription={name}, which Debian leaves out\n"
            f"ConditionPathExists=/nonexistent\n{CONTENT.get(kind, '')}"
        )


def move_units():
    names = os.environ["unitNames"].split()
    for kind in ("system", "user"):
        example = f"{OUT}/example/systemd/{kind}"
        copy_texts(f"{OUT}/lib/systemd/{kind}", example)
        shutil.rmtree(f"{OUT}/lib/systemd/{kind}")
        for name in names:
            path = f"{example}/{name}"
            if name.endswith(".wants"):
                os.makedirs(path, exist_ok=True)
            elif not os.path.lexists(path):
                stand_in(path, name)


def move_settings():
    for name in ("binfmt.d", "sysctl.d", "tmpfiles.d", "modules-load.d", "sysusers.d"):
        os.makedirs(f"{OUT}/example/{name}", exist_ok=True)
        if os.path.isdir(f"{OUT}/lib/{name}"):
            copy_texts(f"{OUT}/lib/{name}", f"{OUT}/example/{name}")
            shutil.rmtree(f"{OUT}/lib/{name}")
    for path in (
        "example/sysctl.d/50-default.conf",
        "example/sysctl.d/50-coredump.conf",
    ):
        open(f"{OUT}/{path}", "a").close()


def make_idle_programs():
    """Programs that units of NixOS name and Debian does not have."""
    for name in ("systemd-vconsole-setup", "systemd-bless-boot", "systemd-sysupdated"):
        path = f"{OUT}/lib/systemd/{name}"
        if not os.path.lexists(path):
            with open(path, "w") as file:
                file.write(f"#!{os.environ['tools'].split()[0]}/bin/bash\nexit 0\n")
            os.chmod(path, 0o755)


def describe_interfaces():
    """The descriptions of D-Bus interfaces, which Debian leaves out: the programs print them."""
    folder = f"{OUT}/share/dbus-1/interfaces"
    os.makedirs(folder, exist_ok=True)
    for name, place in (("systemd", "systemd1"), ("systemd-logind", "login1")):
        command = [
            f"{OUT}/lib/systemd/{name}",
            f"--bus-introspect=/org/freedesktop/{place}",
        ]
        shown = subprocess.run(command, check=False, stdout=subprocess.PIPE).stdout
        for interface in (
            xml.etree.ElementTree.fromstring(shown).findall("interface")
            if shown
            else []
        ):
            node = xml.etree.ElementTree.Element("node")
            node.append(interface)
            xml.etree.ElementTree.ElementTree(node).write(
                f"{folder}/{interface.get('name')}.xml"
            )


def add_to_a_time(microseconds):
    """The instruction, as it is in programs."""
    return b"\x48\x05" + microseconds.to_bytes(4, "little")


def copy_udevd():
    """Scripts of an initrd copy it, and Debian's is a link to udevadm.

    Since 258 it takes rules for changed each time that it looks, if their folder is a link, as in NixOS. It
    would look every three seconds, and read all rules again: most of its work in an emulated machine.
    """
    path = f"{OUT}/lib/systemd/systemd-udevd"
    with open(path, "rb") as file:
        program = file.read()
    mode = os.stat(path).st_mode
    if b"stats_by_path_equal" in program:
        program = program.replace(
            add_to_a_time(3_000_000), add_to_a_time(1_800_000_000)
        )
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(program)
    os.chmod(path, mode)


def gather_plugins():
    os.makedirs(f"{OUT}/places/plugins")
    for unit in os.environ["plugins"].split():
        folder = f"{unit}/lib/{tree.TRIPLET}"
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            if not os.path.lexists(f"{OUT}/places/plugins/{name}"):
                os.symlink(f"{folder}/{name}", f"{OUT}/places/plugins/{name}")


def write_links():
    links = [
        ("/usr/lib/systemd", f"{OUT}/lib/systemd"),
        ("/usr/lib/udev", f"{OUT}/lib/udev"),
        ("/usr/lib/x86_64-linux-gnu", f"?{OUT}/places/plugins"),
        # NixOS' units call it by its name alone.
        ("/usr/bin/systemd-tmpfiles", f"?{OUT}/bin/systemd-tmpfiles"),
    ]
    links += [entry.split("=", 1) for entry in os.environ["linked"].split()]
    with open(f"{os.environ['NIX_BUILD_TOP']}/links.h", "w") as header:
        header.writelines(f'{{"{link}", "{target}"}},\n' for link, target in links)


for folder in DEBIANS_SETTINGS:
    shutil.rmtree(f"{OUT}/{folder}", ignore_errors=True)
move_units()
move_settings()
make_idle_programs()
copy_udevd()
describe_interfaces()
gather_plugins()
write_links()
