//! Commands that run on in the guest while the script goes on, and the shell as a stream.

use std::time::Duration;

use super::GuestShell;
use super::commands::{Setting, shortened};
use crate::agent::{BACKGROUND, Expect};
use crate::machine::MachineError;

/// How long starting one may take.
const START_LIMIT: Duration = Duration::from_mins(1);

impl GuestShell {
    /// Starts a command in a session of its own; returns the folder in the guest
    /// that holds its output and will hold its status, and its process group.
    ///
    /// # Errors
    /// As for [`GuestShell::execute`].
    pub async fn start_background(
        &self,
        command: &str,
        setting: &Setting,
    ) -> Result<(String, u32), MachineError> {
        let line = self.apply_setting_strictly(command, setting)?;
        self.start_line(&line, &setting.explain(command)).await
    }

    /// Starts a line of bash as [`GuestShell::start_background`] starts a command; messages show `shown`.
    pub(in crate::machine) async fn start_line(
        &self,
        line: &str,
        shown: &str,
    ) -> Result<(String, u32), MachineError> {
        self.life
            .step(format!("starting: {shown}"), async {
                let work = self.strict_line(line, Expect::Output, None).await?;
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
                    let message = format!(
                        "command `{shown}` could not be started on {}",
                        self.life.name()
                    );
                    MachineError::assertion(message)
                })
            })
            .await
    }

    /// Waits until a command that was started so has ended; returns its exit
    /// status, 137 if it was killed.
    ///
    /// # Errors
    /// Returns an error if it has not within `limit`, and as for [`GuestShell::execute`].
    pub async fn wait_for_background(
        &self,
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
                self.life.name()
            );
            MachineError::assertion(message)
        })
    }

    /// Writes to the guest's shell, without waiting for anything. Each
    /// character of `data` stands for a byte.
    ///
    /// # Errors
    /// Returns an error if the machine is off, or its shell was closed.
    pub async fn send_shell(&self, data: &str) -> Result<(), MachineError> {
        let running = self.life.running()?;
        let shell = self.channel(&running).await?;
        let work = async { Ok(shell.run(data, Expect::Raw, None).await.map(drop)?) };
        self.life.guard(&running, work).await
    }

    /// Waits for the next line that the guest's shell writes, and returns it with its end; each character stands for a
    /// byte.
    ///
    /// # Errors
    /// Returns an error if the machine is off, or its shell was closed.
    pub async fn receive_shell(&self) -> Result<String, MachineError> {
        let running = self.life.running()?;
        let shell = self.channel(&running).await?;
        let work = async { Ok(shell.run("", Expect::Line, None).await?.output) };
        let line = self.life.guard(&running, work).await?;
        Ok(line.into_iter().map(char::from).collect())
    }
}
