//! Scripts in a CPython: a process whose calls come over a socket.

mod conversation;
mod messages;
mod names;
mod program;
mod server;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use include_dir::{Dir, include_dir};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc as async_mpsc, oneshot, watch};

pub use program::{CPython, PythonError};

use super::ended::Ended;
use super::mode::{Interaction, RunMode};
use super::state::EngineState;
use crate::child::{describe_end, die_with_parent};
use crate::folders::private_temporary_folder;
use crate::language::API;
use crate::model::event::Failure;
use conversation::Conversation;
use server::{InterruptDemand, Server};

/// The package that runs in the process.
static CHILD: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/src/engine/cpython/snowglobe_child");

/// The program that begins, which fetches the package.
const BOOTSTRAP: &str = include_str!("bootstrap.py");

/// How long the process may take for its exit handlers.
const EXIT_GRACE: Duration = Duration::from_secs(10);

/// How long what the process has written may take to be read when it has ended.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// An event that the thread of a script waits for.
enum Happening {
    Ended(Ended),
    /// The process has, and is still to be waited for.
    Exited,
    /// The script's caller does not wait for it any more.
    Abandoned,
}

/// Interrupts a script in a CPython. The process ends when it is dropped.
#[derive(Debug)]
pub struct CPythonInterrupter {
    demands: async_mpsc::UnboundedSender<InterruptDemand>,
    interrupted: watch::Sender<u64>,
    _abandon: Abandon,
}

#[derive(Debug)]
struct Abandon(mpsc::Sender<Happening>);

impl Drop for Abandon {
    fn drop(&mut self) {
        let _ = self.0.send(Happening::Abandoned);
    }
}

impl CPythonInterrupter {
    /// Raises `Interrupted(reason)` in the script, as soon as it has begun; returns whether it was taken.
    pub async fn interrupt(&self, reason: &str) -> bool {
        self.interrupted.send_modify(|count| *count += 1);
        let (report, reported) = oneshot::channel();
        let sent = self.demands.send((reason.to_owned(), report));
        sent.is_ok() && reported.await.unwrap_or(false)
    }
}

/// Runs a script to its end. `tell_ready` gets what interrupts it.
pub(super) fn run(
    state: &Arc<EngineState>,
    python: &CPython,
    mode: RunMode,
    breakpoints: Option<Arc<dyn Interaction>>,
    tell_ready: impl FnOnce(CPythonInterrupter),
) -> Ended {
    let (happenings, happened) = mpsc::channel();
    let (demands, demanded) = async_mpsc::unbounded_channel();
    let (interrupted, interrupts) = watch::channel(0);
    tell_ready(CPythonInterrupter {
        demands,
        interrupted,
        _abandon: Abandon(happenings.clone()),
    });
    let server = Server {
        state: state.clone(),
        mode,
        breakpoints,
        happenings,
        demands: Mutex::new(Some(demanded)),
        interrupted: interrupts,
    };
    let ended = run_process(python, server, &happened).unwrap_or_else(|error| {
        let message = format!("{} cannot be started: {error}", python.program.display());
        failed("PythonFailed", message)
    });
    state.print_rest();
    state.close();
    ended
}

fn failed(kind: &str, message: String) -> Ended {
    Ended::Failed(Box::new(Failure {
        kind: kind.to_owned(),
        message,
        ..Failure::default()
    }))
}

fn run_process(
    python: &CPython,
    server: Server,
    happened: &mpsc::Receiver<Happening>,
) -> io::Result<Ended> {
    let folder = private_temporary_folder()?;
    let socket = folder.path().join("python");
    let listener = UnixListener::bind(&socket)?;
    let happenings = server.happenings.clone();
    let (mut child, output) = start(python, &socket)?;
    let output = read_output(output, server.state.clone());
    let is_over = Arc::new(AtomicBool::new(false));
    let stop = is_over.clone();
    thread::spawn(move || accept(&listener, &Arc::new(server), &stop));
    let pid = Pid::from_raw(child.id().cast_signed());
    thread::spawn(move || {
        // It stays until it is waited for: its number is that of no other process meanwhile.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(pid), flags) == Err(nix::errno::Errno::EINTR) {}
        let _ = happenings.send(Happening::Exited);
    });
    let ended = wait_for_end(happened);
    // With what the script has left behind.
    let _ = killpg(pid, Signal::SIGKILL);
    let status = child.wait()?;
    let _ = output.recv_timeout(OUTPUT_GRACE);
    is_over.store(true, Ordering::Release);
    // It wakes the thread that accepts connections.
    drop(UnixStream::connect(&socket)?);
    Ok(ended.unwrap_or_else(|| without_word(python, status)))
}

