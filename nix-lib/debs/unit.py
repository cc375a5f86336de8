"""Turns .debs into one store path: unpacks them without /usr, and points programs, scripts and links into the store.

Environment: `out`; `debs`; `dependencies`, the units that these need, and `below`, all that those need;
`patchelf`, a command; `busybox`, for programs that cannot be patched; `shell`, what /bin/sh becomes, or nothing;
`triplet` and `loader`, Debian's folder of libraries and the loader in it.
"""

import glob
import gzip
import io
import lzma
import os
import re
import shutil
import subprocess
import tarfile

import elf

OUT = os.environ["out"]
UNITS = [OUT, *os.environ["dependencies"].split()]
BELOW = os.environ["below"].split()
PATCHELF = os.environ["patchelf"].split()
SHELL = os.environ.get("shell", "")
TRIPLET = os.environ["triplet"]
LOADER = os.environ["loader"]

# One tree without /usr, and one folder for programs, as in nixpkgs.
PLACES = [
    ("usr/games/", "bin/"),
    ("usr/sbin/", "bin/"),
    ("usr/bin/", "bin/"),
    ("sbin/", "bin/"),
    ("usr/libexec/", "libexec/"),
    ("usr/lib64/", "lib64/"),
    ("usr/lib/", "lib/"),
    ("usr/include/", "include/"),
    ("usr/share/", "share/"),
    ("usr/src/", "src/"),
]
KEPT = (
    "bin/",
    "lib/",
    "lib64/",
    "libexec/",
    "include/",
    "share/",
    "src/",
    "etc/",
    "boot/",
    "var/",
)
# What no test looks at.
DROPPED = re.compile(
    r"share/(doc|man|locale|info|lintian|doc-base|bug|gtk-doc)/|lib/postgresql/[^/]*/lib/bitcode/"
)


def place_of(path):
    """Where a path of Debian's is below the output; None if it is left out."""
    path = path.lstrip("./")
    for debian, here in PLACES:
        if path.startswith(debian):
            path = here + path[len(debian) :]
            break
    return path if path.startswith(KEPT) and not DROPPED.match(path) else None


def members_of_archive(deb):
    """The members of a .deb, which is an `ar` archive, by name."""
    with open(deb, "rb") as file:
        assert file.read(8) == b"!<arch>\n", f"{deb} is no .deb"
        while header := file.read(60):
            size = int(header[48:58])
            yield header[:16].decode().strip().rstrip("/"), file.read(size)
            file.read(size % 2)


def tar_of(name, data):
    opener = {".xz": lzma.open, ".gz": gzip.open}.get(os.path.splitext(name)[1])
    stream = opener(io.BytesIO(data)) if opener else io.BytesIO(data)
    return tarfile.open(fileobj=stream, mode="r|")


