"""Makes one package in nixpkgs' shape out of units: a tree of links, with texts that name its own paths.

Environment: `outputs` and a path for each, `main`, the first of them; `units`; `content`, "links", "programs" or "copies";
`interpreters` and `modules` of scripts; `fix`, a shell script, and `program`, a file in Python, which finish the tree; `tools`, for them; `others`; `isFile`; `changesTexts`.
"""

import glob
import os
import re
import runpy
import shutil
import subprocess
import sys

TRIPLET = "x86_64-linux-gnu"
MAIN = os.environ[os.environ["main"]]
# Outputs of which the guests need nothing.
EMPTY = {"man", "doc", "info", "devdoc", "devman", "debug", "installedTests", "dist"}
# Where texts name programs and folders by their place in Debian.
TEXTS = [
    "lib/udev/rules.d",
    "lib/systemd/system",
    "lib/systemd/user",
    "lib/tmpfiles.d",
    "lib/sysctl.d",
    "lib/modprobe.d",
    "lib/pkgconfig",
    "share/pkgconfig",
    "share/dbus-1",
    "share/polkit-1",
    "share/applications",
    "etc/dbus-1",
]
# Further packages whose programs texts may name.
OTHERS = os.environ.get("others", "").split()
# Where programs are, some of which the scripts of an initrd copy.
PROGRAMS = tuple(f"{MAIN}/{folder}/" for folder in ("bin", "lib/udev", "lib/systemd"))


def is_copied(source, target):
    """Whether the tree has a file itself and not by a link into a unit."""
    if os.path.islink(source):
        return False
    content = os.environ["content"]
    if content == "programs":
        return target.startswith(PROGRAMS) and os.access(source, os.X_OK)
    return content == "copies"


def place(source, target):
    """Puts what is at `source` to `target`; what is there already stays."""
    if os.path.isdir(source) and not os.path.islink(source):
        if os.path.islink(target) and os.path.isdir(target):
            # Two units have the folder, and one of them as a link.
            inner = os.path.realpath(target)
            os.unlink(target)
            place(inner, target)
        os.makedirs(target, exist_ok=True)
        for name in sorted(os.listdir(source)):
            place(f"{source}/{name}", f"{target}/{name}")
    elif os.path.lexists(target):
        return
    elif os.path.islink(source) and not os.readlink(source).startswith("/"):
        os.symlink(os.readlink(source), target)
    elif is_copied(source, target):
        shutil.copy2(source, target)
        os.chmod(target, os.stat(target).st_mode | 0o200)
    else:
        os.symlink(source, target)


def lift_triplet(folder):
    """nixpkgs has lib/X where Debian has lib/x86_64-linux-gnu/X."""
    inner = f"{folder}/{TRIPLET}"
    for name in sorted(os.listdir(inner)) if os.path.isdir(inner) else []:
        if not os.path.lexists(f"{folder}/{name}"):
            os.symlink(f"{TRIPLET}/{name}", f"{folder}/{name}")
        elif os.path.isdir(f"{folder}/{name}") and os.path.isdir(f"{inner}/{name}"):
            place(f"{inner}/{name}", f"{folder}/{name}")


def replace_link(path, text):
    """Writes a text in the place of a link to a unit's file."""
    mode = os.stat(path).st_mode & 0o777
    os.unlink(path)
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    os.chmod(path, mode | 0o200)


