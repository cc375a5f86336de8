"""What `snowglobe mock-run` does, under CPython: the same test API, the same mock machines.

Usage: cpython_mock.py API SCRIPT MODULES NODE...

API is the folder of the test API (src/language/api), MODULES those
that the script uses without importing them, with commas between them. Prints each call
as one JSON line; ends as the script does.
"""

import json
import pathlib
import sys
import types

api_folder, script, modules, *nodes = sys.argv[1:]


def python_name(node):
    name = "".join(char if char.isascii() and (char.isalnum() or char == "_") else "_" for char in node)
    return "_" + name[1:] if name[:1].isdigit() else name


def call(target, operation, arguments, pause, on_pause):
    if operation == "called":
        # In one piece: threads write side by side.
        sys.__stdout__.write(json.dumps(arguments, sort_keys=True) + "\n")
    elif operation == "subtest_started":
        return True
    elif operation == "subtest_finished":
        return arguments["failure"] is None
    elif operation == "create_machine":
        name = arguments["name"] or "machine"
        return {"node": name, "name": name, "state_dir": "/tmp"}
    return None


globals_of_script = {"__name__": "__main__"}
native = types.ModuleType("_snowglobe")
native.call = call
native.write = sys.stderr.write
native.describe = lambda error: {"message": str(error)}
native.run_script = lambda: exec(code, globals_of_script)  # noqa: S102 (the script is tested)
native.begin_scope = lambda: 0
native.begin_deadline = lambda seconds: 0
native.cancel_scope = native.end_scope = native.enter_scopes = lambda scope: None
native.scopes = list
native.session = {
    "machines": [
        {"node": node, "name": node, "python_names": [python_name(node)], "state_dir": "/tmp"} for node in nodes
    ],
    "vlans": list(range(1, 10)),
    "out_dir": "/tmp",
    "shared_dir": "/tmp",
    "python_packages": {},
    "answers": {},
    "timeout_scale": 1,
    "modules": [name for name in modules.split(",") if name],
}
sys.modules["_snowglobe"] = native
api = types.ModuleType("snowglobe")
sys.modules["snowglobe"] = api
for name in ("base", "machine", "run", "mock"):
    source = (pathlib.Path(api_folder) / f"{name}.py").read_text()
    exec(compile(source, name, "exec"), api.__dict__)  # noqa: S102 (as the interpreter does)

globals_of_script.update(api._vocabulary())
main = types.ModuleType("__main__")
main.__dict__.update(globals_of_script)
globals_of_script = main.__dict__
sys.modules["__main__"] = main
sys.argv = ["testScript"]
sys.stdout = sys.stderr
code = compile(pathlib.Path(script).read_text(), "testScript", "exec", dont_inherit=True)
exec(code, globals_of_script)  # noqa: S102 (the script is tested)
