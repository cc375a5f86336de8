"""Machines, as scripts see them."""

from __future__ import annotations

import contextlib
import pathlib
import re
import shlex
import time
from typing import Any, Callable, Iterator

import _snowglobe


class Machine:
    """A virtual machine of the test."""

    name: str
    out_dir: pathlib.Path
    logger: Log

    def __init__(self, node, name, state_dir):
        self._node = node
        self._console_position = 0
        self._next_event = 0
        self.name = name
        self._state_dir = pathlib.Path(state_dir)
        self.out_dir = pathlib.Path(_snowglobe.session["out_dir"])
        self.logger = log

    def __repr__(self):
        return f"<Machine '{self.name}'>"

    def _call(self, operation, **arguments):
        return _call(self._node, operation, arguments)

    @property
    def state_dir(self) -> pathlib.Path:
        """The machine's own folder on the host."""
        _go_outside()
        return self._state_dir

    @property
    def shared_dir(self) -> pathlib.Path:
        """The folder of the host that all guests see as /tmp/shared."""
        _go_outside()
        return pathlib.Path(_snowglobe.session["shared_dir"])

    # ── life ────────────────────────────────────────────────────────────────
    @property
    def booted(self) -> bool:
        """Whether the machine runs."""
        return self._call("is_up")

    @property
    def pid(self) -> int | None:
        """The number of QEMU's process, or None."""
        return self._call("pid")

    @property
    def process(self) -> Process | None:
        """QEMU's process, or None where it never ran."""
        return None if self.pid is None else Process(self)

    @property
    def connected(self) -> bool:
        """Whether the guest's shell has answered. Setting it to False makes the next command wait for the shell anew."""
        return self._call("is_connected")

    @connected.setter
    def connected(self, value):
        if not value:
            self._call("disconnect")

    def is_up(self) -> bool:
        """Whether the machine runs and its shell has answered."""
        return self.booted and self.connected

    def start(self, allow_reboot: bool = False, *, expect: str | list[str] | None = None) -> None:
        """Start the machine, without waiting for it. Own keyword: sicknesses that do not end the test, as expect() takes them."""
        if not self.booted:
            self._next_event = 0
        allowed = [expect] if isinstance(expect, str) else list(expect or [])
        self._call("start", allow_reboot=allow_reboot, expect=allowed)

    @_own
    @contextlib.contextmanager
    def expect(self, sickness: str, timeout: Duration = 900) -> Iterator[None]:
        """Have the machine fall sick by what the statements inside do: by a name such as "kernel panic", or a regular expression for the line on the console. Fail unless it does."""
        expectation = self._call("begin_expectation", sickness=sickness)
        limit = None
        try:
            yield
            limit = _seconds(timeout)
        except MachineError:
            # What was going on ends by it.
            if not self._call("was_seen", expectation=expectation):
                raise
        finally:
            self._call("end_expectation", expectation=expectation, sickness=sickness, timeout=limit)

    @_own
    def fail_on_console_text(self, regex: str) -> None:
        """End the test when a line of the console matches, from now on."""
        self._call("fail_on_console_text", regex=regex)

    def connect(self) -> None:
        """Wait until the guest's shell answers; start the machine if it is off."""
        self._call("connect")

    def shutdown(self) -> None:
        """Power the guest off and wait until it is."""
        self._call("shutdown")

    def crash(self) -> None:
        """End the machine as if the power had failed."""
        self._call("crash")

    def reboot(self) -> None:
        """Press Ctrl-Alt-Delete; the machine must have been started with allow_reboot."""
        self._call("reboot")

    def wait_for_shutdown(self) -> None:
        """Wait until the machine is off."""
        self._call("wait_for_shutdown")

    def release(self) -> None:
        """End the machine, as at the end of a run."""
        self._call("crash")

    def switch_root(self) -> None:
        """Leave the initial ramdisk for the real system; for guests whose shell already answers in there."""
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
        """Run a command; give its exit status and output. Without check_return the status is -1 and not waited for; without check_output nothing is."""
        status, output = self._call(
            "execute",
            command=command,
            check_return=check_return,
            check_output=check_output,
            timeout=_seconds(timeout),
            setting=_setting(user, env, cwd),
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
        """Run commands that must succeed; give their output. Own keywords, here and for the other commands: the user to run them as, variables for their environment, the folder to run them in."""
        return self._call(
            "succeed", commands=commands, timeout=_seconds(timeout), setting=_setting(user, env, cwd)
        )

    def fail(
        self,
        *commands: str,
        timeout: Duration | None = None,
        user: str | None = None,
        env: dict[str, Any] | None = None,
        cwd: str | None = None,
    ) -> str:
        """Run commands that must fail; give their output."""
        return self._call(
            "fail", commands=commands, timeout=_seconds(timeout), setting=_setting(user, env, cwd)
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
        """Wait until a command succeeds; give its output."""
        return self._call(
            "wait_until_succeeds", command=command, timeout=_seconds(timeout), setting=_setting(user, env, cwd)
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
        """Wait until a command fails; give its output."""
        return self._call(
            "wait_until_fails", command=command, timeout=_seconds(timeout), setting=_setting(user, env, cwd)
        )

    @_own
    def background(
        self,
        command: str,
        *,
        user: str | None = None,
        env: dict[str, Any] | None = None,
        cwd: str | None = None,
    ) -> Background:
        """Start a command and go on; what it gives can be waited for and killed."""
        return Background(self, command, _setting(user, env, cwd))

    def sleep(self, secs: Duration) -> None:
        """Let the guest sleep: its seconds, not the host's."""
        self._call("sleep", seconds=_seconds(secs))

    @property
    def shell(self) -> Shell:
        """The guest's root shell itself, for what no other word does."""
        return Shell(self)

    def shell_interact(self, address: str | None = None) -> None:
        """Lend the terminal to a shell in the guest until that ends or Ctrl-] is pressed; or what listens at an address, "tcp:HOST:PORT" or "unix:PATH"."""
        self._call("shell_interact", address=address)

    def console_interact(self) -> None:
        """Lend the terminal to the serial console until Ctrl-] is pressed."""
        self._call("console_interact")

    # ── units ───────────────────────────────────────────────────────────────
    def systemctl(self, q: str, user: str | None = None) -> tuple[int, str]:
        """Run systemctl; give its exit status and output."""
        status, output = self._call("systemctl", query=q, user=user)
        return (status, output)

    def wait_for_unit(self, unit: str, user: str | None = None, timeout: Duration = 900) -> None:
        """Wait until a unit is active; fail at once where it never will be."""
        self._call("wait_for_unit", unit=unit, user=user, timeout=_seconds(timeout))

    def get_unit_info(self, unit: str, user: str | None = None) -> dict[str, str]:
        """All properties of a unit."""
        return self._call("unit_info", unit=unit, user=user)

    def get_unit_property(self, unit: str, property: str, user: str | None = None) -> str:
        """One property of a unit."""
        return self._call("unit_property", unit=unit, property=property, user=user)

    def require_unit_state(self, unit: str, require_state: str = "active") -> None:
        """Fail unless a unit is in this state."""
        state = self.get_unit_property(unit, "ActiveState")
        if state != require_state:
            raise RequestedAssertionFailed(
                f"unit {unit} on {self.name} is {state}, and should be {require_state}"
            )

    def start_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Start a unit."""
        return self.systemctl(f"start {jobname}", user)

    def stop_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """Stop a unit."""
        return self.systemctl(f"stop {jobname}", user)

    def wait_for_job(self, jobname: str) -> None:
        """Wait until a unit is active."""
        self.wait_for_unit(jobname)

    @_own
    def journal(self, unit: str | None = None, since: str | None = None) -> str:
        """The guest's journal, or a unit's part of it; since when, as journalctl takes it: "10:00", "-5min"."""
        words = ["journalctl", "--no-pager", "--quiet"]
        words += [] if unit is None else [f"--unit={unit}"]
        words += [] if since is None else [f"--since={since}"]
        return self.succeed(shlex.join(words))

    # ── files and ports ─────────────────────────────────────────────────────
    @_own
    def file(self, path: str) -> File:
        """A file or folder of the guest, to look at."""
        return File(self, path)

    def wait_for_file(self, filename: str, timeout: Duration = 900) -> None:
        """Wait until a file is there."""
        self._call("wait_for_file", filename=filename, timeout=_seconds(timeout))

    def wait_for_open_port(self, port: int | str, addr: str = "localhost", timeout: Duration = 900) -> None:
        """Wait until something listens on a TCP port."""
        self._call("wait_for_open_port", port=int(port), address=addr, timeout=_seconds(timeout))

    def wait_for_closed_port(self, port: int | str, addr: str = "localhost", timeout: Duration = 900) -> None:
        """Wait until nothing listens on a TCP port."""
        self._call("wait_for_closed_port", port=int(port), address=addr, timeout=_seconds(timeout))

    @_own
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
        """Wait until all of this holds, or any of it: units are active, something listens on TCP ports, files are there, the guest gets an answer from URLs, lines of the console match regular expressions. Fail at once where a unit that is needed has failed."""
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
            timeout=_seconds(timeout),
        )

    def wait_for_open_unix_socket(self, addr: str, is_datagram: bool = False, timeout: Duration = 900) -> None:
        """Wait until something listens on a Unix socket."""
        self._call("wait_for_unix_socket", path=addr, datagram=is_datagram, timeout=_seconds(timeout))

    def copy_from_host(self, source: str | pathlib.Path, target: str | pathlib.Path) -> None:
        """Copy a file or folder of the host into the guest."""
        self._call("copy_from_host", source=str(source), target=str(target))

    def copy_from_host_via_shell(self, source: str | pathlib.Path, target: str | pathlib.Path) -> None:
        """Copy a file of the host into the guest through its shell, where no folder is shared."""
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
        """Copy a file or folder of the guest into the output folder."""
        target = str(target_dir)
        # Scripts say where with and without the folder itself.
        with contextlib.suppress(ValueError):
            target = str(pathlib.Path(target).relative_to(self.out_dir))
        self._call("copy_from_machine", source=str(source), target=target)

    def copy_from_vm(self, source: str, target_dir: str | pathlib.Path = "") -> None:
        """The older name of copy_from_machine."""
        self.copy_from_machine(source, target_dir)

    # ── console, display, keyboard ──────────────────────────────────────────
    def get_console_log(self) -> str:
        """Everything the console has shown, at most its last 16 MiB."""
        return self._call("console_text", position=0)[0]

    @property
    def last_lines(self) -> Any:
        """A queue.Queue of console lines; each comes once."""
        import queue

        lines = self.__dict__.setdefault("_last_lines", queue.Queue())
        text, end = self._call("console_text", position=self.__dict__.get("_lines_position", 0))
        whole = text[: text.rfind("\n") + 1]
        self._lines_position = end - len(text[len(whole) :].encode())
        for line in whole.splitlines():
            lines.put(line)
        return lines

    def wait_for_console_text(self, regex: str | re.Pattern[str], timeout: Duration | None = None) -> None:
        """Wait until the console shows what matches, after what was waited for before."""
        limit = None if timeout is None else time.monotonic() + _seconds(timeout)
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
                    f"the console of {self.name} did not show {pattern.pattern!r} within {_seconds(timeout)} s"
                )
            more, end = self._call("wait_for_console", position=end, timeout=left)
            # As much as the driver itself keeps.
            text = (text + more)[-(16 << 20) :]

    def send_console(self, chars: str) -> None:
        """Type on the serial console."""
        self._call("send_console", text=chars)

    def get_tty_text(self, tty: str | int) -> str:
        """What a virtual terminal shows."""
        width = "stty -F /dev/tty{0} size | cut -d ' ' -f 2".format(tty)
        return self.succeed(f"fold -w $({width}) /dev/vcs{tty}")

    def wait_until_tty_matches(self, tty: str | int, regexp: str | re.Pattern[str], timeout: Duration = 900) -> None:
        """Wait until a virtual terminal shows what matches."""
        pattern = re.compile(regexp)
        shown = ""

        def matches(last_try):
            nonlocal shown
            shown = self.get_tty_text(tty)
            return pattern.search(shown)

        with _retrying(f"{pattern.pattern!r} on terminal {tty} of {self.name}", lambda: shown):
            retry(matches, timeout)

    def dump_tty_contents(self, tty: str | int) -> None:
        """Show on the console what a virtual terminal shows."""
        self.execute(f"fold -w 80 /dev/vcs{tty} | systemd-cat")

    def send_key(self, key: str, delay: Duration | None = 0.01, log: bool | None = True) -> None:
        """Press a key, or a combination such as "ctrl-alt-delete"."""
        key = _KEYS.get(key, key)
        if log:
            self.log(f"sending key {key!r}")
        self._call("send_key", key=key)
        if delay:
            time.sleep(_seconds(delay))

    def send_chars(self, chars: str, delay: Duration | None = 0.01) -> None:
        """Type characters on a US keyboard."""
        self.log(f"typing {chars!r}")
        for char in chars:
            self.send_key(char, delay, log=False)

    def screenshot(self, filename: str) -> None:
        """Save what the display shows."""
        self._call("screenshot", name=str(filename))

    def get_screen_text(self) -> str:
        """The text on the display, as far as the program tesseract can read it."""
        return self._call("screen_text", pictures=["dark_on_light"])[0]

    def get_screen_text_variants(self) -> list[str]:
        """The text on the display, read from the picture as it is, and enlarged: dark on light, and light on dark."""
        return self._call("screen_text", pictures=["as_it_is", "dark_on_light", "light_on_dark"])

    def wait_for_text(self, regex: str | re.Pattern[str], timeout: Duration = 900) -> None:
        """Wait until the display shows a text that matches, in one of the three ways to read it."""
        pattern = re.compile(regex)
        shown = {}

        def matches(last_try):
            for picture in ("dark_on_light", "as_it_is", "light_on_dark"):
                shown[picture] = self._call("screen_text", pictures=[picture])[0]
                if pattern.search(shown[picture]):
                    return True

        with _retrying(f"text {pattern.pattern!r} on the display of {self.name}", lambda: "\n".join(shown.values())):
            retry(matches, timeout)

    def wait_for_x(self, timeout: Duration = 900) -> None:
        """Wait until the X server takes connections."""
        ready = "journalctl -b SYSLOG_IDENTIFIER=systemd | grep -q 'Reached target Current graphical'"
        self.wait_until_succeeds(f"{ready} && [ -e /tmp/.X11-unix/X0 ]", timeout)

    def get_window_names(self) -> list[str]:
        """The names of the X server's windows."""
        tree = self.succeed(r"xwininfo -root -tree | sed -n 's/.*0x[0-9a-f]* \"\([^\"]*\)\".*/\1/p'")
        return tree.splitlines()

    def wait_for_window(self, regexp: str | re.Pattern[str], timeout: Duration = 900) -> None:
        """Wait until a window's name matches."""
        pattern = re.compile(regexp)
        names = []

        def matches(last_try):
            names[:] = self.get_window_names()
            return any(pattern.search(name) for name in names)

        with _retrying(f"a window {pattern.pattern!r} on {self.name}", lambda: ", ".join(names)):
            retry(matches, timeout)

    # ── monitor, network ────────────────────────────────────────────────────
    def send_monitor_command(self, command: str) -> str:
        """Run a command of QEMU's monitor; give what it prints."""
        return self._call("monitor_command", command=command)

    @property
    def qmp_client(self) -> QmpClient:
        """QEMU's machine protocol."""
        return QmpClient(self)

    def wait_for_qmp_event(self, event_filter: Callable[[dict[str, Any]], bool], timeout: Duration = 600) -> dict[str, Any]:
        """Wait until QEMU tells of an event that the function is true of; give the event. Each event is looked at once."""
        limit = _seconds(timeout)
        end = time.monotonic() + limit
        while time.monotonic() < end:
            with contextlib.suppress(RequestedAssertionFailed):
                event = self.qmp_client.wait_for_event(end - time.monotonic())
                if event_filter(event):
                    return event
        raise RequestedAssertionFailed(f"waiting for an event of QEMU on {self.name} took longer than {limit} s")

    def forward_port(self, host_port: int | None = None, guest_port: int | None = None) -> int:
        """Lead a port of the host to the guest, through its user-mode network: 8080 to 80 where nothing is said. With a guest_port alone, a free port of the host is taken. Give the host's port."""
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

    def block(self) -> None:
        """Unplug the machine's virtual networks."""
        self._call("set_networks", up=False)

    def unblock(self) -> None:
        """Plug them in again."""
        self._call("set_networks", up=True)

    # ── EFI variables, while the machine is off ─────────────────────────────
    @property
    def efi_vars(self) -> EfiVars:
        """The store of the machine's EFI variables."""
        return EfiVars(self.state_dir / f"{self.name}-efi-vars.fd", self)

    def create_efi_vars(self) -> None:
        """Make an empty store of EFI variables. Fails where the machine has one."""
        self.efi_vars.create_empty()

    def read_efi_vars(self) -> list[EfiVariable]:
        """The machine's EFI variables."""
        return self.efi_vars.read()

    def write_efi_vars(self, variables: list[EfiVariable]) -> None:
        """Set EFI variables; the others stay as they are."""
        self.efi_vars.write(variables)

    def dump_efi_vars(self) -> None:
        """Print the machine's EFI variables."""
        for variable in self.read_efi_vars():
            variable.print()

    # ── log ─────────────────────────────────────────────────────────────────
    def log(self, msg: object) -> None:
        """Say something about this machine."""
        _drive("note", machine=self.name, level="info", text=str(msg))

    @contextlib.contextmanager
    def nested(self, msg: str, attrs: dict[str, str] | None = None) -> Iterator[None]:
        """Say what the statements inside do."""
        self.log(msg)
        yield


class QmpClient:
    """QEMU's machine protocol, for one machine."""

    def __init__(self, machine):
        self._machine = machine

    def send(self, cmd: str, args: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a command; give QEMU's whole answer, with what it says under "return"."""
        return self._machine._call("qmp_send", command=cmd, arguments=args or {})

    def wait_for_event(self, timeout: Duration = 10) -> dict[str, Any]:
        """The next event that nobody has had yet."""
        machine = self._machine
        event = machine._call("qmp_event", number=machine._next_event, timeout=_seconds(timeout))
        machine._next_event += 1
        return event

    def events(self, timeout: Duration = 10) -> Iterator[dict[str, Any]]:
        """The events that have happened and that nobody has had yet."""
        while self._machine._next_event < self._machine._call("qmp_event_count"):
            yield self.wait_for_event(timeout)


class Process:
    """QEMU's process."""

    pid: int

    def __init__(self, machine):
        self._machine = machine
        self.pid = machine.pid

    def poll(self) -> int | None:
        """None as long as it runs, and 0 afterwards."""
        return None if self._machine.booted else 0

    def kill(self) -> None:
        """End it at once."""
        self._machine.crash()

    terminate = kill

    def wait(self, timeout: Duration | None = None) -> int:
        """Wait until it has ended."""
        with contextlib.nullcontext() if timeout is None else deadline(timeout):
            self._machine.wait_for_shutdown()
        return 0


class Shell:
    """The guest's root shell, as a stream."""

    def __init__(self, machine):
        self._machine = machine

    def send(self, data: bytes) -> int:
        """Write to it, without waiting for anything."""
        self._machine._call("send_shell", data=data.decode("latin-1"))
        return len(data)

    sendall = send


class File:
    """A file or folder of the guest."""

    path: str

    def __init__(self, machine, path):
        self._machine = machine
        self.path = str(path)

    def __repr__(self):
        return f"<File '{self.path}' of {self._machine.name}>"

    def _ask(self, command):
        return self._machine.succeed(f"{command} -- {shlex.quote(self.path)}")

    @property
    def exists(self) -> bool:
        """Whether it is there."""
        status, _ = self._machine.execute(f"test -e {shlex.quote(self.path)}")
        return status == 0

    @property
    def contents(self) -> str:
        """What it holds."""
        return self._ask("cat")

    @property
    def mode(self) -> int:
        """Its permissions, to compare with such as 0o644."""
        return int(self._ask("stat -c %a"), 8)

    @property
    def owner(self) -> str:
        """The name of its owner."""
        return self._ask("stat -c %U").strip()


class Background:
    """A command that runs on while the script goes on."""

    command: str

    def __init__(self, machine, command, setting):
        self.command = command
        self._machine = machine
        self._folder, self._pid = machine._call("start_background", command=command, setting=setting)

    def __repr__(self):
        return f"<Background '{self.command}' on {self._machine.name}>"

    def wait(self, timeout: Duration = 900) -> int:
        """Wait until it has ended; give its exit status."""
        status = self._machine._call(
            "wait_for_background", folder=self._folder, command=self.command, timeout=_seconds(timeout)
        )
        return int(status)

    def kill(self, signal: str = "KILL") -> None:
        """Send it, and what it started, a signal."""
        self._machine.execute(f"kill -s {shlex.quote(signal)} -- -{self._pid}")

    @property
    def output(self) -> str:
        """What it has printed so far, errors included."""
        return self._machine.succeed(f"cat {self._folder}/output")


# What QEMU calls the keys that type these characters on a US keyboard.
_KEYS = {
    **{char: f"shift-{char.lower()}" for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    **dict(zip(")!@#$%^&*(", (f"shift-{digit}" for digit in range(10)))),
    **{
        "-": "minus",
        "_": "shift-minus",
        "=": "equal",
        "+": "shift-equal",
        "[": "bracket_left",
        "{": "shift-bracket_left",
        "]": "bracket_right",
        "}": "shift-bracket_right",
        ";": "semicolon",
        ":": "shift-semicolon",
        "'": "apostrophe",
        '"': "shift-apostrophe",
        "`": "grave_accent",
        "~": "shift-grave_accent",
        "\\": "backslash",
        "|": "shift-backslash",
        ",": "comma",
        "<": "shift-comma",
        ".": "dot",
        ">": "shift-dot",
        "/": "slash",
        "?": "shift-slash",
        " ": "spc",
        "\n": "ret",
        "\t": "tab",
    },
}


def _setting(user, env, cwd):
    """Who runs a command, with what, and where."""
    env = {str(name): str(value) for name, value in (env or {}).items()}
    return {"user": user, "env": env, "cwd": None if cwd is None else str(cwd)}


@contextlib.contextmanager
def _retrying(what, shown):
    """Says what was waited for in vain, and what was there instead."""
    try:
        yield
    except _RetryFailed as error:
        raise RequestedAssertionFailed(f"waiting for {what} took longer than {error.limit} s; there was:\n{shown()}") from None
