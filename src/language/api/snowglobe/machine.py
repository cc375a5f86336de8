"""Machines, as scripts see them."""

from __future__ import annotations

import contextlib
import pathlib
import re
import shlex
import shutil
import time
from typing import TYPE_CHECKING, Any, Callable, Iterator

import _snowglobe

from .background import Background, command_setting
from .calls import call, check_watched, drive, go_outside
from .durations import Duration, in_seconds
from .efi import EfiVariable, EfiVars
from .errors import MachineError, RequestedAssertionFailed
from .extensions import extension
from .faults import Cable, Fault, Link, link_to
from .files import File
from .keys import KEY_NAMES
from .log import Log
from .log import log as run_log
from .machine_faults import Clock, Disk, Memory, Processors, pause_fault
from .qemu import Process, QmpClient, Shell
from .waiting import retry, retrying

if TYPE_CHECKING:
    from .driver import VLan


class Machine:
    """A machine of the test."""

    name: str
    """The name of the machine: its host name."""
    out_dir: pathlib.Path
    """The output folder of the run."""
    logger: Log
    """The log of the run."""

    def __init__(self, node, name, state_dir):
        self._node = node
        # The name of the machine in the script, for code that is printed.
        self._code = node
        self._console_position = 0
        self._next_event = 0
        self.name = name
        self._state_dir = pathlib.Path(state_dir)
        self.out_dir = pathlib.Path(_snowglobe.session["out_dir"])
        self.logger = run_log

    def __repr__(self):
        return f"<Machine '{self.name}'>"

    def _call(self, operation, **arguments):
        return call(self._node, operation, arguments)

    @property
    def state_dir(self) -> pathlib.Path:
        """The machine's private folder on the host, which holds its disks and sockets."""
        go_outside()
        return self._state_dir

    @property
    def shared_dir(self) -> pathlib.Path:
        """The folder of the host that all guests have as /tmp/shared. Any guest can change what is in it."""
        go_outside()
        return pathlib.Path(_snowglobe.session["shared_dir"])

    @property
    def tmp_dir(self) -> pathlib.Path:
        """The folder of the host that holds the state folders of all machines."""
        return self.state_dir.parent

    def cleanup_statedir(self) -> None:
        """Remove the files in state_dir, such as disks: the machine starts as for the first time. Raises MachineError
        while it runs.
        """
        if self.booted:
            raise MachineError(f"{self.name} is running: its files can be removed after a shutdown()")
        for entry in self.state_dir.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    # ── life ────────────────────────────────────────────────────────────────
    @property
    def booted(self) -> bool:
        """Whether the machine is running."""
        return self._call("is_up")

    @property
    def pid(self) -> int | None:
        """The ID of the process that runs the machine (QEMU, or that of a container), or None if it was never started."""
        return self._call("pid")

    @property
    def process(self) -> Process | None:
        """The process that runs the machine, or None if it was never started."""
        return None if self.pid is None else Process(self)

    @property
    def connected(self) -> bool:
        """Whether the guest's shell has answered. Set it to False to make the next command wait for the shell
        again.
        """
        return self._call("is_connected")

    @connected.setter
    def connected(self, value):
        if not value:
            self._call("disconnect")

    def is_up(self) -> bool:
        """Return whether the machine is running and its shell has answered."""
        return self.booted and self.connected

    def start(self, allow_reboot: bool = False, *, expect: str | list[str] | None = None) -> None:
        """Start the machine, without waiting for it. Without allow_reboot, a reboot of the guest ends the
        machine. expect names crashes that do not end the test, as for expect().
        """
        if not self.booted:
            self._next_event = 0
        allowed = [expect] if isinstance(expect, str) else list(expect or [])
        self._call("start", allow_reboot=allow_reboot, expect=allowed)

    @extension
    @contextlib.contextmanager
    def expect(self, crash: str, timeout: Duration = 900) -> Iterator[None]:
        """Expect the machine to crash inside the block. crash is a name such as "kernel panic", or a regular
        expression for the line on the console. Raises RequestedAssertionFailed if there is no crash within
        timeout seconds after the block, 900 by default.
        """
        expectation = self._call("begin_expectation", crash=crash)
        limit = None
        try:
            yield
            limit = in_seconds(timeout)
        except MachineError:
            # What was going on ends by it.
            if not self._call("was_seen", expectation=expectation):
                raise
        finally:
            self._call("end_expectation", expectation=expectation, crash=crash, timeout=limit)

    @extension
    def fail_on_console_text(self, regex: str) -> None:
        """Take console lines that match the regular expression for a crash from now on."""
        self._call("fail_on_console_text", regex=regex)

    def connect(self) -> None:
        """Wait until the guest's shell answers. Starts the machine if it is off."""
        self._call("connect")

    def shutdown(self) -> None:
        """Power the guest off, and wait until the machine is off."""
        self._call("shutdown")

    def crash(self, *, lose_unflushed: bool = False) -> None:
        """End the machine as if the power had failed. At the next start its disks have what the guest has flushed, and
        perhaps more; with lose_unflushed=True, which is for virtual machines, nothing more.
        """
        if lose_unflushed:
            self._call("crash_unflushed")
        else:
            self._call("crash")

    def reboot(self) -> None:
        """Press Ctrl-Alt-Delete. The machine must have been started with allow_reboot."""
        self._call("reboot")

    def wait_for_shutdown(self) -> None:
        """Wait until the machine is off."""
        self._call("wait_for_shutdown")

    def release(self) -> None:
        """End the machine, as at the end of a run."""
        self._call("crash")

    def switch_root(self) -> None:
        """Switch from the initial ramdisk to the real system, and wait for its shell. For guests whose shell
        already answers in the initial ramdisk.
        """
        self.wait_for_unit("initrd.target")
        self.execute(
            "systemctl isolate --no-block initrd-switch-root.target 2>/dev/null >/dev/null",
            check_return=False,
            check_output=False,
        )
        self.connected = False
        self.connect()

    # ── commands ────────────────────────────────────────────────────────────
    def execute(
        self,
        command: str,
        check_return: bool = True,
        check_output: bool = True,
        timeout: Duration | None = 900,
        *,
        user: str | None = None,
        env: dict[str, Any] | None = None,
        cwd: str | None = None,
    ) -> tuple[int, str]:
        """Run a command and return its exit status and output. The command ends after timeout seconds, 900 by
        default, with the status 124. Without check_return the status is -1; without check_output the call
        does not wait, and the result is (-2, ""). For user, env and cwd see succeed().
        """
        status, output = self._call(
            "execute",
            command=command,
            check_return=check_return,
            check_output=check_output,
            timeout=in_seconds(timeout),
            setting=command_setting(user, env, cwd),
        )
        return (status, output)

    def succeed(
        self,
        *commands: str,
        timeout: Duration | None = None,
        user: str | None = None,
        env: dict[str, Any] | None = None,
        cwd: str | None = None,
    ) -> str:
        """Run commands and return their output. Raises RequestedAssertionFailed if one has an exit status other
        than 0. Each may take timeout seconds; there is no limit by default. user is the user to run as, env
        adds environment variables, cwd is the working directory.
        """
        return self._call(
            "succeed", commands=commands, timeout=in_seconds(timeout), setting=command_setting(user, env, cwd)
        )

    def fail(
        self,
        *commands: str,
        timeout: Duration | None = None,
        user: str | None = None,
        env: dict[str, Any] | None = None,
        cwd: str | None = None,
    ) -> str:
        """Run commands that must fail, and return their output. Raises RequestedAssertionFailed if one succeeds.
        For the other arguments see succeed().
        """
        return self._call(
            "fail", commands=commands, timeout=in_seconds(timeout), setting=command_setting(user, env, cwd)
        )

    def wait_until_succeeds(
        self,
        command: str,
        timeout: Duration = 900,
        *,
        user: str | None = None,
        env: dict[str, Any] | None = None,
        cwd: str | None = None,
    ) -> str:
        """Repeat a command until it succeeds, and return its output. Raises RequestedAssertionFailed after
        timeout seconds, 900 by default. For user, env and cwd see succeed().
        """
        return self._call(
            "wait_until_succeeds", command=command, timeout=in_seconds(timeout), setting=command_setting(user, env, cwd)
        )

    def wait_until_fails(
        self,
        command: str,
        timeout: Duration = 900,
        *,
        user: str | None = None,
        env: dict[str, Any] | None = None,
        cwd: str | None = None,
    ) -> str:
        """Repeat a command until it fails, and return its output. Raises RequestedAssertionFailed after timeout
        seconds, 900 by default. For user, env and cwd see succeed().
        """
        return self._call(
            "wait_until_fails", command=command, timeout=in_seconds(timeout), setting=command_setting(user, env, cwd)
        )

    @extension
    def background(
        self,
        command: str,
        *,
        user: str | None = None,
        env: dict[str, Any] | None = None,
        cwd: str | None = None,
    ) -> Background:
        """Start a command and return without waiting for it. The result can be waited for and killed. For user,
        env and cwd see succeed().
        """
        return Background(self, command, command_setting(user, env, cwd))

    def sleep(self, duration: Duration | None = None, *, secs: Duration | None = None) -> None:
        """Sleep for a time of the guest, in seconds. secs is another name for duration."""
        seconds = secs if duration is None else duration
        if seconds is None:
            raise TypeError("sleep() needs a duration")
        self._call("sleep", seconds=in_seconds(seconds))

    @property
    def shell(self) -> Shell:
        """The guest's root shell as a stream of bytes, for what no other method does."""
        return Shell(self)

    def shell_interact(self, address: str | None = None) -> None:
        """Attach the terminal to a shell in the guest until the shell ends or Ctrl-] is pressed. With an
        address, "tcp:HOST:PORT" or "unix:PATH", connect to what listens there instead.
        """
        self._call("shell_interact", address=address)

    def ssh_backdoor_command(self, index: int | None = None) -> str:
        """Return the command that opens SSH to the machine over vsock, for tests with sshBackdoor.enable. It needs
        systemd-ssh-proxy on the host (systemd 256). The index is of nixpkgs before 26.05. Raises MachineError with what
        is missing.
        """
        return f"ssh -o User=root vsock/{index}" if index is not None else self._call("ssh_backdoor_command")

    def console_interact(self) -> None:
        """Attach the terminal to the serial console until Ctrl-] is pressed."""
        self._call("console_interact")

    # ── units ───────────────────────────────────────────────────────────────
    def systemctl(self, q: str, user: str | None = None) -> tuple[int, str]:
        """Run systemctl and return its exit status and output. With user, ask the manager of that user."""
        status, output = self._call("systemctl", query=q, user=user)
        return (status, output)

    def wait_for_unit(self, unit: str, user: str | None = None, timeout: Duration = 900) -> None:
        """Wait until a unit is active. Raises RequestedAssertionFailed at once if it never will be: it has
        failed, or is inactive and no job is pending. Otherwise it raises after timeout seconds, 900 by
        default. With user, ask the manager of that user.
        """
        self._call("wait_for_unit", unit=unit, user=user, timeout=in_seconds(timeout))

    @extension
    def expect_failed(self, unit: str) -> None:
        """Let a unit fail from now on: no warning comes of it, and no wait ends by it. unit is a name or a pattern
        such as "worker@*".
        """
        self._call("expect_failed", unit=unit)

    def get_unit_info(self, unit: str, user: str | None = None) -> dict[str, str]:
        """Return all properties of a unit."""
        return self._call("unit_info", unit=unit, user=user)

    def get_unit_property(self, unit: str, property: str, user: str | None = None) -> str:
        """Return one property of a unit."""
        return self._call("unit_property", unit=unit, property=property, user=user)

    def require_unit_state(self, unit: str, require_state: str = "active") -> None:
        """Raise RequestedAssertionFailed unless a unit is in this state."""
        state = self.get_unit_property(unit, "ActiveState")
        if state != require_state:
            raise RequestedAssertionFailed(
                f"unit {unit} on {self.name} is {state}, and should be {require_state}"
            )

    def start_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Start a unit. Returns the exit status and output of systemctl."""
        return self.systemctl(f"start -- {shlex.join(jobname.split())}", user)

    def stop_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Stop a unit. Returns the exit status and output of systemctl."""
        return self.systemctl(f"stop -- {shlex.join(jobname.split())}", user)

    def wait_for_job(self, jobname: str) -> None:
        """Wait until a unit is active, as wait_for_unit() does."""
        self.wait_for_unit(jobname)

    @extension
    def journal(self, unit: str | None = None, since: str | None = None) -> str:
        """Return the journal of the guest, or of one unit. since is a time as journalctl takes it: "10:00",
        "-5min".
        """
        words = ["journalctl", "--no-pager", "--quiet"]
        words += [] if unit is None else [f"--unit={unit}"]
        words += [] if since is None else [f"--since={since}"]
        return self.succeed(shlex.join(words))

    # ── files and ports ─────────────────────────────────────────────────────
    @extension
    def file(self, path: str) -> File:
        """Return a file or folder of the guest, to inspect it."""
        return File(self, path)

    def wait_for_file(self, filename: str, timeout: Duration = 900) -> None:
        """Wait until a file exists. Raises RequestedAssertionFailed after timeout seconds, 900 by default."""
        self._call("wait_for_file", filename=filename, timeout=in_seconds(timeout))

    def wait_for_open_port(self, port: int | str, addr: str = "localhost", timeout: Duration = 900) -> None:
        """Wait until a process listens on a TCP port. Raises RequestedAssertionFailed after timeout seconds, 900
        by default.
        """
        self._call("wait_for_open_port", port=int(port), address=addr, timeout=in_seconds(timeout))

    def wait_for_closed_port(self, port: int | str, addr: str = "localhost", timeout: Duration = 900) -> None:
        """Wait until no process listens on a TCP port. Raises RequestedAssertionFailed after timeout seconds,
        900 by default.
        """
        self._call("wait_for_closed_port", port=int(port), address=addr, timeout=in_seconds(timeout))

    @extension
    def wait_for(
        self,
        *,
        unit: str | list[str] | None = None,
        port: int | list[int] | None = None,
        file: str | list[str] | None = None,
        http: str | list[str] | None = None,
        log: str | list[str] | None = None,
        any: bool = False,
        timeout: Duration = 900,
    ) -> None:
        """Wait until several conditions hold at once, or with any=True until one does: units are active,
        processes listen on TCP ports, files exist, the guest gets a status below 400 from URLs, console lines
        match regular expressions. Raises RequestedAssertionFailed at once if a required unit has failed,
        otherwise after timeout seconds, 900 by default.
        """
        given = {"unit": unit, "port": port, "file": file, "http": http, "log": log}
        conditions = [
            {kind: value}
            for kind, values in given.items()
            for value in (values if isinstance(values, (list, tuple)) else [values])
            if value is not None
        ]
        if not conditions:
            raise TypeError("wait_for() needs something to wait for: unit, port, file, http or log")
        self._call(
            "wait_for_conditions",
            conditions=conditions,
            wanted="any" if any else "all",
            timeout=in_seconds(timeout),
        )

    def wait_for_open_unix_socket(self, addr: str, is_datagram: bool = False, timeout: Duration = 900) -> None:
        """Wait until a process listens on a Unix socket. Raises RequestedAssertionFailed after timeout seconds,
        900 by default.
        """
        self._call("wait_for_unix_socket", path=addr, datagram=is_datagram, timeout=in_seconds(timeout))

    def copy_from_host(self, source: str | pathlib.Path, target: str | pathlib.Path) -> None:
        """Copy a file or folder of the host into the guest."""
        self._call("copy_from_host", source=str(source), target=str(target))

    def copy_from_host_via_shell(self, source: str | pathlib.Path, target: str | pathlib.Path) -> None:
        """Copy a file of the host into the guest through the guest's shell, for guests that mount no folder."""
        import base64

        folder = shlex.quote(str(pathlib.PurePosixPath(target).parent))
        quoted = shlex.quote(str(target))
        self.succeed(f"mkdir -p -- {folder}", f": > {quoted}")
        self.log(f"copying {source} to {target} through the shell")
        with open(source, "rb") as stream:
            # A line of the guest's terminal driver holds a little more.
            while chunk := stream.read(3 * 512):
                text = base64.b64encode(chunk).decode()
                status, _ = self.execute(f"echo {text} | base64 -d >> {quoted}")
                if status != 0:
                    raise RequestedAssertionFailed(f"{target} on {self.name} could not be written (exit code {status})")

    def copy_from_machine(self, source: str, target_dir: str | pathlib.Path = "") -> None:
        """Copy a file or folder of the guest into the output folder, below target_dir."""
        target = str(target_dir)
        # Scripts say where with and without the folder itself.
        with contextlib.suppress(ValueError):
            target = str(pathlib.Path(target).relative_to(self.out_dir))
        self._call("copy_from_machine", source=str(source), target=target)

    def copy_from_vm(self, source: str, target_dir: str | pathlib.Path = "") -> None:
        """The older name of copy_from_machine()."""
        self.copy_from_machine(source, target_dir)

    # ── console, display, keyboard ──────────────────────────────────────────
    def get_console_log(self) -> str:
        """Return what the console has shown, at most its last 16 MiB."""
        return self._call("console_text", position=0)[0]

    @property
    def full_console_log(self) -> list[str]:
        """The lines that the console has shown, at most its last 16 MiB."""
        return self.get_console_log().splitlines()

    @property
    def last_lines(self) -> Any:
        """A queue.Queue of console lines. Each line is returned once."""
        import queue

        lines = self.__dict__.setdefault("_last_lines", queue.Queue())
        text, end = self._call("console_text", position=self.__dict__.get("_lines_position", 0))
        whole = text[: text.rfind("\n") + 1]
        self._lines_position = end - len(text[len(whole) :].encode())
        for line in whole.splitlines():
            lines.put(line)
        return lines

    def wait_for_console_text(self, regex: str | re.Pattern[str], timeout: Duration | None = None) -> None:
        """Wait until the console shows text that matches a regular expression. The search starts after the
        previous match. Raises RequestedAssertionFailed after timeout seconds; there is no limit by default.
        """
        limit = None if timeout is None else time.monotonic() + in_seconds(timeout)
        pattern = re.compile(regex)
        text, end = self._call("console_text", position=self._console_position)
        while True:
            # A console ends its lines with both characters.
            found = pattern.search(text.replace("\r\n", "\n"))
            if found:
                # What comes after the line is for the next wait.
                lines = found.string.count("\n", 0, found.end()) + 1
                read = "".join(re.split("(?<=\n)", text)[:lines])
                self._console_position = end - len(text.encode()) + len(read.encode())
                return
            left = None if limit is None else limit - time.monotonic()
            if left is not None and left <= 0:
                raise RequestedAssertionFailed(
                    f"the console of {self.name} did not show {pattern.pattern!r} within {in_seconds(timeout)} s"
                )
            more, end = self._call("wait_for_console", position=end, timeout=left)
            # As much as the driver itself keeps.
            text = (text + more)[-(16 << 20) :]

    def send_console(self, chars: str) -> None:
        """Type characters on the serial console."""
        self._call("send_console", text=chars)

    def get_tty_text(self, tty: str | int) -> str:
        """Return the text on a virtual terminal."""
        terminal, screen = shlex.quote(f"/dev/tty{tty}"), shlex.quote(f"/dev/vcs{tty}")
        width = f"stty -F {terminal} size | cut -d ' ' -f 2"
        return self.succeed(f"fold -w $({width}) {screen}")

    def wait_until_tty_matches(self, tty: str | int, regexp: str | re.Pattern[str], timeout: Duration = 900) -> None:
        """Wait until the text on a virtual terminal matches a regular expression. Raises
        RequestedAssertionFailed after timeout seconds, 900 by default.
        """
        pattern = re.compile(regexp)
        shown = ""

        def matches(last_try):
            nonlocal shown
            shown = self.get_tty_text(tty)
            return pattern.search(shown)

        with retrying(f"{pattern.pattern!r} on terminal {tty} of {self.name}", lambda: shown):
            retry(matches, timeout)

    def dump_tty_contents(self, tty: str | int) -> None:
        """Print the text on a virtual terminal to the console."""
        self.execute(f"fold -w 80 {shlex.quote(f'/dev/vcs{tty}')} | systemd-cat")

    def send_key(self, key: str, delay: Duration | None = 0.01, log: bool | None = True) -> None:
        """Press a key, or a combination such as "ctrl-alt-delete". delay is the pause after it, in seconds."""
        key = KEY_NAMES.get(key, key)
        if log:
            self.log(f"sending key {key!r}")
        self._call("send_key", key=key)
        if delay:
            time.sleep(in_seconds(delay))

    def send_chars(self, chars: str, delay: Duration | None = 0.01) -> None:
        """Type characters on a US keyboard. delay is the pause after each, in seconds."""
        self.log(f"typing {chars!r}")
        for char in chars:
            self.send_key(char, delay, log=False)

    def screenshot(self, filename: str) -> None:
        """Save a picture of the display below the output folder. A name without an ending gets ".png"."""
        self._call("screenshot", name=str(filename))

    def get_screen_text(self) -> str:
        """Return the text on the display, as tesseract reads it."""
        return self._call("screen_text", pictures=["dark_on_light"])[0]

    def get_screen_text_variants(self) -> list[str]:
        """Return the text on the display, as tesseract reads it from the picture as it is, and from enlarged
        pictures: dark on light, and light on dark.
        """
        return self._call("screen_text", pictures=["as_it_is", "dark_on_light", "light_on_dark"])

    def wait_for_text(self, regex: str | re.Pattern[str], timeout: Duration = 900) -> None:
        """Wait until the text on the display matches a regular expression, in one of the variants. Raises
        RequestedAssertionFailed after timeout seconds, 900 by default.
        """
        pattern = re.compile(regex)
        shown = {}

        def matches(last_try):
            for picture in ("dark_on_light", "as_it_is", "light_on_dark"):
                shown[picture] = self._call("screen_text", pictures=[picture])[0]
                if pattern.search(shown[picture]):
                    return True
            return False

        with retrying(f"text {pattern.pattern!r} on the display of {self.name}", lambda: "\n".join(shown.values())):
            retry(matches, timeout)

    def wait_for_x(self, timeout: Duration = 900) -> None:
        """Wait until the X server accepts connections. Raises RequestedAssertionFailed after timeout seconds,
        900 by default.
        """
        ready = "journalctl -b SYSLOG_IDENTIFIER=systemd | grep -q 'Reached target Current graphical'"
        self.wait_until_succeeds(f"{ready} && [ -e /tmp/.X11-unix/X0 ]", timeout)

    def get_window_names(self) -> list[str]:
        """Return the names of the X server's windows."""
        tree = self.succeed(r"xwininfo -root -tree | sed -n 's/.*0x[0-9a-f]* \"\([^\"]*\)\".*/\1/p'")
        return tree.splitlines()

    def wait_for_window(self, regexp: str | re.Pattern[str], timeout: Duration = 900) -> None:
        """Wait until the name of a window matches a regular expression. Raises RequestedAssertionFailed after
        timeout seconds, 900 by default.
        """
        pattern = re.compile(regexp)
        names = []

        def matches(last_try):
            names[:] = self.get_window_names()
            return any(pattern.search(name) for name in names)

        with retrying(f"a window {pattern.pattern!r} on {self.name}", lambda: ", ".join(names)):
            retry(matches, timeout)

    # ── monitor, network ────────────────────────────────────────────────────
    def send_monitor_command(self, command: str) -> str:
        """Run a command of QEMU's human monitor and return its output."""
        return self._call("monitor_command", command=command)

    def wait_for_monitor_prompt(self) -> str:
        """Return what QEMU's monitor still says: nothing, since send_monitor_command() has read all of it."""
        return ""

    @property
    def qmp_client(self) -> QmpClient:
        """The client for QEMU's machine protocol (QMP)."""
        return QmpClient(self)

    def wait_for_qmp_event(self, event_filter: Callable[[dict[str, Any]], bool], timeout: Duration = 600) -> dict[str, Any]:
        """Wait for a QMP event for which the filter returns a true value, and return it. Each event is checked
        once. Raises RequestedAssertionFailed after timeout seconds, 600 by default.
        """
        limit = in_seconds(timeout)
        end = time.monotonic() + limit
        while time.monotonic() < end:
            with contextlib.suppress(RequestedAssertionFailed):
                event = self.qmp_client.wait_for_event(end - time.monotonic())
                if event_filter(event):
                    return event
        raise RequestedAssertionFailed(f"waiting for an event of QEMU on {self.name} took longer than {limit} s")

    def forward_port(self, host_port: int | None = None, guest_port: int | None = None) -> int:
        """Forward a TCP port of the host to the guest through QEMU's user network, by default 8080 to 80. With
        guest_port alone, a free port of the host is taken. Returns the port of the host.
        """
        import socket

        if host_port is None and guest_port is None:
            host_port = 8080
        if host_port is None:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                host_port = free.getsockname()[1]
        answer = self.send_monitor_command(f"hostfwd_add tcp::{host_port}-:{80 if guest_port is None else guest_port}")
        if answer.strip():
            raise MachineError(f"port {host_port} of the host cannot lead to {self.name}: {answer.strip()}")
        return host_port

    # ── faults ──────────────────────────────────────────────────────────────
    @extension
    def paused(self) -> Fault:
        """Return a fault in which the processors of the machine stand still, as if it hung. Its clocks go on, and calls
        to it wait for the end of the fault. The network of a paused container goes on, as it is in the kernel of the host:
        its ports take connections, and pings are answered. For a machine that is gone, see isolate().
        """
        return pause_fault(self)

    @extension
    def kill_process(self, pattern: str, signal: str = "KILL") -> int:
        """Send a signal to all processes of the guest whose command lines match an extended regular expression, and return
        their number. Raises RequestedAssertionFailed if there is none.
        """
        return self._call("kill_processes", pattern=pattern, signal=signal)

    @property
    def clock(self) -> Clock:
        """The system clock of the guest. *Snowglobe extension*"""
        return Clock(self)

    @property
    def memory(self) -> Memory:
        """The memory of the guest. *Snowglobe extension*"""
        return Memory(self)

    @property
    def processors(self) -> Processors:
        """The processors of the machine. *Snowglobe extension*"""
        return Processors(self)

    @extension
    def disk(self, name: str = "vda") -> Disk:
        """Return a disk of a virtual machine by its name in the guest; the first one is "vda"."""
        return Disk(self, name)

    @extension
    def to(self, other: Machine, vlan: VLan | None = None) -> Link:
        """Return the link to another machine, in this direction only: on all virtual networks that both are on, or on
        one.
        """
        return link_to(self, other, vlan)

    @extension
    def cable(self, vlan: VLan) -> Cable:
        """Return the cable of the machine's card on a virtual network."""
        return Cable(self, vlan)

    def block(self) -> None:
        """Unplug the machine's virtual networks."""
        self._call("block")

    def unblock(self) -> None:
        """Plug the machine's virtual networks in again."""
        self._call("unblock")

    # ── EFI variables, while the machine is off ─────────────────────────────
    @property
    def efi_vars(self) -> EfiVars:
        """The file of the machine's EFI variables."""
        return EfiVars(self.state_dir / f"{self.name}-efi-vars.fd", self)

    def create_efi_vars(self) -> None:
        """Create an empty file of EFI variables. Raises if the machine has one."""
        self.efi_vars.create_empty()

    def read_efi_vars(self) -> list[EfiVariable]:
        """Return the machine's EFI variables."""
        return self.efi_vars.read()

    def write_efi_vars(self, variables: list[EfiVariable]) -> None:
        """Set EFI variables. The others do not change."""
        self.efi_vars.write(variables)

    def dump_efi_vars(self) -> None:
        """Print the machine's EFI variables."""
        for variable in self.read_efi_vars():
            variable.print()

    # ── log ─────────────────────────────────────────────────────────────────
    def run_callbacks(self) -> None:
        """Check the polling conditions, as each wait does. Raises RequestedAssertionFailed if one no longer holds."""
        check_watched()

    def log(self, msg: object) -> None:
        """Log a message about this machine."""
        drive("note", machine=self.name, level="info", text=str(msg))

    @contextlib.contextmanager
    def nested(self, msg: str, attrs: dict[str, str] | None = None) -> Iterator[None]:
        """Log a message about this machine before the statements inside."""
        self.log(msg)
        yield


BaseMachine = Machine
QemuMachine = Machine
NspawnMachine = Machine