def read(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def first_of(*places):
    """The first place that is there, or None."""
    return next((place for place in places if os.path.exists(place)), None)


def with_own_paths(text):
    """The text with Debian's paths of what is in this or another tree as paths of that tree."""
    trees = (MAIN, *OTHERS)

    def folder(match):
        return (
            first_of(*(f"{tree}/{match[1]}/{match[2]}" for tree in trees)) or match[0]
        )

    def program(match):
        return first_of(*(f"{tree}/bin/{match[1]}" for tree in trees)) or match[0]

    before = r"(?<![A-Za-z0-9_.}-])"
    text = re.sub(
        before + r"/(?:usr/)?(lib|libexec|share)/([A-Za-z0-9_.@+/-]*[A-Za-z0-9_-])",
        folder,
        text,
    )
    return re.sub(before + r"/(?:usr/)?s?bin/([A-Za-z0-9_.+-]+)", program, text)


def rules_with_own_paths(text):
    """udev looks for relative programs in its own folder, which NixOS does not have."""

    def program(match):
        own = first_of(f"{MAIN}/lib/udev/{match[2]}", f"{MAIN}/bin/{match[2]}")
        return match[1] + (own or match[2])

    relative = r'((?:RUN|PROGRAM|IMPORT\{program\})\+?=")([a-z][A-Za-z0-9_.-]*)'
    return with_own_paths(re.sub(relative, program, text))


def library_with_own_prefix(text):
    # What a static library needs besides is not there.
    text = re.sub(r"(?m)^Requires\.private:.*\n", "", text)
    return re.sub(r"(?m)^(\w+)=/usr\b", rf"\1={MAIN}", text)


CHANGES = {"rules.d": rules_with_own_paths, "pkgconfig": library_with_own_prefix}


def rewrite_texts():
    for folder in TEXTS:
        change = CHANGES.get(os.path.basename(folder), with_own_paths)
        for parent, directories, names in os.walk(os.path.realpath(f"{MAIN}/{folder}")):
            # NixOS enables units by its own configuration.
            for name in [
                name for name in directories if name.endswith((".wants", ".requires"))
            ]:
                shutil.rmtree(f"{parent}/{name}")
                directories.remove(name)
            for name in names:
                path = f"{parent}/{name}"
                if not os.path.islink(path) or not os.path.isfile(path):
                    continue
                if not os.readlink(path).startswith("/nix/"):
                    continue
                old = read(path)
                new = change(old)
                if new != old:
                    replace_link(path, new)


# By the name of an interpreter: the variable for the modules of its scripts, and where Debian has these.
LANGUAGES = {
    "python3": ("PYTHONPATH", ["lib/python3/dist-packages"]),
    "perl": ("PERL5LIB", ["share/perl5", f"lib/{TRIPLET}/perl5/5.*"]),
}


def interpreter_of(path):
    """The program that runs a script, or None."""
    with open(path, "rb") as file:
        line = file.readline(200).decode(errors="replace")
    words = line.removeprefix("#!").split()
    if not line.startswith("#!") or not words:
        return None
    program = os.path.basename(words[0])
    return words[1] if program == "env" and len(words) > 1 else program


def wrap_scripts():
    """Has each script in Python or Perl run by the interpreter of the store, with its modules."""
    shell = os.environ["tools"].split()[0] + "/bin/bash"
    for interpreter in os.environ["interpreters"].split():
        for name in LANGUAGES:
            if os.path.exists(f"{interpreter}/bin/{name}"):
                wrap_scripts_in(name, interpreter, shell)


def wrap_scripts_in(language, interpreter, shell):
    variable, places = LANGUAGES[language]
    units = os.environ["modules"].split()
    folders = [glob.glob(f"{unit}/{place}") for unit in units for place in places]
    path = ":".join(folder for found in folders for folder in found)
    for name in os.listdir(f"{MAIN}/bin"):
        program = f"{MAIN}/bin/{name}"
        real = os.path.realpath(program)
        if not os.path.isfile(real) or interpreter_of(real) != language:
            continue
        os.unlink(program)
        with open(program, "w") as file:
            file.write(
                f"#!{shell}\nexport {variable}={path}${{{variable}:+:${variable}}}\n"
                f'exec {interpreter}/bin/{language} {real} "$@"\n'
            )
        os.chmod(program, 0o755)


def finish():
    """Runs what the table says beyond the names of packages."""
    program = os.environ.get("program")
    if program:
        runpy.run_path(program)
    tools = os.environ["tools"].split()
    with open(os.environ["fixPath"]) as file:
        script = file.read()
    if script:
        environment = {
            **os.environ,
            "out": MAIN,
            "PATH": ":".join(f"{tool}/bin" for tool in tools),
            "SHELL": f"{tools[0]}/bin/bash",
        }
        patchelf = f'patchelf() {{ {os.environ["patchelf"]} "$@"; }}\n'
        shell = [f"{tools[0]}/bin/bash", "-euo", "pipefail", "-c", patchelf + script]
        status = subprocess.run(shell, check=False, env=environment).returncode
        if status:
            sys.exit(
                f"the fix in the table of packages ended with status {status}:\n{script}"
            )


def make_tree():
    os.makedirs(f"{MAIN}/bin")
    for unit in os.environ["units"].split():
        place(unit, MAIN)
    for folder in ("lib", "include"):
        lift_triplet(f"{MAIN}/{folder}")
    if not os.path.lexists(f"{MAIN}/sbin"):
        os.symlink("bin", f"{MAIN}/sbin")
    if os.environ["changesTexts"]:
        rewrite_texts()
    wrap_scripts()


def make_other_outputs():
    for output in os.environ["outputs"].split():
        path = os.environ[output]
        if os.path.lexists(path):
            continue
        os.makedirs(path)
        for name in sorted(os.listdir(MAIN)) if output not in EMPTY else []:
            os.symlink(f"{MAIN}/{name}", f"{path}/{name}")


def main():
    if not os.environ.get("isFile"):
        make_tree()
    finish()
    if not os.environ.get("isFile"):
        make_other_outputs()


if __name__ == "__main__":
    main()
