//! Reaches a machine that runs: its shell, its monitor, and its end.

use std::future::Future;
use std::sync::Arc;

use super::launch::Running;
use super::{Machine, MachineError};
use crate::agent::{Shell, ShellError};
use crate::backend::{Ability, MachineFailure, OnReboot, PATIENCE};
use crate::model::event::{Event, round};
use crate::qemu::Qmp;

impl Machine {
    /// Waits until the guest's shell answers; starts the machine if it is off.
    ///
    /// # Errors
    /// When the machine ends before.
    pub async fn connect(self: &Arc<Self>) -> Result<(), MachineError> {
        self.start(OnReboot::End, &[]).await?;
        let running = self.running()?;
        let mut connected = running.connected.lock().await;
        if *connected {
            return Ok(());
        }
        let text = "waiting for the guest to finish booting".to_owned();
        self.step(text, async {
            let shell = self.shell(&running).await?;
            self.guard(&running, async { Ok(shell.greeting().await?) })
                .await
        })
        .await?;
        *connected = true;
        self.context.events.emit(Event::MachineReady {
            machine: self.name.clone(),
            after_s: round(running.started.elapsed().as_secs_f64()),
        });
        Ok(())
    }

    /// Forgets that the shell has answered, as after a reboot.
    pub async fn disconnect(&self) {
        if let Some(running) = self.current() {
            *running.connected.lock().await = false;
        }
    }

    /// Whether the shell has answered.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.current().is_some_and(|running| {
            running
                .connected
                .try_lock()
                .is_ok_and(|connected| *connected)
        })
    }

    pub(super) async fn shell<'a>(&self, running: &'a Running) -> Result<&'a Shell, MachineError> {
        let events = self.context.events.clone();
        self.guard(running, async {
            running
                .shell
                .get_or_try_init(|| {
                    let guest = running.guest.clone();
                    Shell::accept(&running.shell_sockets, &self.name, guest, events)
                })
                .await
                .map_err(MachineError::from)
        })
        .await
    }

    pub(super) async fn monitor<'a>(&self, running: &'a Running) -> Result<&'a Qmp, MachineError> {
        self.require(Ability::Monitor)?;
        self.guard(running, async {
            running
                .monitor
                .get_or_try_init(|| Qmp::connect(&running.monitor_socket))
                .await
                .map_err(MachineError::from)
        })
        .await
    }

    /// Does `work` as long as QEMU runs and the guest is well.
    pub(super) async fn guard<T>(
        &self,
        running: &Running,
        work: impl Future<Output = Result<T, MachineError>>,
    ) -> Result<T, MachineError> {
        let ended = async |exit| {
            // The last words may be the reason.
            let mut console_end = running.console_end.clone();
            let _ = tokio::time::timeout(PATIENCE, console_end.wait_for(|read| *read)).await;
            match self.failure_watch.failure() {
                Some(failure) => self.machine_failure(failure),
                None => MachineError::Ended {
                    machine: self.name.clone(),
                    exit,
                    panic: self.console.last_line_with("Kernel panic - "),
                },
            }
        };
        tokio::select! {
            biased;
            result = work => match result {
                // The shell is closed a moment before the process ends.
                Err(MachineError::Shell(ShellError::Closed)) => {
                    match tokio::time::timeout(PATIENCE, running.process.ended()).await {
                        Ok(exit) => Err(ended(exit).await),
                        Err(_) => Err(ShellError::Closed.into()),
                    }
                }
                other => other,
            },
            failure = self.failure_watch.failed() => Err(self.machine_failure(failure)),
            exit = running.process.ended() => Err(ended(exit).await),
        }
    }

    fn machine_failure(&self, failure: MachineFailure) -> MachineError {
        MachineError::Failed {
            machine: self.name.clone(),
            failure,
        }
    }
}
