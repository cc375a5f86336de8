//! Runs the tool in a folder of its own and makes what it prints comparable.

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use regex_lite::Regex;
use tempfile::TempDir;

/// Nothing here takes longer, even on a busy machine; more means it hangs.
const PATIENCE: Duration = Duration::from_mins(15);

/// A folder to run in, which is also where temporary files go.
pub struct Place {
    folder: TempDir,
}

/// What came of a run.
pub struct Ended {
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("sg")
            .tempdir_in("/tmp")
            .unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// The tool, with the folder as its home for temporary files.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_snowglobe"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("QEMU_OPTS")
            .env_remove("SNOWGLOBE_BACKEND")
            .env("TMPDIR", self.path().join("tmp"))
            // The history of tests is the place's own.
            .env("XDG_STATE_HOME", self.path().join("state"))
            .env("NO_COLOR", "1")
            // On a dumb one, the editor of lines shows its prompt in a pipe, too.
            .env("TERM", "xterm")
            // Always cold: tests of checkpoints take it away.
            .env("CI", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A PATH with all programs but one.
    pub fn path_without(&self, program: &str) -> PathBuf {
        let folder = self.path().join(format!("without-{program}"));
        fs::create_dir(&folder).unwrap();
        let path = std::env::var_os("PATH").unwrap();
        for entry in std::env::split_paths(&path)
            .flat_map(fs::read_dir)
            .flatten()
        {
            let entry = entry.unwrap();
            if entry.file_name() != program {
                // The first of a name is the one that counts.
                let _ = std::os::unix::fs::symlink(entry.path(), folder.join(entry.file_name()));
            }
        }
        folder
    }

    /// Runs the tool to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.finish(self.command(arguments).spawn().unwrap())
    }

    /// Runs the tool on a fixture with the built-in guests.
    /// Runs the tool to its end, with a text as all that is typed; there is no terminal.
    pub fn run_typed(&self, arguments: &[&str], text: &str) -> Ended {
        let typed = self.write("typed", text);
        let mut command = self.command(arguments);
        command.stdin(fs::File::open(typed).unwrap());
        self.finish(command.spawn().unwrap())
    }

    /// The tool, whose runs begin where earlier ones of this place were.
    pub fn command_again(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(arguments);
        command
            .env_remove("CI")
            .env("XDG_CACHE_HOME", self.path().join("cache"));
        command
    }

    pub fn run_fixture(&self, fixture: &str, arguments: &[&str]) -> Ended {
        let file = fixture_path(fixture);
        let file = file.to_str().unwrap();
        self.run(&[&["run", "--nixpkgs", "builtin", file], arguments].concat())
    }

    /// Starts the tool with its standard output in the file `shown`, where [`Self::wait_for_text`] finds it.
    pub fn start_shown(&self, mut command: Command) -> Child {
        let shown = fs::File::create(self.path().join("shown")).unwrap();
        command.stdout(shown).spawn().unwrap()
    }

    pub fn finish(&self, child: Child) -> Ended {
        let output = within_patience(child, Child::wait_with_output);
        Ended {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: self.comparable(&output.stdout),
            stderr: self.comparable(&output.stderr),
        }
    }

    /// Without what differs from run to run: paths, hashes, numbers, times, and
    /// what had to be built.
    pub fn comparable(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes)
            .replace(self.path().to_str().unwrap(), "[DIR]")
            .replace(fixture_path("").to_str().unwrap(), "[FIXTURES]/");
        let replacements = [
            (r"(?m)^building .*\n", ""),
            (r"/nix/store/[0-9a-z]{32}-", "/nix/store/[HASH]-"),
            (r"\(pid \d+\)", "(pid [PID])"),
            // What the kernel says depends on how busy the machine is.
            (r"(?m)^ *\[ *\d+\.\d+\] .*\n", ""),
            (
                r"\(TCG emulation: [^),]*, default timeouts ×10\)|\(KVM\)",
                "([ACCELERATOR])",
            ),
            (r"\d+\.\d+( ?s\b| seconds)", "[T]$1"),
            (r#"time="\d+\.\d+"#, r#"time="[T]"#),
            // Which ones they are depends on the machine.
            (r"(?m)^slowest: .*", "slowest: [TESTS]"),
        ];
        replacements
            .iter()
            .fold(text, |text, (pattern, replacement)| {
                Regex::new(pattern)
                    .unwrap()
                    .replace_all(&text, *replacement)
                    .into_owned()
            })
    }

    /// Processes whose folder is below this one: machines that were left.
    pub fn processes(&self) -> Vec<PathBuf> {
        let mounts = fs::read("/proc/self/mountinfo").unwrap();
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .filter(|process| self.is_in_use_by(process, &mounts))
            .collect()
    }

