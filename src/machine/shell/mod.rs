//! The guest's root shell: commands, waits, units, files, terminals.

mod background;
mod commands;
mod conditions;
mod failed_units;
mod files;
mod listeners;
mod power;
mod properties;
mod terminal;
mod units;
mod waits;

use std::sync::Arc;

use self::failed_units::FailedUnits;
use super::MachineError;
use super::life_cycle::{LifeCycle, Running};
use crate::agent::Shell;
use crate::backend::OnReboot;
use crate::model::event::{Event, round};

pub use commands::Setting;
pub(in crate::machine) use commands::Wanted;
pub(in crate::machine) use conditions::{Condition, Quantity};
pub(in crate::machine) use files::{EXCHANGE, SHARED, fingerprint};
pub use listeners::{AwaitedPort, port_hint};
pub use terminal::TerminalSession;
pub(in crate::machine) use waits::SocketKind;

/// The root shell of a machine's guest.
#[derive(Debug)]
pub struct GuestShell {
    life: Arc<LifeCycle>,
    /// Held by a command whose error output is kept until it is known how it ended.
    demanding: tokio::sync::Mutex<()>,
    /// Held by who has the terminal of people.
    people: Arc<tokio::sync::Mutex<()>>,
    failed: FailedUnits,
}

impl GuestShell {
    pub(in crate::machine) fn new(life: Arc<LifeCycle>) -> Self {
        Self {
            life,
            demanding: tokio::sync::Mutex::default(),
            people: Arc::default(),
            failed: FailedUnits::default(),
        }
    }

    /// Waits until the guest's shell answers; starts the machine if it is off.
    ///
    /// # Errors
    /// Returns an error if the machine ends before.
    pub async fn connect(&self) -> Result<(), MachineError> {
        self.life.start(OnReboot::End, &[]).await?;
        let running = self.life.running()?;
        let mut connected = running.connected.lock().await;
        if *connected {
            return Ok(());
        }
        let text = "waiting for the guest to finish booting".to_owned();
        self.life
            .step(text, async {
                let shell = self.channel(&running).await?;
                self.life
                    .guard(&running, async { Ok(shell.greeting().await?) })
                    .await
            })
            .await?;
        *connected = true;
        self.life.context.events.emit(Event::MachineReady {
            machine: self.life.name().to_owned(),
            after_s: round(running.started.elapsed().as_secs_f64()),
        });
        Ok(())
    }

    /// Forgets that the shell has answered, as after a reboot.
    ///
    /// # Errors
    /// None: a machine that is off has no shell.
    pub async fn disconnect(&self) -> Result<(), MachineError> {
        if let Some(running) = self.life.current() {
            *running.connected.lock().await = false;
        }
        Ok(())
    }

    /// Whether the shell has answered.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.life.current().is_some_and(|running| {
            running
                .connected
                .try_lock()
                .is_ok_and(|connected| *connected)
        })
    }

    /// Returns the connection to the shell, and makes it if there is none.
    pub(in crate::machine) async fn channel<'a>(
        &self,
        running: &'a Running,
    ) -> Result<&'a Shell, MachineError> {
        let events = self.life.context.events.clone();
        self.life
            .guard(running, async {
                running
                    .shell
                    .get_or_try_init(|| {
                        let guest = running.guest.clone();
                        Shell::accept(&running.shell_sockets, self.life.name(), guest, events)
                    })
                    .await
                    .map_err(MachineError::from)
            })
            .await
    }
}