/// Returns how the script ended, when its process has, too; `None` if the process said nothing.
fn wait_for_end(happened: &mpsc::Receiver<Happening>) -> Option<Ended> {
    let mut ended = None;
    let mut limit: Option<Instant> = None;
    loop {
        let next = match limit {
            None => happened.recv().ok()?,
            Some(limit) => {
                let left = limit.saturating_duration_since(Instant::now());
                match happened.recv_timeout(left) {
                    Ok(next) => next,
                    Err(_) => return ended,
                }
            }
        };
        match next {
            Happening::Ended(how) => {
                ended = Some(how);
                limit = Some(Instant::now() + EXIT_GRACE);
            }
            // Its last words may still be on their way.
            Happening::Exited if ended.is_none() && limit.is_none() => {
                limit = Some(Instant::now() + OUTPUT_GRACE);
            }
            Happening::Exited | Happening::Abandoned => return ended,
        }
    }
}

fn without_word(python: &CPython, status: ExitStatus) -> Ended {
    let message = format!("{python} has ended {}", describe_end(status));
    failed("PythonEnded", message)
}

/// Starts the process; returns what it writes.
fn start(python: &CPython, socket: &Path) -> io::Result<(Child, io::PipeReader)> {
    let (output, written) = io::pipe()?;
    let mut command = Command::new(&python.program);
    command
        .args(["-I", "-B", "-X", "utf8", "-c"])
        .arg(BOOTSTRAP)
        .arg(socket)
        .stdin(Stdio::from(File::open("/dev/null")?))
        .stdout(written.try_clone()?)
        .stderr(written)
        // Ctrl-C is this program's.
        .process_group(0);
    die_with_parent(&mut command, Signal::SIGKILL);
    Ok((command.spawn()?, output))
}

/// Prints what programs write that the script starts, and Python itself. The result says when all is read.
fn read_output(output: io::PipeReader, state: Arc<EngineState>) -> mpsc::Receiver<()> {
    let (finish, finished) = mpsc::channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output
            .read_until(b'\n', &mut line)
            .is_ok_and(|count| count > 0)
        {
            let text = String::from_utf8_lossy(&line);
            state.emit_line(text.trim_end_matches('\n'));
            line.clear();
        }
        let _ = finish.send(());
    });
    finished
}

/// Serves connections for as long as there is a process that makes them.
fn accept(listener: &UnixListener, server: &Arc<Server>, is_over: &AtomicBool) {
    while let Ok((stream, _)) = listener.accept() {
        if is_over.load(Ordering::Acquire) {
            return;
        }
        let server = server.clone();
        let Ok(conversation) = Conversation::new(stream, server.state.handle.clone()) else {
            return;
        };
        thread::spawn(move || server.serve(conversation));
    }
}

/// The modules of the test API and of the process, by their names.
fn child_modules() -> Value {
    let own = CHILD.files().map(|file| ("snowglobe_child", file));
    let api = API.files().map(|file| ("snowglobe", file));
    let modules = own.chain(api).filter_map(|(package, file)| {
        let stem = file.path().file_stem()?.to_str()?;
        let is_package = stem == "__init__";
        let name = if is_package {
            package.to_owned()
        } else {
            format!("{package}.{stem}")
        };
        let text = file.contents_utf8()?;
        let file = format!("{package}/{stem}.py");
        Some((
            name,
            json!({ "file": file, "text": text, "is_package": is_package }),
        ))
    });
    Value::Object(modules.collect::<Map<String, Value>>())
}
