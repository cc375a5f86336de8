//! Runs the functions of `*.sh` on this host: with its own programs, and with those of busybox, as guests have
//! them.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::guard::guard_text;
use super::program::{
    ATTEMPTS, BACKGROUND, CLOCK, FIND_PORTS, GuestProgram, SHARED_FOLDERS, SYSTEMD_BUS, ShellFile,
    UNIT_SIGNALS, UNITS,
};
use super::terminal_text::TerminalText;

/// Bash with a `PATH` of its own, and a folder for the test.
struct TestShell {
    folder: tempfile::TempDir,
    path: String,
}

impl TestShell {
    /// One with the host's programs, and one with busybox.
    fn both() -> [Self; 2] {
        let own = std::env::var("PATH").unwrap();
        let busybox = Self::with_path(String::new());
        let programs = busybox.folder.path().join("programs");
        std::fs::create_dir(&programs).unwrap();
        let installed = Command::new("busybox")
            .args(["--install", "-s"])
            .arg(&programs)
            .status();
        assert!(installed.is_ok_and(|status| status.success()), "busybox");
        std::os::unix::fs::symlink("/bin/bash", programs.join("bash")).unwrap();
        [
            Self::with_path(own),
            Self {
                path: programs.display().to_string(),
                ..busybox
            },
        ]
    }

