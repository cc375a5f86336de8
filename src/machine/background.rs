//! Commands that run on in the guest while the script goes on, and the shell as a stream.

use std::sync::Arc;
use std::time::Duration;

use super::commands::{Setting, shortened};
use super::{Machine, MachineError};
use crate::agent::{BACKGROUND, Expect};

/// How long starting one may take.
const START_LIMIT: Duration = Duration::from_mins(1);

impl Machine {
    /// Starts a command in a session of its own; returns the folder in the guest
    /// that holds its output and will hold its status, and its process group.
    ///
    /// # Errors
    /// As for [`Machine::execute`].
    pub async fn start_background(
        self: &Arc<Self>,
        command: &str,
        setting: &Setting,
    ) -> Result<(String, u32), MachineError> {
        let shown = setting.explain(command);
        self.step(format!("starting: {shown}"), async {
            let dressed = self.dress_strictly(command, setting)?;
            let work = self.strict_line(&dressed, Expect::Output, None).await?;
            let start = BACKGROUND.call("start_background", ["/run", &work]);
            let outcome = self
                .execute_program(&start, Expect::OutputAndStatus, Some(START_LIMIT))
                .await?;
            let answer = String::from_utf8_lossy(&outcome.output);
            let started = answer
                .trim()
                .split_once(' ')
                .and_then(|(folder, pid)| Some((folder.to_owned(), pid.parse().ok()?)));
            started.ok_or_else(|| {
                let message = format!("command `{shown}` could not be started on {}", self.name());
                MachineError::assertion(message)
            })
        })
        .await
    }

    /// Waits until a command that was started so has ended; returns its exit
    /// status, 137 if it was killed.
    ///
    /// # Errors
    /// When it has not within `limit`, and as for [`Machine::execute`].
    pub async fn wait_for_background(
        self: &Arc<Self>,
        folder: &str,
        command: &str,
        limit: Duration,
    ) -> Result<i32, MachineError> {
        let attempt = BACKGROUND.call("background_ended", [folder]);
        let what = format!("the end of `{}`", shortened(command));
        let status = self.wait_for(&what, None, attempt, limit).await?;
        status.trim().parse().map_err(|_| {
            let message = format!(
                "the status of `{}` on {} is lost",
                shortened(command),
                self.name()
            );
            MachineError::assertion(message)
        })
    }

    /// Writes to the guest's shell, without waiting for anything. Each
    /// character of `data` stands for a byte.
    ///
    /// # Errors
    /// When the machine is off, or its shell was closed.
    pub async fn send_shell(self: &Arc<Self>, data: &str) -> Result<(), MachineError> {
        let running = self.running()?;
        let shell = self.shell(&running).await?;
        let work = async { Ok(shell.run(data, Expect::Raw, None).await.map(drop)?) };
        self.guard(&running, work).await
    }
}
