"""The native module of the engine (src/engine/native.rs), for type checkers."""

from typing import Any, Callable

session: dict[str, Any]
"""What the run is: machines, networks, folders, the timeout factor."""

def call(
    target: str,
    operation: str,
    arguments: dict[str, Any],
    pause: float | None,
    on_pause: Callable[[], None] | None,
) -> Any:
    """Makes a call of a machine, or of the driver if `target` is empty. Calls `on_pause` every `pause` seconds meanwhile."""

def write(text: str) -> int: ...
def describe(exception: BaseException) -> dict[str, Any]: ...
def fail(exception: BaseException) -> None:
    """Fails the script, although it goes on."""

def text_difference(left: str, right: str) -> str:
    """Describes how two texts differ, by lines. Returns an empty text where their reprs show it."""

def find_module(name: str, folders: list[str] | None) -> dict[str, Any] | None:
    """Finds a module by the last part of its name, in the folders of its package or of the script."""

def compile_module(file: str) -> Any: ...
def stop_at(locals: dict[str, Any], globals: dict[str, Any], file: str, line: int) -> None:
    """Opens a prompt among these names, if a user has a terminal or may attach one."""

def run_script() -> None: ...
def begin_scope() -> int: ...
def begin_deadline(seconds: float) -> int: ...
def cancel_scope(scope: int) -> None: ...
def end_scope(scope: int) -> None: ...
def scopes() -> list[int]:
    """Returns the scopes that this thread's statements are in."""

def enter_scopes(scopes: list[int]) -> None: ...
def after_fork() -> None: ...