    fn with_path(path: String) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            path,
        }
    }

    /// Adds a program to the `PATH`.
    fn add_program(&mut self, name: &str, script: &str) {
        let folder = self.folder.path().join("added");
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join(name);
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, executable).unwrap();
        if !self.path.starts_with(&folder.display().to_string()) {
            self.path = format!("{}:{}", folder.display(), self.path);
        }
    }

    fn run(&self, program: &GuestProgram) -> Output {
        Command::new("/bin/bash")
            .args(["-c", &program.text()])
            .env("PATH", &self.path)
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    fn status(&self, program: &GuestProgram) -> Option<i32> {
        self.run(program).status.code()
    }

    fn stdout(&self, program: &GuestProgram) -> String {
        String::from_utf8(self.run(program).stdout).unwrap()
    }

    fn path_of(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

fn call(file: ShellFile, function: &str, arguments: &[&str]) -> GuestProgram {
    file.call(function, arguments)
}

/// A command that runs in the background of a shell.
struct Background<'a> {
    guest: &'a TestShell,
    folder: String,
    pid: String,
}

impl<'a> Background<'a> {
    fn start(guest: &'a TestShell, line: &str) -> Self {
        let parent = guest.path_of("");
        let started = guest.stdout(&call(BACKGROUND, "start_background", &[&parent, line]));
        let (folder, pid) = started.trim().split_once(' ').unwrap();
        Self {
            guest,
            folder: folder.to_owned(),
            pid: pid.to_owned(),
        }
    }

    fn ended(&self) -> GuestProgram {
        call(BACKGROUND, "background_ended", &[&self.folder])
    }

    /// The status it ends with, as the shell prints it; `before` is run first.
    fn status_after(&self, before: &str) -> String {
        let status = self.ended().map_line(|line| {
            format!("{before}; until {line}; do sleep 0.01; done; echo $output | base64 -d")
        });
        self.guest.stdout(&status)
    }

    fn output(&self) -> String {
        std::fs::read_to_string(Path::new(&self.folder).join("output")).unwrap()
    }
}

#[test]
fn background_commands_leave_their_status_and_output() {
    for guest in TestShell::both() {
        let command = Background::start(&guest, "bash -c 'echo out; echo err >&2; exit 3'");
        assert_eq!(command.status_after("true"), "3\n");
        assert_eq!(command.output(), "out\nerr\n");
    }
}

#[test]
fn what_bash_says_of_a_killed_command_is_not_its_output() {
    for guest in TestShell::both() {
        let command = Background::start(&guest, "bash -c 'echo out; kill -KILL $$'");
        assert_eq!(command.status_after("true"), "137\n");
        assert_eq!(command.output(), "out\n");
    }
}

#[test]
fn background_commands_that_were_killed_have_ended() {
    for guest in TestShell::both() {
        let command = Background::start(&guest, "sleep 100");
        assert_eq!(guest.status(&command.ended()), Some(1));
        let kill = format!("kill -KILL -- -{}", command.pid);
        assert_eq!(command.status_after(&kill), "137\n");
    }
}

#[test]
fn units_are_active_or_never_will_be() {
    for mut guest in TestShell::both() {
        for (state, jobs, status) in [
            ("active", "No jobs running.", 0),
            ("failed", "No jobs running.", 70),
            ("inactive", "No jobs running.", 71),
            ("inactive", "7 x.service start waiting", 1),
            ("activating", "No jobs running.", 1),
        ] {
            let systemctl = format!(
                "case $1 in show) printf 'Id=%s\\nActiveState={state}\\n' \"$4\" ;; *) echo '{jobs}' ;; esac"
            );
            guest.add_program("systemctl", &systemctl);
            let active = call(UNITS, "unit_active", &["x.service"]);
            assert_eq!(guest.status(&active), Some(status), "{state}, {jobs}");
            let named = active.map_line(|line| format!("{line}; echo $id"));
            assert_eq!(guest.stdout(&named), "x.service\n");
        }
    }
}

#[test]
fn users_have_a_manager_of_their_own() {
    for mut guest in TestShell::both() {
        guest.add_program("su", "printf '%s|' \"$@\"");
        let query = call(UNITS, "user_systemctl", &["alice", "start x"]);
        assert_eq!(
            guest.stdout(&query),
            "-l|alice|--shell|/bin/sh|-c|XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user start x|"
        );
        let query = call(UNITS, "ask_systemd", &["alice", "show", "it's ü"]);
        assert!(
            guest
                .stdout(&query)
                .ends_with(" systemctl --user 'show' 'it'\\''s ü' |")
        );
    }
}

#[test]
fn units_are_known_by_their_path() {
    for guest in TestShell::both() {
        for (path, unit) in [
            ("late_2eservice", "late.service"),
            ("multi_2duser_2etarget", "multi-user.target"),
            ("_39p_2emount", "9p.mount"),
        ] {
            let named = call(UNIT_SIGNALS, "name_of_path", &[]).map_line(|line| {
                format!("chunk=/org/freedesktop/systemd1/unit/{path}; {line}; printf %s \"$name\"")
            });
            assert_eq!(guest.stdout(&named), unit);
        }
    }
}

/// The header's own numbers: its fields are as long as it says, and the
/// whole fills multiples of eight bytes.
#[test]
fn the_message_to_systemd_is_well_formed() {
    for guest in TestShell::both() {
        let output = guest.run(&call(SYSTEMD_BUS, "subscribe_message", &[]));
        let begin = b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n";
        let message = output.stdout.strip_prefix(begin).unwrap();
        let fields = u32::from_le_bytes(message[12..16].try_into().unwrap()) as usize;
        assert_eq!(message.len(), (16 + fields).next_multiple_of(8));
    }
}

#[test]
fn sockets_are_found_by_path_and_kind() {
    for guest in TestShell::both() {
        let path = guest.path_of("stream");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let datagram = guest.path_of("datagram");
        let _socket = std::os::unix::net::UnixDatagram::bind(&datagram).unwrap();
        for (path, kind, status) in [
            (&path, "stream", 0),
            (&path, "datagram", 1),
            (&datagram, "datagram", 0),
            (&guest.path_of("other"), "stream", 1),
        ] {
            let open = call(ATTEMPTS, "socket_open", &[path, kind]);
            assert_eq!(guest.status(&open), Some(status), "{path} {kind}");
        }
    }
}

#[test]
fn files_are_copied_to_folders_that_are_made() {
    for guest in TestShell::both() {
        let staged = guest.path_of("a 'staged' file");
        std::fs::write(&staged, "text").unwrap();
        let target = guest.path_of("new folder/file");
        let find = call(SHARED_FOLDERS, "find_shared", &[&staged, "tag", "/nowhere"]);
        let copy = call(SHARED_FOLDERS, "copy_in", &[&staged, &target]);
        let both = GuestProgram::join([find, copy], " && ");
        assert_eq!(guest.status(&both), Some(0));
        assert_eq!(std::fs::read_to_string(target).unwrap(), "text");
    }
}

#[test]
fn a_guest_without_shared_folders_has_nothing_to_unmount() {
    for guest in TestShell::both() {
        let unmount = call(SHARED_FOLDERS, "unmount_shared", &["/tmp/shared"]);
        assert_eq!(guest.status(&unmount), Some(0));
        assert_eq!(guest.stdout(&call(SHARED_FOLDERS, "list_shared", &[])), "");
    }
}

#[test]
fn a_guest_without_ports_has_none_for_replies() {
    for guest in TestShell::both() {
        let find = call(FIND_PORTS, "find_ports", &["replies", "guard", "exit 1"]);
        assert_eq!(guest.stdout(&find), "\n");
    }
}

#[test]
fn a_clock_that_takes_no_parts_of_seconds_is_set_all_the_same() {
    for mut guest in TestShell::both() {
        let date = "case $3 in *.*) exit 1 ;; esac; echo \"$@\" >&2";
        guest.add_program("date", date);
        let output = guest.run(&call(CLOCK, "set_clock", &["17", "250"]));
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stderr), "-u -s @17\n");
    }
}