def write_member(tar, member, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if member.issym():
        # A link never takes the place of a program: Debian's /sbin/ip is a link
        # to /bin/ip, and both come to the same folder.
        if not os.path.lexists(target):
            os.symlink(member.linkname, target)
        return
    if os.path.lexists(target):
        os.unlink(target)
    if member.islnk():
        first = place_of(member.linkname)
        if first and os.path.exists(f"{OUT}/{first}"):
            os.link(f"{OUT}/{first}", target)
    elif member.isreg():
        with open(target, "wb") as file:
            shutil.copyfileobj(tar.extractfile(member), file)
        # The bits of set-user-ID programs are not for a store.
        os.chmod(target, (member.mode & 0o755) | 0o200)


def members_of(deb):
    """What is in a .deb: "control" or "data", the tar that it is in, and the member."""
    for name, data in members_of_archive(deb):
        part = name.partition(".")[0]
        if part in ("control", "data"):
            with tar_of(name, data) as tar:
                for member in tar:
                    yield part, tar, member


def unpack(deb):
    """Puts the files of a .deb into the output; returns its script for an installation."""
    script = ""
    for part, tar, member in members_of(deb):
        path = place_of(member.name + ("/" if member.isdir() else ""))
        if part == "control":
            if member.name.lstrip("./") == "postinst":
                script = tar.extractfile(member).read().decode(errors="replace")
        elif path and member.isdir():
            os.makedirs(f"{OUT}/{path}", exist_ok=True)
        elif path:
            write_member(tar, member, f"{OUT}/{path}")
    return script


def link_alternatives(script):
    """Makes the links that `update-alternatives` would make, where no other program has the name."""
    joined = script.replace("\\\n", " ")
    for link, target in re.findall(
        r"--(?:install|slave)\s+(/\S+)\s+\S+\s+(/[^\s;]+)", joined
    ):
        here, there = place_of(link), place_of(target)
        if (
            here
            and there
            and os.path.exists(f"{OUT}/{there}")
            and not os.path.lexists(f"{OUT}/{here}")
        ):
            os.makedirs(os.path.dirname(f"{OUT}/{here}"), exist_ok=True)
            os.symlink(os.path.relpath(there, os.path.dirname(here)), f"{OUT}/{here}")


def files():
    for folder, _, names in os.walk(OUT):
        if "/lib/modules/" in folder or "/boot" in folder[len(OUT) :]:
            continue
        for name in names:
            path = f"{folder}/{name}"
            if not os.path.islink(path):
                yield path


def library_path():
    folders = [f"{unit}/lib/{TRIPLET}" for unit in UNITS]
    return [
        folder for folder in folders if folder.startswith(OUT) or os.path.isdir(folder)
    ]


def folders_of(needed, libraries):
    """The folders of libraries that only what the dependencies need has."""
    found = {
        name
        for folder in libraries
        if os.path.isdir(folder)
        for name in os.listdir(folder)
    }
    for name in set(needed) - found:
        for unit in BELOW:
            if os.path.exists(f"{unit}/lib/{TRIPLET}/{name}"):
                yield f"{unit}/lib/{TRIPLET}"
                break


def own_folders(rpath):
    """The private folders that a program's own library path names, in the store."""
    for entry in rpath.split(":"):
        if entry.startswith("$ORIGIN"):
            yield entry
        place = place_of(entry.strip("/") + "/") if entry.startswith("/") else None
        for unit in UNITS if place else []:
            if os.path.isdir(f"{unit}/{place}"):
                yield f"{unit}/{place}".rstrip("/")


def loader():
    """The dynamic loader among the units; None for static programs."""
    places = [f"{unit}/lib/{TRIPLET}/{LOADER}" for unit in UNITS]
    return next((place for place in places if os.path.exists(place)), None)


def patch_program(path, interpreter, libraries):
    program = elf.read(path)
    if (
        program is None
        or not program.is_dynamic
        or path.endswith((".o", ".ko", ".a", ".elf"))
    ):
        return
    # The C library and its circle find each other, and the loader must stay as it is. The library names a
    # loader, for the case that it is run, by a path that is in no store.
    if os.path.exists(f"{os.path.dirname(path)}/{LOADER}"):
        if program.has_interpreter:
            with open(path, "r+b") as file:
                file.write(program.without_interpreter())
        return
    own = [folder for search in program.search for folder in own_folders(search)]
    folders = [*own, *libraries, *folders_of(program.needed, libraries)]
    search = ":".join(dict.fromkeys(folders))
    has_interpreter = program.has_interpreter and interpreter
    if has_interpreter and program.kind == elf.EXECUTABLE:
        run_through_loader(path, interpreter, search)
        return
    change = ["--set-interpreter", interpreter] if has_interpreter else []
    subprocess.run([*PATCHELF, *change, "--set-rpath", search, path], check=True)


def run_through_loader(path, interpreter, search):
    """Puts a script in the place of a program at a fixed address, which patchelf would break."""
    real = f"{os.path.dirname(path)}/.{os.path.basename(path)}.elf"
    os.rename(path, real)
    with open(path, "w") as script:
        script.write(
            f"#!{os.environ['busybox']} sh\n"
            f'exec {interpreter} --library-path {search} --argv0 "$0" {real} "$@"\n'
        )
    os.chmod(path, 0o755)


def patch_script(path):
    with open(path, "rb") as file:
        first, newline, rest = file.read().partition(b"\n")
    words = first[2:].decode("latin1").split()
    if (
        words
        and os.path.basename(words[0]) == "env"
        and len(words) > 1
        and not words[1].startswith("-")
    ):
        words = words[1:]
    if not words or words[0].startswith("/nix/"):
        return
    name = os.path.basename(words[0])
    if name == "sh":
        program = SHELL
    else:
        places = [
            f"{unit}/bin/{name}"
            for unit in [*UNITS, os.path.dirname(os.path.dirname(SHELL))]
        ]
        program = next((place for place in places if os.path.exists(place)), "")
    if program:
        line = " ".join([program, *words[1:]]).encode("latin1")
        with open(path, "wb") as file:
            file.write(b"#!" + line + newline + rest)


def point_links_into_units():
    """Links that lead out of this tree lead to the unit that has their target."""
    for folder, directories, names in os.walk(OUT):
        for name in directories + names:
            path = f"{folder}/{name}"
            if not os.path.islink(path):
                continue
            target = os.readlink(path)
            if not target.startswith("/") and os.path.exists(path):
                continue
            if target.startswith(("/etc/alternatives/", "/nix/")):
                continue
            # Debian's place of the target, seen from Debian's place of the link.
            inside = os.path.normpath(
                os.path.join("/", os.path.relpath(folder, OUT), target)
            ).lstrip("/")
            place = (place_of(inside + "/") or "").rstrip("/")
            for unit in UNITS if place else []:
                if os.path.lexists(f"{unit}/{place}") and f"{unit}/{place}" != path:
                    os.unlink(path)
                    os.symlink(f"{unit}/{place}", path)
                    break


def link_postgresql():
    """Debian's wrappers choose among several versions; here there is one."""
    for folder in glob.glob(f"{OUT}/lib/postgresql/*/bin"):
        for name in os.listdir(folder):
            if not os.path.lexists(f"{OUT}/bin/{name}"):
                os.symlink(f"{folder}/{name}", f"{OUT}/bin/{name}")


def main():
    os.makedirs(f"{OUT}/bin")
    os.makedirs(f"{OUT}/lib")
    scripts = [unpack(deb) for deb in os.environ["debs"].split()]
    for script in scripts:
        link_alternatives(script)
    interpreter, libraries = loader(), library_path()
    for path in files():
        with open(path, "rb") as file:
            head = file.read(4)
        if head == b"\x7fELF":
            patch_program(path, interpreter, libraries)
        elif head[:2] == b"#!":
            patch_script(path)
    point_links_into_units()
    link_postgresql()
    os.symlink("bin", f"{OUT}/sbin")


main()
