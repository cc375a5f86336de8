//! The process of a machine: QEMU, or the process that stands for a container.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex, watch};

use crate::child;
use crate::decoder::drop_continuation;

/// How much of the process' own messages is kept.
const MAX_WORDS_BYTES: usize = 4096;

/// A program to start, with its arguments and environment.
#[derive(Debug, Clone)]
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub folder: PathBuf,
    /// The whole environment: nothing of this process is added.
    pub environment: Vec<(OsString, OsString)>,
}

/// Why a machine cannot be started.
#[derive(Debug, Error)]
pub enum ProcessError {
    #[error("{program} cannot be started: {source}")]
    Start { program: PathBuf, source: io::Error },
}

/// How a machine's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// As in `exit status: 0` or `signal: 9 (SIGKILL)`.
    pub status: String,
    /// Its last words on standard error.
    pub words: String,
    /// Whether this program has ended it.
    pub killed: bool,
}

impl Exit {
    /// Whether Snowglobe has ended it, or the guest by powering off.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.killed || self.status == "exit status: 0"
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({})", self.status)?;
        if self.words.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.words)
    }
}

/// A running machine. Killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    stdin: Mutex<ChildStdin>,
    /// Whether this program has ended it.
    killed: Arc<AtomicBool>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Process {
    /// Starts the program; returns the process and its serial console.
    ///
    /// Must run on a thread of the runtime: the kernel ends the machine when
    /// the thread that started it ends.
    ///
    /// # Errors
    /// Returns an error if the program cannot be started.
    pub fn start(launch: &Launch) -> Result<(Arc<Self>, ChildStdout), ProcessError> {
        let mut command = std::process::Command::new(&launch.program);
        command
            .args(&launch.arguments)
            .current_dir(&launch.folder)
            .env_clear()
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        child::die_with_parent(&mut command, Signal::SIGKILL);
        let mut child = Command::from(command)
            // Ctrl-C is for this program, which then stops the machine itself.
            .process_group(0)
            .spawn()
            .map_err(|source| ProcessError::Start {
                program: launch.program.clone(),
                source,
            })?;
        let stdin = child.stdin.take().expect("the pipe was asked for");
        let stdout = child.stdout.take().expect("the pipe was asked for");
        let pid = child.id().unwrap_or_default();
        let (sender, exit) = watch::channel(None);
        let killed = Arc::new(AtomicBool::default());
        tokio::spawn(wait(child, killed.clone(), sender));
        let process = Arc::new(Self {
            pid,
            stdin: Mutex::new(stdin),
            killed,
            exit,
        });
        Ok((process, stdout))
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    /// Ends when the process has.
    pub async fn ended(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        match ended.as_deref() {
            Ok(Some(exit)) => exit.clone(),
            _ => Exit {
                status: "lost".to_owned(),
                words: String::new(),
                killed: self.killed.load(Ordering::Relaxed),
            },
        }
    }

    /// Types on the serial console.
    ///
    /// # Errors
    /// Returns an error if the machine is gone.
    pub async fn type_on_console(&self, text: &[u8]) -> io::Result<()> {
        let mut stdin = self.stdin.lock().await;
        stdin.write_all(text).await?;
        stdin.flush().await
    }

    /// Ends it and everything it started, at once.
    pub async fn kill(&self) -> Exit {
        self.signal(Signal::SIGKILL);
        self.ended().await
    }

    /// Ends it when it has written out what it holds of its disks; at once
    /// where that takes too long.
    pub async fn terminate(&self) -> Exit {
        self.signal(Signal::SIGTERM);
        match tokio::time::timeout(PATIENCE, self.ended()).await {
            Ok(exit) => exit,
            Err(_) => self.kill().await,
        }
    }

    /// Stops its processors; it can be ended nevertheless.
    pub fn freeze(&self) {
        self.send(Signal::SIGSTOP);
    }

    /// Continues after [`Process::freeze`].
    pub fn thaw(&self) {
        self.send(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        if self.exit().is_some() {
            return;
        }
        self.killed.store(true, Ordering::Relaxed);
        self.send(signal);
        // One that is frozen takes no other signal than SIGKILL.
        self.thaw();
    }

    fn send(&self, signal: Signal) {
        if self.exit().is_some() {
            return;
        }
        if let Ok(pid) = i32::try_from(self.pid) {
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

async fn wait(mut child: Child, killed: Arc<AtomicBool>, sender: watch::Sender<Option<Exit>>) {
    let mut words = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
            words.extend(&buffer[..length]);
            let surplus = words.len().saturating_sub(MAX_WORDS_BYTES);
            words.drain(..surplus);
            if surplus > 0 {
                drop_continuation(&mut words);
            }
        }
    }
    let status = child
        .wait()
        .await
        .as_ref()
        .map_or_else(ToString::to_string, ExitStatus::to_string);
    sender.send_replace(Some(Exit {
        status,
        words: String::from_utf8_lossy(&words).trim().to_owned(),
        killed: killed.load(Ordering::Relaxed),
    }));
}

/// The time that a process has to do what it should do at once.
pub const PATIENCE: Duration = Duration::from_secs(10);