/// A port or terminal of a guest, as the host has it: lines in both directions.
struct Port {
    host: BufReader<File>,
    /// The guest's device; it stays open.
    device: String,
    _open: File,
}

impl Port {
    fn open() -> Self {
        let host = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&host).unwrap();
        unlockpt(&host).unwrap();
        let device = ptsname(&host, Vec::new()).unwrap().into_string().unwrap();
        // As a virtio port, it changes and echoes nothing.
        let mut settings = tcgetattr(&host).unwrap();
        settings.make_raw();
        tcsetattr(&host, OptionalActions::Now, &settings).unwrap();
        Self {
            host: BufReader::new(File::from(host)),
            _open: File::options().write(true).open(&device).unwrap(),
            device,
        }
    }

    fn write(&mut self, text: &str) {
        self.host.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.host.read_line(&mut line).unwrap();
        line
    }
}

/// A shell with the guard beside it. Both are killed when it is dropped.
struct Guarded {
    shell: Child,
    guard: Child,
    port: Port,
    terminal: Port,
    /// The terminal of people.
    people: Port,
}

impl Guarded {
    fn start(place: &TestShell) -> Self {
        let (port, terminal, people) = (Port::open(), Port::open(), Port::open());
        let shell = Command::new("/bin/bash")
            .arg("--norc")
            .env("PATH", &place.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let guard = Command::new("/bin/bash")
            .args(["-c", &guard_text(), "guard", &shell.id().to_string()])
            .args([&port.device, &terminal.device, "/dev/null"])
            .arg(place.path_of("shell-pid"))
            .arg(&people.device)
            .arg(place.path_of("session"))
            .env("PATH", &place.path)
            .spawn()
            .unwrap();
        Self {
            shell,
            guard,
            port,
            terminal,
            people,
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        for child in [&mut self.guard, &mut self.shell] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn the_guard_ends_what_the_shell_is_busy_with() {
    for place in TestShell::both() {
        let mut guarded = Guarded::start(&place);
        let marker = place.path_of("begun");
        let line = format!("(touch '{marker}'; exec sleep 1000) | (cat; echo)\necho next\n");
        let stdin = guarded.shell.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).unwrap();
        while !Path::new(&marker).exists() {
            std::thread::yield_now();
        }
        guarded.port.write("end\n");
        let ended = guarded.port.line();
        assert!(ended.starts_with("sleep (pid "), "{ended:?}");
        // The shell goes on.
        let mut said = BufReader::new(guarded.shell.stdout.take().unwrap()).lines();
        let next = said.find(|line| line.as_ref().is_ok_and(|line| line == "next"));
        assert!(next.is_some());
    }
}

/// Types on the terminal of people; what it says from the beginning of a session to its end, and the exit code.
fn session(people: &mut Port, number: u64, typed: &str) -> (String, u8) {
    let mut text = TerminalText::of(number);
    let mut whole = Vec::new();
    let mut said = false;
    loop {
        let chunk = people.host.fill_buf().unwrap().to_vec();
        people.host.consume(chunk.len());
        let part = text.take(&chunk);
        if part.waits && !std::mem::replace(&mut said, true) {
            people.write(&format!("\n{number}\n{typed}"));
        }
        whole.extend(part.text);
        if let Some(code) = part.ended {
            return (String::from_utf8(whole).unwrap(), code);
        }
    }
}

#[test]
fn the_guard_gives_people_a_terminal_while_the_shell_is_busy() {
    for place in TestShell::both() {
        let mut guarded = Guarded::start(&place);
        let stdin = guarded.shell.stdin.as_mut().unwrap();
        stdin.write_all(b"sleep 1000\n").unwrap();
        guarded.port.write("terminal 40 132 1 \n");
        // What an earlier user has typed is not for this session.
        guarded.people.write("rm -rf");
        let (text, code) = session(&mut guarded.people, 1, "stty size; exit 3\n");
        assert!(
            text.contains("40 132\r\n") && !text.contains("rm"),
            "{text}"
        );
        assert_eq!(code, 3);
        // A command prints what it prints, and no more.
        let command = BASE64.encode("printf 'a\\n\\0b'; cat; false");
        guarded
            .port
            .write(&format!("terminal 40 132 2 {command}\n"));
        let (text, code) = session(&mut guarded.people, 2, "");
        assert_eq!((text.as_str(), code), ("a\n\0b", 1));
        // Who comes next takes the place of who was there.
        guarded.port.write("terminal 40 132 3 \n");
        guarded.people.write("\n3\ntrap '' HUP; sleep 1000\n");
        guarded.port.write("terminal 40 132 4 \n");
        guarded.port.write("resize 10 20\n");
        // The size comes on another channel than what is typed.
        let resized = "until stty size | grep '^10 20$'; do sleep 0.1; done; exit\n";
        let (text, _) = session(&mut guarded.people, 4, resized);
        assert!(text.contains("10 20\r\n"), "{text}");
        guarded.port.write("end\n");
        assert!(guarded.port.line().starts_with("sleep (pid "));
    }
}

#[test]
fn the_guard_starts_a_shell_that_was_killed_anew() {
    for place in TestShell::both() {
        let mut guarded = Guarded::start(&place);
        guarded.shell.kill().unwrap();
        guarded.shell.wait().unwrap();
        assert_eq!(guarded.port.line(), "restarted\n");
        guarded.terminal.write("echo $((6 * 7)); exit\n");
        assert_eq!(guarded.terminal.line(), "42\n");
    }
}

#[test]
fn the_guard_starts_no_shell_while_the_system_stops() {
    for mut place in TestShell::both() {
        place.add_program("systemctl", "echo stopping");
        let mut guarded = Guarded::start(&place);
        guarded.shell.kill().unwrap();
        guarded.shell.wait().unwrap();
        assert_eq!(guarded.port.line(), "stopping\n");
        // It is there, and has nothing to end.
        guarded.port.write("end\n");
        assert_eq!(guarded.port.line(), "\n");
        assert!(!Path::new(&place.path_of("shell-pid")).exists());
    }
}