    /// Whether a process works in the temporary folder, or has it mounted, as those in containers do. `mounts` are
    /// those of this process.
    fn is_in_use_by(&self, process: &Path, mounts: &[u8]) -> bool {
        let folder = self.path().join("tmp");
        let works_there =
            fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&folder));
        let has_mounted = || {
            fs::read(process.join("mountinfo")).is_ok_and(|theirs| {
                theirs != mounts
                    && String::from_utf8_lossy(&theirs).contains(folder.to_str().unwrap())
            })
        };
        works_there || has_mounted()
    }

    /// Waits until neither processes nor temporary files are left.
    pub fn assert_tidy(&self) {
        let begin = Instant::now();
        loop {
            let processes = self.processes();
            let files: Vec<_> = fs::read_dir(self.path().join("tmp"))
                .unwrap()
                .flatten()
                .collect();
            if processes.is_empty() && files.is_empty() {
                return;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "left behind: {processes:?} {files:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until what was written is older than what is written now, by the
    /// clock of the file system: an evaluation of files that have just changed is
    /// not remembered.
    pub fn settle(&self) {
        let probe = self.path().join("tmp/probe");
        let now = || {
            fs::write(&probe, "").unwrap();
            fs::metadata(&probe).unwrap().modified().unwrap()
        };
        let written = now();
        while now() < written + Duration::from_millis(40) {
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::remove_file(&probe).unwrap();
    }

    /// Waits until a file below the folder holds `text`.
    pub fn wait_for_text(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        wait_until(&format!("{text:?} in {file}"), || {
            fs::read_to_string(&path).is_ok_and(|content| content.contains(text))
        });
    }
}

/// Waits until something is true.
pub fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_true() {
        assert!(begin.elapsed() < PATIENCE, "there was never {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits in its way for the end of the tool, which may not hang.
pub fn within_patience<T: Send + 'static>(
    child: Child,
    wait: impl FnOnce(Child) -> io::Result<T> + Send + 'static,
) -> T {
    let id = child.id();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(wait(child)));
    let ended = receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        signal(id, "KILL");
        panic!("the tool hangs");
    });
    ended.unwrap()
}

impl Ended {
    /// Everything a user sees, for a snapshot.
    pub fn seen(&self) -> String {
        let code = self.code.map_or("none".to_owned(), |code| code.to_string());
        let signal = self.signal;
        let signal = signal.map_or(String::new(), |number| format!(" (signal {number})"));
        format!(
            "exit code: {code}{signal}\n--- stdout\n{}--- stderr\n{}",
            self.stdout, self.stderr
        )
    }
}

pub fn fixture_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status()
        .unwrap();
    assert!(status.success());
}

/// The tree that tests of a real nixpkgs take.
pub fn nixpkgs_tree() -> String {
    std::env::var("SNOWGLOBE_NIXPKGS").expect("SNOWGLOBE_NIXPKGS names a nixpkgs tree")
}

/// The tool on a terminal of its own, and a user who types.
pub struct Pty {
    child: Child,
    seen: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    /// What was waited for already ends here.
    position: usize,
}

impl Pty {
    /// Runs a command on a terminal, which util-linux' `script` makes.
    pub fn spawn(command: &mut Command) -> Self {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let line = shlex::try_join(words.map(|word| word.to_str().unwrap())).unwrap();
        // A shell that stays would change the exit code after Ctrl-C.
        let line = format!("exec {line}");
        let mut script = where_it_runs("script", command);
        script
            .env("TERM", "xterm")
            .args(["--quiet", "--return", "--flush", "--command"])
            .args([&line, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = script.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let text = seen.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = std::io::Read::read(&mut stdout, &mut buffer) {
                text.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        Self {
            child,
            seen,
            position: 0,
        }
    }

    /// Waits until the terminal shows `text`, after what was waited for before.
    pub fn wait_for(&mut self, text: &str) {
        let begin = Instant::now();
        loop {
            let seen = self.seen.lock().unwrap().clone();
            let mut windows = seen[self.position..].windows(text.len());
            if let Some(found) = windows.position(|window| window == text.as_bytes()) {
                self.position += found + text.len();
                return;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "never saw {text:?}:\n{}",
                self.seen()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Everything that the terminal has shown so far.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    pub fn type_in(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Waits for the end; returns the exit code.
    pub fn end(mut self) -> Option<i32> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begin.elapsed() < PATIENCE, "did not end:\n{}", self.seen());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Uses the shell that a command opens on `machine`, and leaves it.
pub fn use_shell(command: &mut Command) {
    let mut user = Pty::spawn(command);
    user.wait_for("terminal attached");
    user.type_in("hostname; echo $((40 + 2)); tty\n");
    user.wait_for("machine\r\n42\r\n/dev/");
    user.type_in("exit\n");
    user.wait_for("session closed:");
    assert_eq!(user.end(), Some(0));
}

/// Starts a command in a session of its own, which has no terminal.
pub fn without_terminal(command: &mut Command) -> Child {
    let mut setsid = where_it_runs("setsid", command);
    setsid
        .arg("--wait")
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    setsid.spawn().unwrap()
}

/// A program in the folder and the environment of another one.
pub fn where_it_runs(program: &str, other: &Command) -> Command {
    let mut command = Command::new(program);
    command.current_dir(other.get_current_dir().unwrap());
    for (name, value) in other.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Runs the tool with these arguments, where the folder `small` is a disk of this size.
pub fn run_beside_small_disk(
    place: &Place,
    size: &str,
    environment: &[(&str, &Path)],
    arguments: &str,
) -> Ended {
    fs::create_dir(place.path().join("small")).unwrap();
    let program = env!("CARGO_BIN_EXE_snowglobe");
    let script = format!("mount -t tmpfs -o size={size} tmpfs small && exec {program} {arguments}");
    let mut command = where_it_runs("unshare", &place.command(&[]));
    command
        .args(["--mount", "sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.envs(environment.iter().copied());
    place.finish(command.spawn().unwrap())
}
