//! Faults of a machine: processors that stop or are slow, memory that is taken, a clock that is wrong.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Machine, MachineError};
use crate::agent::{CLOCK, FAULTS, GuestProgram, quote};
use crate::backend::{Freezer, Process};
use crate::model::manifest::BackendKind;
use crate::model::quantity::{ByteSize, Fraction};

/// The time in which a slow processor runs once.
const SLOW_PERIOD: Duration = Duration::from_millis(50);

/// The way to end a fault of a guest.
#[derive(Debug)]
pub struct GuestRemedy(GuestProgram);

/// A machine whose processors stop again and again. Ends when it is dropped.
#[derive(Debug)]
pub struct SlowMachine(JoinHandle<()>);

impl Drop for SlowMachine {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Machine {
    /// Stops the processors of the machine. The clocks of the guest go on, as those of a machine that hangs do.
    ///
    /// # Errors
    /// Returns an error if the machine is off, or its control group cannot be written.
    pub fn freeze(&self) -> Result<(), MachineError> {
        self.control_processors(Process::freeze, "1")
    }

    /// Continues after [`Machine::freeze`].
    ///
    /// # Errors
    /// As for [`Machine::freeze`].
    pub fn thaw(&self) -> Result<(), MachineError> {
        self.control_processors(Process::thaw, "0")
    }

    /// Stops or continues the processors: by `signal`, or by `value` in the file of the control group.
    fn control_processors(&self, signal: fn(&Process), value: &str) -> Result<(), MachineError> {
        let running = self.life.running()?;
        match self.life.backend.freezer() {
            Freezer::Signals => signal(&running.process),
            Freezer::ControlGroup(path) => {
                std::fs::write(&path, value)
                    .map_err(|source| MachineError::File { path, source })?;
            }
        }
        Ok(())
    }

    /// Has the processors run for a part of the time only.
    ///
    /// # Errors
    /// As for [`Machine::freeze`].
    pub fn slow_down(
        self: &std::sync::Arc<Self>,
        speed: Fraction,
    ) -> Result<SlowMachine, MachineError> {
        self.freeze()?;
        self.thaw()?;
        let machine = self.clone();
        let running = SLOW_PERIOD.mul_f64(speed.value());
        Ok(SlowMachine(tokio::spawn(async move {
            // A machine that has ended needs nothing.
            while machine.thaw().is_ok() {
                tokio::time::sleep(running).await;
                if machine.freeze().is_err() {
                    return;
                }
                tokio::time::sleep(SLOW_PERIOD.saturating_sub(running)).await;
            }
        })))
    }

    /// Takes memory of the guest.
    ///
    /// # Errors
    /// Returns an error if the guest has not so much, or does not answer.
    pub async fn press_memory(&self, size: &ByteSize) -> Result<GuestRemedy, MachineError> {
        let press = FAULTS.call("press_memory", [size.bytes().to_string()]);
        let message = format!("{size} of memory cannot be taken on {}", self.name());
        let folder = self.fault_program(press, &message).await?;
        Ok(GuestRemedy(FAULTS.call("release_memory", [folder])))
    }

    /// Has the system clock go faster or slower.
    ///
    /// # Errors
    /// Returns an error for a container, and if the guest does not answer.
    pub async fn drift_clock(&self, factor: f64) -> Result<GuestRemedy, MachineError> {
        self.require_clock()?;
        // Millionths: the guest's shell has whole numbers only.
        let millionths = format!("{:.0}", factor * 1e6);
        let drift = FAULTS.call("drift_clock", [millionths]).with(CLOCK);
        let line = format!("bash -c {}", quote(&drift.text()));
        let (_, group) = self.shell.start_line(&line, drift.line()).await?;
        let kill = format!("kill -s KILL -- -{group}");
        Ok(GuestRemedy(GuestProgram::from(kill)))
    }

    /// Moves the system clock by some seconds.
    ///
    /// # Errors
    /// Returns an error for a container, and if the guest refuses.
    pub async fn jump_clock(&self, seconds: i64) -> Result<(), MachineError> {
        self.require_clock()?;
        let jump = FAULTS.call("jump_clock", [seconds.to_string()]);
        let jump = jump.with(CLOCK);
        let message = format!("the clock of {} cannot be set", self.name());
        self.fault_program(jump, &message).await.map(drop)
    }

    fn require_clock(&self) -> Result<(), MachineError> {
        if self.life.backend_kind() == BackendKind::Container {
            return Err(self.life.unable(
                "is a container, whose clock is that of the host: run it as a virtual machine (`--backend vm`)",
            ));
        }
        Ok(())
    }

    /// Sends a signal to the processes whose command lines match a regular expression; returns how many got it.
    ///
    /// # Errors
    /// Returns an error if the expression is wrong, or the guest does not answer.
    pub async fn kill_processes(&self, pattern: &str, signal: &str) -> Result<u64, MachineError> {
        let kill = FAULTS.call("kill_processes", [signal, pattern]);
        let message = format!("no process of {} can be killed", self.name());
        let count = self.fault_program(kill, &message).await?;
        match count.parse() {
            Ok(0) => Err(MachineError::assertion(format!(
                "no process on {} has a command line that matches {pattern:?}",
                self.name()
            ))),
            Ok(count) => Ok(count),
            Err(_) => Err(MachineError::assertion(format!("{message}: {count}"))),
        }
    }

    /// Fills the file system of a disk, named as in the guest.
    ///
    /// # Errors
    /// Returns an error if no file system of the disk is mounted, or the guest does not answer.
    pub async fn fill_disk(&self, disk: &str) -> Result<GuestRemedy, MachineError> {
        let program = FAULTS.call("fill_disk", [disk]);
        let message = format!("the disk {disk} of {} cannot be filled", self.name());
        let filling = self.fault_program(program, &message).await?;
        Ok(GuestRemedy(FAULTS.call("free_disk", [filling])))
    }

    /// Ends a fault of the guest.
    ///
    /// # Errors
    /// Returns an error if the guest does not answer.
    pub async fn apply_remedy(&self, remedy: GuestRemedy) -> Result<(), MachineError> {
        let message = format!("a fault of {} cannot be healed", self.name());
        self.fault_program(remedy.0, &message).await.map(drop)
    }

    async fn fault_program(
        &self,
        program: GuestProgram,
        message: &str,
    ) -> Result<String, MachineError> {
        self.shell.connect().await?;
        let output = self.shell.must(program, message).await?;
        Ok(output.trim().to_owned())
    }
}
