"""Puts util-linux' `su` into the tree, asking PAM for the service `su`: NixOS has no `su-l`."""

import os
import shutil

out = os.environ[os.environ["main"]]
for name in ("su", "runuser"):
    places = [f"{unit}/bin/{name}" for unit in os.environ["suUnits"].split()]
    source = next((place for place in places if os.path.exists(place)), None)
    if source is None:
        continue
    target = f"{out}/bin/{name}"
    if os.path.lexists(target):
        os.unlink(target)
    shutil.copyfile(source, target)
    os.chmod(target, 0o755)
    with open(target, "r+b") as file:
        program = file.read()
        # As long as before, or the program's offsets would be wrong.
        program = program.replace(b"\0su-l\0", b"\0su\0\0\0")
        file.seek(0)
        file.write(program)
